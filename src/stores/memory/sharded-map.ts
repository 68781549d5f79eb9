/**
 * A map for very many entries. A Map copies all of its entries each time its size has doubled, which blocks the event
 * loop for 50 ms at half a million entries. This map consists of small Maps, and only one of them copies at a time.
 */
export interface ShardedMap<Value> {
  size(): number
  get(key: string): Value | undefined
  has(key: string): boolean
  set(key: string, value: Value): void
  delete(key: string): void
  entries(): Iterable<[key: string, value: Value]>
}

/** With a million entries each shard has four thousand, which it copies in a millisecond. */
export const SHARD_COUNT = 256

export function createShardedMap<Value>(): ShardedMap<Value> {
  const shards: Map<string, Value>[] = []
  let size = 0

  function shardOf(key: string): Map<string, Value> | undefined {
    return shards[shardNumber(key)]
  }

  return {
    size: () => size,
    get: (key) => shardOf(key)?.get(key),
    has: (key) => shardOf(key)?.has(key) === true,

    set(key, value) {
      const number = shardNumber(key)
      let shard = shards[number]
      if (shard === undefined) {
        shard = new Map()
        shards[number] = shard
      }
      const sizeBefore = shard.size
      shard.set(key, value)
      size += shard.size - sizeBefore
    },

    delete(key) {
      if (shardOf(key)?.delete(key) === true) size -= 1
    },

    *entries() {
      for (const shard of shards) if (shard !== undefined) yield* shard
    },
  }
}

/** FNV-1a. It spreads ids that differ in a single character, at any place. */
export function shardNumber(key: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < key.length; index += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193)
  }
  return (hash ^ (hash >>> 16)) & (SHARD_COUNT - 1)
}
