/**
 * One socket to the server, for all tabs of one user. The socket itself holds the session of one of the tabs; the
 * sessions of the others live by heartbeats over it (SESSION_TTL of the server).
 *
 * | a tab's socket      | what becomes of its session |
 * | ------------------- | --- |
 * | opens               | it is started, or goes on |
 * | is closed by 1000   | it ends after CLOSE_GRACE_MS, unless its tab is back: a reload shows nothing |
 * | is closed otherwise | it ends after LOST_GRACE_MS, unless its tab is back |
 * | answers no tick     | it ends |
 */
import type { Connection, OpenSocket } from '../connection.ts'
import { isPassing, type RollcallError } from '../errors.ts'
import { Link } from '../link.ts'
import { GoOffline, Heartbeat } from '../operations.ts'
import { isAnswered, isOffline, needsProbe } from '../page.ts'
import type { LinkSnapshot } from '../types.ts'
import { newUuid } from '../uuid.ts'
import { Keep, OwnSessions } from './operations.ts'
import type { Tab } from './tab.ts'
import type { InitParams, TabSocket } from './tab-socket.ts'

/** As the server's defaults, CLOSE_GRACE and RECONNECT_GRACE. */
const CLOSE_GRACE_MS = 5000
const LOST_GRACE_MS = 15_000
/** A page that runs answers within milliseconds, and one that is just going never does. */
const DUPLICATE_LIMIT_MS = 1000
/** After it the next tab is asked for a token as well. The link gives all of them ten seconds. */
const TOKEN_LIMIT_MS = 3000
/** A socket that is tried so soon is waited for. */
const SOON_MS = 250

const RELEARN = ''
const AGAIN = { code: 1006, reason: '', retryInMs: 0 }

interface TabSession {
  readonly id: string
  readonly params: InitParams
  readonly tab: Tab
  /** Null: its tab has none just now. */
  socket: TabSocket | null
  /** Null where it is not known to be live. `RELEARN`: it is, and the next heartbeat tells since when. */
  startedAt: string | null
  /** False after `goOffline`, until the tab sends a heartbeat. */
  isKept: boolean
  leaving: ReturnType<typeof setTimeout> | undefined
}

export interface HubOptions {
  readonly url: string
  readonly openSocket: OpenSocket
  /** Whether a token is of the user, with the rights, that the hub is for. */
  readonly isOwnToken: (token: string) => boolean
  /** Nobody needs it any more. */
  readonly onEmpty: () => void
}

export class Hub {
  readonly #options: HubOptions
  readonly #link: Link
  /** Those that have a socket here, or wait to have one again. */
  readonly #tabs = new Set<Tab>()
  readonly #sessions = new Map<string, TabSession>()
  /** Those that ended while there was no connection. */
  readonly #farewells = new Set<string>()
  /** Brought by the tab that makes the hub. */
  #offeredToken: string | null
  /** The session that the shared socket itself holds, and whether it was still live then. */
  #attached: { readonly id: string; readonly resumed: boolean } | null = null
  #keeping: ReturnType<typeof setInterval> | undefined
  #wasWaiting = false

