/** A Redis that refuses, forgets or does not answer: nothing is done twice, and nobody goes offline for it. */
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { startRedis } from '../../support/redis.ts'
import { until } from '../../support/wait.ts'
import {
  adoptedUser,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectFewLongRecords,
  goOffline,
  isOnline,
  markOf,
  onlineIds,
  publicTruth,
  rowsOf,
  seen,
  sessionOf,
  viewerOf,
} from '../presence-store/harness.ts'
import type { RedisNodes } from '../redis-harness.ts'
import { attachRequest, ownRedis, renew } from './own-redis.ts'

const UNAVAILABLE = { code: 'UNAVAILABLE' }
const redis = ownRedis({ args: ['--maxmemory-policy', 'noeviction'] })

/** Everything that a step may have changed. */
async function wholeTruth(store: PresenceStore, nodes: RedisNodes, userId: string) {
  const { records } = await store.records.read(0, 10_000)
  return {
    public: await publicTruth(store, [userId], ['hall']),
    viewer: await store.viewer(userId),
    rows: rowsOf(records, userId),
    columns: records.filter((record) => record.userId === userId).at(-1)?.columns,
    sessionCount: await nodes.redis.hget(`${nodes.root}:meta`, 'sessionCount'),
    nodes: (await nodes.redis.zrange(`${nodes.root}:nodes`, 0, -1)).filter((id) => id !== 'node-of-the-harness'),
  }
}

it('SCRIPT FLUSH changes nothing for callers', async () => {
  const nodes = await redis.nodes({ closeGraceMs: 100 })
  const store = await nodes.join()
  const forget = () => nodes.redis.script('FLUSH')
  await forget()
  const socket = await connect(store, 'alice', { rooms: ['hall'] })
  await forget()
  expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
  await forget()
  expect(await Promise.all([onlineIds(store, 'hall'), store.count(null), isOnline(store, 'alice')])).toEqual([
    ['alice'],
    1,
    true,
  ])
  await forget()
  expect(await renew(store, 'node-1')).toMatchObject({ losses: [] })
  await forget()
  await detach(store, socket)
  await forget()
  await nodes.pass(store, 300)
  expect(await onlineIds(store)).toEqual([])
  expect(store.trouble()).toBeNull()
})

it('SCRIPT FLUSH lets nothing overtake what found no script', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const socket = await connect(store, 'alice')
  for (let round = 0; round < 20; round += 1) {
    await nodes.redis.script('FLUSH')
    const first = beat(store, socket)
    // Two of the scripts that follow were not called since, and each is sent in another stage of the recovery.
    for (let turn = 0; turn < round; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    await Promise.all([
      first,
      store.join({ ...socket, room: 'b' }),
      beat(store, socket, { rooms: ['a'] }),
      store.join({ ...socket, room: 'c' }),
      beat(store, socket),
      store.leave({ ...socket, room: 'a' }),
    ])
    expect((await viewerOf(store, 'alice')).sessions).toMatchObject([{ rooms: ['c'] }])
  }
})

