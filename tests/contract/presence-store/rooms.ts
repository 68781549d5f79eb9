/** Rooms: named sets of sessions, each with changes of its own. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { BOUNDS } from '../../../src/presence/bounds.ts'
import { changeOf } from '../../../src/presence/changes.ts'
import type { LogEntry } from '../../../src/presence/model.ts'
import {
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  goOffline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  seedOf,
  sessionOf,
  VISIBLE,
} from './harness.ts'

function kindIn(room: string | null, entry: LogEntry | undefined) {
  if (entry === undefined) throw new Error('Expected an entry.')
  return changeOf(entry, room === null ? { kind: 'everyone' } : { kind: 'room', room })?.kind ?? null
}

export function describeRooms(rule: Rule): void {
  describe('a room', () => {
    rule('is joined and left by a session, as a change of the room only', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const mark = await markOf(store)
      const joined = await store.join({ ...socket, room: 'hall' })
      expect(joined).toMatchObject({ kind: 'done', session: { id: socket.sessionId, rooms: ['hall'] } })
      expect([await onlineIds(store, 'hall'), await store.count('hall')]).toEqual([['alice'], 1])

      const left = await store.leave({ ...socket, room: 'hall' })
      expect(left).toMatchObject({ kind: 'done', session: { rooms: [] } })
      expect([await onlineIds(store, 'hall'), await store.count('hall')]).toEqual([[], 0])
      expect(await onlineIds(store)).toEqual(['alice'])

      const [entering, leaving, ...others] = await mark.changes()
      expect(others).toEqual([])
      expect([kindIn('hall', entering), kindIn(null, entering), kindIn('bar', entering)]).toEqual(['JOIN', null, null])
      expect([kindIn('hall', leaving), kindIn(null, leaving), kindIn('bar', leaving)]).toEqual(['LEAVE', null, null])
    })

    rule('may be joined and left over HTTP, for a session that a socket holds too', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const sessionId = randomUUID()
      await beatOverHttp(store, 'bob', sessionId)
      const overHttp = { fence: null, room: 'hall' }
      expect(await store.join({ ...socket, ...overHttp })).toMatchObject({ kind: 'done' })
      expect(await store.join({ userId: 'bob', sessionId, ...overHttp })).toMatchObject({ kind: 'done' })
      expect(await onlineIds(store, 'hall')).toEqual(['alice', 'bob'])
      expect(await store.leave({ ...socket, ...overHttp })).toMatchObject({ kind: 'done' })
      expect(await onlineIds(store, 'hall')).toEqual(['bob'])
    })

    rule('is unknown to a session that is not there', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const nobody = { userId: 'alice', sessionId: randomUUID(), fence: null, room: 'hall' }
      expect(await store.join(nobody)).toEqual({ kind: 'unknown' })
      expect(await store.leave({ ...nobody, userId: 'bob' })).toEqual({ kind: 'unknown' })
      await goOffline(store, 'alice')
      expect(await store.join({ ...socket, fence: null, room: 'hall' })).toEqual({ kind: 'unknown' })
    })

    rule('joined twice or left twice is one change', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const mark = await markOf(store)
      await store.join({ ...socket, room: 'hall' })
      expect(await store.join({ ...socket, room: 'hall' })).toMatchObject({
        kind: 'done',
        session: { rooms: ['hall'] },
      })
      await store.leave({ ...socket, room: 'hall' })
      expect(await store.leave({ ...socket, room: 'hall' })).toMatchObject({ kind: 'done', session: { rooms: [] } })
      expect(await mark.changes()).toHaveLength(2)
      expect(await mark.records()).toHaveLength(2)
    })

    rule('holds a user once, while one of several sessions is in it', async ({ store }) => {
      const first = await connect(store, 'alice', { rooms: ['hall'] })
      const second = await connect(store, 'alice')
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        await store.join({ ...second, room: 'hall' })
        await store.leave({ ...first, room: 'hall' })
      })
      expect([await onlineIds(store, 'hall'), await store.count('hall')]).toEqual([['alice'], 1])
      await store.leave({ ...second, room: 'hall' })
      expect(await store.count('hall')).toBe(0)
    })

    rule(
      'is left when its only session ends, though the user stays online',
      { closeGraceMs: 100 },
      async ({ store, pass }) => {
        const first = await connect(store, 'alice', { rooms: ['hall', 'bar'] })
        await connect(store, 'alice', { rooms: ['bar'] })
        const mark = await markOf(store)
        await detach(store, first)
        await pass(300)
        const [entry, ...others] = await mark.changes()
        expect(others).toEqual([])
        expect([kindIn('hall', entry), kindIn('bar', entry), kindIn(null, entry)]).toEqual(['LEAVE', null, null])
        expect([await store.count('hall'), await store.count('bar')]).toEqual([0, 1])
      },
    )

    rule('is one log entry a step, whatever number of rooms it is a change in', async ({ store }) => {
      const mark = await markOf(store)
      const socket = await connect(store, 'alice', { rooms: ['a', 'b', 'c'] })
      await beat(store, socket, { rooms: ['c', 'd', 'e'] })
      await goOffline(store, 'alice')
      const entries = await mark.changes()
      expect(entries.map((entry) => ['a', 'b', 'c', 'd', null].map((room) => kindIn(room, entry)))).toEqual([
        ['JOIN', 'JOIN', 'JOIN', null, 'JOIN'],
        ['LEAVE', 'LEAVE', null, 'JOIN', null],
        [null, null, 'LEAVE', 'LEAVE', 'LEAVE'],
      ])
    })

    rule('sees a status change of who is in it as an update', async ({ store }) => {
      await connect(store, 'alice', { rooms: ['hall'] })
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      const [entry, ...others] = await mark.changes()
      expect(others).toEqual([])
      expect([kindIn('hall', entry), kindIn(null, entry), kindIn('bar', entry)]).toEqual(['UPDATE', 'UPDATE', null])
    })

    rule('shows nobody who hides, and who comes back is in it again', async ({ store }) => {
      const socket = await connect(store, 'alice', {
        seed: seedOf({ ...VISIBLE, visibility: 'NOBODY' }),
        rooms: ['hall'],
      })
      await expectNothingShown(store, ['alice'], ['hall', 'bar'], () => store.join({ ...socket, room: 'bar' }))
      expect(await store.count('hall')).toBe(0)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2 } })
      expect([await onlineIds(store, 'hall'), await onlineIds(store, 'bar')]).toEqual([['alice'], ['alice']])
    })

    rule('replaced by a heartbeat with the same rooms is no change and no record', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['a', 'b'] })
      const mark = await markOf(store)
      await beat(store, socket, { rooms: ['b', 'a'], isActive: false })
      await beat(store, socket, { isActive: false })
      expect([await mark.changes(), await mark.records()]).toEqual([[], []])
      await beat(store, socket, { rooms: [] })
      expect(await sessionOf(store, socket)).toMatchObject({ rooms: [] })
      expect(await store.count('a')).toBe(0)
      expect(await rowOf(store, socket)).toMatchObject({ rooms: [] })
    })

    rule('is one of at most so many of a session', async ({ store }) => {
      const rooms = Array.from({ length: BOUNDS.roomsPerSession }, (_, index) => `room-${index}`)
      const socket = await connect(store, 'alice', { rooms })
      const mark = await markOf(store)
      expect(await store.join({ ...socket, room: 'one more' })).toEqual({ kind: 'full' })
      expect(await store.join({ ...socket, room: 'room-7' })).toMatchObject({ kind: 'done' })
      expect([await mark.changes(), await mark.records()]).toEqual([[], []])
      expect(await store.count('one more')).toBe(0)
      await store.leave({ ...socket, room: 'room-7' })
      expect(await store.join({ ...socket, room: 'one more' })).toMatchObject({ kind: 'done' })
    })
  })
}