  constructor(options: HubOptions, token: string) {
    this.#options = options
    this.#offeredToken = token
    const tabs = this.#tabs
    this.#link = new Link(
      {
        url: () => options.url,
        token: () => this.#token(),
        get isTokenRenewable() {
          return [...tabs].some((tab) => tab.isTokenRenewable)
        },
        params: () => this.#params(),
        openSocket: options.openSocket,
        isOffline,
        probe: needsProbe() ? () => isAnswered(options.url.replace(/^ws/, 'http')) : null,
        onAcknowledged: ({ sessionId, resumed, heartbeatIntervalMs }) => {
          this.#attached = sessionId ? { id: sessionId, resumed } : null
          this.#opened(heartbeatIntervalMs)
        },
        onChallenged: () => void this.#identify(),
      },
      () => this.#changed(this.#link.snapshot),
    )
  }

  /** A socket of a tab has said who it is, and opens. */
  async join(socket: TabSocket, params: InitParams): Promise<void> {
    const { tab } = socket
    socket.params = params
    socket.sessionId = params.sessionId
    this.#tabs.add(tab)
    if (!params.observer) await this.#claim(socket, params)
    if (socket.isOver) return
    socket.isReady = true
    const { state } = this.#link.snapshot
    if (state === 'idle') this.#link.start()
    else if (state === 'failed') this.#link.retryNow()
    else if (state === 'waiting' && this.#retryInMs() > SOON_MS) this.#link.wake()
    // The server said to come back later.
    if (this.#link.snapshot.state === 'waiting' && this.#retryInMs() > SOON_MS) this.#turnAway(socket)
    else if (this.#link.connection) await this.#admit(socket)
  }

  /** A tab's socket asks something. */
  start(socket: TabSocket, id: string, request: Parameters<TabSocket['start']>[2]): void {
    const { connection } = this.#link
    if (!connection || !socket.isAcknowledged) return
    const session = this.#sessions.get(socket.sessionId)
    if (session && request.query === GoOffline) session.isKept = false
    if (session && request.query === Heartbeat) {
      session.isKept = true
      // It may begin the session, in the rooms that it names.
      session.startedAt = RELEARN
    }
    socket.start(connection, id, request)
  }

  /** A tab doubts whether the server is there. */
  ping(): void {
    this.#link.ping()
  }

  wake(isNetworkNew: boolean): void {
    this.#link.wake(isNetworkNew)
  }

  retryNow(): void {
    this.#link.retryNow()
  }

  /** @param code - 1000: the tab ends its session. Any other: it gives up the socket, and makes another one */
  closed(socket: TabSocket, code: number): void {
    socket.over()
    const session = this.#sessions.get(socket.sessionId)
    if (session?.socket === socket) {
      session.socket = null
      this.#leaveLater(session, code === 1000 ? CLOSE_GRACE_MS : LOST_GRACE_MS)
    }
  }

  /** The tab goes, or is reloaded. */
  leave(tab: Tab): void {
    this.#release(tab, (session) => this.#leaveLater(session, CLOSE_GRACE_MS))
  }

  /** The tab answers nothing: it crashed, or is frozen and comes back as a new one. */
  lost(tab: Tab): void {
    this.#release(tab, (session) => this.#leave(session))
  }

  /** The tab has a socket of its own, or belongs to another user. */
  forget(tab: Tab): void {
    this.#release(tab, (session) => this.#sessions.delete(session.id))
  }

  #release(tab: Tab, end: (session: TabSession) => void): void {
    this.#tabs.delete(tab)
    for (const session of [...this.#sessions.values()]) {
      if (session.tab !== tab) continue
      session.socket = null
      clearTimeout(session.leaving)
      end(session)
    }
    // One that just connects belongs elsewhere already.
    for (const socket of [...tab.sockets.values()]) if (socket.params) socket.close(AGAIN)
    this.#endIfEmpty()
  }

  /** Gives the socket the session that it names, or one of its own where another tab that is there has it. */
  async #claim(socket: TabSocket, params: InitParams): Promise<void> {
    const holder = this.#sessions.get(params.sessionId)?.socket
    if (holder && holder.tab !== socket.tab) {
      const isThere = await holder.tab.isThere(DUPLICATE_LIMIT_MS)
      if (socket.isOver) return
      if (isThere && !holder.isOver) socket.sessionId = newUuid()
    }
    const before = this.#sessions.get(socket.sessionId)
    clearTimeout(before?.leaving)
    if (before?.socket && before.tab !== socket.tab) before.socket.close(AGAIN)
    this.#farewells.delete(socket.sessionId)
    this.#sessions.set(socket.sessionId, {
      id: socket.sessionId,
      params,
      tab: socket.tab,
      socket,
      startedAt: before?.startedAt ?? null,
      isKept: true,
      leaving: undefined,
    })
  }

  async #admit(socket: TabSocket): Promise<void> {
    const { connection, acknowledgement } = this.#link
    if (!connection || !acknowledgement) return
    const { heartbeatIntervalMs } = acknowledgement
    const session = this.#sessions.get(socket.sessionId)
    if (session?.socket !== socket) {
      socket.acknowledge({ sessionId: null, heartbeatIntervalMs, resumed: false, rooms: [] })
      return
    }
    try {
      const { id, params } = session
      const resumed = await this.#isLive(connection, session)
      // To start a session is activity, to go on with it is none.
      const active = !resumed && params.active !== false
      const { device, rooms } = params
      const variables = { sessionId: id, active, ...(device === undefined ? {} : { device }) }
      const kept = await connection.ask(Keep, rooms ? { ...variables, rooms: [...rooms] } : variables)
      if (socket.isOver) return
      session.startedAt = kept.heartbeat.session?.startedAt ?? null
      socket.acknowledge({ sessionId: id, heartbeatIntervalMs, resumed, rooms: kept.heartbeat.session?.rooms ?? [] })
    } catch (cause) {
      const { code, message, retryAfterMs } = cause as RollcallError
      if (code === 'CLOSED') return
      // As the server closes a socket: 1013 asks to come back, 4400 says never.
      const isForNow = isPassing(cause as RollcallError)
      const after = retryAfterMs === null ? '' : ` Retry after ${retryAfterMs} ms.`
      socket.close({ code: isForNow ? 1013 : 4400, reason: `${code}: ${message}${after}` })
      // The shared socket must never name what the server refuses.
      this.#sessions.delete(session.id)
    }
  }

  async #isLive(connection: Connection, { id, startedAt }: TabSession): Promise<boolean> {
    if (startedAt !== null) return true
    if (this.#attached?.id === id) return this.#attached.resumed
    const { viewer } = await connection.ask(OwnSessions, {})
    return viewer.sessions.some((session) => session.id === id)
  }

  #opened(heartbeatIntervalMs: number): void {
    const { connection } = this.#link
    if (!connection) return
    for (const sessionId of this.#farewells) connection.ask(GoOffline, { sessionId }).catch(() => {})
    this.#farewells.clear()
    this.#each((socket) => void this.#admit(socket))
    // Their tabs do not open again, as one that crashed just now.
    for (const session of this.#sessions.values()) {
      if (!session.socket && session.leaving === undefined) this.#leaveLater(session, LOST_GRACE_MS)
    }
    // A server may give sessions no more than one interval: SESSION_TTL is at least HEARTBEAT_INTERVAL.
    this.#keeping = setInterval(() => this.#keepAll(), heartbeatIntervalMs / 2)
  }

  /** The sessions go on, whatever the browser does with the timers of their tabs. */
  #keepAll(): void {
    const { connection } = this.#link
    if (!connection) return
    for (const session of this.#sessions.values()) {
      if (!session.isKept || session.startedAt === null || session.id === this.#attached?.id) continue
      connection.ask(Keep, { sessionId: session.id, active: false }).then(
        ({ heartbeat }) => {
          const startedAt = heartbeat.session?.startedAt ?? null
          if (session.startedAt === RELEARN) session.startedAt = startedAt
          if (session.startedAt === null || session.startedAt === startedAt) return
          // It had ended, and began again without its rooms: the tab joins them when it opens.
          session.startedAt = null
          session.socket?.close(AGAIN)
        },
        () => {},
      )
    }
  }

  /** Another socket has taken the session of this one, which has another by now that no tab knows. */
  async #identify(): Promise<void> {
    try {
      const { connection } = this.#link
      const id = (await connection?.ask(Heartbeat, { active: false }))?.heartbeat.session?.id
      if (!id || id === this.#attached?.id) return
      this.#attached = null
      await connection?.ask(GoOffline, { sessionId: id })
    } catch {
      // The connection ended, and the session with it.
    }
  }

  #changed(snapshot: LinkSnapshot): void {
    const { state } = snapshot
    if (state === 'open') return
    clearInterval(this.#keeping)
    if (state === 'idle') return
    this.#attached = null
    for (const session of this.#sessions.values()) session.startedAt = null
    if (state === 'connecting') {
      this.#each((socket) => socket.isAcknowledged && socket.close(AGAIN))
      if (this.#wasWaiting) for (const tab of this.#tabs) if (tab.sockets.size === 0) tab.say({ type: 'wake' })
    } else this.#each((socket) => this.#turnAway(socket))
    this.#wasWaiting = state === 'waiting'
    for (const session of this.#sessions.values()) if (session.socket?.isOver) session.socket = null
  }

  #turnAway(socket: TabSocket): void {
    const { state, error } = this.#link.snapshot
    const reason = error ? `${(error as RollcallError).code}: ${error.message}` : ''
    if (state === 'failed') socket.close({ code: 4400, reason })
    else socket.close({ code: 1013, reason, retryInMs: this.#retryInMs() })
  }

  #retryInMs(): number {
    const { retryAt } = this.#link.snapshot
    return retryAt ? Math.max(0, retryAt.getTime() - Date.now()) : 0
  }

  #each(use: (socket: TabSocket) => void): void {
    for (const tab of this.#tabs) for (const socket of [...tab.sockets.values()]) if (socket.isReady) use(socket)
  }

  #leaveLater(session: TabSession, ms: number): void {
    clearTimeout(session.leaving)
    session.leaving = setTimeout(() => {
      session.leaving = undefined
      this.#leave(session)
      this.#endIfEmpty()
    }, ms)
  }

  #leave(session: TabSession): void {
    if (this.#sessions.get(session.id) !== session) return
    this.#sessions.delete(session.id)
    if (!session.isKept) return
    this.#farewells.add(session.id)
    const said = (): void => {
      this.#farewells.delete(session.id)
      this.#endIfEmpty()
    }
    this.#link.connection?.ask(GoOffline, { sessionId: session.id }).then(said, said)
  }

  #endIfEmpty(): void {
    if (this.#tabs.size > 0 || this.#sessions.size > 0) return
    // What it could not say it does not stay for: the leases of those sessions run out.
    if (this.#farewells.size > 0 && this.#link.connection) return
    this.#link.stop()
    this.#options.onEmpty()
  }

  /** The session of a tab that is there, so that the end of the socket is the end of that session. */
  #params(): Record<string, unknown> {
    const sessions = [...this.#sessions.values()].filter(({ isKept }) => isKept)
    const session = sessions.find(({ socket }) => socket) ?? sessions[0]
    if (!session) return { observer: true }
    const { device } = session.params
    // Rooms and activity come when its tab is admitted.
    return { sessionId: session.id, active: false, ...(device === undefined ? {} : { device }) }
  }

  /** Asks one tab after the other, the one that was heard last first. @throws Error where no tab has one */
  async #token(): Promise<string | null> {
    const offered = this.#offeredToken
    this.#offeredToken = null
    if (offered !== null) return offered
    let turn: Promise<unknown> = Promise.resolve()
    const tabs = [...this.#tabs].sort((one, two) => one.unansweredTicks - two.unansweredTicks)
    const tokens = tabs.map((tab) => {
      const token = turn.then(() => this.#tokenOf(tab))
      turn = refusedOrLate(token, TOKEN_LIMIT_MS)
      return token
    })
    return Promise.any(tokens).catch(({ errors }: AggregateError) => {
      throw errors.at(-1) ?? new Error('No tab is there.')
    })
  }

  async #tokenOf(tab: Tab): Promise<string> {
    const { token, error } = await tab.askForToken()
    if (error !== null) throw new Error(error)
    if (token !== null && this.#options.isOwnToken(token)) return token
    // Nobody is signed in there any more, or somebody else: the tab finds out when it connects.
    this.forget(tab)
    throw new Error('The tab is no longer of this user.')
  }
}

/** A tab may be frozen, and the app's own way to a token slow: then the next tab is asked beside it. */
function refusedOrLate(token: Promise<string>, limitMs: number): Promise<unknown> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, limitMs, null)
    token.then(() => clearTimeout(timer), resolve)
  })
}
