/**
 * The port of the live state: who is there now, and the log of what changed.
 *
 * Every method is atomic and resolves only when its effect is in the change log and in the records. An adapter can
 * be written from these comments, src/presence/rules.ts and tests/contract/presence-store.ts alone.
 *
 * The requests of one caller for one user take effect in the order in which they were made, even if the caller did not
 * wait for the answers: no request overtakes a heartbeat that a store batches, or an attach that waits.
 *
 * Moments are by the store's own clock. No method takes a caller's wall clock: callers pass ages. No step of the
 * store's clock moves what the store counts (leases, idle times, the age of the log). The moments that it returns
 * follow a step, but those of one user never go back. A moment passed to it (in a seed, in what is adopted) that lies
 * in the future is cut to now.
 *
 * Every method throws PresenceError `UNAVAILABLE` if the store is out of reach. Whether the call took effect is then
 * unknown, and each method may be called again with the same arguments: a second call has no second effect.
 */
import type {
  EndReason,
  LogEntry,
  PresenceRecord,
  Profile,
  PublicUser,
  SessionRow,
  SessionView,
  Settings,
  UserSeed,
  ViewerState,
} from './model.ts'
import type { Position } from './position.ts'
import type { DetachCause } from './rules.ts'

export interface PresenceStore {
  /**
   * Starts a session, or attaches a live one to a socket (rules 4 and 6). The newest socket of a session owns it.
   *
   * An attach with a socket takes over from the user's session `default` (rule 7), if `default` lives by heartbeats
   * over HTTP and is not the session attached: `default` ends in this step, with `TAKEN_OVER`, and nobody sees any
   * change. A session that starts in this step gets the device and rooms of `default`, if the request leaves them out.
   */
  attach(request: AttachRequest): Promise<AttachAnswer>

  /**
   * Detaches a session from its socket. The session stays live for its grace (rule 5). An old fence does nothing,
   * except the one that `reapNodes` took from the session: until another socket or a heartbeat claims the session, its
   * node may still report how the socket was lost, and the grace is that of the cause, from now.
   */
  detach(request: DetachRequest): Promise<void>

  /**
   * Counts a proof of life: of the session always, of the user if `isActive` (rule 7).
   *
   * A store that other processes share may answer `kept` to a beat that may wait: it counts the activity at the latest
   * `ACTIVITY_LAG` later, at the moment at which it was, and before any other call of this caller for the user takes
   * effect. It keeps only what brings nobody back, ends nothing and changes no status, device, room or profile, and
   * nobody is called away or idle by activity that the store lacks. If the process dies, what it kept is lost.
   */
  beat(beat: Beat): Promise<BeatAnswer>

  /** Ends sessions at once. Ending a session that is not there succeeds and does nothing. */
  end(request: EndRequest): Promise<EndAnswer>

  /**
   * Takes a user out of the store with everything that it has of them: sessions, settings that it remembers, and what
   * their waiting records say. Others see a `LEAVE` if they saw the user. The entries of the change log stay until they
   * are too old. Every node is notified as by `end`. A user who is not there is forgotten as well, and one who attaches
   * afterwards is new.
   *
   * @returns the number of sessions that ended
   */
  forget(request: ForgetRequest): Promise<number>

  /** `join` puts a session into a room, `leave` takes it out. */
  join(request: RoomRequest): Promise<RoomAnswer>
  leave(request: RoomRequest): Promise<RoomAnswer>

  /**
   * Gives a live user settings, a profile, or the row that an attach had to do without. Settings are merged by
   * `newerSettings`; a profile that is not newer does nothing. Settings of a user who is not there are remembered for
   * `SEED_MEMORY_MS`, so that an attach under way with a row that was read before does not win over them.
   *
   * @returns the settings that the store uses now: those of the request, unless the store has newer ones. Null if it
   *   knows none. A request without settings, profile and seed only reads them
   */
  setUser(request: SetUserRequest): Promise<Settings | null>

  /**
   * Users that this epoch found in the store, from the epoch before it, and that have not been adopted yet. They count
   * as hidden until their settings are confirmed by `adopt`, an attach with a seed, or `setUser`: the epoch before may
   * have been an older copy, which lacks what they chose and how they left since.
   *
   * @returns at most `limit` users, the same ones until they are adopted; none if all are
   */
  inherited(limit: number): Promise<readonly InheritedUser[]>

