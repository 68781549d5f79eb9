/**
 * GraphQL over WebSockets: graphql-ws's own server protocol on `ws`, with our pings, limits and sessions.
 *
 * `connection_init` gives a socket its session; the reason why the socket closed decides how it is detached (rule 5).
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
import type { ErrorMask } from '../execution/client-errors.ts'
import { latin1 } from '../execution/json.ts'
import type { Operations, Work } from '../execution/operations.ts'
import { type Caller, requireCaller } from '../presence/access.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
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
import { createExpiries } from './expiries.ts'
import type { Health } from './health.ts'
import { Inbox } from './inbox.ts'
import type { Origin } from './limits/addresses.ts'
import type { Admission } from './limits/admission.ts'
import type { Bucket } from './limits/budgets.ts'
import { createHandshakes } from './limits/handshakes.ts'
import {
  addressPayer,
  callerOf,
  type Limits,
  type Payer,
  payerOf,
  requireFreeConnection,
  UNITS,
} from './limits/limits.ts'
import { OperationMessages, parsed } from './messages.ts'
import { refuse } from './node-requests.ts'
import { OperationIds } from './operation-ids.ts'
import { frameOf, Outbox } from './outbox.ts'
import { PagePings } from './page-pings.ts'
import { isObject, isShallow, MAX_NESTING, requireShallow, withoutEmptyName } from './params.ts'
import { createPinger } from './pinger.ts'

/** RFC 6455 close codes after which graphql-ws's clients come back. */
const SERVICE_RESTART = 1012
const TRY_AGAIN_LATER = 1013
const INTERNAL = 1011
/** RFC 6455: a close frame's reason. */
const CLOSE_REASON_BYTES = 123

/** Unread answers that a socket may buffer: four of the largest pages with every field of their users. */
const MAX_UNREAD_BYTES = 1024 * 1024
/** How long a client may take to answer a close. */
const CLOSE_WAIT_MS = 2000
/** Clients send a message in one frame; a proxy may fragment it. Each fragment costs more than its bytes. */
const MAX_FRAGMENTS = 16
/** Chunks that a frame may arrive in: 64 KiB are 45 Ethernet packets. */
const MAX_CHUNKS = 512

/** RFC 6455, 5.5.2: a ping without a payload. The browser or the client's system answers it. */
const CONNECTION_PING = String.fromCharCode(0x89, 0)
/** Only the client's own script answers this ping. */
const PAGE_PING = frameOf('{"type":"ping"}')

/** How often pings, token expiries and challenges are checked: a deadline is noticed at most this much late. */
export const SOCKET_CHECK_MS = 250

export interface WebSockets {
  /**
   * @param origin - where the request comes from, as `Addresses` returns it
   */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, origin: Origin): void
  /** @param wasLate - the check itself ran late, so it closes no socket */
  check(wasLate: boolean): Promise<void>
  count(): number
  /**
   * Closes every socket so that its client comes back.
   *
   * @param overMs - spreads the closes over this time, so that clients do not all come back at once
   * @param answersWithinMs - a socket closes when its client's requests are answered, or after this time
   * @param leavesSessions - leaves the sessions as they are, for the next process to take over; otherwise they get
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
  /** Event streams count as sockets. */
  readonly streams: { countOf(userId: string): number }
  readonly mask: ErrorMask
  readonly log: Log
  readonly monotonicMs: () => number
  /** Whether new sockets are accepted, and whether open ones are answered. */
  readonly health: Omit<Health, 'ready' | 'notReady' | 'drain'>
}

/** What the protocol keeps for one connection, beside its own state. */
interface Connection {
  readonly link: Link
  attachment: Attachment | null
  readonly group: FeedGroup
}

