/**
 * Activity that waits at a node (ACTIVITY_LAG), where other nodes, Redis and the clocks have their say: what it costs,
 * what is lost with a node, and that nobody who is active is called away.
 */
import { describe, expect, it } from 'vitest'
import type { BeatAnswer, PresenceStore } from '../../../src/presence/store.ts'
import { until } from '../../support/wait.ts'
import {
  attach,
  beat,
  connect,
  detach,
  goOffline,
  HIDDEN,
  isOnline,
  markOf,
  onlineIds,
  renewNode,
  rowOf,
  type Socket,
  seen,
  sessionOf,
  socketOf,
  statusOf,
  VISIBLE,
  viewerOf,
} from '../presence-store/harness.ts'
import type { NodeOptions, RedisNodes } from '../redis-harness.ts'
import { ownRedis } from './own-redis.ts'

const LAG_MS = 1000
const TIMING = { awayAfterMs: 3000, idleTimeoutMs: 9000, nodeTtlMs: 1000, lastActiveFlushMs: 200 }
const LAGGING: NodeOptions = { activityLagMs: LAG_MS, beatFlushMs: 0 }
const SWEEP_MS = 50
const BOTH = ['node-1', 'node-2']
const redis = ownRedis()

function mayWait(store: PresenceStore, socket: Socket): Promise<BeatAnswer> {
  return beat(store, socket, { mayWait: true })
}

/** A session whose next heartbeat is kept: the message about its start has arrived, and one heartbeat was counted. */
async function connectKept(
  store: PresenceStore,
  userId: string,
  details: Parameters<typeof connect>[2] = {},
): Promise<Socket> {
  let isHeard = false
  const unlisten = store.viewers.listen((named) => {
    isHeard ||= named === userId
  })
  const socket = await connect(store, userId, details)
  await until(() => isHeard, { everyMs: 1, what: 'the message about the start' })
  unlisten()
  await mayWait(store, socket)
  expect((await mayWait(store, socket)).kind).toBe('kept')
  return socket
}

async function openTwo() {
  const nodes = await redis.nodes(TIMING)
  const one = await nodes.join(LAGGING)
  const two = await nodes.join(LAGGING)
  return { nodes, one, two }
}

/** As `pass`, with the jobs of both nodes. */
async function passBoth(nodes: RedisNodes, [one, two]: readonly PresenceStore[], ms: number): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= SWEEP_MS) {
    await nodes.pass(one as PresenceStore, Math.min(leftMs, SWEEP_MS), { renewing: BOTH })
    await two?.sweep(1000)
  }
}

describe('a heartbeat that is kept', () => {
  it('asks Redis for nothing, and the activity of many goes in one call', async () => {
    const nodes = await redis.nodes(TIMING)
    const store = await nodes.join(LAGGING)
    const sockets = await Promise.all(Array.from({ length: 100 }, (_, index) => connectKept(store, `user-${index}`)))
    await nodes.pass(store, 400, { renewing: ['node-1'] })

    await nodes.redis.config('RESETSTAT')
    const answers = await Promise.all(sockets.map((socket) => mayWait(store, socket)))
    expect(new Set(answers.map(({ kind }) => kind))).toEqual(new Set(['kept']))
    expect(await callsOf(nodes)).toEqual({})

    await nodes.moveOn(LAG_MS)
    await nodes.redis.config('RESETSTAT')
    await store.sweep(1000)
    await store.changes.position()
    const { evalsha, set, xadd, publish } = await callsOf(nodes)
    // The activity, the sweep and the look at the position: a value and a record for each user, one message for all.
    expect({ evalsha, set, xadd, publish }).toEqual({ evalsha: 3, set: 100, xadd: 100, publish: 1 })
    for (const { userId } of sockets) expect((await seen(store, userId))?.lastActiveAtMs).toBe(nodes.nowMs() - LAG_MS)
  })

  async function callsOf(nodes: RedisNodes): Promise<Readonly<Record<string, number>>> {
    const stats = await nodes.redis.info('commandstats')
    const calls = [...stats.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm)].map(([, name, count]) => [name, Number(count)])
    const { 'config|resetstat': _own, info: _asked, ...others } = Object.fromEntries(calls)
    return others
  }

  it('lags for others by the lag and a sweep at most, and is dated as it was', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    await passBoth(nodes, [one, two], 300)
    for (const everyMs of [200, 300, 700, 1000]) {
      const activeAtMs: number[] = []
      for (let passedMs = 0; passedMs < 4 * LAG_MS; passedMs += everyMs) {
        activeAtMs.push(nodes.nowMs())
        await mayWait(one, alice)
        await passBoth(nodes, [one, two], everyMs)
        const shown = Number((await seen(two, 'alice'))?.lastActiveAtMs)
        const told = activeAtMs.filter((atMs) => atMs <= nodes.nowMs() - LAG_MS - SWEEP_MS).at(-1)
        if (told !== undefined) expect(shown).toBeGreaterThanOrEqual(told)
        expect(shown === activeAtMs[0] || activeAtMs.includes(shown) || shown < Number(activeAtMs[0])).toBe(true)
      }
    }
  })
})

