/** The port of the fan-out, which follows the change log for the subscribers of this node. */
import type { Change, ChangeFilter } from './changes.ts'
import type { Position } from './position.ts'

/**
 * What one socket follows. It only knows its subscriptions, so that `positions` never runs ahead of one of them.
 * Server-sent events have none.
 */
export interface FeedGroup {
  readonly subscriptions: Set<{ writtenSeq(): number | null }>
}

/** Who follows, and pays for what is read for them. */
export interface Follower {
  readonly userId: string
  /**
   * @param units - of about a microsecond (src/server/limits/limits.ts)
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

/** Takes what one subscription brings, at the moment when it happens. */
export interface Outlet<Item> {
  /** Whether nothing may be written until it has drained. */
  isFull(): boolean
  /** What it throws ends the stream. */
  write(item: Item): void
  /** Calls back once, when it is not full any more. */
  onceDrained(resume: () => void): void
}

export type ChangeOutlet = Outlet<ChangeEvent>
/** Of payloads as JSON, in the form that its owner writes them in. */
export type PayloadOutlet = Outlet<string>

/** The changes of one subscription: read one by one, or flowing into an outlet. Either, not both. */
export interface ChangeStream extends AsyncIterableIterator<ChangeEvent> {
  return(): Promise<IteratorResult<ChangeEvent>>
  throw(error: unknown): Promise<IteratorResult<ChangeEvent>>
  /**
   * Hands each event to the outlet in the moment when it happens. While the outlet is full nothing is kept for it but
   * its place in the log.
   *
   * Resolves when the stream is ended.
   *
   * @throws PresenceError `POSITION_EXPIRED` where the log is lost, or what the outlet threw
   */
  flowInto(outlet: ChangeOutlet): Promise<void>
}

export interface ChangeFeed {
  /**
   * Follows the changes that the filter lets through: after a position, or from now on. A follower that does not
   * read is no burden: what it missed is read from the log later, merged to one change a user.
   *
   * Events that are the same for many followers are the same object, so that work on them can be shared.
   *
   * @param follower - whose watched ids are counted, and who pays for the log that is read for them
   * @throws PresenceError `POSITION_EXPIRED` at once, or from the stream where the log is lost; `RATE_LIMITED` where they
   *   watch too many ids
   */
  changes(
    filter: ChangeFilter,
    after: Position | null,
    group: FeedGroup | null,
    follower: Follower,
  ): Promise<ChangeStream>

  /** The number online now, and then whenever it changed, at most once a second. */
  counts(room: string | null): AsyncIterableIterator<CountEvent>

  /** Whenever the user's own view changed, at most once a second. */
  viewerTicks(userId: string): AsyncIterableIterator<string>

  /** Now and every ten seconds: up to where everything that the group's subscriptions had to get has been written. */
  positions(group: FeedGroup): AsyncIterableIterator<Position>
}
