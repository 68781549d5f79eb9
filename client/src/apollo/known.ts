/**
 * What `followPresence` knows for each cache: the type policies keep it when an answer comes, which may be older.
 *
 * Merge functions of Apollo are told the old and the new value of a field, and not whose it is. So the id is put into the
 * field's storage when `followPresence` writes the user.
 */
import type { ApolloCache } from '@apollo/client'

export interface KnownOfCache {
  /** How many follow each user. */
  readonly users: Map<string, number>
  /** Who is online in each room that is followed, and how many follow it. */
  readonly lists: Map<string | null, { readonly ids: readonly string[]; readonly count: number }>
  /** Users whom an answer of the app's own wrote over, while nothing was known for certain. */
  readonly overwritten: Set<string>
  /** The user who is being written by `followPresence`. */
  writing: string | null
}

const caches = new WeakMap<ApolloCache, KnownOfCache>()

export function knownOf(cache: ApolloCache): KnownOfCache {
  let known = caches.get(cache)
  if (!known) {
    known = { users: new Map(), lists: new Map(), overwritten: new Set(), writing: null }
    caches.set(cache, known)
  }
  return known
}
