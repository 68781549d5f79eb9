import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createFilterIndex, type Rooms } from '../../src/fanout/filter-index.ts'

const room = fc.integer({ min: 0, max: 30 }).map((number) => `room-${number}`)

/** Rooms that count what is asked of them. */
function counted(names: readonly string[]): { readonly rooms: Rooms; lookCount(): number } {
  const set = new Set(names)
  let lookCount = 0
  return {
    lookCount: () => lookCount,
    rooms: {
      size: set.size,
      has(name) {
        lookCount += 1
        return set.has(name)
      },
      *[Symbol.iterator]() {
        for (const name of set) {
          lookCount += 1
          yield name
        }
      },
    },
  }
}

function indexOf(names: readonly string[]) {
  const index = createFilterIndex<number>()
  for (const [number, name] of names.entries()) index.add({ kind: 'room', room: name }, number)
  return index
}

const many = Array.from({ length: 5000 }, (_, number) => `room-${number}`)

describe('the rooms of a user that have subscribers', () => {
  it('are those of the user that are subscribed to', () => {
    fc.assert(
      fc.property(fc.array(room), fc.array(room), (subscribed, ofUser) => {
        const watched = [...indexOf(subscribed).watchedRooms(new Set(ofUser))]
        expect(watched.sort()).toEqual([...new Set(ofUser)].filter((name) => subscribed.includes(name)).sort())
      }),
    )
  })

  it('cost a look at each room with subscribers, where the user is in more', () => {
    const { rooms, lookCount } = counted(many)
    expect([...indexOf(['room-7', 'another', 'room-4999']).watchedRooms(rooms)]).toEqual(['room-7', 'room-4999'])
    expect(lookCount()).toBe(3)
  })

  it('cost a look at each room of the user, where more have subscribers', () => {
    const { rooms, lookCount } = counted(['room-7', 'another'])
    expect([...indexOf(many).watchedRooms(rooms)]).toEqual(['room-7'])
    expect(lookCount()).toBe(2)
  })
})

describe('watch lists', () => {
  const users = (...userIds: string[]) => ({ kind: 'users', userIds: new Set(userIds) }) as const

  it('of the same ids are one object, until the last of their subscribers has left', () => {
    const index = createFilterIndex<string>()
    const first = index.keep(users('a', 'b'))
    index.add(first, 'one')
    const second = index.keep(users('b', 'a'))
    expect(second).toBe(first)
    index.add(second, 'two')
    expect([...index.ofUser('a')].sort()).toEqual(['one', 'two'])
    index.remove(first, 'one')
    expect([...index.ofUser('b')]).toEqual(['two'])
    index.remove(second, 'two')
    expect([...index.ofUser('a'), ...index.all()]).toEqual([])
    expect(index.keep(users('a', 'b'))).not.toBe(first)
  })

  it('find the subscribers of each id, whatever lists come and go', () => {
    const list = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1 })
    const step = fc.record({ subscriber: fc.integer({ min: 0, max: 9 }), list })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const index = createFilterIndex<number>()
        const watching = new Map<number, { ids: readonly string[]; filter: ReturnType<typeof index.keep> }>()
        for (const { subscriber, list: ids } of steps) {
          const before = watching.get(subscriber)
          if (before === undefined) {
            const filter = index.keep(users(...ids))
            index.add(filter, subscriber)
            watching.set(subscriber, { ids, filter })
          } else {
            index.remove(before.filter, subscriber)
            watching.delete(subscriber)
          }
          for (const id of ['a', 'b', 'c', 'd']) {
            const expected = [...watching].filter(([, one]) => one.ids.includes(id)).map(([number]) => number)
            expect([...index.ofUser(id)].sort()).toEqual(expected.sort())
          }
        }
      }),
    )
  })
})
