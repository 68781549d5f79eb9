/** Everything of one signed-in person in one tab: their session, and what they see of others. */
import { Activity } from './activity.ts'
import type { Acknowledgement, Connection, OpenSocket, Sink } from './connection.ts'
import { closed, RollcallError } from './errors.ts'
import type { HeartbeatMutationVariables } from './generated.ts'
import { Latest } from './latest.ts'
import { Link } from './link.ts'
import {
  GoOffline,
  Heartbeat,
  OnlineCount,
  type Operation,
  SetStatus,
  SetVisibility,
  type Variables,
  ViewerChanged,
  Viewer as ViewerQuery,
} from './operations.ts'
import { followPage, isAnswered, isOffline, isVisible, needsProbe } from './page.ts'
import { Rooms } from './rooms.ts'
import { keep } from './same.ts'
import { forgetSessionId, keepSessionId, tabSessionId } from './session-id.ts'
import type { SharedSockets, SocketSource } from './socket-source.ts'
import { ComputedStore, StoreCache } from './store.ts'
import type {
  CountSnapshot,
  LinkSnapshot,
  MeSnapshot,
  OnlineUsersStore,
  StatusChoice,
  Store,
  User,
  UserSnapshot,
  UsersSnapshot,
  Viewer,
  Visibility,
} from './types.ts'
import { UserDirectory } from './users.ts'

/** How long each way of signing out may take: the person waits for it. */
const SIGN_OUT_LIMIT_MS = 1500

export interface PresenceOptions {
  /** Where the server answers GraphQL: `https://example.com/graphql`, or in a page `/graphql`. */
  readonly url: string
  /**
   * Who is signed in: a token, or what fetches one. It is asked before each connection, so also when a token has run
   * out. Null: nobody is signed in.
   */
  readonly token: string | (() => string | null | Promise<string | null>)
  /** What to call this device, at most 100 characters. */
  readonly device?: string
  /** Watches without being a session, and so makes nobody online: a dashboard. */
  readonly observer?: boolean
  /** Names the session, a UUID. Left out, the tab makes one and keeps it across reloads. */
  readonly sessionId?: string
  /** False: `connect` does it. */
  readonly autoConnect?: boolean
  /** The class `WebSocket` of the package `ws`, for Node before 22. */
  readonly webSocketImpl?: unknown
  /** One socket for all tabs of a browser: `sharedSocket` of `@rollcall/client/shared`. */
  readonly socket?: SocketSource
}

export interface Presence {
  /** The id of this tab's session, for the header `Rollcall-Session` of requests over HTTP. Null before it connects. */
  readonly sessionId: string | null
  /** The connection: whether it is there, and when it is tried again. */
  readonly link: Store<LinkSnapshot>
  /** The signed-in user, and in `viewer.user` what everyone else sees of them. */
  readonly me: Store<MeSnapshot>
  /** Who is online, everywhere or in a room. */
  onlineUsers(where?: { readonly room?: string | null }): OnlineUsersStore
  /** One user. All users that are asked for, anywhere in a page, share a few subscriptions. */
  user(id: string): Store<UserSnapshot>
  /** Some users, in this order. */
  users(ids: readonly string[]): Store<UsersSnapshot>
  /** How many are online, everywhere or in a room: at most one change a second. */
  count(where?: { readonly room?: string | null }): Store<CountSnapshot>
  /**
   * Puts this session into a room, and into it again whenever a session begins. Where the token does not allow it, the
   * list of the room says so.
   *
   * @returns a function that leaves it, unless another part of the page has joined it too
   */
  joinRoom(room: string): () => void
  /**
   * @param message - null clears it, left out it stays
   * @throws RollcallError, with `CLOSED` where there is no connection
   */
  setStatus(status: StatusChoice, message?: string | null): Promise<Viewer>
  /** Hides the user from everyone else, or shows them again. @throws RollcallError */
  setVisibility(visibility: Visibility, options?: { readonly hideLastActive?: boolean }): Promise<Viewer>
  /** Ends this session, without a grace, and goes on watching. `comeBack` starts it again. @throws RollcallError */
  goOffline(): Promise<void>
  comeBack(): Promise<void>
  /** The person did something that the page's own input events do not show, such as a call. */
  noticeActivity(): void
  /** Connects at once, where it waits to do so or was refused. */
  retryNow(): void
  /** Connects, until the returned function is called: for who passes `autoConnect: false`. */
  connect(): () => void
  /** Goes offline by whatever still gets through, and closes. It never rejects. */
  signOut(): Promise<void>
  /** Closes the connection. The session ends by the server's grace, unless a page of this tab goes on with it. */
  close(): void
}