describe('a Redis that is full', () => {
  const TIMING = { nodeTtlMs: 2000, heartbeatIntervalMs: 500, reconnectGraceMs: 400, sessionTtlMs: 400 }

  async function full() {
    const nodes = await redis.nodes(TIMING)
    const store = await nodes.join()
    const socket = await connect(store, 'alice', { rooms: ['hall'] })
    await beatOverHttp(store, 'bob')
    await connect(store, 'gone')
    await goOffline(store, 'gone')
    await setLimit(nodes, '1')
    return { nodes, store, socket }
  }

  async function setLimit(nodes: RedisNodes, bytes: string): Promise<void> {
    await nodes.redis.config('SET', 'maxmemory', bytes)
  }

  /** The clock of the tests is a key as well. */
  async function moveOn(nodes: RedisNodes, ms: number): Promise<void> {
    await setLimit(nodes, '0')
    await nodes.moveOn(ms)
    await setLimit(nodes, '1')
  }

  it('refuses what is written, and can be read and acknowledged', async () => {
    const { nodes, store, socket } = await full()
    try {
      const writes: (() => Promise<unknown>)[] = [
        () => store.attach(attachRequest('carol', 'one', 'node-1:c')),
        () => beat(store, socket),
        () => store.join({ ...socket, room: 'bar' }),
        () => goOffline(store, 'alice'),
        () => renew(store, 'node-1'),
        () => store.sweep(10),
        () => store.reapNodes(10),
      ]
      for (const write of writes) await expect(write(), String(write)).rejects.toMatchObject(UNAVAILABLE)
      expect(store.trouble()).toMatch(/^Redis refuses to write/)

      expect(await onlineIds(store)).toEqual(['alice', 'bob'])
      expect(await store.count('hall')).toBe(1)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: true })
      expect(await viewerOf(store, 'alice')).toMatchObject({ sessions: [{ fence: socket.fence, rooms: ['hall'] }] })
      const position = await store.changes.position()
      expect(await store.changes.read({ ...position, seq: 0 }, 10)).toMatchObject({ position })

      // This is what makes room.
      const { records, lastSeq, epoch } = await store.records.read(0, 100)
      expect(records.length).toBeGreaterThan(0)
      expect(await seen(store, 'gone')).toMatchObject({ isOnline: false })
      await store.records.ack(epoch, lastSeq)
      expect(await seen(store, 'gone')).toBeNull()
      expect(await store.records.read(lastSeq, 100)).toMatchObject({ records: [], isGap: false })
    } finally {
      await setLimit(nodes, '0')
    }
  })

  it('takes everything again when it has room, and nobody went offline meanwhile', async () => {
    const { nodes, store, socket } = await full()
    try {
      const mark = await markOf(store)
      for (let count = 0; count < 5; count += 1) {
        await moveOn(nodes, TIMING.nodeTtlMs)
        await expect(renew(store, 'node-1')).rejects.toMatchObject(UNAVAILABLE)
        await expect(store.sweep(10)).rejects.toMatchObject(UNAVAILABLE)
        await expect(store.reapNodes(10)).rejects.toMatchObject(UNAVAILABLE)
        expect(await onlineIds(store)).toEqual(['alice', 'bob'])
      }
      await setLimit(nodes, '0')
      await nodes.pass(store, 1000, { renewing: ['node-1'] })
      expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
      await beatOverHttp(store, 'bob')
      expect(await onlineIds(store)).toEqual(['alice', 'bob'])
      expect(await mark.changes()).toEqual([])
      expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence })
      await until(() => store.trouble() === null, { what: 'the end of the trouble' })
      // And time goes on for who is gone.
      await nodes.pass(store, 3000, { renewing: ['node-1'] })
      expect(await onlineIds(store)).toEqual(['alice'])
    } finally {
      await setLimit(nodes, '0')
    }
  })
})

it('bounds the records by their bytes, for those of a session in many rooms are long', async () => {
  const nodes = await redis.nodes()
  await expectFewLongRecords(await nodes.join({ recordBytes: 100_000 }))
  expect(await nodes.redis.xlen(`${nodes.root}:records`)).toBeLessThan(10)
})

it('reads long records and long states in more than one answer', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const rooms = Array.from({ length: 100 }, (_, index) => `room ${index} `.padEnd(128, '.'))
  const userIds = Array.from({ length: 200 }, (_, index) => `user-${String(index).padStart(3, '0')}`)
  for (const userId of userIds) await connect(store, userId, { rooms })
  const { records, lastSeq } = await store.records.read(0, 1000)
  expect(records.length).toBeGreaterThan(0)
  expect(records.length).toBeLessThan(150)
  const rest = await store.records.read(Number(records.at(-1)?.seq), 1000)
  expect(records.length + rest.records.length).toBe(lastSeq)

  const found: string[] = []
  for (let after: string | null = null; ; ) {
    const page = await store.records.snapshot(after, 1000)
    expect(page.length).toBeLessThan(150)
    if (page.length === 0) break
    found.push(...page.map(({ userId }) => userId))
    after = String(found.at(-1))
  }
  expect(found).toEqual(userIds)
})

