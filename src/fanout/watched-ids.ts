/** How many ids each user watches, in all watch lists that they have open here: each takes some 200 bytes. */
import type { ChangeFilter } from '../presence/changes.ts'
import { rateLimited } from '../presence/errors.ts'

/** A client that closes a list and opens the next may find the first one counted still. */
const RETRY_AFTER_MS = 1000

export interface WatchedIds {
  /**
   * Counts a list in.
   *
   * @returns counts it out again
   * @throws PresenceError `RATE_LIMITED`
   */
  add(userId: string, filter: ChangeFilter): () => void
}

/** @param most - ids of one user */
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
