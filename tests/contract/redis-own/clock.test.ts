/** Pauses of the sweep, and a clock that steps: rule 10 where many nodes share a clock of somebody else's. */
import { describe, expect, it } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import type { PresenceTiming } from '../../../src/presence/timing.ts'
import {
  beat,
  beatOverHttp,
  connect,
  detach,
  isOnline,
  markOf,
  onlineIds,
  type Socket,
  sessionOf,
  statusOf,
  told,
  viewerOf,
} from '../presence-store/harness.ts'
import { ownRedis } from './own-redis.ts'

const HOUR_MS = 3_600_000
const TIMING = {
  sweepIntervalMs: 50,
  heartbeatIntervalMs: 500,
  nodeRenewMs: 100,
  nodeTtlMs: 2000,
  reconnectGraceMs: 400,
  closeGraceMs: 400,
  sessionTtlMs: 400,
  lastActiveFlushMs: 100_000,
}
/** Longer, and the sweep was away: half of NODE_TTL, which is more than two sweeps and half a second. */
const GAP_MS = 1000
const CALM_MS = TIMING.heartbeatIntervalMs + TIMING.nodeTtlMs

const redis = ownRedis()

async function open(timing: Partial<PresenceTiming> = {}) {
  const nodes = await redis.nodes({ ...TIMING, ...timing })
  const store = await nodes.join()
  return { nodes, store, renewing: { renewing: ['node-1'] } }
}

async function isOnSocket(store: PresenceStore, socket: Socket): Promise<boolean> {
  return (await sessionOf(store, socket))?.fence === socket.fence
}