it('can be full of records that the database missed: it is made anew from a snapshot, which makes room', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join({ recordsKept: 2 })
  for (const userId of ['a', 'b', 'c', 'd']) await connect(store, userId)
  await goOffline(store, 'b')
  await nodes.redis.config('SET', 'maxmemory', '1')
  try {
    const { isGap, epoch, lastSeq } = await store.records.read(0, 10)
    expect(isGap).toBe(true)
    const first = await store.records.snapshot(null, 3)
    const rest = await store.records.snapshot(first.at(-1)?.userId ?? null, 3)
    expect([...first, ...rest].map(({ userId }) => userId)).toEqual(['a', 'b', 'c', 'd'])
    await store.records.ack(epoch, lastSeq)
    expect(await seen(store, 'b')).toBeNull()
  } finally {
    await nodes.redis.config('SET', 'maxmemory', '0')
  }
})

describe('a replica', () => {
  it('is refused, and trouble says so', async () => {
    const replica = await startRedis({ replicaOf: redis.server() })
    try {
      const nodes = await redis.nodes()
      await nodes.join()
      const through = { work: replica.url, lease: replica.url, bell: replica.url }
      const store = nodes.open({ through })
      await until(() => store.trouble()?.includes('is a replica'), { what: 'the word about the replica' })
      for (const call of [() => store.count(null), () => renew(store, 'node-2'), () => beatOverHttp(store, 'alice')]) {
        await expect(call()).rejects.toMatchObject(UNAVAILABLE)
      }
    } finally {
      await replica.stop()
    }
  })

  it('that a master becomes is left alone, until it is a master again', async () => {
    const nodes = await redis.nodes()
    const store = await nodes.join()
    const socket = await connect(store, 'alice')
    try {
      // Of nobody: it keeps its data.
      await nodes.redis.call('REPLICAOF', '127.0.0.1', '1')
      await expect(beat(store, socket)).rejects.toMatchObject(UNAVAILABLE)
      await until(() => store.trouble()?.includes('is a replica'), { what: 'the word about the replica' })
    } finally {
      await nodes.redis.call('REPLICAOF', 'NO', 'ONE')
    }
    await until(() => store.trouble() === null, { what: 'the end of the trouble' })
    expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
    expect(await onlineIds(store)).toEqual(['alice'])
  })
})