  /**
   * Takes over sessions that an earlier run left open, with the users' settings and profiles if they are newer.
   * Sessions that had a socket stay live for `RECONNECT_GRACE`, the others for `SESSION_TTL`. A session that is not
   * back by then ends with `SERVER_RESTART` at its last activity. A session that is live already stays as it is. A
   * `default` that lived by heartbeats ends at once, with `TAKEN_OVER`, if a session of its user has a socket by then,
   * or is in the grace after one.
   *
   * For an inherited user, `adopt` also confirms the settings (those of the store if the row has none), takes the row's
   * activity if it is later, and ends each inherited session that the row says has ended, or that started before
   * `tokensValidAfterMs`, unless the session has shown a sign of life since.
   */
  adopt(users: readonly AdoptedUser[]): Promise<void>

  /** Everything that an earlier run left open has been adopted: `renewNode` no longer asks for it. */
  adopted(): Promise<void>

  /** This process has attached all of its sessions again, after `NodeListener.startAnew`. */
  announced(): Promise<void>

  /**
   * Extends the lease of a node, to `NODE_TTL` from now. An attach of one of its sockets does the same.
   *
   * A session that was reaped from the node does not end while the node returns: from a renewal with `isReturning`, or
   * whose answer names a reaped socket, until a renewal with neither. If the session's grace runs out in that time, it
   * gets `NODE_TTL` and `RECONNECT_GRACE` from the last of these renewals.
   */
  renewNode(request: RenewRequest): Promise<RenewAnswer>

  /**
   * Ends the lease of a node that stops. If no other lease holds, no node sweeps from now on, so activity that waits
   * for `LAST_ACTIVE_FLUSH` is recorded at once. Call it again while `hasMore`.
   *
   * @param limit - the most users to handle in this call
   */
  endNode(nodeId: string, limit: number): Promise<Omit<SweepAnswer, 'wasLate'>>

  /** Detaches the sockets of nodes whose lease has passed: each session gets the whole `RECONNECT_GRACE`. */
  reapNodes(limit: number): Promise<SweepAnswer>

  /**
   * Handles passed deadlines: leases, users who become away or idle, activity to be recorded. The cost grows with their
   * number only. If the last sweep is further back than a sweep may be late, it puts nobody offline (rule 10).
   *
   * @param limit - the most users to handle; a store that works in this process handles fewer if other work has waited
   *   long enough
   */
  sweep(limit: number): Promise<SweepAnswer>

  /** One page of the users whom everyone sees online, by the UTF-8 bytes of the id. The cost is that of its length. */
  page(request: PageRequest): Promise<Page>

  /** The number of users whom everyone sees online, in all or in a room. Needs no scan. */
  count(room: string | null): Promise<number>

  /** @returns for each id what everyone sees of a user whom the store knows; else null, and Postgres knows best */
  lookup(userIds: readonly string[]): Promise<readonly (PublicUser | null)[]>

  /** @returns `pending` while the user's settings are not known; null if the store does not know the user */
  viewer(userId: string): Promise<ViewerState | 'pending' | null>

  readonly changes: ChangeLog
  readonly viewers: ViewerBell
  readonly nodes: NodeBell
  readonly records: RecordLog
  /** Null if no other process shares the store. */
  readonly budgets: SharedBudgets | null

  /** Why the store cannot answer now, as a sentence for an operator; null if all is well. */
  trouble(): string | null

  /** The numbers that an operator watches. Needs no scan. */
  stats(): Promise<StoreStats>

  close(): Promise<void>
}

/** What callers have taken of the work that they may cause, in all processes together (docs/limits.md). */
export interface SharedBudgets {
  /** Adds what was taken in this process. @returns for each caller: in how many ms the bucket is full again */
  take(taken: readonly TakenWork[]): Promise<readonly number[]>
}

/** Work that was taken from a bucket. */
export interface TakenWork {
  readonly key: string
  /** In how many ms the taken work flows back. */
  readonly refillMs: number
  /** In how many ms a whole bucket flows back. */
  readonly burstMs: number
}