/** @throws RollcallError `BAD_USER_INPUT`: `url` is no address */
export function createPresence(options: PresenceOptions): Presence {
  return new ConnectedPresence(options)
}

const links = new WeakMap<Presence, Link>()

/** For bindings, which send the app's own operations. @throws Error for a presence that has no connection, as in tests */
export function linkOf(presence: Presence): Link {
  const link = links.get(presence)
  if (!link) throw new Error('This presence has no connection: operations need one of `createPresence`.')
  return link
}

const directories = new WeakMap<Presence, UserDirectory>()

/**
 * For bindings: who leaves a list that is followed, as others see them since. No store has it: a list forgets those who
 * left. A presence for tests calls nobody.
 *
 * @param listener - called before the store of the list
 * @returns a function that ends it
 */
export function onLeave(presence: Presence, listener: (user: User, room: string | null) => void): () => void {
  return directories.get(presence)?.onLeave(listener) ?? (() => {})
}

class ConnectedPresence implements Presence {
  readonly link: Store<LinkSnapshot>
  readonly me: Store<MeSnapshot>
  readonly #options: PresenceOptions
  readonly #link: Link
  readonly #shared: SharedSockets | null
  readonly #users: UserDirectory
  readonly #viewer: Latest<Viewer, MeSnapshot>
  readonly #counts = new StoreCache<CountSnapshot>()
  readonly #rooms: Rooms
  readonly #activity: Activity
  #sessionId: string | null
  /** One for each call of `connect` that is not over. */
  readonly #holders = new Set<object>()
  #unfollowPage: (() => void) | null = null
  #hasLeft = false
  /** Whether the session that is being started says that the person is there. */
  #saidActive = false

