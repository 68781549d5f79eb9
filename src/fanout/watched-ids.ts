/** How many ids each user watches, in all watch lists open on this node: each id takes about 200 bytes. */
import type { ChangeFilter } from '../presence/changes.ts'
import { rateLimited } from '../presence/errors.ts'

/** A client may open a list while the one that it has just closed still counts. */
const RETRY_AFTER_MS = 1000

export interface WatchedIds {
  /**
   * Counts a new list.
   *
   * @returns a function that removes the list from the count
   * @throws PresenceError `RATE_LIMITED`
   */
  add(userId: string, filter: ChangeFilter): () => void
}

/** @param most - how many ids one user may watch */
export function createWatchedIds(most: number): WatchedIds {
  const counts = new Map<string, number>()

  return {
    add(userId, filter) {
      if (filter.kind !== 'users') return () => {}
      const added = filter.userIds.size
      const count = (counts.get(userId) ?? 0) + added
      if (count > most) throw rateLimited(`A user may watch ${most} ids at once, in all subscriptions.`, RETRY_AFTER_MS)
      counts.set(userId, count)
      return () => {
        const left = (counts.get(userId) ?? 0) - added
        if (left > 0) counts.set(userId, left)
        else counts.delete(userId)
      }
    },
  }
}
