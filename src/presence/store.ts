/**
 * The port of the live state: who is there now, and the log of what changed.
 *
 * Every method is atomic and resolves only when what it did is in the change log and in the records. An adapter can
 * be written from these comments, src/presence/rules.ts and tests/contract/presence-store.ts alone.
 *
 * What one caller asks for one user takes effect in the order in which it was asked, whether the answers before were
 * waited for or not: a heartbeat that a store gathers, or an attach that waits, is not overtaken.
 *
 * Moments are the store's own clock. No method takes a caller's wall clock: callers tell ages. What the store counts
 * (leases, idle times, the age of the log) no step of its clock moves; the moments that it tells follow a step, but
 * those of one user never go back. A moment of the future that is handed to it (of a seed, of what is adopted) is cut
 * to now.
 *
 * Every method throws PresenceError `UNAVAILABLE` where the store is out of reach; whether it took effect is then
 * unknown, and each may be called again with the same arguments: a second call has no second effect.
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
   * Starts a session, or hangs a live one on a socket (rules 4 and 6). The newest socket of a session owns it.
   *
   * With a socket it takes over from the user's session `default` (rule 7), where that lives by heartbeats over HTTP
   * and is not the very session: `default` ends in this step, with `TAKEN_OVER`, and nobody sees a change. A session
   * that starts in this step has its device and its rooms, where the request leaves them out.
   */
  attach(request: AttachRequest): Promise<AttachAnswer>

  /**
   * Takes the socket from its session, which stays live for its grace (rule 5). An old fence does nothing, but for the
   * one that `reapNodes` took from the session: until another socket or a heartbeat has it, its node may still tell how
   * the socket was lost, and the grace is that of the cause, from now.
   */
  detach(request: DetachRequest): Promise<void>

  /** Counts a proof of life: of the session always, of the user where `isActive` (rule 7). */
  beat(beat: Beat): Promise<BeatAnswer>

  /** Ends sessions at once. Ending what is not there succeeds and does nothing. */
  end(request: EndRequest): Promise<EndAnswer>

  /** Puts a session into a room, or takes it out. */
  join(request: RoomRequest): Promise<RoomAnswer>
  leave(request: RoomRequest): Promise<RoomAnswer>

  /**
   * Brings settings, a profile, or the row that an attach had to do without, to a live user. Settings are taken by
   * `newerSettings`; a profile that is not newer does nothing. Settings of a user who is not there are remembered for a
   * while (`SEED_MEMORY_MS`), so that an attach under way with a row that was read before does not win over them.
   *
   * @returns the settings that the store goes by now: those that were brought, unless it has newer ones. Null where it
   *   knows none. A request that brings nothing asks for them
   */
  setUser(request: SetUserRequest): Promise<Settings | null>

  /**
   * Users that this life of the state found in the store, from the life before it, and that have not been adopted yet.
   * They count as hidden until somebody confirms their settings: `adopt`, an attach with a seed, or `setUser`. For the
   * life before may have been an older copy, that lacks what they chose and how they left since.
   *
   * @returns at most so many, the same ones until they are adopted; none where all are
   */
  inherited(limit: number): Promise<readonly InheritedUser[]>

  /**
   * Takes over sessions that an earlier run left open, with the users' settings and profiles where they are newer.
   * Those that had a socket stay live for `RECONNECT_GRACE`, the others for `SESSION_TTL`. Who is not back by then
   * ends with `SERVER_RESTART` at their last activity. A session that is live already stays as it is. A `default`
   * that lived by heartbeats ends at once, with `TAKEN_OVER`, where a session of its user has a socket by then, or is
   * in the grace after one.
   *
   * Of an inherited user it also confirms the settings, those of the store where the row has none; takes the row's
   * activity where that is later; and ends each inherited session that the row says has ended, or that started before
   * `tokensValidAfterMs`, unless somebody has shown since that it lives.
   */
  adopt(users: readonly AdoptedUser[]): Promise<void>

  /** Everything that an earlier run left open has been adopted: `renewNode` asks no more. */
  adopted(): Promise<void>

  /** This process has attached all of its sessions again, after `NodeListener.startAnew`. */
  announced(): Promise<void>

  /**
   * Extends the lease of a node, by `NODE_TTL` from now. An attach of its socket does the same.
   *
   * A session that was reaped from the node is not ended while the node returns: from a renewal that says so, or that
   * is told of a reaped socket, until one that does not. If its grace runs out in that time, it gets `NODE_TTL` and
   * `RECONNECT_GRACE` from the last of these renewals.
   */
  renewNode(request: RenewRequest): Promise<RenewAnswer>

  /**
   * A node stops: its lease ends now. Where no other one holds, nobody sweeps from here on, so activity that waits for
   * `LAST_ACTIVE_FLUSH` is recorded at once. To be called again while `hasMore`.
   *
   * @param limit - at most so many users
   */
  endNode(nodeId: string, limit: number): Promise<Omit<SweepAnswer, 'wasLate'>>

  /** Lets the sockets of nodes whose lease passed go: each session falls to the whole `RECONNECT_GRACE`. */
  reapNodes(limit: number): Promise<SweepAnswer>

  /**
   * Handles passed deadlines: leases, users who fall away or idle, activity to be recorded. Costs as much as there are. If
   * the last sweep is further back than a sweep may be late, it puts nobody offline (rule 10).
   *
   * @param limit - at most so many users; fewer where the store works in this process, and others have waited for it
   *   long enough
   */
  sweep(limit: number): Promise<SweepAnswer>

  /** One page of who everyone sees online, ordered by the bytes of the id in UTF-8. Costs its length. */
  page(request: PageRequest): Promise<Page>

  /** How many everyone sees online, in all or in a room. Costs no scan. */
  count(room: string | null): Promise<number>

  /** @returns for each id what everyone sees of a user that the store knows, else null: then Postgres knows best */
  lookup(userIds: readonly string[]): Promise<readonly (PublicUser | null)[]>

  /** @returns `pending` while the user's settings are not known; null where the store does not know the user */
  viewer(userId: string): Promise<ViewerState | 'pending' | null>

  readonly changes: ChangeLog
  readonly viewers: ViewerBell
  readonly nodes: NodeBell
  readonly records: RecordLog
  /** Null where the store is this process's alone. */
  readonly budgets: SharedBudgets | null

  /** Why nothing can be asked just now, in a sentence for an operator; null where all is well. */
  trouble(): string | null

  /** What an operator watches. Costs no scan. */
  stats(): Promise<StoreStats>

  close(): Promise<void>
}

