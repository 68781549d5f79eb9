/** What everyone sees of how present a user is. */
export type PresenceStatus = 'ONLINE' | 'AWAY' | 'BUSY' | 'OFFLINE'
/** `AUTOMATIC`: online, and away after a while without activity. */
export type StatusChoice = 'AUTOMATIC' | 'AWAY' | 'BUSY'
/** `NOBODY`: to everyone else the user looks offline. */
export type Visibility = 'EVERYONE' | 'NOBODY'

/** A user as everyone sees them. Moments are texts in RFC 3339, UTC, as the server writes them. */
export interface User {
  readonly id: string
  /** The id where no name was ever given. */
  readonly name: string
  readonly avatarUrl: string | null
  /** Whether `status` is not `OFFLINE`. */
  readonly isOnline: boolean
  readonly status: PresenceStatus
  readonly statusMessage: string | null
  /** Null while the user is offline. */
  readonly onlineSince: string | null
  /** When the user last did something; null where they never did, or hide it. It changes without an update. */
  readonly lastActive: string | null
  /** When others last saw the user online; null while they are, and where they never were or hide it. */
  readonly lastSeen: string | null
}

/** One tab or device of the signed-in user. */
export interface Session {
  readonly id: string
  readonly device: string | null
  readonly rooms: readonly string[]
  readonly startedAt: string
  readonly isCurrent: boolean
}

/** The signed-in user, as only they see it. */
export interface Viewer {
  /** What everyone else sees of them now. */
  readonly user: User
  /** The truth, hidden or not. */
  readonly isOnline: boolean
  readonly status: PresenceStatus
  readonly statusChoice: StatusChoice
  readonly statusMessage: string | null
  readonly visibility: Visibility
  readonly hideLastActive: boolean
  readonly sessions: readonly Session[]
}

/**
 * How much a snapshot can be trusted.
 *
 * - `loading`: nothing is known yet.
 * - `live`: the server has said on this connection that this is all there is, and goes on saying so.
 * - `stale`: this was right at `since`, and may be wrong now. The client is working on it.
 * - `failed`: the server refused the question, and asking again does not help; `error` says why.
 */
export type Freshness =
  | { readonly state: 'loading'; readonly since: null; readonly error: null }
  | { readonly state: 'live'; readonly since: null; readonly error: null }
  | { readonly state: 'stale'; readonly since: Date; readonly error: null }
  | { readonly state: 'failed'; readonly since: Date | null; readonly error: Error }

/** Who is online. `ids` and `users` are ordered by id, and keep their identity while nothing in them changes. */
export type OnlineUsersSnapshot = Freshness & {
  readonly ids: readonly string[]
  readonly users: readonly User[]
}
/** Who is online, without what may change of them: this changes when somebody comes or goes, and not at an update. */
export type OnlineIdsSnapshot = Freshness & { readonly ids: readonly string[] }
/** Users by their ids, in the order asked. Null where nobody with that id was ever seen, and while it is loading. */
export type UsersSnapshot = Freshness & { readonly users: readonly (User | null)[] }
/** Null where nobody with that id was ever seen, and while it is loading. */
export type UserSnapshot = Freshness & { readonly user: User | null }
/** Null while it is loading. */
export type CountSnapshot = Freshness & { readonly count: number | null }
/** Null while it is loading. */
export type MeSnapshot = Freshness & { readonly viewer: Viewer | null }

/** A value that changes: what `useSyncExternalStore` takes, and what every other framework can read. */
export interface Store<Snapshot> {
  /**
   * @param listener - called after each change, without the value
   * @returns a function that ends it
   */
  subscribe(listener: () => void): () => void
  /** The same object until something changes. */
  getSnapshot(): Snapshot
}

/** Who is online. Reading `ids` alone re-renders a list only when somebody comes or goes. */
export interface OnlineUsersStore extends Store<OnlineUsersSnapshot> {
  readonly ids: Store<OnlineIdsSnapshot>
}

/**
 * The connection to the server.
 *
 * - `idle`: not connected, on purpose: not begun, signed out, or the page was left.
 * - `connecting`, `open`.
 * - `waiting`: lost or refused; it tries again at `retryAt`.
 * - `failed`: the server refused this client for good, and `error` says why; `retryNow()` tries again.
 */
export type LinkSnapshot =
  | {
      readonly state: 'idle' | 'connecting' | 'open'
      readonly retryInMs: null
      readonly retryAt: null
      readonly error: null
    }
  | { readonly state: 'waiting'; readonly retryInMs: number; readonly retryAt: Date; readonly error: Error | null }
  | { readonly state: 'failed'; readonly retryInMs: null; readonly retryAt: null; readonly error: Error }
