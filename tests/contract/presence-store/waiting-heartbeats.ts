/**
 * Heartbeats that may wait (`mayWait`): whether a store counts them at once or keeps them for a while, everyone sees
 * the same, but for a `lastActive` that may lag.
 */
import { describe, expect } from 'vitest'
import type { Beat, BeatAnswer, PresenceStore } from '../../../src/presence/store.ts'
import {
  attach,
  beat,
  connect,
  detach,
  goOffline,
  type Harness,
  HIDDEN,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  type Socket,
  seen,
  sendBeat,
  sessionOf,
  socketOf,
  statusOf,
  storeNowMs,
  told,
  VISIBLE,
  viewerOf,
} from './harness.ts'

/** What a store with a lag waits in these tests. */
export const LAG_MS = 1000
/** A store may use the whole of `LAG_MS` with these. */
const TIMING = { awayAfterMs: 3000, idleTimeoutMs: 9000, nodeTtlMs: 1000, lastActiveFlushMs: 200 }
const SWEEP_MS = 50

export function describeWaitingHeartbeats(rule: Rule): void {
  const mayWait = (store: PresenceStore, socket: Socket, details: Partial<Beat> = {}): Promise<BeatAnswer> =>
    beat(store, socket, { mayWait: true, ...details })

  async function passing({ pass }: Harness, ms: number): Promise<void> {
    await pass(ms, { renewing: ['node-1'] })
  }

  /** A user on a socket, a while after a heartbeat that was counted. */
  async function aliceIsThere(harness: Harness): Promise<Socket> {
    const alice = await connect(harness.store, 'alice')
    await mayWait(harness.store, alice)
    await passing(harness, 500)
    return alice
  }

  const countedOrKept = expect.objectContaining({ kind: expect.stringMatching(/^(counted|kept)$/) })

  describe('a heartbeat that may wait', () => {
    rule('is told to its own user at once', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      expect(await mayWait(store, alice)).toEqual(countedOrKept)
      const viewer = await viewerOf(store, 'alice')
      expect(viewer.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect(viewer.user.lastActiveAtMs).toBe(viewer.lastActiveAtMs)
      expect(viewer.sessions[0]?.lastActiveAtMs).toBe(viewer.lastActiveAtMs)
    })

    rule('is told to others and to the records within the lag', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const mark = await markOf(store)
      const nowMs = await storeNowMs(store)
      await mayWait(store, alice)
      await passing(harness, LAG_MS + 2 * SWEEP_MS)
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      await passing(harness, TIMING.lastActiveFlushMs + 2 * SWEEP_MS)
      expect((await rowOf(store, alice)).lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect(await mark.changes()).toEqual([])
    })

    rule('keeps its user from being away and from being idle', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const mark = await markOf(store)
      for (const everyMs of [100, 400, 900, 1000, 1100, 2500]) {
        for (let passedMs = 0; passedMs < TIMING.awayAfterMs + LAG_MS; passedMs += everyMs) {
          expect(await mayWait(store, alice)).toEqual(countedOrKept)
          await passing(harness, everyMs)
          expect(await statusOf(store, 'alice')).toBe('ONLINE')
        }
      }
      expect(await mark.changes()).toEqual([])
    })

    rule('makes its user away AWAY_AFTER later, and the next one ends that at once', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      await mayWait(store, alice)
      await passing(harness, TIMING.awayAfterMs - 2 * SWEEP_MS)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      await passing(harness, 3 * SWEEP_MS)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      expect(await mayWait(store, alice, { isActive: false })).toEqual(countedOrKept)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      expect(await mayWait(store, alice)).toMatchObject({ kind: 'counted' })
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
    })

    rule('brings an idle user back at once', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      await passing(harness, TIMING.idleTimeoutMs)
      expect(await isOnline(store, 'alice')).toBe(false)
      expect(await mayWait(store, alice)).toMatchObject({ kind: 'counted' })
      expect(await onlineIds(store)).toEqual(['alice'])
    })

    rule('without activity keeps nobody from being away', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      for (let passedMs = 500; passedMs < TIMING.awayAfterMs; passedMs += 500) {
        expect(await mayWait(store, alice, { isActive: false })).toEqual(countedOrKept)
        await passing(harness, 500)
      }
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })

    rule('changes the rooms and the device at once', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      for (const rooms of [['a'], ['a'], ['a', 'b'], [], ['b']]) {
        expect(await mayWait(store, alice, { rooms })).toEqual(countedOrKept)
        for (const room of ['a', 'b'])
          expect(await onlineIds(store, room)).toEqual(rooms.includes(room) ? ['alice'] : [])
      }
      await mayWait(store, alice, { device: 'phone' })
      expect(await sessionOf(store, alice)).toMatchObject({ device: 'phone', rooms: ['b'] })
    })

    rule('puts a session into its rooms again, out of which a request took it', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      await mayWait(store, alice, { rooms: ['a'] })
      for (const change of [
        () => store.leave({ ...alice, fence: null, room: 'a' }),
        () => store.leave({ ...alice, room: 'a' }),
        () => sendBeat(store, { ...alice, fence: null, rooms: [] }),
      ]) {
        await mayWait(store, alice, { rooms: ['a'] })
        await Promise.all([change(), mayWait(store, alice, { rooms: ['a'] })])
        expect(await onlineIds(store, 'a')).toEqual(['alice'])
      }
    })

    rule('brings a newer profile at once, and an older one never', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      await mayWait(store, alice, { profile: { name: 'Alice', avatarUrl: null, issuedAtMs: 2 } })
      expect((await seen(store, 'alice'))?.name).toBe('Alice')
      await mayWait(store, alice, { profile: { name: 'Al', avatarUrl: null, issuedAtMs: 1 } })
      await store.setUser({ userId: 'alice', profile: { name: 'Alicia', avatarUrl: null, issuedAtMs: 3 } })
      await mayWait(store, alice, { profile: { name: 'Alice', avatarUrl: null, issuedAtMs: 2 } })
      expect((await seen(store, 'alice'))?.name).toBe('Alicia')
    })
  })

  describe('what comes behind a heartbeat that may wait', () => {
    rule('a goOffline: the activity counts, and the session is over', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const mark = await markOf(store)
      const nowMs = await storeNowMs(store)
      const ending = { ...alice, reason: 'WENT_OFFLINE' } as const
      const answers = await Promise.all([mayWait(store, alice), store.end(ending), mayWait(store, alice)])
      expect(answers).toEqual([countedOrKept, expect.objectContaining({ sessionCount: 1 }), { kind: 'unknown' }])
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      const row = await rowOf(store, alice)
      expect(row).toMatchObject({ endReason: 'WENT_OFFLINE' })
      expect(row.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(row.lastActiveAtMs)
      await passing(harness, 2 * LAG_MS)
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('a goOffline everywhere, over HTTP', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const [, endedCount, after] = await Promise.all([
        mayWait(store, alice),
        goOffline(store, 'alice'),
        mayWait(store, alice),
      ])
      expect([endedCount, after]).toEqual([1, { kind: 'unknown' }])
      await passing(harness, 2 * LAG_MS)
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('a close: the activity counts, and the session is in its grace', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      await Promise.all([mayWait(store, alice), detach(store, alice)])
      const session = await sessionOf(store, alice)
      expect(session).toMatchObject({ fence: null })
      expect(session?.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect(await mayWait(store, alice)).toEqual({ kind: 'late' })
    })

    rule('a close that ends the session: its row has the activity', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      await Promise.all([mayWait(store, alice), detach(store, alice, 'silent', 1_000_000)])
      const row = await rowOf(store, alice)
      expect(row).toMatchObject({ endReason: 'LOST' })
      expect(row.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(row.lastActiveAtMs)
    })

    rule('another socket takes the session: the activity counts, and the next one is late', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      const newer = socketOf('alice', alice.sessionId)
      const [first, attached, second] = await Promise.all([
        mayWait(store, alice),
        attach(store, newer),
        mayWait(store, alice),
      ])
      expect([first, second]).toEqual([countedOrKept, { kind: 'late' }])
      expect(attached.lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
      expect((await sessionOf(store, newer))?.lastActiveAtMs).toBe(attached.lastActiveAtMs)
    })

    rule('hiding: the activity before it is shown, and what comes after is not', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      await mayWait(store, alice)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const shown = (await seen(store, 'alice'))?.lastActiveAtMs
      expect(shown).toBeGreaterThanOrEqual(nowMs)
      await passing(harness, 300)
      await mayWait(store, alice)
      await mayWait(store, alice)
      await passing(harness, LAG_MS + 2 * SWEEP_MS)
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(shown)
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBeGreaterThan(Number(shown))
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
    })

    rule('a status, and its end: nothing else is told', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const mark = await markOf(store)
      for (const [index, statusChoice] of (['BUSY', 'AWAY', 'AUTOMATIC'] as const).entries()) {
        await mayWait(store, alice)
        await mayWait(store, alice)
        await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: index + 2, statusChoice } })
        await mayWait(store, alice)
        await passing(harness, 800)
      }
      const entries = await mark.changes()
      expect(entries.map(({ after }) => after.user.status)).toEqual(['BUSY', 'AWAY', 'ONLINE'])
    })

    rule('the last node stops: the activity is in the records', TIMING, async (harness) => {
      const { store } = harness
      const alice = await aliceIsThere(harness)
      const nowMs = await storeNowMs(store)
      await mayWait(store, alice)
      while ((await store.endNode('node-1', 10)).hasMore);
      expect((await rowOf(store, alice)).lastActiveAtMs).toBeGreaterThanOrEqual(nowMs)
    })
  })
}