  constructor(options: PresenceOptions) {
    this.#options = options
    this.#sessionId = options.sessionId ?? null
    const token = typeof options.token === 'string' ? () => options.token as string : options.token
    const isTokenRenewable = typeof options.token !== 'string'
    const openOwn = openerOf(options.webSocketImpl ?? globalThis.WebSocket)
    this.#shared =
      options.socket?.({
        token,
        isTokenRenewable,
        openOwn,
        onTick: () => this.#link.check(),
        onWake: () => this.#link.wake(),
      }) ?? null
    this.#link = new Link(
      {
        url: () => addressOf(options.url, 'ws'),
        token: this.#shared?.token ?? token,
        isTokenRenewable,
        params: () => this.#params(),
        openSocket: this.#shared?.open ?? openOwn,
        isOffline,
        probe: needsProbe() ? () => isAnswered(addressOf(options.url, 'http')) : null,
        onAcknowledged: (acknowledgement) => this.#acknowledged(acknowledgement),
        // A tab that was duplicated: its copy has its session from now on, and it has one of its own.
        onChallenged: () => void this.#beat({ active: false }).catch(() => {}),
      },
      () => link.changed(),
    )
    links.set(this, this.#link)
    const link = new ComputedStore<LinkSnapshot>(
      () => this.#link.snapshot,
      () => () => {},
    )
    this.link = link
    this.#users = new UserDirectory(this.#link)
    directories.set(this, this.#users)
    this.#rooms = new Rooms(() => this.#link.connection)
    this.#activity = new Activity({
      intervalMs: () => (this.#link.acknowledgement?.sessionId ? this.#link.acknowledgement.heartbeatIntervalMs : null),
      send: () => this.#sendHeartbeat(),
    })
    this.#viewer = new Latest<Viewer, MeSnapshot>({
      link: this.#link,
      follow: (connection, sink) =>
        followViewer(connection, {
          next: (viewer) => {
            // What they do next brings them back, so it is told at once.
            if (isIdle(viewer)) this.#activity.expired()
            sink.next(viewer)
          },
          error: sink.error,
        }),
      snapshot: (freshness, viewer, previous) => keep(previous, { ...freshness, viewer }),
    })
    this.me = this.#viewer.store
    // Where it cannot be known yet, because there is no page, nothing connects.
    if (typeof location !== 'undefined' || (options.autoConnect ?? true)) addressOf(options.url, 'ws')
    if (options.autoConnect ?? true) this.connect()
  }

  get sessionId(): string | null {
    return this.#sessionId
  }

  onlineUsers({ room = null }: { readonly room?: string | null } = {}): OnlineUsersStore {
    return this.#users.onlineUsers(room)
  }

  user(id: string): Store<UserSnapshot> {
    return this.#users.user(id)
  }

  users(ids: readonly string[]): Store<UsersSnapshot> {
    return this.#users.users(ids)
  }

  count({ room = null }: { readonly room?: string | null } = {}): Store<CountSnapshot> {
    return this.#counts.get(
      JSON.stringify(room),
      (start) =>
        new Latest<number, CountSnapshot>({
          link: this.#link,
          start,
          follow: (connection, sink) =>
            connection.follow(
              OnlineCount,
              { room },
              { next: ({ onlineCountChanged }) => sink.next(onlineCountChanged.count), error: sink.error },
            ),
          snapshot: (freshness, count, previous) => keep(previous, { ...freshness, count }),
        }).store,
    )
  }

  joinRoom(room: string): () => void {
    return this.#rooms.want(room)
  }

  async setStatus(status: StatusChoice, message?: string | null): Promise<Viewer> {
    const variables = message === undefined ? { status } : { status, message }
    return this.#became((await this.#ask(SetStatus, variables)).setStatus.viewer)
  }

  async setVisibility(
    visibility: Visibility,
    { hideLastActive }: { readonly hideLastActive?: boolean } = {},
  ): Promise<Viewer> {
    const variables = hideLastActive === undefined ? { visibility } : { visibility, hideLastActive }
    return this.#became((await this.#ask(SetVisibility, variables)).setVisibility.viewer)
  }

  async goOffline(): Promise<void> {
    // From here on no activity may bring the person back.
    this.#hasLeft = true
    this.#activity.stop()
    try {
      await this.#ask(GoOffline, {})
    } catch (error) {
      this.#hasLeft = false
      throw error
    }
  }

  async comeBack(): Promise<void> {
    if (!this.#hasLeft) return
    this.#hasLeft = false
    const { acknowledgement } = this.#link
    if (acknowledgement?.sessionId) {
      await this.#beat(this.#heartbeat())
      this.#activity.counted()
    } else if (acknowledgement) {
      // A socket that watches can be no session: the next one is.
      this.#link.stop()
      this.#link.start()
    }
  }

  noticeActivity(): void {
    if (!this.#hasLeft) this.#activity.notice()
  }

  retryNow(): void {
    this.#shared?.retryNow()
    this.#link.retryNow()
  }

  connect(): () => void {
    const holder = {}
    this.#holders.add(holder)
    this.#start()
    return () => {
      // After `close` it is none any more, and those of later calls stay.
      if (!this.#holders.delete(holder)) return
      // React's strict mode lets go and takes hold again in one step.
      setTimeout(() => this.#holders.size === 0 && this.#stop(), 0)
    }
  }

  async signOut(): Promise<void> {
    this.#hasLeft = true
    this.#activity.stop()
    const { connection } = this.#link
    const sessionId = this.#sessionId
    const isGone = connection ? await within(connection.ask(GoOffline, {})) : false
    const isRefused = this.#link.snapshot.state === 'failed'
    if (!isGone && sessionId && !isRefused) await within(this.#goOfflineOverHttp(sessionId))
    this.#sessionId = this.#options.sessionId ?? null
    forgetSessionId()
    this.close()
    this.#hasLeft = false
  }

  close(): void {
    this.#holders.clear()
    this.#stop()
  }

  #start(): void {
    if (this.#unfollowPage) return
    this.#sessionId ??= tabSessionId()
    this.#unfollowPage = followPage({
      onActivity: () => this.noticeActivity(),
      onWake: (isNetworkNew) => this.#link.wake(isNetworkNew),
      onHide: () => {
        this.#link.stop()
        this.#shared?.leave()
      },
      onShow: () => {
        this.#link.start()
        this.noticeActivity()
      },
    })
    this.#link.start()
  }

  #stop(): void {
    this.#unfollowPage?.()
    this.#unfollowPage = null
    this.#activity.stop()
    this.#link.stop()
    this.#shared?.leave()
  }

  #params(): Record<string, unknown> {
    const { device, observer = false } = this.#options
    this.#saidActive = isVisible()
    return {
      sessionId: this.#sessionId,
      ...(device === undefined ? {} : { device }),
      // Left out, a session that is live stays in its rooms: a page that was loaded again joins them only later.
      ...(this.#rooms.joined.length > 0 ? { rooms: this.#rooms.joined } : {}),
      active: this.#saidActive,
      observer: observer || this.#hasLeft,
    }
  }

  #acknowledged(acknowledgement: Acknowledgement): void {
    this.#adopt(acknowledgement.sessionId)
    if (acknowledgement.sessionId) this.#rooms.acknowledged(acknowledgement)
    // The start of a session is activity, and attaching a live one is not.
    if (this.#saidActive && !acknowledgement.resumed) this.#activity.counted()
    this.#activity.connected()
  }

  async #sendHeartbeat(): Promise<boolean> {
    if (this.#hasLeft) return true
    try {
      await this.#beat(this.#heartbeat())
      return true
    } catch (error) {
      return (error as RollcallError).code !== 'CLOSED'
    }
  }

  async #beat(variables: HeartbeatMutationVariables): Promise<void> {
    this.#adopt((await this.#ask(Heartbeat, variables)).heartbeat.session?.id)
  }

  /** The session is what the server says: a duplicated tab was given another one than it named. */
  #adopt(id: string | null | undefined): void {
    if (!id || id === this.#sessionId) return
    this.#sessionId = id
    if (!this.#options.sessionId) keepSessionId(id)
  }

  /** Where the session had ended, the heartbeat starts it again, with these. */
  #heartbeat(): { device?: string; rooms: string[] } {
    const { device } = this.#options
    return { rooms: this.#rooms.joinedSoon, ...(device === undefined ? {} : { device }) }
  }

  #became(viewer: Viewer): Viewer {
    this.#viewer.put(viewer)
    return viewer
  }

  #ask<Data, Arguments extends Variables>(operation: Operation<Data, Arguments>, variables: Arguments): Promise<Data> {
    const { connection } = this.#link
    if (!connection) return Promise.reject(closed('There is no connection.'))
    return connection.ask(operation, variables)
  }

  async #goOfflineOverHttp(sessionId: string): Promise<void> {
    const { url, token } = this.#options
    const authorization = `Bearer ${typeof token === 'string' ? token : await token()}`
    await fetch(addressOf(url, 'http'), {
      method: 'POST',
      // The browser sends it even if the page closes before the answer.
      keepalive: true,
      headers: { 'content-type': 'application/json', authorization },
      body: JSON.stringify({ query: GoOffline, variables: { sessionId } }),
    })
  }
}