export interface StoreStats {
  /** The number of nodes whose lease holds. */
  readonly nodeCount: number
  readonly onlineCount: number
  readonly sessionCount: number
  readonly logCount: number
  /** The size that `CHANGE_LOG_BYTES` bounds, by the adapter's own estimate. */
  readonly logBytes: number
  readonly recordCount: number
  /** The number of epochs that this process has seen. */
  readonly epochCount: number
  /** How often this process read changes that no message had delivered. */
  readonly gapFillCount: number
  /** How often this process found that it had missed messages. */
  readonly bellGapCount: number
  /** The number of sessions that this process took from nodes whose lease had passed. */
  readonly reapedCount: number
}

/** The most bytes of waiting records. A record of a session in 100 rooms has 13 KB, and an outage may last long. */
export const MAX_RECORD_BYTES = 128 * 1024 * 1024

/** How long `setUser` remembers settings of a user who is not there: longer than any read of a row may take. */
export const SEED_MEMORY_MS = 30_000

export interface AttachRequest {
  readonly userId: string
  /** Null, without a fence only: `default`, unless one of the user's sessions has a socket or is in its grace. */
  readonly sessionId: string | null
  /** Names the socket, and is never used twice; null for a session that lives by heartbeats over HTTP. */
  readonly fence: string | null
  /** The node that holds the socket; null without a fence. */
  readonly nodeId: string | null
  /** Whether starting counts as activity. Attaching a live session again never does. */
  readonly isActive: boolean
  /** If left out, a live session keeps its own. */
  readonly device?: string | null
  readonly rooms?: readonly string[]
  /** The profile in the user's token. */
  readonly profile: Profile | null
  /** The user's row. Null at first: the store asks for it by `unseeded` if it needs it. */
  readonly seed: UserSeed | null
  /**
   * Set if a node attaches a socket again by itself, because the node was thought dead or the live state was lost. Null
   * if a client attaches.
   */
  readonly comeback: Comeback | null
  /**
   * For a socket whose session went offline: the socket takes that session again only if its client came back by
   * heartbeats over HTTP, that is, the user is online and the session itself lives by heartbeats. With `any`, if the
   * session is over, a `default` will do that started after `goOffline` last ended a session of the user, while no
   * other session has a socket or is in the grace after one. Otherwise the answer is `moved`. If left out, the session
   * is taken in any case.
   */
  readonly onlyAfterBeats?: 'own' | 'any'
}

/**
 * A comeback takes a session only if it is attached to no socket, or to the very one that comes back. A session that
 * has ended in between starts with these ages, and with the device and the rooms of the request. A live session keeps
 * its own, except one that a new epoch kept, whose last changes may be lost.
 */
export interface Comeback {
  readonly startedForMs: number
  readonly lastActiveForMs: number
  /** Fences that the socket had before, or may have had: also those of attaches whose answer did not come. */
  readonly formerFences: readonly string[]
  /**
   * The name of the start under which the session is recorded: a session that starts again keeps it, and so its row in
   * the history. Null if the node never learnt it.
   */
  readonly startId: string | null
}

export type AttachAnswer =
  | {
      readonly kind: 'attached'
      /** Null if the heartbeat behind the attach counted for the user alone (rule 7). */
      readonly session: SessionView | null
      /** The name of this start of the session, as in its records; null without a session. */
      readonly startId: string | null
      /** Whether the session was live before, with or without a socket; else it started in this step. */
      readonly isResumed: boolean
      /** The fence of the socket that owned the session until now. */
      readonly replacedFence: string | null
      readonly lastActiveAtMs: number | null
      /** How long ago the session's last activity was; 0 without a session. No step of the clock moves it. */
      readonly lastActiveForMs: number
      /** The moment of this step by the store's clock. */
      readonly atMs: number
    }
  /** The store does not know the user: call `attach` again with a seed. Nothing was written. */
  | { readonly kind: 'unseeded' }
  /** All of `SESSIONS_PER_USER` have sockets. Nothing was written. */
  | { readonly kind: 'full' }
  /**
   * The session of a comeback is attached to another socket, the fence was refused, or there is nothing to return to
   * (`onlyAfterBeats`). Nothing was written.
   */
  | { readonly kind: 'moved' }

