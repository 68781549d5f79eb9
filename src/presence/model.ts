/**
 * The words of the domain as types. docs/architecture.md says what each word means.
 *
 * Moments are epoch milliseconds of the store's wall clock (`…AtMs`), lengths of time are milliseconds (`…Ms`). What an
 * adapter counts on its steady clock, for itself, is `…SteadyMs` (src/presence/timing.ts).
 */
import type { RoomSet } from './room-set.ts'

export type PresenceStatus = 'ONLINE' | 'AWAY' | 'BUSY' | 'OFFLINE'
export type StatusChoice = 'AUTOMATIC' | 'AWAY' | 'BUSY'
export type Visibility = 'EVERYONE' | 'NOBODY'
export type ChangeKind = 'JOIN' | 'UPDATE' | 'LEAVE'

/** Name and picture, as the newest token or `updateUser` gave them. Null where none ever did. */
export interface Profile {
  readonly name: string | null
  readonly avatarUrl: string | null
  /** When the source of this profile was issued: only a later one replaces it. */
  readonly issuedAtMs: number
}

/** What a user chose. The higher `version` wins, wherever two of them meet (`newerSettings`). */
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
}

/** One session, as only its user sees it. */
export interface SessionView {
  readonly id: string
  readonly device: string | null
  readonly rooms: readonly string[]
  readonly startedAtMs: number
  readonly lastActiveAtMs: number
  /** The socket that the session hangs on, null where it has none. */
  readonly fence: string | null
  /** The end of the lease of a session without a socket, null where it has one. */
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
 * One step of one user in the change log, whatever number of rooms it is a change in.
 *
 * `rooms` are those in which everyone could see the user: none where `user.isOnline` is false.
 */
export interface LogEntry {
  readonly seq: number
  readonly atMs: number
  readonly before: PublicStanding
  readonly after: PublicStanding
  /** Rooms of either `before.rooms` or `after.rooms`, not of both. */
  readonly movedRooms: RoomSet | readonly string[]
}

export interface PublicStanding {
  readonly user: PublicUser
  /** Entries share it: an entry takes constant memory, however many rooms its user is in. */
  readonly rooms: RoomSet
}

/** Why a session ended, as the database keeps it. A reason is never renamed or reused. */
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
  /** Null where no token and no `updateUser` has given one. */
  readonly profile: Profile | null
  /** The public columns. Null while the user's settings are not known: then they stay as they are. */
  readonly columns: PublicColumns | null
  /** What the live store goes by, so that a database that went back learns it. Null while it is not known. */
  readonly settings: Settings | null
  /** The rows of the sessions that this step touched. */
  readonly sessions: readonly SessionRow[]
}

/** What any program may read of a user in the database: the same as everyone sees through the API. */
export interface PublicColumns {
  readonly isOnline: boolean
  readonly onlineSinceMs: number | null
  /** Null hides it. Otherwise the column never goes back. */
  readonly lastActiveAtMs: number | null
}

/** One row of the private history: a session from its start to its end. */
export interface SessionRow {
  /** A UUID of its own for each start: the client keeps its session id across starts. */
  readonly startId: string
  readonly sessionId: string
  readonly device: string | null
  readonly rooms: readonly string[]
  /** The node of its last socket, null where it never had one. */
  readonly nodeId: string | null
  /** Whether it ever had a socket. */
  readonly hadSocket: boolean
  readonly startedAtMs: number
  readonly lastActiveAtMs: number
  readonly endedAtMs: number | null
  readonly endReason: EndReason | null
}

/** What the store must know of a user that it does not know yet: their row, and where that is out of reach, less. */
export interface UserSeed {
  /** Null where Postgres did not answer in time: the user counts as hidden until `setUser` brings them. */
  readonly settings: Settings | null
  readonly profile: Profile | null
  /** The last known activity, null where there never was any. */
  readonly lastActiveAtMs: number | null
  /** The last activity that everyone may see; differs for users who were hidden since. */
  readonly shownLastActiveAtMs: number | null
  /** Whether `goOffline` ended the user's last session: then only new activity brings them back. */
  readonly isActivityOver: boolean
}
