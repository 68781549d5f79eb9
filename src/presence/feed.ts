/** The port of the fan-out, which follows the change log for the subscribers of this node. */
import type { Change, ChangeFilter } from './changes.ts'
import type { Position } from './position.ts'

/**
 * The subscriptions of one socket, or that of one event stream. The group knows only these, so that `positions` never
 * runs ahead of any of them.
 */
export interface FeedGroup {
  readonly subscriptions: Set<{ writtenSeq(): number | null }>
}

/** The user who follows, and pays for what is read for them. */
export interface Follower {
  readonly userId: string
  /**
   * @param units - units of about a microsecond (src/server/limits/limits.ts)
   * @throws PresenceError `RATE_LIMITED`
   */
  charge(units: number): void
}

export interface ChangeEvent {
  readonly change: Change
  readonly position: Position
}

export interface CountEvent {
  readonly room: string | null
  readonly count: number
}

/** Receives the items of one subscription as they happen. */
export interface Outlet<Item> {
  /** Whether nothing may be written until the outlet has drained. */
  isFull(): boolean
  /** Writes an item. An error that `write` throws ends the stream. */
  write(item: Item): void
  /** Calls `resume` once, when the outlet is no longer full. */
  onceDrained(resume: () => void): void
}

export type ChangeOutlet = Outlet<ChangeEvent>
/** An outlet of JSON payloads, in the form in which its owner writes them. */
export type PayloadOutlet = Outlet<string>

/** The changes of one subscription: either read one by one, or flowing into an outlet, not both. */
export interface ChangeStream extends AsyncIterableIterator<ChangeEvent> {
  return(): Promise<IteratorResult<ChangeEvent>>
  throw(error: unknown): Promise<IteratorResult<ChangeEvent>>
  /**
   * Writes each event to the outlet as it happens. While the outlet is full, only its place in the log is kept for it.
   *
   * Resolves when the stream has ended.
   *
   * @throws PresenceError `POSITION_EXPIRED` if the log is lost; else the error that the outlet threw
   */
  flowInto(outlet: ChangeOutlet): Promise<void>
}

export interface ChangeFeed {
  /**
   * Follows the changes that pass the filter: after a position, or from now on. A follower that does not read is no
   * burden: the changes that it missed are read from the log later, merged into one change per user.
   *
   * An event that is the same for many followers is one shared object, so that work on it can be shared.
   *
   * @param follower - the user whose watched ids are counted, and who pays for the log that is read for them
   * @throws PresenceError `POSITION_EXPIRED` at once, or from the stream if the log is lost; `RATE_LIMITED` if the
   *   follower watches too many ids
   */
  changes(filter: ChangeFilter, after: Position | null, group: FeedGroup, follower: Follower): Promise<ChangeStream>

  /** Yields the number of users online now, and again whenever it has changed, at most once a second. */
  counts(room: string | null): AsyncIterableIterator<CountEvent>

  /** Yields whenever the user's own view has changed, at most once a second. */
  viewerTicks(userId: string): AsyncIterableIterator<string>

  /**
   * Yields the position up to which all of the group's subscriptions have been written: as soon as they have caught up
   * with what is known now, and every ten seconds.
   */
  positions(group: FeedGroup): AsyncIterableIterator<Position>

  /** The same at this moment; null if it is not known, because a log is lost. */
  reached(group: FeedGroup): Position | null
}
