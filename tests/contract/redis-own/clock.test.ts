/** Pauses of the sweep, and a clock that steps: rule 10 where many nodes share a clock of somebody else's. */
import { readFileSync } from 'node:fs'
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
import type { RedisNodes } from '../redis-harness.ts'
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

describe('where the clock of Redis is set', () => {
  const ACTIVE = { awayAfterMs: 10_000, idleTimeoutMs: 60_000, sessionTtlMs: 5000, reconnectGraceMs: 5000 }
  const STEPS = [
    { how: 'forward by an hour', stepsMs: [HOUR_MS] },
    { how: 'back by an hour', stepsMs: [-HOUR_MS] },
    { how: 'forward by an hour and back again', stepsMs: [HOUR_MS, -HOUR_MS] },
    { how: 'back by an hour and forward again', stepsMs: [-HOUR_MS, HOUR_MS] },
    { how: 'forward by a day', stepsMs: [24 * HOUR_MS] },
    { how: 'back by two seconds', stepsMs: [-2000] },
  ]

  /** As the processes around it do: they sweep between two steps, or they do not. */
  async function set(timing: Partial<PresenceTiming>, stepsMs: readonly number[], sweepsBetween = true) {
    const world = await open({ ...ACTIVE, ...timing })
    const { nodes, store } = world
    const dead = await connect(store, 'dead', { nodeId: 'node-2' })
    const alive = await connect(store, 'alive')
    await beatOverHttp(store, 'over-http')
    await detach(store, await connect(store, 'in-grace'), 'ended')
    await nodes.pass(store, 200, { renewing: ['node-1', 'node-2'] })
    const mark = await markOf(store)
    for (const stepMs of stepsMs) {
      await nodes.step(stepMs)
      if (sweepsBetween) await nodes.pass(store, TIMING.sweepIntervalMs, { renewing: ['node-1', 'node-2'] })
    }
    return { ...world, dead, alive, mark, sweptMs: sweepsBetween ? stepsMs.length * TIMING.sweepIntervalMs : 0 }
  }

  describe.each(STEPS)('$how', ({ stepsMs }) => {
    it('nobody leaves for it, and reads go on', async () => {
      const { nodes, store, renewing, mark } = await set({}, stepsMs)
      expect(await onlineIds(store)).toEqual(['alive', 'dead', 'in-grace', 'over-http'])
      expect(await store.count(null)).toBe(4)
      await nodes.pass(store, TIMING.nodeTtlMs - 200, renewing)
      expect(await mark.changes()).toEqual([])
    })

    it('a dead node is reaped, and one that renews is not', async () => {
      const { nodes, store, renewing, dead, alive } = await set({}, stepsMs)
      await nodes.pass(store, 2 * TIMING.nodeTtlMs, renewing)
      expect([await isOnSocket(store, dead), await isOnSocket(store, alive)]).toEqual([false, true])
    })

    it('only a session whose time is over ends, at the time that it had left', async () => {
      const { nodes, store, renewing, mark, sweptMs } = await set(
        { awayAfterMs: 100_000, idleTimeoutMs: 100_000 },
        stepsMs,
      )
      await nodes.pass(store, 5000 - 200 - sweptMs - 2 * TIMING.sweepIntervalMs, renewing)
      expect(await mark.changes()).toEqual([])
      await nodes.pass(store, 4 * TIMING.sweepIntervalMs, renewing)
      expect([...told(await mark.changes())].sort()).toEqual(['in-grace LEAVE', 'over-http LEAVE'])
    })

    it('AWAY and idle come when they would have come', async () => {
      const timing = { awayAfterMs: 6000, idleTimeoutMs: 9000, sessionTtlMs: 100_000 }
      const { nodes, store, mark, sweptMs } = await set(timing, stepsMs)
      const pass = (ms: number) => nodes.pass(store, ms, { renewing: ['node-1', 'node-2'] })
      const statuses = async () => [await statusOf(store, 'alive'), await statusOf(store, 'over-http')]
      await pass(6000 - 200 - sweptMs - 2 * TIMING.sweepIntervalMs)
      expect([await statuses(), await onlineIds(store)]).toEqual([
        ['ONLINE', 'ONLINE'],
        ['alive', 'dead', 'over-http'],
      ])
      await pass(4 * TIMING.sweepIntervalMs)
      expect(await statuses()).toEqual(['AWAY', 'AWAY'])
      await pass(3000 - 4 * TIMING.sweepIntervalMs)
      expect(await statuses()).toEqual(['AWAY', 'AWAY'])
      await pass(4 * TIMING.sweepIntervalMs)
      expect(await onlineIds(store)).toEqual([])
      expect(told(await mark.changes()).filter((line) => line.endsWith('LEAVE'))).toHaveLength(4)
    })

    it('the first script after it may be any', async () => {
      const { nodes, store, renewing, alive, mark } = await set({}, stepsMs, false)
      expect(await store.join({ ...alive, room: 'hall' })).toMatchObject({ kind: 'done' })
      expect(await beat(store, alive, { isActive: false })).toMatchObject({ kind: 'counted' })
      await detach(store, alive, 'ended')
      await connect(store, 'alive', { sessionId: alive.sessionId })
      await nodes.pass(store, TIMING.nodeTtlMs - 200, renewing)
      expect(told(await mark.changes())).toEqual(['alive UPDATE'])
      expect(await statusOf(store, 'alive')).toBe('ONLINE')
    })

    it('the position goes on, and so do subscribers', async () => {
      const { nodes, store, renewing, mark } = await set({ logAgeMs: 60_000 }, stepsMs)
      await connect(store, 'late')
      await nodes.pass(store, 200, renewing)
      expect(told(await mark.changes())).toEqual(['late JOIN'])
    })
  })

  it('by less than a pause: no grace is shorter or longer for it, and there is none', async () => {
    for (const stepMs of [3000, -800]) {
      const { nodes, store, mark, sweptMs } = await set(
        { nodeTtlMs: 20_000, awayAfterMs: 100_000, idleTimeoutMs: 100_000 },
        [stepMs],
      )
      await nodes.pass(store, 5000 - 200 - sweptMs - 2 * TIMING.sweepIntervalMs)
      expect(await mark.changes()).toEqual([])
      await nodes.pass(store, 4 * TIMING.sweepIntervalMs)
      expect([...told(await mark.changes())].sort()).toEqual(['in-grace LEAVE', 'over-http LEAVE'])
    }
  })

  it('two nodes that sweep, and see the same step, take it for one', async () => {
    const { nodes, store, mark } = await set({ nodeTtlMs: 20_000, awayAfterMs: 100_000, idleTimeoutMs: 100_000 }, [])
    const other = await nodes.join()
    await other.sweep(100)
    await nodes.step(3000)
    await nodes.moveOn(TIMING.sweepIntervalMs)
    await other.sweep(100)
    await store.sweep(100)
    await nodes.pass(store, 5000 - 200 - 4 * TIMING.sweepIntervalMs)
    expect(await mark.changes()).toEqual([])
    await nodes.pass(store, 6 * TIMING.sweepIntervalMs)
    expect([...told(await mark.changes())].sort()).toEqual(['in-grace LEAVE', 'over-http LEAVE'])
  })

  it('the operator is told once, with its size', async () => {
    const { nodes } = await open()
    const told: unknown[] = []
    const store = await nodes.join({ onInfo: (fields, message) => void told.push([fields, message]) })
    await nodes.pass(store, 200)
    await nodes.step(HOUR_MS)
    await nodes.pass(store, 500)
    const said = told.filter((line) => JSON.stringify(line).includes('The clock of Redis'))
    expect(said).toEqual([[{ jumpMs: HOUR_MS }, expect.stringContaining('The clock of Redis was set')]])
  })

  it('what a version before this one left is read as it was', async () => {
    const { nodes, store, renewing } = await open({ ...ACTIVE, awayAfterMs: 2000 })
    const socket = await connect(store, 'alice')
    await beatOverHttp(store, 'bob')
    for (const userId of ['alice', 'bob']) await cutToOlderVersion(nodes, userId)
    await nodes.redis.hdel(`${nodes.root}:meta`, 'skewMs')
    await nodes.pass(store, 200, renewing)
    expect(await onlineIds(store)).toEqual(['alice', 'bob'])
    expect(await beat(store, socket, { isActive: false })).toMatchObject({ kind: 'counted' })
    await nodes.pass(store, 2000, renewing)
    expect(await statusOf(store, 'alice')).toBe('AWAY')
    await nodes.pass(store, 3000, renewing)
    expect(await onlineIds(store)).toEqual(['alice'])
  })
})

