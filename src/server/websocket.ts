/**
 * GraphQL over WebSockets: graphql-ws's own server protocol on `ws`, with our pings, limits and sessions.
 *
 * A socket becomes a session when its client says who it is, and loses it with the reason why it closed (rule 5).
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionArgs, ExecutionResult, GraphQLError, GraphQLFormattedError } from 'graphql'
import {
  CloseCode,
  handleProtocols,
  makeServer,
  type Context as ProtocolContext,
  type SubscribePayload,
} from 'graphql-ws'
import { type RawData, type ServerOptions, type WebSocket, WebSocketServer } from 'ws'
import type { Config } from '../config.ts'

import { type Caller, requireCaller } from '../presence/access.ts'
import { badInput, isUnavailable, PresenceError, rateLimited, unavailable } from '../presence/errors.ts'
import type { ChangeFeed, FeedGroup } from '../presence/feed.ts'
import type { Log } from '../presence/operator-log.ts'
import type { Presence } from '../presence/presence.ts'
import { detachCauseOf } from '../presence/rules.ts'
import type { SocketRegistry } from '../presence/socket-registry.ts'
import type { Attachment } from '../presence/socket-session.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { inSlices } from '../slices.ts'
import { NOT_SERVING, problem, problemOf, problemOfMasked } from './answers.ts'
import type { ErrorMask } from './client-errors.ts'
import { createExpiries } from './expiries.ts'
import type { Health } from './health.ts'
import { Inbox } from './inbox.ts'
import type { Origin } from './limits/addresses.ts'
import type { Admission } from './limits/admission.ts'
import type { Bucket } from './limits/budgets.ts'
import { createHandshakes } from './limits/handshakes.ts'
import { addressPayer, callerOf, type Limits, type Payer, payerOf, UNITS } from './limits/limits.ts'
import { OperationMessages, parsed, payloadText } from './messages.ts'
import { refuse } from './node-requests.ts'
import { OperationIds } from './operation-ids.ts'
import type { Operations, Work } from './operations.ts'
import { frameOf, latin1, Outbox } from './outbox.ts'
import { PagePings } from './page-pings.ts'
import { isShallow, MAX_NESTING, requireShallow } from './params.ts'
import { createPinger } from './pinger.ts'

/** RFC 6455 close codes that graphql-ws's clients come back after. */
const SERVICE_RESTART = 1012
const TRY_AGAIN_LATER = 1013
const INTERNAL = 1011
/** RFC 6455: a close frame's reason. */
const CLOSE_REASON_BYTES = 123

/** Answers that may wait for a client to read them: four of the largest pages with every field of their users. */
const MAX_UNREAD_BYTES = 1024 * 1024
/** How long a client may take to answer a close. */
const CLOSE_WAIT_MS = 2000
/** Clients send a message in one frame; a proxy may cut it. Each fragment costs more than the bytes in it. */
const MAX_FRAGMENTS = 16
/** Pieces that a frame may arrive in: 64 KiB are 45 packets of Ethernet. */
const MAX_CHUNKS = 512
/** How long a socket may wait before its handshake begins, in times of `CONNECTION_INIT_TIME`. */
const HANDSHAKE_WAITS = 3

/** RFC 6455, 5.5.2: a ping without a payload. The browser answers it, or the system of the client. */
const CONNECTION_PING = String.fromCharCode(0x89, 0)
/** Only the client's own script answers it. */
const PAGE_PING = frameOf('{"type":"ping"}')

/** How often pings, tokens' ends and replaced sockets are looked at: a deadline is noticed so much late at most. */
export const SOCKET_CHECK_MS = 250

export interface WebSockets {
  /**
   * @param origin - where it comes from, as `Addresses` says
   */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, origin: Origin): void
  /** @param wasLate - the check itself came late, so it closes no socket */
  check(wasLate: boolean): Promise<void>
  count(): number
  /**
   * Closes every socket so that its client comes back.
   *
   * @param overMs - one after the other, so that they do not all come back at once
   * @param answersWithinMs - what a client has asked is answered before its socket closes, where it takes no longer
   * @param leavesSessions - whether the sessions stay as they are, for the next process to take over; else they get
   *   their grace
   */
  close(how: {
    readonly overMs: number
    readonly answersWithinMs: number
    readonly leavesSessions: boolean
  }): Promise<void>
}