export interface DetachRequest {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  readonly cause: DetachCause
  /** Time since the last proof of life, by the node's monotonic clock. Counts for `silent` only. */
  readonly silentForMs: number
  /**
   * Whether the attach of this fence got no answer, and so may still be under way: if it reaches the store later, the
   * store refuses it. If left out, the fence was attached.
   */
  readonly isAttachUncertain?: boolean
}

export interface Beat {
  readonly userId: string
  /** Null, without a fence only: see `AttachRequest`. */
  readonly sessionId: string | null
  /** Null for a heartbeat over HTTP, which renews `SESSION_TTL` if no socket holds the session. */
  readonly fence: string | null
  readonly isActive: boolean
  readonly device?: string | null
  /** Replaces the session's rooms. If left out, the session keeps them. */
  readonly rooms?: readonly string[]
  readonly profile: Profile | null
  /** Whether the caller needs to know no more than that the beat counts. If left out, it asks for the session. */
  readonly mayWait?: boolean
}

export type BeatAnswer =
  | {
      readonly kind: 'counted'
      /** Null if the heartbeat counted for the user alone. */
      readonly session: SessionView | null
      /** Never goes back. */
      readonly lastActiveAtMs: number | null
    }
  /** The session is on the beat's socket, and the activity counts soon. Only if the beat may wait. */
  | { readonly kind: 'kept' }
  /** The fence is old. Nothing was written. */
  | { readonly kind: 'late' }
  /** There is no such session: `attach` starts it. Nothing was written. */
  | { readonly kind: 'unknown' }

export interface EndRequest {
  readonly userId: string
  /** Null: all of the user's sessions. */
  readonly sessionId: string | null
  /** Set if a socket ends its own session: an old fence then does nothing. Otherwise null. */
  readonly fence: string | null
  readonly reason: EndReason
  /**
   * Notifies every node, by `RenewAnswer.dismissals`, that the user's sockets whose token is not younger have to go,
   * also those without a session.
   */
  readonly tokensIssuedUpToMs?: number
}

export interface EndAnswer {
  readonly kind: 'ended' | 'late'
  readonly sessionCount: number
  /** The sockets that the sessions were attached to. */
  readonly fences: readonly string[]
}

export interface ForgetRequest {
  readonly userId: string
  /** As in `EndRequest`. */
  readonly tokensIssuedUpToMs: number
}

export interface RoomRequest {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string | null
  readonly room: string
}

export type RoomAnswer =
  | { readonly kind: 'done'; readonly session: SessionView }
  | { readonly kind: 'late' }
  | { readonly kind: 'unknown' }
  /** The session is in `BOUNDS.roomsPerSession` rooms. Nothing was written. */
  | { readonly kind: 'full' }

export interface SetUserRequest {
  readonly userId: string
  readonly settings?: Settings
  readonly profile?: Profile
  readonly seed?: UserSeed
}

export interface AdoptedUser {
  readonly userId: string
  readonly seed: UserSeed
  /** The public column: since when everyone has seen the user online. */
  readonly onlineSinceMs: number | null
  /** The open sessions; for an inherited user also those of its `startIds` that have ended. */
  readonly sessions: readonly SessionRow[]
  /** Sessions that started up to this moment were ended by `disconnectUser`. */
  readonly tokensValidAfterMs: number | null
  /** Set if the user has no row because they were forgotten: to be passed to `forget`, and not to `adopt`. */
  readonly isForgotten?: true
}

export interface InheritedUser {
  readonly userId: string
  /** The start ids of the sessions that the store has of the user. */
  readonly startIds: readonly string[]
}

export interface RenewRequest {
  readonly nodeId: string
  /** `lossCount` of the last answer that came through, 0 at first. */
  readonly seenLossCount: number
  /** `dismissalCount` of the last answer that came through, null at first. */
  readonly seenDismissalCount: number | null
  /** Whether the node has sockets whose session it has yet to attach again or to detach, after a loss. */
  readonly isReturning: boolean
}