describe('with another node', () => {
  it('a goOffline there ends the session, and activity from before it brings nobody back', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    await passBoth(nodes, [one, two], 100)
    expect((await mayWait(one, alice)).kind).toBe('kept')
    await passBoth(nodes, [one, two], 100)
    expect(await goOffline(two, 'alice')).toBe(1)
    const mark = await markOf(two)
    await one.changes.position()
    await passBoth(nodes, [one, two], 2 * LAG_MS)
    expect(await isOnline(two, 'alice')).toBe(false)
    expect(await mark.changes()).toEqual([])
    expect((await mayWait(one, alice)).kind).toBe('unknown')
  })

  it('rooms that change there are heard of here, and the next heartbeat says its own', async () => {
    const { one, two } = await openTwo()
    const alice = await connectKept(one, 'alice', { rooms: ['a'] })
    const inA = () => beat(one, alice, { mayWait: true, rooms: ['a'] })
    expect((await inA()).kind).toBe('kept')
    await two.join({ ...alice, fence: null, room: 'b' })
    await until(async () => (await inA()).kind === 'counted', { everyMs: 1, what: 'a heartbeat that goes to Redis' })
    expect(await onlineIds(two, 'b')).toEqual([])
  })

  it('a session that moved there keeps the activity from before, and this node learns that it moved', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    await passBoth(nodes, [one, two], 300)
    const activeAtMs = nodes.nowMs()
    expect((await mayWait(one, alice)).kind).toBe('kept')
    await passBoth(nodes, [one, two], 100)
    let newsCount = 0
    one.nodes.listen({
      news() {
        newsCount += 1
      },
      startAnew() {},
    })
    const newer = socketOf('alice', alice.sessionId, 'node-2')
    await attach(two, newer, { isActive: false })
    await passBoth(nodes, [one, two], LAG_MS)
    // Whether it was told to close or not, the old socket is of the past; the user was active all the same.
    expect((await seen(two, 'alice'))?.lastActiveAtMs).toBe(activeAtMs)
    expect(newsCount).toBeGreaterThan(0)
    expect((await mayWait(one, alice)).kind).toBe('late')
  })

  it('two tabs of one user at two nodes: neither makes the user away while the other is active', async () => {
    const { nodes, one, two } = await openTwo()
    const here = await connectKept(one, 'alice')
    const there = await connect(two, 'alice', { nodeId: 'node-2' })
    const mark = await markOf(two)
    for (let passedMs = 0; passedMs < 3 * TIMING.awayAfterMs; passedMs += 600) {
      await mayWait(one, here)
      await passBoth(nodes, [one, two], 600)
    }
    await mayWait(two, there)
    expect(await mark.changes()).toEqual([])
    expect(await statusOf(two, 'alice')).toBe('ONLINE')
  })

  it('hiding there hides activity here from that moment on', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    await passBoth(nodes, [one, two], 200)
    const shown = (await seen(two, 'alice'))?.lastActiveAtMs
    await two.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
    await mayWait(one, alice)
    await passBoth(nodes, [one, two], 2 * LAG_MS)
    expect((await seen(two, 'alice'))?.lastActiveAtMs).toBe(shown)
    const hiddenAtMs = nodes.nowMs()
    await mayWait(one, alice)
    await passBoth(nodes, [one, two], 100)
    await two.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
    const shownAgain = (await seen(two, 'alice'))?.lastActiveAtMs
    expect(shownAgain).toBe(nodes.nowMs())
    await passBoth(nodes, [one, two], 2 * LAG_MS)
    // What was kept of the time in hiding is older than the moment in which the user was seen again.
    expect((await seen(two, 'alice'))?.lastActiveAtMs).toBe(shownAgain)
    expect(shownAgain).toBeGreaterThan(hiddenAtMs)
  })

  it('a node that dies loses the activity of the lag, and no more', async () => {
    for (const everyMs of [100, 300, 900]) {
      const { nodes, one, two } = await openTwo()
      const alice = await connectKept(one, 'alice')
      for (let passedMs = 0; passedMs < 4 * LAG_MS; passedMs += everyMs) {
        await mayWait(one, alice)
        await passBoth(nodes, [one, two], everyMs)
      }
      const activeAtMs = nodes.nowMs() - everyMs
      // From here on node 1 does nothing, and so keeps what it has.
      await nodes.pass(two, TIMING.nodeTtlMs + 2 * SWEEP_MS, { renewing: ['node-2'] })
      expect(await sessionOf(two, alice)).toMatchObject({ fence: null })
      await two.end({ userId: 'alice', sessionId: alice.sessionId, fence: null, reason: 'DISCONNECTED' })
      const row = await rowOf(two, alice)
      expect(row.lastActiveAtMs).toBeLessThanOrEqual(activeAtMs)
      expect(row.lastActiveAtMs).toBeGreaterThanOrEqual(activeAtMs - LAG_MS)
    }
  })

  it('a node that was thought dead tells what it kept when it is back', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    await passBoth(nodes, [one, two], 300)
    const activeAtMs = nodes.nowMs()
    expect((await mayWait(one, alice)).kind).toBe('kept')
    await nodes.pass(two, TIMING.nodeTtlMs + 2 * SWEEP_MS, { renewing: ['node-2'] })
    expect(await sessionOf(two, alice)).toMatchObject({ fence: null })
    await one.sweep(1000)
    await until(async () => (await sessionOf(two, alice))?.lastActiveAtMs === activeAtMs, {
      everyMs: 1,
      what: 'the activity that was kept',
    })
    expect((await renewNode(one, 'node-1')).map(({ cause }) => cause)).toEqual(['reaped'])
  })
})