export interface WebSocketOptions {
  readonly config: Config
  readonly admission: Admission
  readonly presence: Presence
  readonly sockets: SocketRegistry
  readonly feed: ChangeFeed
  readonly operations: Operations
  readonly limits: Limits
  /** Event streams count as sockets do. */
  readonly streams: { countOf(userId: string): number }
  readonly mask: ErrorMask
  readonly log: Log
  readonly monotonicMs: () => number
  /** Whether sockets may come in, and those who are there are answered. */
  readonly health: Omit<Health, 'ready' | 'notReady' | 'drain'>
}

/** What the protocol keeps of one connection, beside its own. */
interface Connection {
  readonly link: Link
  attachment: Attachment | null
  readonly group: FeedGroup
}

/** The wire of one connection. */
interface Link {
  readonly socket: WebSocket
  readonly origin: Origin
  /** Who pays for what it asks: its address until it is acknowledged. */
  payer: Payer
  /** Frames that it may send. */
  readonly frames: Bucket
  /** Its handshake is over: acknowledged or closed. */
  readonly leaveHandshake: () => void
  readonly outbox: Outbox
  readonly pagePings: PagePings
  /** The last ping or pong of RFC 6455: with messages, what proves that the connection is there. */
  lastControlAtMs: number
  /** The last text message: it proves that the page is there. */
  lastMessageAtMs: number
  isClosedByUs: boolean
  /** What it asks is taken no more: it closes when what it has asked is answered. */
  isLeaving: boolean
  /** The last proof of what did not answer, null where nothing was found silent. */
  silentSinceMs: number | null
  /** How far the client had read when it was last asked for a nonce. */
  nonceMark: number | null
  /** Null until its socket is listened to. */
  operationIds: OperationIds<Link> | null
  inbox: Inbox<Message> | null
  /** Settled when `connection_init` has been dealt with: its socket may close before that. */
  opening: Promise<unknown>
}

interface Message {
  readonly data: RawData
  readonly isBinary: boolean
  readonly bytes: number
  /** Whether it came when its socket was about to close. */
  readonly isLate: boolean
}

/** What graphql-ws hands on from `onSubscribe` to `subscribe`. */
type SocketArgs = ExecutionArgs & { readonly asked: Asked }

/** An operation of a socket. A class and no closures, because a node does nothing more often. */
class Asked implements Work {
  readonly id: string
  readonly payload: object
  readonly context: SocketContext
  readonly units: number

  constructor(id: string, payload: object, context: SocketContext, units: number) {
    this.id = id
    this.payload = payload
    this.context = context
    this.units = units
  }

  get link(): Link {
    return this.context.extra.connection.link
  }

  get payer(): Payer {
    return this.link.payer
  }

  isWanted(): boolean {
    return this.id in this.context.subscriptions && this.link.socket.readyState === this.link.socket.OPEN
  }
}

type Extra = { readonly connection: Connection }
type SocketContext = ProtocolContext<Record<string, unknown>, Extra>

