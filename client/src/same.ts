import type { Freshness, User } from './types.ts'

/** Whether nothing that is shown of a user changed: a row keeps its object, and is not rendered again. */
export function sameUser(one: User | null, other: User | null): boolean {
  if (one === other || !one || !other) return one === other
  const keys = Object.keys(other) as (keyof User)[]
  return keys.every((key) => one[key] === other[key])
}

/** @returns `previous` where it says the same */
export function keep<Snapshot extends Freshness>(previous: Snapshot | null, next: Snapshot): Snapshot {
  if (!previous) return next
  const keys = Object.keys(next) as (keyof Snapshot)[]
  return keys.every((key) => previous[key] === next[key]) ? previous : next
}