/** The wire of one connection. */
interface Link {
  readonly socket: WebSocket
  readonly origin: Origin
  /** The request that opened it, until its caller is authenticated; null if nobody reads it. */
  request: IncomingMessage | null
  /** The payer for this connection: its address until its caller is authenticated. */
  payer: Payer
  /** The budget for frames that it sends. */
  readonly frames: Bucket
  /** Ends its handshake, when it is acknowledged or closed. */
  readonly leaveHandshake: () => void
  readonly outbox: Outbox
  readonly pagePings: PagePings
  /** When the last RFC 6455 ping or pong arrived: like a message, it proves that the connection is alive. */
  lastControlAtMs: number
  /** When the last text message arrived: it proves that the page is alive. */
  lastMessageAtMs: number
  isClosedByUs: boolean
  /** No new operation is accepted: the socket closes when the open ones are answered. */
  isLeaving: boolean
  /** When the silent part (page or connection) was last proved alive; null if none was found silent. */
  silentSinceMs: number | null
  /** How far the client had read when it was last asked for a nonce. */
  nonceMark: number | null
  /** Null until we listen to its socket. */
  operationIds: OperationIds<Link> | null
  inbox: Inbox<Message> | null
  /** Settles when `connection_init` has been handled; the socket may close before that. */
  opening: Promise<unknown>
}

interface Message {
  readonly data: RawData
  readonly isBinary: boolean
  readonly bytes: number
  /** Whether it arrived when its socket was about to close. */
  readonly isLate: boolean
}

/** What graphql-ws passes from `onSubscribe` to `execute` and `subscribe`. */
type SocketArgs = ExecutionArgs & { readonly asked: Asked }

