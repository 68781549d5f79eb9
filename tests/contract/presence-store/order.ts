/** What one caller asks for one user without waiting for answers takes effect in the order in which it was asked. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import type { BeatAnswer, PresenceStore } from '../../../src/presence/store.ts'
import {
  attach,
  beat,
  connect,
  detach,
  isOnline,
  type Rule,
  type Socket,
  seedOf,
  seen,
  sendBeat,
  sessionOf,
  socketOf,
  VISIBLE,
  viewerOf,
} from './harness.ts'

/** More attaches than any store has under way at once. */
const MANY = 200

export function describeOrder(rule: Rule): void {
  describe('what is asked for one user without waiting for answers', () => {
    /** A user with a socket, a moment after the heartbeat of somebody else: the next ones may be gathered. */
    async function aliceAfterBob(store: PresenceStore): Promise<Socket> {
      const alice = await connect(store, 'alice')
      await beat(store, await connect(store, 'bob'))
      return alice
    }

    const counted = expect.objectContaining({ kind: 'counted' })
    const roomsOf = async (store: PresenceStore, socket: Socket) => (await sessionOf(store, socket))?.rooms ?? null

    rule('a beat, then an end: the session is over', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      const ending = {
        userId: 'alice',
        sessionId: alice.sessionId,
        fence: alice.fence,
        reason: 'WENT_OFFLINE',
      } as const
      const answers = await Promise.all([beat(store, alice), beat(store, alice), store.end(ending)])
      expect(answers).toEqual([counted, counted, { kind: 'ended', sessionCount: 1, fences: [alice.fence] }])
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('a beat, then an end of all sessions, over HTTP', async ({ store }) => {
      await aliceAfterBob(store)
      const ending = { userId: 'alice', sessionId: null, fence: null, reason: 'WENT_OFFLINE' } as const
      const answers = await Promise.all([
        sendBeat(store, { userId: 'alice', sessionId: null, fence: null }),
        store.end(ending),
        sendBeat(store, { userId: 'alice', sessionId: 'default', fence: null }),
      ])
      expect(answers).toEqual([counted, expect.objectContaining({ sessionCount: 1 }), { kind: 'unknown' }])
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('a beat with rooms, then a join and a leave: they change what the beat said', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      const rooms = (answer: BeatAnswer) => (answer.kind === 'counted' ? answer.session?.rooms : answer.kind)
      const [beaten, joined, left] = await Promise.all([
        beat(store, alice, { rooms: ['a', 'b'] }),
        store.join({ ...alice, room: 'c' }),
        store.leave({ ...alice, room: 'a' }),
      ])
      expect(rooms(beaten)).toEqual(['a', 'b'])
      expect(joined).toMatchObject({ session: { rooms: ['a', 'b', 'c'] } })
      expect(left).toMatchObject({ session: { rooms: ['b', 'c'] } })
      expect(await roomsOf(store, alice)).toEqual(['b', 'c'])
    })

    rule('a join, then a beat with rooms: the beat replaces them', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      await Promise.all([store.join({ ...alice, room: 'c' }), beat(store, alice, { rooms: ['a'] })])
      expect(await roomsOf(store, alice)).toEqual(['a'])
    })

    rule('a beat, then a detach: the beat counts', async ({ store, pass }) => {
      const alice = await aliceAfterBob(store)
      const before = await sessionOf(store, alice)
      await pass(100)
      const [answer] = await Promise.all([beat(store, alice, { rooms: ['a'] }), detach(store, alice)])
      expect(answer.kind).toBe('counted')
      const after = await sessionOf(store, alice)
      expect(after).toMatchObject({ fence: null, rooms: ['a'] })
      expect(after?.lastActiveAtMs).toBeGreaterThan(Number(before?.lastActiveAtMs))
    })

    rule('a beat, then an attach by another socket: the beat counts, and the next one is late', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      const newer = socketOf('alice', alice.sessionId)
      const [first, attached, second] = await Promise.all([
        beat(store, alice, { rooms: ['a'] }),
        attach(store, newer),
        beat(store, alice, { rooms: ['b'] }),
      ])
      expect([first, second]).toEqual([counted, { kind: 'late' }])
      expect(attached).toMatchObject({ replacedFence: alice.fence, session: { rooms: ['a'] } })
    })

    rule('a beat with a profile, then a newer one: the newer one holds', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      await Promise.all([
        beat(store, alice, { profile: { name: 'Alice', avatarUrl: null, issuedAtMs: 1 } }),
        store.setUser({ userId: 'alice', profile: { name: 'Alicia', avatarUrl: null, issuedAtMs: 2 } }),
        store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } }),
      ])
      expect(await seen(store, 'alice')).toMatchObject({ name: 'Alicia', status: 'BUSY' })
    })

    rule('a beat, then a look at the user: it tells of the beat', async ({ store }) => {
      const alice = await aliceAfterBob(store)
      const [, viewer] = await Promise.all([beat(store, alice, { rooms: ['a'] }), viewerOf(store, 'alice')])
      expect(viewer.sessions).toMatchObject([{ rooms: ['a'] }])
    })

    rule('an attach among so many that it has to wait, and what comes after it', async ({ store }) => {
      const request = { isActive: true, profile: null, seed: seedOf(VISIBLE), comeback: null }
      const alice = socketOf('alice')
      const others = Array.from({ length: MANY }, () => store.attach({ ...socketOf(randomUUID()), ...request }))
      const ending = {
        userId: 'alice',
        sessionId: alice.sessionId,
        fence: alice.fence,
        reason: 'WENT_OFFLINE',
      } as const
      const again = socketOf('alice', alice.sessionId)
      const answers = await Promise.all([
        store.attach({ ...alice, ...request }),
        beat(store, alice, { rooms: ['a'] }),
        store.join({ ...alice, room: 'b' }),
        store.viewer('alice'),
        store.end(ending),
        store.attach({ ...again, ...request, seed: null }),
        detach(store, again),
      ])
      expect(answers.slice(0, -1)).toMatchObject([
        { kind: 'attached' },
        { kind: 'counted', session: { rooms: ['a'] } },
        { kind: 'done', session: { rooms: ['a', 'b'] } },
        { sessions: [{ id: alice.sessionId, fence: alice.fence }] },
        { kind: 'ended', sessionCount: 1 },
        { kind: 'attached', replacedFence: null },
      ])
      expect(await sessionOf(store, alice)).toMatchObject({ fence: null, rooms: [] })
      await Promise.all(others)
    })
  })
}