describe('while Redis is away', () => {
  /** Two nodes, one of which loses Redis while activity of alice waits there. */
  async function loseRedisWithKeptActivity() {
    const nodes = await redis.nodes(TIMING)
    const wire = await redis.proxy()
    const through = { work: wire.url, lease: wire.url, bell: wire.url }
    const store = await nodes.join({ ...LAGGING, through })
    const other = await nodes.join(LAGGING)
    const alice = await connectKept(store, 'alice')
    await nodes.pass(other, 200, { renewing: BOTH })
    const activeAtMs = nodes.nowMs()
    expect((await mayWait(store, alice)).kind).toBe('kept')
    wire.refuse()
    return { nodes, wire, store, other, alice, activeAtMs }
  }

  it('heartbeats fail, and what was kept before counts when it is back', async () => {
    const { nodes, wire, store, other, alice, activeAtMs } = await loseRedisWithKeptActivity()
    await until(() => store.trouble() !== null, { everyMs: 1, what: 'the loss of the connection' })
    await expect(mayWait(store, alice)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await nodes.pass(other, 300, { renewing: BOTH })
    wire.mend()
    await until(() => store.trouble() === null, { everyMs: 1, what: 'the connection' })
    await nodes.pass(store, LAG_MS, { renewing: BOTH })
    await until(async () => (await seen(other, 'alice'))?.lastActiveAtMs === activeAtMs, {
      everyMs: 1,
      what: 'the activity that was kept',
    })
  })

  it('what could not be sent is sent when it is back, before the detach that follows', async () => {
    const { nodes, wire, store, other, alice, activeAtMs } = await loseRedisWithKeptActivity()
    await expect(detach(store, alice)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await nodes.pass(other, 300, { renewing: BOTH })
    wire.mend()
    await until(() => store.trouble() === null, { everyMs: 1, what: 'the connection' })
    await detach(store, alice, 'silent', 1_000_000)
    const row = await rowOf(other, alice)
    expect(row).toMatchObject({ endReason: 'LOST', lastActiveAtMs: activeAtMs })
  })

  it('a live state that was lost has the activity by the comeback, and nothing of the state before', async () => {
    const nodes = await redis.nodes(TIMING)
    const store = await nodes.join(LAGGING)
    const alice = await connectKept(store, 'alice')
    await nodes.pass(store, 300, { renewing: ['node-1'] })
    expect((await mayWait(store, alice)).kind).toBe('kept')
    await nodes.lose()
    await expect(viewerOf(store, 'alice')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await until(
      async () =>
        (await store.beat({ ...alice, isActive: true, profile: null, mayWait: true }).catch(() => null))?.kind ===
        'unknown',
      {
        everyMs: 1,
        what: 'the next epoch',
      },
    )
    const again = socketOf('alice', alice.sessionId)
    const comeback = { startedForMs: 500, lastActiveForMs: 100, formerFences: [alice.fence], startId: null }
    const answer = await attach(store, again, { comeback })
    expect(answer.lastActiveAtMs).toBe(nodes.nowMs() - 100)
  })
})

describe('with steps of the clocks', () => {
  it('nobody who is active is called away, wherever the clock of Redis is set', async () => {
    for (const stepMs of [3_600_000, -3_600_000, 2000, -2000, 500, -500]) {
      const { nodes, one, two } = await openTwo()
      const alice = await connectKept(one, 'alice')
      const mark = await markOf(two)
      for (let passedMs = 0; passedMs < 2 * TIMING.awayAfterMs; passedMs += 400) {
        await mayWait(one, alice)
        await passBoth(nodes, [one, two], 400)
        if (passedMs === 1200) await nodes.step(stepMs)
      }
      expect(await mark.changes()).toEqual([])
      expect(await statusOf(two, 'alice')).toBe('ONLINE')
    }
  })

  it('the moments of a user never go back', async () => {
    const { nodes, one, two } = await openTwo()
    const alice = await connectKept(one, 'alice')
    let highest = 0
    for (const stepMs of [0, -5000, 0, 700, -700, 0]) {
      await mayWait(one, alice)
      await nodes.step(stepMs)
      await passBoth(nodes, [one, two], LAG_MS + 2 * SWEEP_MS)
      const shown = Number((await seen(two, 'alice'))?.lastActiveAtMs)
      expect(shown).toBeGreaterThanOrEqual(highest)
      highest = shown
    }
  })
})