/** What callers have taken of the work that they may cause, at all processes together (docs/limits.md). */
export interface SharedBudgets {
  /** Adds what was taken here. @returns in how many ms the bucket of each caller is full again */
  take(taken: readonly TakenWork[]): Promise<readonly number[]>
}

/** What was taken from a bucket. */
export interface TakenWork {
  readonly key: string
  /** In how many ms it flows back. */
  readonly refillMs: number
  /** In how many ms a whole bucket does. */
  readonly burstMs: number
}

export interface StoreStats {
  /** Nodes whose lease holds. */
  readonly nodeCount: number
  readonly onlineCount: number
  readonly sessionCount: number
  readonly logCount: number
  /** By the adapter's own estimate; what `CHANGE_LOG_BYTES` bounds. */
  readonly logBytes: number
  readonly recordCount: number
  /** Lives of the live state that this process has seen. */
  readonly epochCount: number
  /** How often this process read changes that no message had brought it. */
  readonly gapFillCount: number
  /** How often this process found that it had missed messages. */
  readonly bellGapCount: number
  /** Sessions that this process took from nodes whose lease had passed. */
  readonly reapedCount: number
}

/** Records that wait, in bytes. A session in 100 rooms has 13 KB a record, and the database may be away for long. */
export const MAX_RECORD_BYTES = 128 * 1024 * 1024

/** How long `setUser` remembers settings of who is not there. Longer than any read of a row may take. */
export const SEED_MEMORY_MS = 30_000

export interface AttachRequest {
  readonly userId: string
  /** Null, without a fence only: `default`, unless one of the user's sessions has a socket or is in its grace. */
  readonly sessionId: string | null
  /** The socket, by a name never used twice; null for a session that lives by heartbeats over HTTP. */
  readonly fence: string | null
  /** The node that holds the socket; null without a fence. */
  readonly nodeId: string | null
  /** Whether starting counts as activity. Attaching a live session again never does. */
  readonly isActive: boolean
  /** Left out, a live session keeps its own. */
  readonly device?: string | null
  readonly rooms?: readonly string[]
  /** What the user's token says of them. */
  readonly profile: Profile | null
  /** The user's row. Null first: the store asks for it, by `unseeded`, where it needs it. */
  readonly seed: UserSeed | null
  /**
   * A node brings a socket back by itself (it was thought dead, or the store's state was lost). Null where a client
   * attaches.
   */
  readonly comeback: Comeback | null
  /**
   * A socket whose session went offline: it takes that session again only where its client came back by heartbeats
   * over HTTP. So the user is online, and the session itself lives by heartbeats. With `any`, a `default` will do
   * where the session is over: one that started after `goOffline` ended a session of the user the last time, while no
   * other session has a socket or is in the grace after one. Else it is answered `moved`. Left out: it is taken in any
   * case.
   */
  readonly onlyAfterBeats?: 'own' | 'any'
}