export function createWebSockets(options: WebSocketOptions): WebSockets {
  const { config, admission, presence, sockets, feed, operations, limits, streams } = options
  const { mask, log, monotonicMs, health } = options
  // @types/ws does not know `closeTimeout` (ws 8.19 and later).
  const wireOptions: ServerOptions & { readonly closeTimeout: number } = {
    noServer: true,
    maxPayload: config.MAX_FRAME_BYTES,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_CHUNKS,
    closeTimeout: CLOSE_WAIT_MS,
    handleProtocols,
    // Compression costs 300 KB a socket and saves nothing on messages this small.
    perMessageDeflate: false,
  }
  const wire = new WebSocketServer(wireOptions)
  // `ws` would answer a handshake that it cannot take with a text.
  wire.on('wsClientError', ({ message }, socket) => {
    const answer = problem('BAD_REQUEST', message)
    // A client of another version learns from it which one to speak (RFC 6455, 4.4).
    answer.headers.set('sec-websocket-version', '13')
    refuse(socket, answer)
  })
  const outgoingOf = ({ outbox }: Link) => outbox
  const connectionPinger = createPinger<Link>({
    intervalMs: config.PING_INTERVAL,
    timeoutMs: config.PONG_TIMEOUT,
    provedAtMs: lastFrameAtMs,
    outgoingOf,
  })
  const pagePinger = createPinger<Link>({
    intervalMs: config.PAGE_PING_INTERVAL,
    timeoutMs: config.PAGE_PONG_TIMEOUT,
    provedAtMs: ({ lastMessageAtMs }) => lastMessageAtMs,
    outgoingOf,
  })
  const expiries = createExpiries<Link>()
  const handshakes = createHandshakes(
    {
      perAddress: config.HANDSHAKES_PER_ADDRESS,
      perNode: config.HANDSHAKES_PER_PROCESS,
      waitMs: HANDSHAKE_WAITS * config.CONNECTION_INIT_TIME,
    },
    monotonicMs,
  )
  /** Sockets of each address, those that wait for their handshake too. */
  const countByAddress = new Map<string, number>()
  let openCount = 0
  const operationIdsContext = { onError: closeFor, close }
  let isClosing = false
  let areSessionsLeft = false
  const leaving = new Set<Promise<void>>()

  const protocol = makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: config.CONNECTION_INIT_TIME,

    onConnect(context) {
      const { connection } = context.extra
      const opened = open(context, connection)
      connection.link.opening = opened.catch(() => {})
      return opened
    },

    onSubscribe(context, id, payload) {
      if (health.isServing()) return begin(context, id, payload)
      return health.willServe().then((isServing) => {
        if (isServing) return begin(context, id, payload)
        return [mask(unavailable('server', NOT_SERVING))]
      })
    },

    // Errors are masked where they arise; what is left is thrown by streams.
    onError: (_context, _id, _payload, errors): GraphQLFormattedError[] => errors.map((error) => mask(error).toJSON()),

    async execute(args) {
      const { asked } = args as SocketArgs
      const result = await operations.execute(args, asked)
      answer(asked, result)
      return result
    },

    // What is shared is written by the outlet, in the same form, and passes graphql-ws by: of the stream it sees the end.
    async subscribe(args) {
      const { asked, ...rest } = args as SocketArgs
      asked.link.operationIds?.streams(asked.id)
      const messages = new OperationMessages(asked.link.outbox, asked.id)
      const results = await operations.subscribe(rest, asked.payer, messages)
      // graphql-ws holds all of this for as long as the subscription lasts, and uses it no more: a watch list may be 40 KB.
      Object.assign(asked.payload, { query: '', variables: null })
      Object.assign(args, { variableValues: null, contextValue: null })
      return results
    },
  })

  /** What an operation is executed with, or why it is not. */
  function begin(context: SocketContext, id: string, payload: SubscribePayload): SocketArgs | readonly GraphQLError[] {
    if (asksTooMuch(context.extra.connection.link)) {
      const reason = `A socket may have ${config.SUBSCRIPTIONS_PER_SOCKET} operations open at once.`
      return [mask(rateLimited(reason, 1000))]
    }
    try {
      requireShallow(payload)
    } catch (error) {
      return [mask(error)]
    }
    const { connection } = context.extra
    const prepared = operations.prepare(payload, connection.link.payer)
    if ('errors' in prepared) return prepared.errors
    const args: SocketArgs = {
      schema: operations.schema,
      document: prepared.document,
      operationName: payload.operationName,
      variableValues: payload.variables,
      contextValue: contextOf(connection),
      asked: new Asked(id, payload, context, prepared.units),
    }
    return args
  }

  /** Answers `connection_init`: who is it, and which session hangs on this socket from now on? */
  async function open(context: ProtocolContext<Record<string, unknown>>, connection: Connection) {
    const { link } = connection
    if (isClosing || !health.isReady()) {
      // It is not its client's fault.
      limits.refund(link.payer, UNITS.handshake)
      throw unavailable('server', NOT_SERVING)
    }
    const params = parseConnectionParams(context.connectionParams ?? {})
    const caller = requireCaller(await admission.authenticate(params.authorization, link.origin))
    // From here on it is its user who pays.
    limits.refund(link.payer, UNITS.handshake)
    link.payer = payerOf(caller, link.origin)
    if (sockets.countOf(caller.userId) + streams.countOf(caller.userId) >= config.SOCKETS_PER_USER) {
      throw rateLimited(
        `A user may have ${config.SOCKETS_PER_USER} sockets and event streams open at once.`,
        config.HEARTBEAT_INTERVAL,
      )
    }
    limits.charge(link.payer, UNITS.connection)
    const isObserver = params.observer ?? caller.role === 'service'
    const session = isObserver ? null : sessionAsked(caller, params)
    const attachment = await sockets.open(presence, caller, nodeSocketOf(link), session)
    connection.attachment = attachment
    link.leaveHandshake()
    if (link.socket.readyState === link.socket.OPEN) {
      pagePinger.add(link)
      if (caller.expiresAtMs !== null) expiries.add(link, caller.expiresAtMs)
    }
    const { sessionId, isResumed: resumed, rooms } = attachment
    return { sessionId, heartbeatIntervalMs: config.HEARTBEAT_INTERVAL, resumed, rooms }
  }

  /** Writes the two messages of an answer. graphql-ws finds the operation ended, as by its client, and writes nothing. */
  function answer({ id, context, link }: Asked, result: ExecutionResult): void {
    // Its client may have ended it in the meantime.
    if (!(id in context.subscriptions)) return
    // It asked for many answers in one breath, and has not read the first.
    if (link.socket.bufferedAmount > MAX_UNREAD_BYTES) {
      giveUpReading(link)
      return
    }
    const messages = new OperationMessages(link.outbox, id)
    messages.write(payloadText(result))
    messages.complete()
    delete context.subscriptions[id]
  }

  function sessionAsked(caller: Caller, params: ConnectionParams) {
    const { sessionId, active, device, rooms } = params
    return {
      sessionId: presence.parseSessionId('connectionParams.sessionId', sessionId),
      ...presence.parseHeartbeatInput(caller, { active, device, rooms }, 'connectionParams.'),
    }
  }

  function contextOf({ link, attachment, group }: Connection): RequestContext {
    if (attachment === null) throw unavailable('server', 'The socket is not acknowledged.')
    const { caller } = attachment
    // A socket is its own session: the headers of its upgrade name none.
    const position = once(presence.position)
    const charge = (units: number) => limits.charge(link.payer, units)
    return { caller, presence, feed, channel: attachment, namedSessionId: null, group, charge, position }
  }

  function nodeSocketOf(link: Link) {
    return {
      ping(nonce: string) {
        link.outbox.sendFrame(frameOf(latin1(link.pagePings.ask(nonce))))
        link.nonceMark = link.outbox.mark()
      },
      isReadingUpToPing() {
        const isReading = link.outbox.hasAdvanced(link.nonceMark)
        link.nonceMark = link.outbox.mark()
        return isReading
      },
      terminate() {
        link.isClosedByUs = true
        link.socket.terminate()
      },
      dismiss: () => close(link, CloseCode.Forbidden, 'UNAUTHENTICATED: the user was disconnected'),
    }
  }

  function asksTooMuch({ operationIds }: Link): boolean {
    if (operationIds === null) return false
    const most = config.SUBSCRIPTIONS_PER_SOCKET
    // An operation that was ended may still be at work for a moment: a client that begins the next one is not refused for it.
    return operationIds.openCount() > most || operationIds.workCount() > 2 * most
  }

  function close(link: Link, code: number, reason: string): void {
    link.isClosedByUs = true
    link.leaveHandshake()
    pagePinger.remove(link)
    link.operationIds?.close()
    link.outbox.flush()
    link.socket.close(code, cut(reason))
  }

  /** Resolves when what its client has asked is answered, or the time is over. */
  async function answered({ operationIds, inbox, opening }: Link, withinMs: number): Promise<void> {
    const noLonger = new AbortController()
    const over = sleep(withinMs, undefined, { ref: false, signal: noLonger.signal }).catch(() => {})
    await Promise.race([Promise.all([opening, inbox?.emptied().then(() => operationIds?.answered())]), over])
    noLonger.abort()
  }

  function giveUp(link: Link, silentSinceMs: number): void {
    // Both pingers may report one socket: the first report counts.
    link.silentSinceMs ??= silentSinceMs
    link.socket.terminate()
  }

  function heardPong({ link, attachment }: Connection, payload: unknown): void {
    const nonce = link.pagePings.answeredBy(payload)
    if (nonce !== null) attachment?.pong(nonce)
  }

  function giveUpReading(link: Link): void {
    log.warn({}, 'Closing a socket: its client keeps asking and does not read the answers.')
    link.isClosedByUs = true
    link.socket.terminate()
  }

  function closeFor(link: Link, error: unknown): void {
    const { message, extensions } = mask(error)
    close(link, closeCodeOf(String(extensions.code)), `${extensions.code}: ${message}`)
  }

  /** A frame came. @returns false where it was one too many, and the socket is closed */
  function mayGoOn(link: Link, bytes: number, nowMs: number): boolean {
    if (link.isClosedByUs) return false
    const { payer, frames } = link
    const waitMs = frames.take(UNITS.frame, nowMs)
    const units = waitMs > 0 ? UNITS.flood : UNITS.frame + UNITS.frameByte * bytes
    if (limits.spend(payer, units) && waitMs === 0) return true
    const reason = `A socket may send ${config.SOCKET_FRAME_RATE} messages and pings a second.`
    closeFor(
      link,
      rateLimited(waitMs > 0 ? reason : 'This user keeps asking for more work than the limit allows.', waitMs),
    )
    return false
  }

  function refuseLater(socket: Duplex, error: unknown): void {
    void limits.refusalDelay().then(() => {
      if (!socket.destroyed) refuse(socket, problemOfMasked(mask(error)))
    })
  }

  function countAddress(address: string, step: 1 | -1): void {
    openCount += step
    const count = (countByAddress.get(address) ?? 0) + step
    if (count === 0) countByAddress.delete(address)
    else countByAddress.set(address, count)
  }

  function connected(socket: WebSocket, stream: Duplex, origin: Origin, leaveHandshake: () => void): void {
    const link: Link = {
      socket,
      origin,
      payer: addressPayer(origin),
      frames: limits.frames(),
      leaveHandshake,
      outbox: new Outbox(socket, stream),
      pagePings: new PagePings(),
      lastControlAtMs: Number.NEGATIVE_INFINITY,
      lastMessageAtMs: monotonicMs(),
      isClosedByUs: false,
      isLeaving: false,
      silentSinceMs: null,
      nonceMark: null,
      operationIds: null,
      inbox: null,
      opening: Promise.resolve(),
    }
    const connection: Connection = { link, attachment: null, group: { subscriptions: new Set() } }

    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        send(data) {
          link.outbox.send(latin1(data))
          return untilDrained(link.outbox)
        },
        close: (code, reason) => close(link, code ?? INTERNAL, reason ?? ''),
        onMessage(take) {
          // graphql-ws takes what is parsed too.
          const operationIds = new OperationIds(
            operationIdsContext,
            link,
            take as unknown as (message: object) => Promise<void>,
          )
          link.operationIds = operationIds
          const inboxWire = {
            pause: () => socket.pause(),
            resume: () => socket.resume(),
            inTurn(work: () => void) {
              limits.turns.run(callerOf(link.payer), async () => work()).catch((error) => closeFor(link, error))
            },
          }
          const inbox = new Inbox<Message>(({ data, isBinary, isLate }) => {
            if (socket.readyState !== socket.OPEN || link.isClosedByUs) return
            // It asks and does not read the answers. Subscriptions wait for their reader, so only this can grow.
            if (socket.bufferedAmount > MAX_UNREAD_BYTES) return giveUpReading(link)
            if (isBinary) return close(link, CloseCode.BadRequest, 'Only text messages are taken.')
            const message = parsed(String(data))
            if (message === null) return close(link, CloseCode.BadRequest, 'Invalid message received')
            const { type, payload } = message as { readonly type?: unknown; readonly payload?: unknown }
            // A pong is answered with the payload of its ping. What a `subscribe` asks is looked at part by part.
            if (type !== 'subscribe' && !isShallow(message)) {
              return close(link, CloseCode.BadRequest, `payload must be at most ${MAX_NESTING} levels deep.`)
            }
            if (type === 'pong') heardPong(connection, payload)
            if (type === 'subscribe' && isLate) return
            operationIds.receive(message)
          }, inboxWire)
          socket.on('message', (data, isBinary) => {
            const nowMs = monotonicMs()
            link.lastMessageAtMs = nowMs
            // Told to close, a client may go on speaking for a while: nobody listens any more.
            if (socket.readyState !== socket.OPEN) return
            const bytes = lengthOf(data)
            if (mayGoOn(link, bytes, nowMs)) inbox.receive({ data, isBinary, bytes, isLate: link.isLeaving })
          })
          link.inbox = inbox
          socket.once('close', () => inbox.close())
        },
      },
      { connection },
    )

    const heardControl = () => {
      link.lastControlAtMs = monotonicMs()
      mayGoOn(link, 0, link.lastControlAtMs)
    }
    socket.on('ping', heardControl)
    socket.on('pong', heardControl)
    // `ws` closes by itself after an error, with the code that fits; 'close' follows.
    socket.on('error', (error) => log.debug({ err: error }, 'A socket failed.'))
    socket.once('close', (code, reason) => {
      link.leaveHandshake()
      connectionPinger.remove(link)
      pagePinger.remove(link)
      link.outbox.close()
      link.operationIds?.close()
      expiries.remove(link)
      const leave = left(connection, code)
        .catch((error) => reportLeft(error))
        .finally(() => leaving.delete(leave))
      leaving.add(leave)
      closed(code, reason.toString()).catch((error) => log.error({ err: error }, 'A socket could not be cleaned up.'))
    })
    connectionPinger.add(link)
  }

  async function left(connection: Connection, code: number): Promise<void> {
    const { link } = connection
    const silentForMs = monotonicMs() - (link.silentSinceMs ?? lastFrameAtMs(link))
    await link.opening
    // Left as they are, the sessions wait for their clients, and for the next process.
    if (areSessionsLeft) return
    const cause = detachCauseOf(code, { isClosedByUs: link.isClosedByUs, isSilent: link.silentSinceMs !== null })
    await connection.attachment?.closed(cause, silentForMs)
  }

  function reportLeft(error: unknown): void {
    // The store is away: the node tells it later.
    if (isUnavailable(error)) return
    log.error({ err: error }, 'A session could not be taken from its socket.')
  }

  return {
    upgrade(request, socket, head, origin) {
      // Its server may have been at something else for a while.
      if (socket.destroyed) return
      const { address, isShared } = origin
      if (isClosing || openCount >= config.SOCKETS_PER_PROCESS) return refuse(socket, problemOf(noRoom()))
      if (!isShared && (countByAddress.get(address) ?? 0) >= config.SOCKETS_PER_ADDRESS) {
        const reason = `An address may have ${config.SOCKETS_PER_ADDRESS} sockets open at once.`
        return refuseLater(socket, rateLimited(reason, config.HEARTBEAT_INTERVAL))
      }
      countAddress(address, 1)
      socket.once('close', () => countAddress(address, -1))
      const waiter = handshakes.enter(
        address,
        (leave) => {
          socket.once('close', leave)
          void limits.turns.run(callerOf(addressPayer(origin)), async () => {
            // Its client may have gone while it waited.
            if (socket.destroyed) return leave()
            try {
              limits.charge(addressPayer(origin), UNITS.handshake)
            } catch (error) {
              leave()
              return refuseLater(socket, error)
            }
            wire.handleUpgrade(request, socket, head, (webSocket) => connected(webSocket, socket, origin, leave))
          })
        },
        () => refuse(socket, problemOf(noRoom())),
      )
      if (waiter !== null) socket.once('close', () => waiter.leave())
    },

    async check(wasLate) {
      sockets.checkChallenges(wasLate)
      handshakes.check()
      // Sockets that came together, after a deploy say, are due together as well.
      // Pages first: what a page answers proves its connection as well.
      await inSlices(pagePinger.due(monotonicMs, wasLate), monotonicMs, ({ socket: link, isSilent }) => {
        if (isSilent) return giveUp(link, link.lastMessageAtMs)
        link.pagePings.sent()
        link.outbox.sendFrame(PAGE_PING)
      })
      await inSlices(connectionPinger.due(monotonicMs, wasLate), monotonicMs, ({ socket: link, isSilent }) => {
        if (isSilent) giveUp(link, lastFrameAtMs(link))
        else link.outbox.sendFrame(CONNECTION_PING)
      })
      await inSlices(expiries.due(Date.now()), monotonicMs, (link) =>
        close(link, CloseCode.Forbidden, 'UNAUTHENTICATED: the token has run out'),
      )
    },

    count: () => connectionPinger.count(),

    async close({ overMs, answersWithinMs, leavesSessions }) {
      isClosing = true
      areSessionsLeft = leavesSessions
      handshakes.close()
      const links = [...connectionPinger.all()]
      await Promise.all(
        links.map(async (link, index) => {
          if (overMs > 0) await sleep((overMs * index) / links.length)
          if (isClosed(link)) return
          link.isLeaving = true
          if (answersWithinMs > 0) await answered(link, answersWithinMs)
          if (isClosed(link)) return
          const gone = new Promise((resolve) => link.socket.once('close', resolve))
          close(link, SERVICE_RESTART, 'The server restarts.')
          // One that does not answer must not keep the records from the database.
          const timer = setTimeout(() => link.socket.terminate(), CLOSE_WAIT_MS)
          await gone.finally(() => clearTimeout(timer))
        }),
      )
      // More sockets may have arrived in the meantime.
      for (const { socket } of connectionPinger.all()) socket.terminate()
      await Promise.all(leaving)
      wire.close()
    },
  }
}