describe('after a pause of the sweep', () => {
  it('nobody is reaped for NODE_TTL, and then they are', async () => {
    const { nodes, store, renewing } = await open()
    const socket = await connect(store, 'alice', { nodeId: 'node-2' })
    await nodes.moveOn(2 * TIMING.nodeTtlMs)
    const pauseEndsAtMs = nodes.nowMs()
    while (nodes.nowMs() < pauseEndsAtMs + TIMING.nodeTtlMs) {
      await nodes.pass(store, TIMING.sweepIntervalMs, renewing)
      if (nodes.nowMs() < pauseEndsAtMs + TIMING.nodeTtlMs) expect(await isOnSocket(store, socket)).toBe(true)
    }
    await nodes.pass(store, 2 * TIMING.sweepIntervalMs, renewing)
    expect(await isOnSocket(store, socket)).toBe(false)
    const [{ leaseEndsAtMs } = { leaseEndsAtMs: null }] = (await viewerOf(store, 'alice')).sessions
    expect(Number(leaseEndsAtMs)).toBeGreaterThanOrEqual(nodes.nowMs() - 100 + TIMING.reconnectGraceMs)
  })

  it('no lease, no idle time and no AWAY comes for HEARTBEAT_INTERVAL + NODE_TTL, and then they do', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 600, idleTimeoutMs: 50_000 })
    await beatOverHttp(store, 'over-http')
    await detach(store, await connect(store, 'closed'), 'closed')
    await detach(store, await connect(store, 'lost'), 'ended')
    await connect(store, 'away')
    const nobody = await markOf(store)
    await nodes.moveOn(GAP_MS + 1)
    const pauseEndsAtMs = nodes.nowMs()
    while (nodes.nowMs() < pauseEndsAtMs + CALM_MS - TIMING.sweepIntervalMs) {
      await nodes.pass(store, TIMING.sweepIntervalMs, renewing)
      expect(await nobody.changes()).toEqual([])
    }
    expect(await onlineIds(store)).toEqual(['away', 'closed', 'lost', 'over-http'])
    await nodes.pass(store, 3 * TIMING.sweepIntervalMs, renewing)
    expect(await onlineIds(store)).toEqual(['away'])
    expect(await statusOf(store, 'away')).toBe('AWAY')
    expect([...told(await nobody.changes())].sort()).toEqual([
      'away UPDATE',
      'closed LEAVE',
      'lost LEAVE',
      'over-http LEAVE',
    ])
  })

  it('nobody falls idle for as long, and then they do', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 600, idleTimeoutMs: 700 })
    await connect(store, 'idle')
    const mark = await markOf(store)
    await nodes.moveOn(GAP_MS + 1)
    await nodes.pass(store, CALM_MS - TIMING.sweepIntervalMs, renewing)
    expect(await statusOf(store, 'idle')).toBe('ONLINE')
    expect(await mark.changes()).toEqual([])
    await nodes.pass(store, 3 * TIMING.sweepIntervalMs, renewing)
    expect(told(await mark.changes())).toEqual(['idle LEAVE'])
  })

  it('a step of somebody who was due meanwhile shows nothing of it', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 600, idleTimeoutMs: 700 })
    const socket = await connect(store, 'alice')
    const mark = await markOf(store)
    await nodes.moveOn(GAP_MS + 1)
    // The first script after the pause is no sweep.
    expect(await store.join({ ...socket, room: 'hall' })).toMatchObject({ kind: 'done' })
    expect(await statusOf(store, 'alice')).toBe('ONLINE')
    await nodes.pass(store, CALM_MS / 2, renewing)
    expect(await beat(store, socket, { isActive: false, device: 'phone' })).toMatchObject({ kind: 'counted' })
    expect(await statusOf(store, 'alice')).toBe('ONLINE')
    expect(told(await mark.changes())).toEqual(['alice UPDATE'])
    await nodes.pass(store, CALM_MS / 2 + 2 * TIMING.sweepIntervalMs, renewing)
    expect(told(await mark.changes())).toEqual(['alice UPDATE', 'alice LEAVE'])
  })

  it('who tells in time what could not be told meanwhile never left', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 600, idleTimeoutMs: 700 })
    const socket = await connect(store, 'alice')
    await beatOverHttp(store, 'bob')
    const mark = await markOf(store)
    await nodes.moveOn(10 * TIMING.nodeTtlMs)
    await nodes.pass(store, CALM_MS - 100, renewing)
    await beat(store, socket)
    await beatOverHttp(store, 'bob')
    await nodes.pass(store, 350, renewing)
    expect(await mark.changes()).toEqual([])
  })

  it('a grace that begins meanwhile is no shorter', async () => {
    const { nodes, store, renewing } = await open({ reconnectGraceMs: CALM_MS + 1000 })
    const socket = await connect(store, 'alice')
    await nodes.moveOn(GAP_MS + 1)
    await nodes.pass(store, 200, renewing)
    await detach(store, socket, 'ended')
    await nodes.pass(store, CALM_MS + 1000 - TIMING.sweepIntervalMs, renewing)
    expect(await isOnline(store, 'alice')).toBe(true)
    await nodes.pass(store, 2 * TIMING.sweepIntervalMs, renewing)
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  it('one that is not longer is none: the sweep was late alone, and the next one judges', async () => {
    const { nodes, store, renewing } = await open()
    await beatOverHttp(store, 'alice')
    await nodes.moveOn(GAP_MS)
    expect(await store.sweep(100)).toMatchObject({ wasLate: true, count: 0 })
    expect(await isOnline(store, 'alice')).toBe(true)
    await nodes.pass(store, TIMING.sweepIntervalMs, renewing)
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  it('one of two sweeps and half a second is one only where NODE_TTL is not longer', async () => {
    const { nodes, store } = await open({ nodeTtlMs: 300, heartbeatIntervalMs: 200 })
    await beatOverHttp(store, 'alice')
    await nodes.moveOn(2 * TIMING.sweepIntervalMs + 501)
    await nodes.pass(store, 400)
    expect(await isOnline(store, 'alice')).toBe(true)
    await nodes.pass(store, 200)
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  it('a second pause begins the wait anew', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 600 })
    await beatOverHttp(store, 'alice')
    const bob = await connect(store, 'bob')
    const mark = await markOf(store)
    for (let count = 0; count < 3; count += 1) {
      // While it waits still.
      await nodes.moveOn(GAP_MS + 1)
      await nodes.pass(store, CALM_MS / 2, renewing)
      await beat(store, bob, { isActive: false, device: `phone ${count}` })
      expect(await statusOf(store, 'bob')).toBe('ONLINE')
    }
    await nodes.pass(store, CALM_MS / 2 - 100, renewing)
    expect(await mark.changes()).toEqual([])
    await nodes.pass(store, 250, renewing)
    expect([...told(await mark.changes())].sort()).toEqual(['alice LEAVE', 'bob UPDATE'])
  })
})

describe('where the clock is set back by an hour', () => {
  async function setBack(timing: Partial<PresenceTiming> = {}) {
    const world = await open(timing)
    const { nodes, store } = world
    const dead = await connect(store, 'dead', { nodeId: 'node-2' })
    const alive = await connect(store, 'alive')
    await beatOverHttp(store, 'over-http')
    await nodes.pass(store, 200, { renewing: ['node-1', 'node-2'] })
    const mark = await markOf(store)
    await nodes.moveOn(-HOUR_MS)
    return { ...world, dead, alive, mark }
  }

  it('reads go on, and nobody leaves for it', async () => {
    const { store, mark } = await setBack()
    expect(await onlineIds(store)).toEqual(['alive', 'dead', 'over-http'])
    expect(await store.count(null)).toBe(3)
    expect(await statusOf(store, 'over-http')).toBe('ONLINE')
    expect(await mark.changes()).toEqual([])
  })

  it('a dead node is reaped, and one that renews is not', async () => {
    const { nodes, store, renewing, dead, alive } = await setBack()
    await nodes.pass(store, TIMING.nodeTtlMs - TIMING.sweepIntervalMs, renewing)
    expect(await isOnSocket(store, dead)).toBe(true)
    await nodes.pass(store, 4 * TIMING.sweepIntervalMs, renewing)
    expect([await isOnSocket(store, dead), await isOnSocket(store, alive)]).toEqual([false, true])
    await nodes.pass(store, CALM_MS, renewing)
    expect(await onlineIds(store)).toEqual(['alive'])
  })

  it('a lease ends within its own length, and a new one at its end', async () => {
    const { nodes, store, renewing } = await setBack({ sessionTtlMs: 5000 })
    await nodes.pass(store, 4500, renewing)
    expect(await isOnline(store, 'over-http')).toBe(true)
    await beatOverHttp(store, 'fresh')
    await nodes.pass(store, 500 + 4 * TIMING.sweepIntervalMs, renewing)
    expect([await isOnline(store, 'over-http'), await isOnline(store, 'fresh')]).toEqual([false, true])
    await nodes.pass(store, 4500, renewing)
    expect(await isOnline(store, 'fresh')).toBe(false)
  })

  it('the sweep goes through everybody, a few at a time', async () => {
    const world = await open({ sessionTtlMs: 3000 })
    const { nodes, store } = world
    const userIds = Array.from({ length: 700 }, (_, index) => `user-${index}`)
    await Promise.all(userIds.map((userId) => beatOverHttp(store, userId)))
    await nodes.moveOn(-HOUR_MS)
    let slices = 0
    while ((await store.sweep(10)).hasMore) slices += 1
    expect(slices).toBeGreaterThan(1)
    await nodes.pass(store, 3000 + 4 * TIMING.sweepIntervalMs)
    expect(await store.count(null)).toBe(0)
  })

  it('the position goes on, and so does whoever follows', async () => {
    const { nodes, store, renewing, mark } = await setBack()
    await connect(store, 'late')
    await nodes.pass(store, 200, renewing)
    expect(told(await mark.changes())).toEqual(['late JOIN'])
  })

  it('a second less is nothing', async () => {
    const { nodes, store, renewing } = await open()
    await beatOverHttp(store, 'alice')
    await nodes.moveOn(-1000)
    await nodes.pass(store, 1000 + TIMING.sessionTtlMs - TIMING.sweepIntervalMs, renewing)
    expect(await isOnline(store, 'alice')).toBe(true)
    await nodes.pass(store, 2 * TIMING.sweepIntervalMs, renewing)
    expect(await isOnline(store, 'alice')).toBe(false)
  })
})

describe('where the clock is set forward by an hour', () => {
  it('nobody leaves at once, and those who go on telling never do', async () => {
    const { nodes, store, renewing } = await open({ awayAfterMs: 10_000, idleTimeoutMs: 60_000 })
    const alive = await connect(store, 'alive')
    const dead = await connect(store, 'dead', { nodeId: 'node-2' })
    await beatOverHttp(store, 'over-http')
    await nodes.pass(store, 200, { renewing: ['node-1', 'node-2'] })
    const mark = await markOf(store)
    await nodes.moveOn(HOUR_MS)
    await nodes.pass(store, TIMING.nodeTtlMs - TIMING.sweepIntervalMs, renewing)
    expect(await mark.changes()).toEqual([])
    expect([await isOnSocket(store, alive), await isOnSocket(store, dead)]).toEqual([true, true])
    // Within HEARTBEAT_INTERVAL every client has told again.
    await beat(store, alive)
    await nodes.pass(store, CALM_MS, renewing)
    expect([...told(await mark.changes())].sort()).toEqual(['dead LEAVE', 'over-http LEAVE'])
    expect(await statusOf(store, 'alive')).toBe('ONLINE')
  })
})
