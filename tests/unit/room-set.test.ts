import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { RoomSet } from '../../src/presence/room-set.ts'

const room = fc.integer({ min: 0, max: 60 }).map((number) => `room-${number}`)
const changes = fc.record({ added: fc.array(room, { maxLength: 40 }), removed: fc.array(room, { maxLength: 40 }) })

describe('a set of rooms', () => {
  it('has what a Set would have after any changes, and leaves every set that it came from as it was', () => {
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 30 }), (history) => {
        const sets: { readonly rooms: RoomSet; readonly expected: readonly string[] }[] = []
        const expected = new Set<string>()
        let rooms = RoomSet.empty
        for (const { added, removed } of history) {
          const former = [...expected].sort()
          for (const one of added) expected.add(one)
          for (const one of removed) expected.delete(one)
          const changed = rooms.changed({ added, removed })
          const now = [...expected].sort()
          if (changed === rooms) expect(now).toEqual(former)
          rooms = changed
          sets.push({ rooms, expected: now })
        }
        for (const { rooms, expected } of sets) {
          expect([...rooms].sort()).toEqual(expected)
          expect(rooms.size).toBe(expected.length)
          for (let number = 0; number <= 60; number += 1) {
            expect(rooms.has(`room-${number}`)).toBe(expected.includes(`room-${number}`))
          }
        }
      }),
    )
  })

  it('is itself where nothing changes', () => {
    for (const size of [0, 1, 16, 17, 100]) {
      const names = Array.from({ length: size }, (_, index) => `room-${index}`)
      const rooms = RoomSet.of(names)
      expect(rooms.changed({ added: names, removed: ['another'] })).toBe(rooms)
    }
    expect(RoomSet.of(['hall']).changed({ added: [], removed: ['hall'] })).toBe(RoomSet.empty)
  })
})