/** An operation of a socket. A class, not closures, because a node creates nothing more often. */
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
  // @types/ws lacks `closeTimeout` (ws 8.19 and later).
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
  // `ws` would answer a handshake that it cannot accept with plain text.
  wire.on('wsClientError', ({ message }, socket) => {
    const answer = problem('BAD_REQUEST', message)
    // This header tells a client of another version which one to use (RFC 6455, 4.4).
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
      waitMs: config.CONNECTION_INIT_TIME,
    },
    monotonicMs,
  )
  /** Sockets of each address, including those that wait for their handshake. */
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

    // Errors are masked where they arise; only those that streams throw are left.
    onError: (_context, _id, _payload, errors): GraphQLFormattedError[] => errors.map((error) => mask(error).toJSON()),

    async execute(args) {
      const { asked } = args as SocketArgs
      const result = await operations.execute(args, asked)
      answer(asked, result)
      return result
    },

    // The outlet writes shared payloads, in the same form, past graphql-ws, which sees only the end of the stream.
    async subscribe(args) {
      const { asked, ...rest } = args as SocketArgs
      asked.link.operationIds?.streams(asked.id)
      const messages = new OperationMessages(asked.link.outbox, asked.id)
      const results = await operations.subscribe(rest, asked.payer, messages)
      // graphql-ws keeps these for the life of the subscription and never reads them again: a watch list may be 40 KB.
      Object.assign(asked.payload, { query: '', variables: null })
      Object.assign(args, { variableValues: null, contextValue: null })
      if (!(Symbol.asyncIterator in results)) {
        // graphql-ws would send `next` and `complete`, and most clients take that for a stream that is over.
        if (asked.id in asked.context.subscriptions) messages.fail(results.errors ?? [])
        delete asked.context.subscriptions[asked.id]
      }
      return results
    },
  })

  /** @returns the arguments to execute an operation with, or the errors that refuse it */
  function begin(context: SocketContext, id: string, payload: SubscribePayload): SocketArgs | readonly GraphQLError[] {
    if (asksTooMuch(context.extra.connection.link)) {
      const reason = `A socket may have ${config.SUBSCRIPTIONS_PER_SOCKET} operations open at once.`
      return [mask(rateLimited(reason, 1000))]
    }
    let namedSessionId: string | null
    try {
      requireShallow(payload)
      namedSessionId = sessionNamedIn(payload)
    } catch (error) {
      return [mask(error)]
    }
    const { connection } = context.extra
    const named = withoutEmptyName(payload)
    const prepared = operations.prepare(named, connection.link.payer)
    if ('errors' in prepared) return prepared.errors
    const args: SocketArgs = {
      schema: operations.schema,
      document: prepared.document,
      operationName: named.operationName,
      variableValues: payload.variables,
      contextValue: contextOf(connection, namedSessionId),
      asked: new Asked(id, payload, context, prepared.units),
    }
    return args
  }

  /** Answers `connection_init`: authenticates the caller and attaches the session, if any, to this socket. */
  async function open(context: ProtocolContext<Record<string, unknown>>, connection: Connection) {
    const { link } = connection
    if (isClosing || !health.isReady()) {
      // The client is not at fault.
      limits.refund(link.payer, UNITS.handshake)
      throw unavailable('server', NOT_SERVING)
    }
    const params = parseConnectionParams(context.connectionParams ?? {})
    const { request } = link
    link.request = null
    const credentials = {
      authorization: params.authorization,
      connectionParams: context.connectionParams ?? {},
      req: request,
      toRequest: () => requestOf(request),
    }
    const caller = requireCaller(await admission.authenticate(credentials, link.origin))
    // From here on the user pays.
    limits.refund(link.payer, UNITS.handshake)
    link.payer = payerOf(caller, link.origin)
    requireFreeConnection(sockets.countOf(caller.userId) + streams.countOf(caller.userId), config)
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

  /** Writes both messages of an answer. graphql-ws finds the operation ended, as by its client, and writes nothing. */
  function answer({ id, context, link }: Asked, result: ExecutionResult): void {
    // The client may have ended the operation by now.
    if (!(id in context.subscriptions)) return
    // The client asked for many answers at once and has not read the first.
    if (link.socket.bufferedAmount > MAX_UNREAD_BYTES) {
      giveUpReading(link)
      return
    }
    new OperationMessages(link.outbox, id).answer(result)
    delete context.subscriptions[id]
  }

  function sessionAsked(caller: Caller, params: ConnectionParams) {
    const { sessionId, active, device, rooms } = params
    return {
      sessionId: presence.parseSessionId('connectionParams.sessionId', sessionId),
      ...presence.parseHeartbeatInput(caller, { active, device, rooms }, { prefix: 'connectionParams.' }),
    }
  }

  /** A socket that several tabs share says of each operation whose it is: what the header says over HTTP. */
  function sessionNamedIn({ extensions }: SubscribePayload): string | null {
    const named = extensions?.[SESSION_HEADER] ?? null
    const argument = `extensions.${SESSION_HEADER}`
    if (named !== null && typeof named !== 'string') throw badInput(argument, 'a text')
    return presence.parseSessionId(argument, named)
  }

  function contextOf({ link, attachment, group }: Connection, namedSessionId: string | null): RequestContext {
    if (attachment === null) throw unavailable('server', 'The socket is not acknowledged.')
    const { caller } = attachment
    const position = once(presence.position)
    const charge = (units: number) => limits.charge(link.payer, units)
    return {
      caller,
      presence,
      feed,
      channel: attachment,
      namedSessionId,
      group,
      lastEventId: null,
      charge,
      position,
    }
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
    // An ended operation may still run for a moment: a client that begins the next one is not refused for that.
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

  /** Resolves when the client's requests are answered, or after `withinMs`. */
  async function answered({ operationIds, inbox, opening }: Link, withinMs: number): Promise<void> {
    const noLonger = new AbortController()
    const over = sleep(withinMs, undefined, { ref: false, signal: noLonger.signal }).catch(() => {})
    await Promise.race([Promise.all([opening, inbox?.emptied().then(() => operationIds?.answered())]), over])
    noLonger.abort()
  }

  function giveUp(link: Link, silentSinceMs: number): void {
    // Both pingers may report the same socket: the first report counts.
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
    close(link, closeCodeOf(String(extensions.code)), closeReason(message, extensions))
  }

  /** Counts an incoming frame. @returns false if the frame was one too many and the socket is closed */
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

  function connected(
    request: IncomingMessage,
    socket: WebSocket,
    stream: Duplex,
    origin: Origin,
    leaveHandshake: () => void,
  ): void {
    const link: Link = {
      socket,
      origin,
      request: admission.readsRequests ? request : null,
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
          // graphql-ws accepts parsed messages too.
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
            // The client asks and does not read. Subscriptions wait for their reader, so only answers can pile up.
            if (socket.bufferedAmount > MAX_UNREAD_BYTES) return giveUpReading(link)
            const message = parsed(data, isBinary)
            if (message === null) return close(link, CloseCode.BadRequest, 'Invalid message received')
            const { type, payload } = message as { readonly type?: unknown; readonly payload?: unknown }
            // A pong carries the payload of its ping. `begin` checks the payload of a `subscribe` part by part.
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
            // A client may keep sending after we close: ignore it.
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
    // `ws` closes the socket itself after an error, with the matching code; 'close' follows.
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
    // Sessions that are left as they are wait for their clients and the next process.
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
      // The connection may have ended while the server was busy.
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
            // The client may have gone while its upgrade waited.
            if (socket.destroyed) return leave()
            try {
              limits.charge(addressPayer(origin), UNITS.handshake)
            } catch (error) {
              leave()
              return refuseLater(socket, error)
            }
            wire.handleUpgrade(request, socket, head, (webSocket) =>
              connected(request, webSocket, socket, origin, leave),
            )
          })
        },
        () => {
          if (isClosing) refuse(socket, problemOf(noRoom()))
          else refuseLater(socket, noRoom())
        },
      )
      if (waiter !== null) socket.once('close', () => waiter.leave())
    },

    async check(wasLate) {
      sockets.checkChallenges(wasLate)
      handshakes.check()
      // Sockets that connected together, for example after a deploy, are due together too.
      // Pages first: a page's answer also proves its connection.
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
          // A client that does not answer must not delay writing the records to the database.
          const timer = setTimeout(() => link.socket.terminate(), CLOSE_WAIT_MS)
          await gone.finally(() => clearTimeout(timer))
        }),
      )
      // More sockets may have opened since.
      for (const { socket } of connectionPinger.all()) socket.terminate()
      await Promise.all(leaving)
      wire.close()
    },
  }
}

