/** Which subscriptions an entry may concern, so that a change costs those and not all that exist. */
import type { ChangeFilter } from '../presence/changes.ts'

export interface FilterIndex<Subscriber> {
  add(filter: ChangeFilter, subscriber: Subscriber): void
  remove(filter: ChangeFilter, subscriber: Subscriber): void
  everyone(): ReadonlySet<Subscriber>
  ofRoom(room: string): ReadonlySet<Subscriber>
  ofUser(userId: string): ReadonlySet<Subscriber>
  all(): Iterable<Subscriber>
}

export function createFilterIndex<Subscriber>(): FilterIndex<Subscriber> {
  const all = new Set<Subscriber>()
  const everyone = new Set<Subscriber>()
  const byRoom = new Map<string, Set<Subscriber>>()
  const byUser = new Map<string, Set<Subscriber>>()
  const nobody: ReadonlySet<Subscriber> = new Set()

  function addTo(map: Map<string, Set<Subscriber>>, key: string, subscriber: Subscriber): void {
    const set = map.get(key)
    if (set === undefined) map.set(key, new Set([subscriber]))
    else set.add(subscriber)
  }

  function removeFrom(map: Map<string, Set<Subscriber>>, key: string, subscriber: Subscriber): void {
    const set = map.get(key)
    set?.delete(subscriber)
    if (set?.size === 0) map.delete(key)
  }

  return {
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
    ofRoom: (room) => byRoom.get(room) ?? nobody,
    ofUser: (userId) => byUser.get(userId) ?? nobody,
    all: () => all,
  }
}