export interface RenewAnswer {
  /** Attachments that the node lost since `seenLossCount`, oldest first. */
  readonly losses: readonly Loss[]
  /** The `seenLossCount` of the next renewal. */
  readonly lossCount: number
  /** Users who were dismissed since `seenDismissalCount`. `unknown`: more than the store keeps, or they were lost. */
  readonly dismissals: readonly Dismissal[] | 'unknown'
  /** The `seenDismissalCount` of the next renewal. */
  readonly dismissalCount: number
  /** Whether this node has to `adopt` what the database has open, and then to call `adopted`. */
  readonly mustAdopt: boolean
}

export interface Dismissal {
  readonly userId: string
  /** Sockets whose token is not younger have to go: epoch ms. */
  readonly issuedUpToMs: number
}

export interface Loss {
  readonly fence: string
  readonly cause: 'replaced' | 'reaped' | EndReason
}

export interface SweepAnswer {
  readonly count: number
  /** Whether the call stopped before all was done: call again soon. */
  readonly hasMore: boolean
  /** Whether the sweep itself came late, and put nobody offline. */
  readonly wasLate: boolean
}

export interface PageRequest {
  readonly room: string | null
  readonly first: number
  /** The id after which the page begins; that user need not be online. Null: at the start. */
  readonly after: string | null
}

export interface Page {
  readonly users: readonly PublicUser[]
  readonly hasMore: boolean
  readonly totalCount: number
  /** Every change up to this position is in the page. */
  readonly position: Position
}

export interface ChangeLog {
  position(): Promise<Position>

  /**
   * @param limit - the most entries to return
   * @returns `expired` if the log does not hold everything after `after`; else the entries after it, in order, and the
   *   position of the last one (`after` itself if there is none)
   */
  read(
    after: Position,
    limit: number,
  ): Promise<'expired' | { readonly entries: readonly LogEntry[]; readonly position: Position }>

  /**
   * Passes each entry to the listener once, in order, without a gap, from the next one on.
   *
   * @returns a function that ends the listening
   */
  listen(listener: ChangeListener): () => void
}

export interface ChangeListener {
  entry(entry: LogEntry, epoch: string): void
  /** The log was lost, or may have been: it continues after this position, and all others expired. */
  newEpoch(position: Position): void
}

export interface ViewerBell {
  /**
   * Names each user whose `ViewerState` changed, unless only `lastActiveAtMs` and `leaseEndsAtMs` changed; null if
   * names may have been lost, so that it can be anyone's.
   *
   * @returns a function that ends the listening
   */
  listen(listener: (userId: string | null) => void): () => void
}

export interface NodeBell {
  /** @returns a function that ends the listening */
  listen(listener: NodeListener): () => void
}

export interface NodeListener {
  /**
   * The node should call `renewNode` now: the answer has news (a dismissal, or a session on one of this node's sockets
   * that was ended by a request and not by its socket), or the store was out of reach until now.
   */
  news(): void
  /**
   * The live state was lost, or may have been, and is rebuilt. The node takes another id, attaches all of its
   * sessions again as comebacks, and then calls `announced`. Until all nodes have, reads throw `UNAVAILABLE`.
   */
  startAnew(): void
}

/** The records that the database has yet to receive, in order, kept until it has them. */
export interface RecordLog {
  /**
   * @param limit - the most records to return; fewer are returned if they are long
   * @returns the records after `afterSeq`, oldest first. `isGap`: some of them were lost, because more waited than
   *   the store keeps, or with the epoch, so the database has to be rebuilt from `snapshot`
   */
  read(afterSeq: number, limit: number): Promise<RecordBatch>

  /**
   * Reports that the records up to `seq` are in the database. A user without sessions and without unwritten records
   * leaves the store. The number of another epoch does nothing.
   */
  ack(epoch: string, seq: number): Promise<void>

  /**
   * The state of every user in the store, ordered by id, as records.
   *
   * @param after - the id after which to continue, null at first
   * @param limit - the most records to return; fewer are returned if they are long, and none only at the end
   */
  snapshot(after: string | null, limit: number): Promise<readonly PresenceRecord[]>

  /** Calls `bell` when there may be records to read. @returns a function that ends the listening */
  listen(bell: () => void): () => void
}

export interface RecordBatch {
  readonly epoch: string
  readonly records: readonly PresenceRecord[]
  readonly isGap: boolean
  /** The number of the newest record, for a reader that rebuilds the database. */
  readonly lastSeq: number
}
