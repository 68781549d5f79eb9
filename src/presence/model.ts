/**
 * The terms of the domain as types. docs/architecture.md defines each term.
 *
 * Moments are epoch milliseconds of the store's wall clock (`…AtMs`), durations are milliseconds (`…Ms`). Times that an
 * adapter counts internally on its steady clock are `…SteadyMs` (src/presence/timing.ts).
 */
import type { RoomSet } from './room-set.ts'

export type PresenceStatus = 'ONLINE' | 'AWAY' | 'BUSY' | 'OFFLINE'
export type StatusChoice = 'AUTOMATIC' | 'AWAY' | 'BUSY'
export type Visibility = 'EVERYONE' | 'NOBODY'
export type ChangeKind = 'JOIN' | 'UPDATE' | 'LEAVE'

/** Name and picture, as the newest token or `updateUser` gave them. Null if none ever did. */
export interface Profile {
  readonly name: string | null
  readonly avatarUrl: string | null
  /** When the source of this profile was issued: only a later one replaces it. */
  readonly issuedAtMs: number
}

/** The settings that a user chose. Wherever two of them meet, the higher `version` wins (`newerSettings`). */
export interface Settings {
  readonly version: number
  readonly statusChoice: StatusChoice
  readonly statusMessage: string | null
  readonly visibility: Visibility
  readonly hideLastActive: boolean
}

/** A user as everyone sees them: the same for every viewer. Never changed in place, so that it can be shared. */
export interface PublicUser {
  readonly id: string
  readonly name: string
  readonly avatarUrl: string | null
  readonly isOnline: boolean
  readonly status: PresenceStatus
  readonly statusMessage: string | null
  readonly onlineSinceMs: number | null
  readonly lastActiveAtMs: number | null
  /** When everyone last saw the user go offline. Null while the user is online, and where `lastActiveAtMs` is null. */
  readonly lastSeenAtMs: number | null
}

/** One session, as only its user sees it. */
export interface SessionView {
  readonly id: string
  readonly device: string | null
  readonly rooms: readonly string[]
  readonly startedAtMs: number
  readonly lastActiveAtMs: number
  /** The fence of the socket that the session is attached to; null if it has none. */
  readonly fence: string | null
  /** When the lease of a session without a socket ends; null if it has a socket. */
  readonly leaseEndsAtMs: number | null
}

/** The signed-in user, as only they see it. */
export interface ViewerState {
  readonly user: PublicUser
  readonly isOnline: boolean
  readonly status: PresenceStatus
  readonly statusChoice: StatusChoice
  readonly statusMessage: string | null
  readonly lastActiveAtMs: number | null
  readonly visibility: Visibility
  readonly hideLastActive: boolean
  readonly sessions: readonly SessionView[]
}

/**
 * One step of one user in the change log, no matter in how many rooms it is a change.
 *
 * `rooms` are those in which everyone could see the user: none if `user.isOnline` is false. A store may leave out
 * `lastSeenAtMs` of `before.user`.
 */
export interface LogEntry {
  readonly seq: number
  readonly atMs: number
  readonly before: PublicStanding
  readonly after: PublicStanding
  /** The rooms in either `before.rooms` or `after.rooms`, but not in both. */
  readonly movedRooms: RoomSet | readonly string[]
}

export interface PublicStanding {
  readonly user: PublicUser
  /** Shared by entries, so an entry takes constant memory, however many rooms its user is in. */
  readonly rooms: RoomSet
}

/** Why a session ended, as stored in the database. A reason is never renamed or reused. */
export type EndReason =
  | 'CLOSED' // its client closed the socket, and CLOSE_GRACE passed
  | 'LOST' // its connection was lost, and RECONNECT_GRACE passed
  | 'EXPIRED' // no heartbeat came over HTTP within SESSION_TTL
  | 'WENT_OFFLINE' // goOffline
  | 'DISCONNECTED' // disconnectUser
  | 'DISPLACED' // over SESSIONS_PER_USER, a newer session took its place
  | 'TAKEN_OVER' // it was session `default`, and a socket of its user attached
  | 'NODE_LOST' // its node died, and RECONNECT_GRACE passed
  | 'SERVER_RESTART' // its server restarted, and nobody came back
  | 'UNRECORDED' // its end was among records that were lost

/**
 * A user's database state after one private step: the recorder only ever writes whole states, so that a batch
 * can keep the last one of each row, and writing one twice does no harm.
 */
export interface PresenceRecord {
  readonly seq: number
  readonly userId: string
  /** Null if no token and no `updateUser` has given one. */
  readonly profile: Profile | null
  /** The public columns. Null while the user's settings are not known: the columns then stay as they are. */
  readonly columns: PublicColumns | null
  /** The settings that the live store uses, so that a database that went back gets them. Null while not known. */
  readonly settings: Settings | null
  /** The rows of the sessions that this step touched. */
  readonly sessions: readonly SessionRow[]
  /** Set if the user was forgotten after this step: the record has its number, and nothing of it is written. */
  readonly isForgotten?: true
}

/** The columns that any program may read of a user in the database: the same as everyone sees through the API. */
export interface PublicColumns {
  readonly isOnline: boolean
  readonly onlineSinceMs: number | null
  /** Null hides it. Otherwise the column never goes back. */
  readonly lastActiveAtMs: number | null
  /** Null while online. Null of an offline user whose activity is not hidden means unknown: the column then stays. */
  readonly lastSeenAtMs: number | null
}

/** One row of the private history: a session from its start to its end. */
export interface SessionRow {
  /** A UUID of its own for each start: the client keeps its session id across starts. */
  readonly startId: string
  readonly sessionId: string
  readonly device: string | null
  readonly rooms: readonly string[]
  /** The node of the session's last socket; null if it never had one. */
  readonly nodeId: string | null
  /** Whether the session ever had a socket. */
  readonly hadSocket: boolean
  readonly startedAtMs: number
  readonly lastActiveAtMs: number
  readonly endedAtMs: number | null
  readonly endReason: EndReason | null
}

/** What the store must be given about a user whom it does not know: their row, or less if the row is out of reach. */
export interface UserSeed {
  /** Null if Postgres did not answer in time: the user counts as hidden until `setUser` brings the settings. */
  readonly settings: Settings | null
  readonly profile: Profile | null
  /** The last known activity; null if there never was any. */
  readonly lastActiveAtMs: number | null
  /** The last activity that everyone may see; differs from `lastActiveAtMs` for users who were hidden since. */
  readonly shownLastActiveAtMs: number | null
  /** When everyone last saw the user go offline; null if they never did, still see the user online, or may not know. */
  readonly shownLastSeenAtMs: number | null
  /** Whether `goOffline` ended the user's last session: only new activity then brings the user back. */
  readonly isActivityOver: boolean
}
