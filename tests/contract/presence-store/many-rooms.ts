/** Users in hundreds of rooms: every entry says where they were and are, whatever happened between two of them. */
import { describe, expect } from 'vitest'
import { mergedChanges } from '../../../src/presence/changes.ts'
import type { LogEntry } from '../../../src/presence/model.ts'
import type { Position } from '../../../src/presence/position.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import {
  acknowledge,
  beat,
  connect,
  eventually,
  goOffline,
  type Harness,
  type Rule,
  type Socket,
  VISIBLE,
} from './harness.ts'

const PREFIX = 'long '.repeat(20)
const roomsFrom = (first: number, count = 100): readonly string[] =>
  Array.from({ length: count }, (_, index) => `${PREFIX}${first + index}`)

/** What everyone should see of one user. */
interface Sight {
  readonly isOnline: boolean
  readonly rooms: readonly string[]
}

const sightOf = ({ user, rooms }: LogEntry['before']): Sight => ({ isOnline: user.isOnline, rooms: [...rooms].sort() })

export function describeManyRooms(rule: Rule): void {
  describe('a user in hundreds of rooms', () => {
    rule('has the right rooms in every entry, as heard and as read later', async (harness) => {
      const { store } = harness
      const history = await follow(harness)
      for (const step of stepsOf(store)) await history.after(step)
      await history.expectAll()
    })

    rule('makes no change in a room that the user was not in', async (harness) => {
      const { store } = harness
      const start = await store.changes.position()
      for (const step of stepsOf(store)) await step.run()
      const { entries } = await read(store, start, 1000)
      const known = new Set(stepsOf(store).flatMap(({ rooms }) => rooms))
      expect(known.size).toBeGreaterThan(200)
      for (const room of [...[...known].slice(0, 30), ...[...known].slice(-30), 'a room of nobody']) {
        for (const entry of entries) {
          const isConcerned = entry.before.rooms.has(room) || entry.after.rooms.has(room)
          if (isConcerned) continue
          expect(mergedChanges([entry], { kind: 'room', room }, { mayHaveSeenLater: true })).toEqual([])
        }
        const wasEverIn = entries.some(({ before, after }) => before.rooms.has(room) || after.rooms.has(room))
        expect(mergedChanges(entries, { kind: 'room', room }, { mayHaveSeenLater: true })).toHaveLength(
          wasEverIn ? 1 : 0,
        )
      }
    })

    rule('has the right rooms after the user left the store and came back in a few', async (harness) => {
      const { store } = harness
      const history = await follow(harness)
      const sockets: Socket[] = []
      const bigRooms = roomsFrom(0)
      await history.after({
        run: async () => void sockets.push(await connect(store, 'alice', { rooms: bigRooms })),
        rooms: bigRooms,
      })
      await history.after({ run: () => show(store, 2, 'NOBODY'), rooms: [], isHidden: true })
      await history.after({ run: () => goOffline(store, 'alice'), rooms: [], isHidden: true })
      await acknowledge(store, (await store.records.read(0, 1)).lastSeq)
      expect(await store.viewer('alice')).toBeNull()
      for (const rooms of [['hall'], roomsFrom(50), ['hall']]) {
        await history.after({ run: () => connect(store, 'alice', { sessionId: 'again', rooms }), rooms })
        await history.after({ run: () => goOffline(store, 'alice'), rooms: [], isOffline: true })
        await acknowledge(store, (await store.records.read(0, 1)).lastSeq)
      }
      await history.expectAll()
    })
  })
}

interface Step {
  run(): Promise<unknown>
  /** In which everyone sees the user after it. */
  readonly rooms: readonly string[]
  readonly isHidden?: boolean
  readonly isOffline?: boolean
}

function show(store: PresenceStore, version: number, visibility: 'EVERYONE' | 'NOBODY', message: string | null = null) {
  return store.setUser({
    userId: 'alice',
    settings: { ...VISIBLE, version, visibility, statusMessage: message },
  })
}