/** The request that opened a socket, in the form that an app's own function reads. */
function requestOf(request: IncomingMessage | null): Request {
  const { headers = {}, url = '/', socket } = request ?? {}
  const scheme = socket !== undefined && 'encrypted' in socket ? 'https' : 'http'
  const target = new URL(url.replace(/^https?:\/\/[^/]*/i, ''), `${scheme}://${headers.host ?? 'localhost'}`)
  const lines = Object.entries(headers).flatMap(([name, value = []]) =>
    [value].flat().map((one): [string, string] => [name, one]),
  )
  return new Request(target, { headers: lines })
}

/** `retryAfterMs` is for clients that read it: there may be room after a second. */
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

/** @throws PresenceError `BAD_USER_INPUT` that names the field. Other fields belong to the app and are ignored */
function parseConnectionParams(params: Readonly<Record<string, unknown>>): ConnectionParams {
  // Where Apollo's and other clients put what would be a header over HTTP.
  const headers = isObject(params.headers) ? params.headers : {}
  const authorization = params.authorization ?? params.Authorization ?? headers.authorization ?? headers.Authorization
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

/** A browser shows its pages no header of a refused handshake: what `Retry-After` says stands at the end. */
function closeReason(message: string, { code, retryAfterMs }: Readonly<Record<string, unknown>>): string {
  const wait = typeof retryAfterMs === 'number' && retryAfterMs > 0 ? ` Retry after ${Math.ceil(retryAfterMs)} ms.` : ''
  return cut(`${code}: ${message}`, CLOSE_REASON_BYTES - wait.length) + wait
}

function cut(reason: string, mostBytes = CLOSE_REASON_BYTES): string {
  const bytes = Buffer.from(reason)
  // If the cut splits a character, the rest becomes U+FFFD, which is three bytes long.
  return bytes.length <= mostBytes ? reason : bytes.subarray(0, mostBytes - 3).toString()
}

function once<Value>(read: () => Promise<Value>): () => Promise<Value> {
  let value: Promise<Value> | null = null
  return () => {
    value ??= read()
    return value
  }
}
