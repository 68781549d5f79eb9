/** Which subscriptions an entry may concern, so that a change costs those and not all that exist. */
import type { ChangeFilter } from '../presence/changes.ts'

/** A filter as it is kept. */
export type KeptFilter =
  | Exclude<ChangeFilter, { kind: 'users' }>
  | { readonly kind: 'users'; readonly userIds: readonly string[] }

export interface FilterIndex<Subscriber> {
  /** Small: of the same id in ten thousand watch lists one is kept. */
  keep(filter: ChangeFilter): KeptFilter
  add(filter: KeptFilter, subscriber: Subscriber): void
  remove(filter: KeptFilter, subscriber: Subscriber): void
  everyone(): ReadonlySet<Subscriber>
  ofRoom(room: string): ReadonlySet<Subscriber>
  /** Those of `rooms` that have subscribers. Costs the smaller of the two. */
  watchedRooms(rooms: Rooms): Iterable<string>
  ofUser(userId: string): ReadonlySet<Subscriber>
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

export function createFilterIndex<Subscriber>(): FilterIndex<Subscriber> {
  const all = new Set<Subscriber>()
  const everyone = new Set<Subscriber>()
  const byRoom = new Map<string, Audience<Subscriber>>()
  const byUser = new Map<string, Audience<Subscriber>>()
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

  return {
    keep: (filter) =>
      filter.kind === 'users'
        ? { kind: 'users', userIds: Array.from(filter.userIds, (userId) => byUser.get(userId)?.key ?? userId) }
        : filter,

    add(filter, subscriber) {
      all.add(subscriber)
      if (filter.kind === 'everyone') everyone.add(subscriber)
      else if (filter.kind === 'room') addTo(byRoom, filter.room, subscriber)
      else for (const userId of filter.userIds) addTo(byUser, userId, subscriber)
    },

    remove(filter, subscriber) {
      all.delete(subscriber)
      if (filter.kind === 'everyone') everyone.delete(subscriber)
      else if (filter.kind === 'room') removeFrom(byRoom, filter.room, subscriber)
      else for (const userId of filter.userIds) removeFrom(byUser, userId, subscriber)
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

    ofUser: (userId) => byUser.get(userId)?.subscribers ?? nobody,
    all: () => all,
  }
}