/**
 * Only a session that hangs on no socket is taken, or on the very one that comes back. If it has ended in between, it
 * starts with these ages, and with the device and the rooms of the request; a live one keeps its own, but for one that
 * a new life of the state kept, whose last changes may be lost.
 */
export interface Comeback {
  readonly startedForMs: number
  readonly lastActiveForMs: number
  /** Names that the socket had before, or may have had: of an attach, too, whose answer did not come. */
  readonly formerFences: readonly string[]
}

export type AttachAnswer =
  | {
      readonly kind: 'attached'
      /** Null where the beat behind it counted for the user alone (rule 7). */
      readonly session: SessionView | null
      /** Whether the session was live, on a socket or without one; else it started in this step. */
      readonly isResumed: boolean
      /** The fence of the socket that owned the session until now. */
      readonly replacedFence: string | null
      readonly lastActiveAtMs: number | null
      /** How long ago the session's last activity was; 0 without a session. A step of the clock is no part of it. */
      readonly lastActiveForMs: number
      /** The store's moment of this step. */
      readonly atMs: number
    }
  /** The store does not know the user: call again with a seed. Nothing was written. */
  | { readonly kind: 'unseeded' }
  /** All of `SESSIONS_PER_USER` have sockets. Nothing was written. */
  | { readonly kind: 'full' }
  /**
   * A comeback whose session hangs on another socket, a fence that was refused, or nothing to return to
   * (`onlyAfterBeats`). Nothing was written.
   */
  | { readonly kind: 'moved' }

export interface DetachRequest {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  readonly cause: DetachCause
  /** Since the last proof of life, by the node's monotonic clock. Counts for `silent` only. */
  readonly silentForMs: number
  /**
   * The answer to the attach of this fence did not come, so it may still be under way: should it come later, it is
   * refused. Left out: it was attached.
   */
  readonly isAttachUncertain?: boolean
}

export interface Beat {
  readonly userId: string
  /** Null, without a fence only: see `AttachRequest`. */
  readonly sessionId: string | null
  /** Null: over HTTP. Renews `SESSION_TTL` where no socket holds the session. */
  readonly fence: string | null
  readonly isActive: boolean
  readonly device?: string | null
  /** Replaces the session's rooms. Left out, it keeps them. */
  readonly rooms?: readonly string[]
  readonly profile: Profile | null
}

export type BeatAnswer =
  | {
      readonly kind: 'counted'
      /** Null where it counted for the user alone. */
      readonly session: SessionView | null
      /** Never goes back. */
      readonly lastActiveAtMs: number | null
    }
  /** An old fence. Nothing was written. */
  | { readonly kind: 'late' }
  /** No such session: `attach` starts it. Nothing was written. */
  | { readonly kind: 'unknown' }

export interface EndRequest {
  readonly userId: string
  /** Null: all of them. */
  readonly sessionId: string | null
  /** Where a socket speaks of its own session: then an old fence does nothing. Null else. */
  readonly fence: string | null
  readonly reason: EndReason
  /**
   * Every node is told that the user's sockets whose token is not younger have to go, those without a session too:
   * by `RenewAnswer.dismissals`.
   */
  readonly tokensIssuedUpToMs?: number
}

export interface EndAnswer {
  readonly kind: 'ended' | 'late'
  readonly sessionCount: number
  /** The sockets that the sessions hung on. */
  readonly fences: readonly string[]
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
  /** Those that are open, and of an inherited user those of its starts that have ended. */
  readonly sessions: readonly SessionRow[]
  /** Sessions that started up to this moment were ended by `disconnectUser`. */
  readonly tokensValidAfterMs: number | null
}

export interface InheritedUser {
  readonly userId: string
  /** Of the sessions that the store has of them. */
  readonly startIds: readonly string[]
}