describe('a step whose answer does not come', () => {
  const TIME_LIMIT_MS = 400

  async function behindProxy() {
    const nodes = await redis.nodes()
    const proxy = await redis.proxy()
    const witness = await nodes.join()
    const through = { work: proxy.url, lease: proxy.url }
    const store = await nodes.join({ through, timeLimitMs: TIME_LIMIT_MS })
    return { nodes, proxy, witness, store }
  }
  type World = Awaited<ReturnType<typeof behindProxy>>

  /** Asks until it is answered, as a node does. */
  function untilAnswered<Answer>(step: () => Promise<Answer>): Promise<Answer | true> {
    return until(
      () =>
        step().then(
          (answer) => answer ?? true,
          () => null,
        ),
      { what: 'the answer' },
    ) as Promise<Answer | true>
  }

  const losses: Readonly<Record<string, (world: World, step: () => Promise<unknown>) => Promise<void>>> = {
    async 'comes too late'({ proxy }, step) {
      proxy.loseAnswers()
      await expect(step()).rejects.toMatchObject(UNAVAILABLE)
      proxy.mend()
    },
    async 'is cut off after it was sent'({ proxy }, step) {
      const asked = step()
      // What was written has gone: it may have been executed or not.
      await new Promise((resolve) => setImmediate(resolve))
      proxy.cut()
      await asked.catch(() => {})
    },
    async 'is cut off before it is sent'({ proxy, store }, step) {
      proxy.refuse()
      await until(() => store.trouble() !== null, { what: 'the trouble' })
      await expect(step()).rejects.toMatchObject(UNAVAILABLE)
      proxy.mend()
    },
  }

  const userId = 'alice'
  const START_ID = randomUUID()
  /** When the clock of the tests begins. */
  const ADOPTED_AT_MS = Date.UTC(2026, 0, 1)
  const request = attachRequest(userId, 'one', 'node-1:a')
  const first = async ({ witness }: World): Promise<void> => {
    await witness.attach(request)
  }
  const steps: Readonly<
    Record<string, { prepare?: (world: World) => Promise<void>; run: (store: PresenceStore) => Promise<unknown> }>
  > = {
    attach: { run: (store) => store.attach({ ...request, rooms: ['hall'] }) },
    'attach that replaces': {
      prepare: first,
      run: (store) => store.attach(attachRequest(userId, 'one', 'node-2:b', 'node-2')),
    },
    comeback: {
      prepare: first,
      run: (store) =>
        store.attach({
          ...attachRequest(userId, 'one', 'node-2:b', 'node-2'),
          isActive: false,
          comeback: { startedForMs: 0, lastActiveForMs: 0, formerFences: [request.fence], startId: null },
        }),
    },
    detach: {
      prepare: first,
      run: (store) => store.detach({ ...request, cause: 'ended', silentForMs: 0 }),
    },
    'detach that ends': {
      prepare: first,
      run: (store) => store.detach({ ...request, cause: 'silent', silentForMs: 1_000_000 }),
    },
    end: {
      prepare: first,
      run: (store) => store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' }),
    },
    join: {
      prepare: first,
      run: (store) => store.join({ ...request, room: 'hall' }),
    },
    leave: {
      prepare: async ({ witness }) => {
        await witness.attach({ ...request, rooms: ['hall'] })
      },
      run: (store) => store.leave({ ...request, room: 'hall' }),
    },
    beat: {
      prepare: first,
      run: (store) => store.beat({ ...request, isActive: true, rooms: ['hall'] }),
    },
    adopt: {
      run: async (store) => {
        const row = {
          ...{ startId: START_ID, sessionId: 'one', device: null, rooms: ['hall'], nodeId: 'node-0', hadSocket: true },
          ...{
            startedAtMs: ADOPTED_AT_MS - 9000,
            lastActiveAtMs: ADOPTED_AT_MS - 2000,
            endedAtMs: null,
            endReason: null,
          },
        }
        await store.adopt([adoptedUser(userId, ADOPTED_AT_MS, { sessions: [row] })])
      },
    },
  }

  for (const [loss, lose] of Object.entries(losses)) {
    it.each(Object.entries(steps))(
      `and ${loss} is told again without a second effect: %s`,
      async (_name, { prepare, run }) => {
        // What it does where all goes well.
        const well = await redis.nodes()
        const direct = await well.join()
        const wellWorld = { nodes: well, witness: direct, store: direct } as World
        await prepare?.(wellWorld)
        await run(direct)
        const expected = await wholeTruth(direct, well, userId)

        const world = await behindProxy()
        await prepare?.(world)
        await lose(world, () => run(world.store))
        await untilAnswered(() => run(world.store))
        expect(withoutNames(await wholeTruth(world.witness, world.nodes, userId))).toEqual(withoutNames(expected))
        const once = await wholeTruth(world.witness, world.nodes, userId)
        await untilAnswered(() => run(world.store))
        expect(await wholeTruth(world.witness, world.nodes, userId)).toEqual(once)
      },
    )
  }

  /** Of two lives of a state, of which each names its epoch and its starts. */
  function withoutNames(truth: object): unknown {
    return JSON.parse(JSON.stringify(truth, (key, value) => (key === 'epoch' || key === 'startId' ? 'a name' : value)))
  }
})