/** Takes from a user and their sessions what versions with one clock did not write. */
async function cutToOlderVersion({ redis, root }: RedisNodes, userId: string): Promise<void> {
  const text = readFileSync(new URL('../../../src/stores/redis/lua/shared/user.lua', import.meta.url), 'utf8')
  const places = (list: string, names: readonly string[]) => {
    const block = text.slice(text.indexOf(`local ${list} = {`))
    const lines = block.slice(0, block.indexOf('\n}')).replace(/--.*/g, '')
    const fields = [...lines.matchAll(/'(\w+)'/g)].map(([, name]) => String(name))
    return names.map((name) => fields.indexOf(name) + 1)
  }
  const ofUser = places('USER_FIELDS', ['lastActiveSteadyMs', 'latestAtMs'])
  const ofSession = places('SESSION_FIELDS', ['lastActiveSteadyMs', 'reapedFence'])
  expect(Math.min(...ofUser, ...ofSession)).toBeGreaterThan(0)
  await redis.eval(
    `local values = cmsgpack.unpack(redis.call('GET', KEYS[1]))
     local places = cjson.decode(ARGV[1])
     for _, place in ipairs(places[1]) do values[1][place] = false end
     for _, session in ipairs(values[2]) do
       for _, place in ipairs(places[2]) do session[place] = false end
     end
     redis.call('SET', KEYS[1], cmsgpack.pack(values))`,
    1,
    `${root}:user:${userId}`,
    JSON.stringify([ofUser, ofSession]),
  )
}