export interface RenewRequest {
  readonly nodeId: string
  /** `lossCount` of the last answer that came through, 0 at first. */
  readonly seenLossCount: number
  /** `dismissalCount` of the last answer that came through, null at first. */
  readonly seenDismissalCount: number | null
  /** Whether it has sockets whose session it has to attach again, or to detach: what it lost it has not settled yet. */
  readonly isReturning: boolean
}

export interface RenewAnswer {
  /** Attachments of the node that it lost since `seenLossCount`, oldest first. */
  readonly losses: readonly Loss[]
  /** To be told at the next renewal. */
  readonly lossCount: number
  /** Users who were dismissed since `seenDismissalCount`. `unknown`: more than the store keeps, or they were lost. */
  readonly dismissals: readonly Dismissal[] | 'unknown'
  /** To be told at the next renewal. */
  readonly dismissalCount: number
  /** This node has to bring what the database has open, by `adopt`, and then to say `adopted`. */
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
  /** Whether it stopped before all was done: call again soon. */
  readonly hasMore: boolean
  /** Whether it came late itself, and judged nobody. */
  readonly wasLate: boolean
}

export interface PageRequest {
  readonly room: string | null
  readonly first: number
  /** The id after which the page begins; it need not be online. Null: at the start. */
  readonly after: string | null
}

export interface Page {
  readonly users: readonly PublicUser[]
  readonly hasMore: boolean
  readonly totalCount: number
  /** Everything up to it is in the page. */
  readonly position: Position
}

export interface ChangeLog {
  position(): Promise<Position>

  /**
   * @param limit - at most so many entries
   * @returns `expired` where the log does not hold everything after `after`, else what came after it, in order, and
   *   the position of the last one (`after` itself where there is none)
   */
  read(
    after: Position,
    limit: number,
  ): Promise<'expired' | { readonly entries: readonly LogEntry[]; readonly position: Position }>

  /**
   * Tells each entry once, in order, without a gap, from the next one on.
   *
   * @returns a function that ends it
   */
  listen(listener: ChangeListener): () => void
}

export interface ChangeListener {
  entry(entry: LogEntry, epoch: string): void
  /** The log was lost, or may have been: it goes on after this position, and all others expired. */
  newEpoch(position: Position): void
}

export interface ViewerBell {
  /**
   * Names each user whose `ViewerState` changed, but for `lastActiveAtMs` and `leaseEndsAtMs` alone; null where
   * names may have been lost, so that it can be anyone's.
   *
   * @returns a function that ends it
   */
  listen(listener: (userId: string | null) => void): () => void
}

export interface NodeBell {
  /** @returns a function that ends it */
  listen(listener: NodeListener): () => void
}

export interface NodeListener {
  /**
   * `renewNode` should not wait for its time: it has something to tell (a dismissal, or a session on one of this node's
   * sockets that was ended by a request and not by its socket), or the store was out of reach until now.
   */
  news(): void
  /**
   * The live state was lost, or may have been, and is rebuilt. The node takes another id, attaches all of its
   * sessions again as comebacks, and then says `announced`. Until all have, reads throw `UNAVAILABLE`.
   */
  startAnew(): void
}

/** What the database has to learn, in order, kept until it has. */
export interface RecordLog {
  /**
   * @param limit - at most so many; fewer where they are long
   * @returns the records after `afterSeq`, oldest first. `isGap`: some of them were lost, because more waited than
   *   the store keeps, or with the epoch: the database has to be rebuilt from `snapshot`
   */
  read(afterSeq: number, limit: number): Promise<RecordBatch>

  /**
   * Records up to this one are in the database. A user without sessions and without unwritten records leaves the store. The
   * number of another epoch does nothing.
   */
  ack(epoch: string, seq: number): Promise<void>

  /**
   * The state of every user in the store, ordered by id, as records.
   *
   * @param after - the id after which to go on, null at first
   * @param limit - at most so many; fewer where they are long, and none only at the end
   */
  snapshot(after: string | null, limit: number): Promise<readonly PresenceRecord[]>

  /** Rings when there may be something to read. @returns a function that ends it */
  listen(bell: () => void): () => void
}

export interface RecordBatch {
  readonly epoch: string
  readonly records: readonly PresenceRecord[]
  readonly isGap: boolean
  /** The number of the newest record, for a reader that rebuilds the database. */
  readonly lastSeq: number
}