/** Sessions that overlap, rooms that come and go in sight and in hiding, all ending and beginning again. */
function stepsOf(store: PresenceStore): readonly Step[] {
  const [one, two, three] = [roomsFrom(0), roomsFrom(50), roomsFrom(200)] as const
  const sockets = new Map<string, Socket>()
  const socket = (id: string): Socket => sockets.get(id) as Socket
  const enter = (id: string, rooms: readonly string[]) => async () =>
    void sockets.set(id, await connect(store, 'alice', { sessionId: id, rooms }))
  const union = (...lists: readonly (readonly string[])[]): readonly string[] => [...new Set(lists.flat())]
  const all = union(one, two, three)
  const last = String(three.at(-1))
  const shared = String(one.at(-1))
  const steps: Step[] = [
    { run: enter('one', one), rooms: one },
    { run: enter('two', two), rooms: union(one, two) },
    { run: enter('three', three), rooms: all },
    // Another session is in it as well.
    { run: () => store.leave({ ...socket('one'), room: shared }), rooms: all },
    { run: () => store.leave({ ...socket('three'), room: last }), rooms: all.filter((room) => room !== last) },
    { run: () => show(store, 2, 'EVERYONE', 'here'), rooms: all.filter((room) => room !== last) },
    { run: () => store.join({ ...socket('three'), room: last }), rooms: all },
    { run: () => show(store, 3, 'NOBODY', 'here'), rooms: [], isHidden: true },
    { run: () => show(store, 4, 'EVERYONE', 'here'), rooms: all },
    { run: () => show(store, 5, 'NOBODY', 'here'), rooms: [], isHidden: true },
    { run: () => store.leave({ ...socket('two'), room: shared }), rooms: [], isHidden: true },
    { run: () => store.leave({ ...socket('three'), room: last }), rooms: [], isHidden: true },
    { run: () => store.join({ ...socket('three'), room: last }), rooms: [], isHidden: true },
    { run: () => store.join({ ...socket('two'), room: 'hall' }), rooms: [], isHidden: true },
  ]
  const later = [...all.filter((room) => room !== shared), 'hall']
  steps.push(
    { run: () => show(store, 6, 'EVERYONE', 'there'), rooms: later },
    {
      run: () => beat(store, socket('three'), { rooms: ['hall'] }),
      rooms: later.filter((room) => !three.includes(room)),
    },
    { run: () => beat(store, socket('three'), { rooms: three }), rooms: later },
    { run: () => goOffline(store, 'alice', 'three'), rooms: later.filter((room) => !three.includes(room)) },
    { run: () => goOffline(store, 'alice'), rooms: [], isOffline: true },
    { run: enter('four', ['hall']), rooms: ['hall'] },
    { run: () => beat(store, socket('four'), { rooms: two }), rooms: two },
    { run: () => beat(store, socket('four'), { rooms: ['hall'] }), rooms: ['hall'] },
  )
  return steps
}

async function read(store: PresenceStore, after: Position, limit: number) {
  const answer = await store.changes.read(after, limit)
  if (answer === 'expired') throw new Error('Expected the log to reach back.')
  return answer
}

/** Holds what is heard, and what is read from every position later, against what each step should have shown. */
async function follow({ store, pass }: Harness) {
  const heard: LogEntry[] = []
  store.changes.listen({
    entry: (entry) => void heard.push(entry),
    newEpoch() {
      throw new Error('Expected the log to last.')
    },
  })
  const positions = [await store.changes.position()]
  const expected: { readonly before: Sight; readonly after: Sight }[] = []
  let current: Sight = { isOnline: false, rooms: [] }

  async function sightsAfter(start: Position, limit: number) {
    const entries: LogEntry[] = []
    for (let position = start; ; ) {
      const answer = await read(store, position, limit)
      if (answer.entries.length === 0) break
      entries.push(...answer.entries)
      position = answer.position
    }
    return entries
  }

  return {
    async after({ run, rooms, isHidden = false, isOffline = false }: Step): Promise<void> {
      await run()
      const before = current
      current = { isOnline: !isHidden && !isOffline, rooms: [...rooms].sort() }
      const position = await store.changes.position()
      const last = positions.at(-1) as Position
      if (position.seq === last.seq) {
        // Nobody saw anything of it.
        expect(current).toEqual(before)
        return
      }
      expect(position.seq).toBe(last.seq + 1)
      positions.push(position)
      expected.push({ before, after: current })
      const { entries } = await read(store, last, 10)
      expect(entries.map(({ before, after }) => ({ before: sightOf(before), after: sightOf(after) }))).toEqual([
        { before, after: current },
      ])
      for (const room of [...before.rooms, ...current.rooms].slice(0, 3)) {
        expect(await store.count(room)).toBe(current.rooms.includes(room) ? 1 : 0)
      }
    },

    async expectAll(): Promise<void> {
      const sights = (entries: readonly LogEntry[]) =>
        entries.map(({ before, after }) => ({ before: sightOf(before), after: sightOf(after) }))
      await eventually(pass, () => expect(heard).toHaveLength(expected.length))
      expect(sights(heard)).toEqual(expected)
      for (const { before, after, movedRooms } of heard) {
        const isMoved = (room: string): boolean => before.rooms.has(room) !== after.rooms.has(room)
        expect([...movedRooms].sort()).toEqual([...new Set([...before.rooms, ...after.rooms])].filter(isMoved).sort())
      }
      for (const [index, position] of positions.entries()) {
        for (const limit of [1, 3, 1000]) {
          expect(sights(await sightsAfter(position, limit))).toEqual(expected.slice(index))
        }
      }
    },
  }
}
