import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createShardedMap, SHARD_COUNT, shardNumber } from '../../src/stores/memory/sharded-map.ts'

describe('a map in shards', () => {
  it('answers as a Map does', () => {
    const key = fc.constantFrom('', 'a', 'b', 'ab', 'ba', 'constructor', '\u{1f600}')
    const step = fc.record({ does: fc.constantFrom('set', 'delete'), key, value: fc.nat() })
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const map = new Map<string, number>()
        const sharded = createShardedMap<number>()
        for (const { does, key: of, value } of steps) {
          if (does === 'set') {
            map.set(of, value)
            sharded.set(of, value)
          } else {
            map.delete(of)
            sharded.delete(of)
          }
          expect([sharded.size(), sharded.get(of), sharded.has(of)]).toEqual([map.size, map.get(of), map.has(of)])
        }
        expect(new Map(sharded.entries())).toEqual(map)
      }),
    )
  })

  it.each([
    ['UUIDs', () => randomUUID()],
    ['numbers', (index: number) => String(index)],
    ['numbers before a long name', (index: number) => `${index}@presence.example.com`],
    ['numbers after a long name', (index: number) => `presence.example.com/users/${String(index).padStart(12, '0')}`],
  ])('spreads %s', (_, idOf) => {
    const counts = new Map<number, number>()
    for (let index = 0; index < 400 * SHARD_COUNT; index += 1) {
      const number = shardNumber(idOf(index))
      counts.set(number, (counts.get(number) ?? 0) + 1)
    }
    expect(counts.size).toBe(SHARD_COUNT)
    expect(Math.max(...counts.values())).toBeLessThan(600)
  })
})
