/** Token expiries in buckets of one second, so that a check costs only the expired tokens. */

export interface Expiries<Item> {
  /** @param atMs - epoch ms by the wall clock, as in tokens */
  add(item: Item, atMs: number): void
  remove(item: Item): void
  /** Expired items, each removed when it is yielded. */
  due(nowMs: number): Iterable<Item>
}

export function createExpiries<Item>(): Expiries<Item> {
  const buckets = new Map<number, Set<Item>>()
  const secondOf = new Map<Item, number>()
  let checkedSecond: number | null = null

  function remove(item: Item): void {
    const second = secondOf.get(item)
    if (second === undefined) return
    secondOf.delete(item)
    const bucket = buckets.get(second)
    bucket?.delete(item)
    if (bucket?.size === 0) buckets.delete(second)
  }

  return {
    add(item, atMs) {
      // Never into a second that has been checked already.
      const second = Math.max(Math.ceil(atMs / 1000), (checkedSecond ?? 0) + 1)
      secondOf.set(item, second)
      const bucket = buckets.get(second)
      if (bucket === undefined) buckets.set(second, new Set([item]))
      else bucket.add(item)
    },

    remove,

    *due(nowMs) {
      const nowSecond = Math.floor(nowMs / 1000)
      // A clock that is set forward skips many seconds: then there are fewer buckets than seconds.
      const due =
        checkedSecond !== null && nowSecond - checkedSecond <= buckets.size
          ? Array.from(
              { length: Math.max(0, nowSecond - checkedSecond) },
              (_, index) => Number(checkedSecond) + 1 + index,
            )
          : [...buckets.keys()].filter((second) => second <= nowSecond)
      // This also goes back, if the clock was ahead for a while: new items must not wait until it has caught up.
      checkedSecond = nowSecond
      for (const second of due) {
        for (const item of buckets.get(second) ?? []) {
          remove(item)
          yield item
        }
      }
    },
  }
}
