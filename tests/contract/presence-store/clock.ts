/** A wall clock that is set: what is counted goes on, what is told follows, and nothing of one user goes back. */
import { describe, expect } from 'vitest'
import {
  adoptedUser,
  beat,
  beatOverHttp,
  connect,
  detach,
  type Harness,
  markOf,
  onlineIds,
  openRow,
  type Rule,
  rowOf,
  seedOf,
  seen,
  sessionOf,
  statusOf,
  storeNowMs,
  told,
  tryAttach,
  VISIBLE,
  viewerOf,
} from './harness.ts'

const HOUR_MS = 3_600_000
/** So short that what a store of many nodes waits after a step is over before anything of these tests is. */
const PAUSE = { nodeTtlMs: 1000, heartbeatIntervalMs: 200 }
const RENEWING = { renewing: ['node-1'] }
const STEPS = [
  { how: 'forward by an hour', stepsMs: [HOUR_MS] },
  { how: 'back by an hour', stepsMs: [-HOUR_MS] },
  { how: 'forward by an hour and back again', stepsMs: [HOUR_MS, -HOUR_MS] },
  { how: 'forward by three seconds', stepsMs: [3000] },
]

export function describeClock(rule: Rule): void {
  describe.each(STEPS)('a clock that is set $how', ({ stepsMs }) => {
    const offsetMs = stepsMs.reduce((sum, ms) => sum + ms, 0)

    async function set({ step, pass }: Harness): Promise<void> {
      for (const ms of stepsMs) {
        await step(ms)
        await pass(50, RENEWING)
      }
    }

    rule(
      'ends no lease and no grace, before their time or after it',
      { ...PAUSE, sessionTtlMs: 3000, reconnectGraceMs: 3000 },
      async (harness) => {
        const { store, pass } = harness
        await beatOverHttp(store, 'over-http')
        await detach(store, await connect(store, 'in-grace'), 'ended')
        await connect(store, 'alive')
        const mark = await markOf(store)
        await set(harness)
        await pass(2600, RENEWING)
        expect(await mark.changes()).toEqual([])
        await pass(600, RENEWING)
        expect([...told(await mark.changes())].sort()).toEqual(['in-grace LEAVE', 'over-http LEAVE'])
        expect(await onlineIds(store)).toEqual(['alive'])
      },
    )

    rule(
      'makes nobody away or idle, and leaves nobody ONLINE',
      { ...PAUSE, awayAfterMs: 2000, idleTimeoutMs: 4000 },
      async (harness) => {
        const { store, pass } = harness
        await connect(store, 'alice')
        await set(harness)
        await pass(1600, RENEWING)
        expect(await statusOf(store, 'alice')).toBe('ONLINE')
        await pass(600, RENEWING)
        expect(await statusOf(store, 'alice')).toBe('AWAY')
        await pass(1500, RENEWING)
        expect(await statusOf(store, 'alice')).toBe('AWAY')
        await pass(600, RENEWING)
        expect(await statusOf(store, 'alice')).toBe('OFFLINE')
      },
    )

    rule('is told of at once: activity, changes, starts, and ends of leases', PAUSE, async (harness) => {
      const { store, pass } = harness
      const before = await storeNowMs(store)
      const mark = await markOf(store)
      await set(harness)
      await pass(100, RENEWING)
      const nowMs = before + offsetMs + 100 + 50 * stepsMs.length
      const isNow = (moment: unknown) => {
        expect(Number(moment)).toBeGreaterThanOrEqual(nowMs)
        expect(Number(moment)).toBeLessThan(nowMs + 80)
      }
      await connect(store, 'alice')
      const session = await beatOverHttp(store, 'bob', 'two')
      isNow((await seen(store, 'alice'))?.lastActiveAtMs)
      isNow((await seen(store, 'alice'))?.onlineSinceMs)
      isNow(session?.startedAtMs)
      isNow(Number(session?.leaseEndsAtMs) - 600_000)
      for (const entry of await mark.changes()) isNow(entry.atMs)
    })

    rule('tells the end of a lease that was there before as it is now', PAUSE, async (harness) => {
      const { store } = harness
      const first = await beatOverHttp(store, 'alice', 'one')
      await set(harness)
      const [session] = (await viewerOf(store, 'alice')).sessions
      // What a jump of many nodes' clock leaves unknown is a sweep at most.
      const movedMs = Number(session?.leaseEndsAtMs) - Number(first?.leaseEndsAtMs)
      expect(movedMs).toBeGreaterThanOrEqual(offsetMs)
      expect(movedMs).toBeLessThanOrEqual(offsetMs + 50 * stepsMs.length)
    })

    rule('never takes what one user was told back', PAUSE, async (harness) => {
      const { store, pass } = harness
      const socket = await connect(store, 'alice')
      const moments: number[] = []
      const note = async () => {
        const { lastActiveAtMs, onlineSinceMs } = (await seen(store, 'alice')) ?? {}
        moments.push(Number(lastActiveAtMs))
        if (onlineSinceMs) moments.push(onlineSinceMs)
      }
      const mark = await markOf(store)
      await note()
      await harness.step(HOUR_MS)
      await beat(store, socket)
      await note()
      for (const ms of [-HOUR_MS, ...stepsMs]) {
        await harness.step(ms)
        await pass(50, RENEWING)
        await beat(store, socket)
        await note()
        await store.setUser({
          userId: 'alice',
          settings: { ...VISIBLE, version: moments.length + 2, statusMessage: `${ms}` },
        })
      }
      await detach(store, socket, 'silent', 10_000_000)
      await note()
      const row = await rowOf(store, socket)
      expect(Number(row.endedAtMs)).toBeGreaterThanOrEqual(row.lastActiveAtMs)
      await connect(store, 'alice')
      await note()
      const lastActives = moments.filter((_, index) => index % 2 === 0)
      expect(lastActives.slice(0, -1)).toEqual([...lastActives.slice(0, -1)].sort((one, other) => one - other))
      const atMs = (await mark.changes()).map((entry) => entry.atMs)
      expect(atMs).toEqual([...atMs].sort((one, other) => one - other))
      expect(Number((await seen(store, 'alice'))?.onlineSinceMs)).toBeGreaterThanOrEqual(Number(row.endedAtMs))
    })

    rule('takes no socket from a node that renews, and those of one that does not', PAUSE, async (harness) => {
      const { store, pass } = harness
      const alive = await connect(store, 'alive')
      const dead = await connect(store, 'dead', { nodeId: 'node-2' })
      await set(harness)
      await pass(2500, RENEWING)
      expect(await sessionOf(store, alive)).toMatchObject({ fence: alive.fence })
      expect(await sessionOf(store, dead)).toMatchObject({ fence: null })
    })

    rule('lets the log be as old as it was', { ...PAUSE, logAgeMs: 3000 }, async (harness) => {
      const { store, pass } = harness
      const position = await store.changes.position()
      await connect(store, 'alice')
      await set(harness)
      await connect(store, 'bob')
      expect(await store.changes.read(position, 10)).not.toBe('expired')
      await pass(3500, RENEWING)
      expect(await store.changes.read(position, 10)).toBe('expired')
    })

    rule('is no part of the age of what a socket brings back', PAUSE, async (harness) => {
      const { store, pass } = harness
      const socket = await connect(store, 'alice')
      const { lastActiveAtMs } = (await sessionOf(store, socket)) ?? {}
      await pass(200, RENEWING)
      await set(harness)
      const answer = await tryAttach(store, { ...socket, fence: `${socket.fence}-again` })
      if (answer.kind !== 'attached') throw new Error(answer.kind)
      expect(answer.session?.lastActiveAtMs).toBe(lastActiveAtMs)
      expect(answer.lastActiveForMs).toBeGreaterThanOrEqual(200)
      expect(answer.lastActiveForMs).toBeLessThan(200 + 50 * stepsMs.length + 80)
    })
  })

  describe('a moment of the future that is read from the database', () => {
    const ahead = (nowMs: number) => ({ lastActiveAtMs: nowMs + HOUR_MS, shownLastActiveAtMs: nowMs + HOUR_MS })

    rule('of a seed is cut to now, and counts as now', { awayAfterMs: 2000 }, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      await connect(store, 'alice', { isActive: false, seed: seedOf(VISIBLE, ahead(nowMs)) })
      const { lastActiveAtMs } = (await seen(store, 'alice')) ?? {}
      expect(Number(lastActiveAtMs)).toBeGreaterThanOrEqual(nowMs)
      expect(Number(lastActiveAtMs)).toBeLessThan(nowMs + 80)
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(lastActiveAtMs)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      await pass(2200, RENEWING)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })

    rule('of a row that came late is cut as well', { awayAfterMs: 2000 }, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      await connect(store, 'alice', { seed: seedOf(null) })
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE, ahead(nowMs)) })
      expect(Number((await seen(store, 'alice'))?.lastActiveAtMs)).toBeLessThan(nowMs + 80)
      await pass(2200, RENEWING)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })

    rule('of what an earlier run left open is cut as well', { awayAfterMs: 2000 }, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const row = openRow(nowMs + HOUR_MS)
      const seed = seedOf(VISIBLE, ahead(nowMs))
      await store.adopt([adoptedUser('alice', nowMs, { seed, onlineSinceMs: nowMs + HOUR_MS, sessions: [row] })])
      const user = await seen(store, 'alice')
      const [session] = (await viewerOf(store, 'alice')).sessions
      const moments = [user?.lastActiveAtMs, user?.onlineSinceMs, session?.startedAtMs, session?.lastActiveAtMs]
      for (const moment of moments) expect(Number(moment)).toBeLessThan(nowMs + 80)
      await pass(2200, RENEWING)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })

    rule('of long ago is as long ago', { awayAfterMs: 2000, idleTimeoutMs: 10_000 }, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const before = { lastActiveAtMs: nowMs - 1000, shownLastActiveAtMs: nowMs - 1000 }
      await connect(store, 'alice', { isActive: false, seed: seedOf(VISIBLE, before) })
      expect(await seen(store, 'alice')).toMatchObject({ status: 'ONLINE', lastActiveAtMs: nowMs - 1000 })
      await pass(1200, RENEWING)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })
  })
}
