/** Finds the subscriptions that an entry may concern, so that a change costs those and not all that exist. */
import { createHash } from 'node:crypto'
import type { ChangeFilter } from '../presence/changes.ts'

/** A filter as the index keeps it. */
export type IndexedFilter = Exclude<ChangeFilter, { kind: 'users' }> | UsersFilter

interface UsersFilter {
  readonly kind: 'users'
  readonly userIds: readonly string[]
  /** The same for the same ids, in any order. */
  readonly digest: string
}

export interface FilterIndex<Subscriber> {
  /**
   * Returns the same object for watch lists of the same ids, as a user's tabs and a team's members have them: such a
   * list is in memory once. An id that is in many lists is one string in memory.
   */
  keep(filter: ChangeFilter): IndexedFilter
  add(filter: IndexedFilter, subscriber: Subscriber): void
  remove(filter: IndexedFilter, subscriber: Subscriber): void
  everyone(): ReadonlySet<Subscriber>
  ofRoom(room: string): ReadonlySet<Subscriber>
  /** The `rooms` that have subscribers. The cost is that of the smaller of the two sets. */
  watchedRooms(rooms: Rooms): Iterable<string>
  ofUser(userId: string): Iterable<Subscriber>
  all(): Iterable<Subscriber>
}

/** Some rooms of a user. */
export interface Rooms extends Iterable<string> {
  readonly size: number
  has(room: string): boolean
}

interface Audience<Subscriber> {
  readonly key: string
  readonly subscribers: Set<Subscriber>
}

/** A watch list with one subscriber or many. */
interface WatchList<Subscriber> {
  readonly subscribers: Set<Subscriber>
}

export function createFilterIndex<Subscriber>(): FilterIndex<Subscriber> {
  const all = new Set<Subscriber>()
  const everyone = new Set<Subscriber>()
  const byRoom = new Map<string, Audience<Subscriber>>()
  const byUser = new Map<string, { readonly key: string; readonly lists: Set<WatchList<Subscriber>> }>()
  const lists = new Map<IndexedFilter, WatchList<Subscriber>>()
  const filtersByDigest = new Map<string, IndexedFilter>()
  const nobody: ReadonlySet<Subscriber> = new Set()

  function addTo(map: Map<string, Audience<Subscriber>>, key: string, subscriber: Subscriber): void {
    const audience = map.get(key)
    if (audience === undefined) map.set(key, { key, subscribers: new Set([subscriber]) })
    else audience.subscribers.add(subscriber)
  }

  function removeFrom(map: Map<string, Audience<Subscriber>>, key: string, subscriber: Subscriber): void {
    const subscribers = map.get(key)?.subscribers
    subscribers?.delete(subscriber)
    if (subscribers?.size === 0) map.delete(key)
  }

  function keepList(given: ReadonlySet<string>): IndexedFilter {
    const digest = createHash('sha256')
      .update(JSON.stringify([...given].sort()))
      .digest('base64')
    const known = filtersByDigest.get(digest)
    if (known !== undefined) return known
    const userIds = Array.from(given, (userId) => byUser.get(userId)?.key ?? userId)
    return { kind: 'users', userIds, digest }
  }

  function watch(filter: UsersFilter, subscriber: Subscriber): void {
    const list = lists.get(filter)
    if (list !== undefined) {
      list.subscribers.add(subscriber)
      return
    }
    const added: WatchList<Subscriber> = { subscribers: new Set([subscriber]) }
    lists.set(filter, added)
    filtersByDigest.set(filter.digest, filter)
    for (const userId of filter.userIds) {
      const ofUser = byUser.get(userId)
      if (ofUser === undefined) byUser.set(userId, { key: userId, lists: new Set([added]) })
      else ofUser.lists.add(added)
    }
  }

  function unwatch(filter: UsersFilter, subscriber: Subscriber): void {
    const list = lists.get(filter)
    list?.subscribers.delete(subscriber)
    if (list === undefined || list.subscribers.size > 0) return
    lists.delete(filter)
    // Two filters that began at the same moment may hold the same list.
    if (filtersByDigest.get(filter.digest) === filter) filtersByDigest.delete(filter.digest)
    for (const userId of filter.userIds) {
      const ofUser = byUser.get(userId)
      ofUser?.lists.delete(list)
      if (ofUser?.lists.size === 0) byUser.delete(userId)
    }
  }

  return {
    keep: (filter) => (filter.kind === 'users' ? keepList(filter.userIds) : filter),

    add(filter, subscriber) {
      all.add(subscriber)
      if (filter.kind === 'everyone') everyone.add(subscriber)
      else if (filter.kind === 'room') addTo(byRoom, filter.room, subscriber)
      else watch(filter, subscriber)
    },

    remove(filter, subscriber) {
      all.delete(subscriber)
      if (filter.kind === 'everyone') everyone.delete(subscriber)
      else if (filter.kind === 'room') removeFrom(byRoom, filter.room, subscriber)
      else unwatch(filter, subscriber)
    },

    everyone: () => everyone,
    ofRoom: (room) => byRoom.get(room)?.subscribers ?? nobody,

    *watchedRooms(rooms) {
      if (rooms.size <= byRoom.size) {
        for (const room of rooms) if (byRoom.has(room)) yield room
      } else {
        for (const room of byRoom.keys()) if (rooms.has(room)) yield room
      }
    },

    *ofUser(userId) {
      const ofUser = byUser.get(userId)
      if (ofUser !== undefined) for (const { subscribers } of ofUser.lists) yield* subscribers
    },

    all: () => all,
  }
}
