/** The port of whoever follows the change log for the subscribers of this node. */
import type { Change, ChangeFilter } from './changes.ts'
import type { Position } from './position.ts'

/**
 * What one socket follows. It only knows its subscriptions, so that `positions` never runs ahead of one of them.
 * Server-sent events have none.
 */
export interface FeedGroup {
  readonly subscriptions: Set<{ writtenSeq(): number }>
}

export interface ChangeEvent {
  readonly change: Change
  readonly position: Position
}

export interface CountEvent {
  readonly room: string | null
  readonly count: number
}

export interface ChangeFeed {
  /**
   * Follows the changes that the filter lets through: after a position, or from now on. A follower that does not
   * read is no burden: what it missed is read from the log later, merged to one change a user.
   *
   * Events that are the same for many followers are the same object, so that work on them can be shared.
   *
   * @throws PresenceError `POSITION_EXPIRED` at once, or from the iterator where the log is lost
   */
  changes(
    filter: ChangeFilter,
    after: Position | null,
    group: FeedGroup | null,
  ): Promise<AsyncIterableIterator<ChangeEvent>>

  /** The number online now, and then whenever it changed, at most once a second. */
  counts(room: string | null): AsyncIterableIterator<CountEvent>

  /** Whenever the user's own view changed, at most once a second. */
  viewerTicks(userId: string): AsyncIterableIterator<string>

  /** Now and every ten seconds: up to where everything that the group's subscriptions had to get has been written. */
  positions(group: FeedGroup): AsyncIterableIterator<Position>
}