/** `retryAfterMs` for who looks at it: after a second there may be room. */
function noRoom(): PresenceError {
  return new PresenceError('UNAVAILABLE', 'There is no room for another socket just now.', {
    part: 'server',
    retryAfterMs: 1000,
  })
}

function lastFrameAtMs({ lastControlAtMs, lastMessageAtMs }: Link): number {
  return Math.max(lastControlAtMs, lastMessageAtMs)
}

function isClosed({ socket }: Link): boolean {
  return socket.readyState === socket.CLOSED
}

function lengthOf(data: RawData): number {
  return Array.isArray(data) ? data.reduce((sum, { length }) => sum + length, 0) : data.byteLength
}

function untilDrained(outbox: Outbox): Promise<void> {
  return outbox.isFull() ? new Promise((resolve) => outbox.onceDrained(resolve)) : Promise.resolve()
}

interface ConnectionParams {
  readonly authorization: string | null
  readonly sessionId: string | null
  readonly device: string | null
  readonly rooms: readonly string[] | null
  readonly active: boolean | null
  readonly observer: boolean | null
}

/** @throws PresenceError `BAD_USER_INPUT` that names the field. Other fields are the app's own, and ignored */
function parseConnectionParams(params: Readonly<Record<string, unknown>>): ConnectionParams {
  const authorization = params.authorization ?? params.Authorization
  return {
    authorization: optional('authorization', authorization, 'a text', (value) => typeof value === 'string'),
    sessionId: optional('sessionId', params.sessionId, 'a UUID', (value) => typeof value === 'string'),
    device: optional('device', params.device, 'a text', (value) => typeof value === 'string'),
    rooms: optional('rooms', params.rooms, 'a list of texts', isTexts),
    active: optional('active', params.active, 'true or false', (value) => typeof value === 'boolean'),
    observer: optional('observer', params.observer, 'true or false', (value) => typeof value === 'boolean'),
  }
}

function optional<Value>(
  name: string,
  value: unknown,
  form: string,
  isValid: (value: unknown) => value is Value,
): Value | null {
  if (value === undefined || value === null) return null
  if (!isValid(value)) throw badInput(`connectionParams.${name}`, form)
  return value
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function closeCodeOf(code: string): number {
  switch (code) {
    case 'UNAUTHENTICATED':
    case 'FORBIDDEN':
      return CloseCode.Forbidden
    case 'BAD_REQUEST':
    case 'BAD_USER_INPUT':
      return CloseCode.BadRequest
    case 'RATE_LIMITED':
    case 'UNAVAILABLE':
      return TRY_AGAIN_LATER
    default:
      return INTERNAL
  }
}

function cut(reason: string): string {
  const bytes = Buffer.from(reason)
  // Cut within a character, the rest of it becomes U+FFFD, three bytes long.
  return bytes.length <= CLOSE_REASON_BYTES ? reason : bytes.subarray(0, CLOSE_REASON_BYTES - 3).toString()
}

function once<Value>(read: () => Promise<Value>): () => Promise<Value> {
  let value: Promise<Value> | null = null
  return () => {
    value ??= read()
    return value
  }
}