/** @param webSocketImpl - undefined in Node before 22, where the app has to bring one */
function openerOf(webSocketImpl: unknown): OpenSocket {
  return (url, protocol) => {
    if (!webSocketImpl) throw new Error('There is no WebSocket here: pass webSocketImpl, of the package ws.')
    return new (webSocketImpl as new (...at: string[]) => ReturnType<OpenSocket>)(url, protocol)
  }
}

function isIdle({ isOnline, status, statusChoice }: Viewer): boolean {
  return !isOnline || (status === 'AWAY' && statusChoice === 'AUTOMATIC')
}

/** An event that came before the answer was read after it, or is followed by another one. */
function followViewer(connection: Connection, sink: Sink<Viewer>): () => void {
  let isTold = false
  const stop = connection.follow(
    ViewerChanged,
    {},
    {
      next: ({ viewerChanged }) => {
        isTold = true
        sink.next(viewerChanged)
      },
      error: sink.error,
    },
  )
  let isOver = false
  connection.ask(ViewerQuery, {}).then(
    ({ viewer }) => {
      if (!isTold && !isOver) sink.next(viewer)
    },
    (error: RollcallError) => {
      if (!isOver && error.code !== 'CLOSED') sink.error(error)
    },
  )
  return () => {
    isOver = true
    stop()
  }
}

/** @returns whether it was done in time */
function within(work: Promise<unknown>): Promise<boolean> {
  return new Promise((resolve) => {
    setTimeout(resolve, SIGN_OUT_LIMIT_MS, false)
    work.then(
      () => resolve(true),
      () => resolve(false),
    )
  })
}

/** @throws RollcallError `BAD_USER_INPUT` where it is no address */
function addressOf(url: string, scheme: 'ws' | 'http'): string {
  const base = typeof location === 'undefined' ? undefined : location.href
  try {
    const address = new URL(url, base)
    address.protocol = address.protocol.replace(/^(http|ws)/, scheme)
    return address.href
  } catch {
    throw new RollcallError('BAD_USER_INPUT', `url must be an address, such as https://example.com/graphql: ${url}`)
  }
}
