/** One life of the state ends and another begins: nodes bring what they know, and nobody reads half of it. */
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { until } from '../../support/wait.ts'
import {
  adoptedUser,
  attach,
  connect,
  detach,
  goOffline,
  onlineIds,
  openRow,
  rowOf,
  type Socket,
  seen,
  sessionOf,
  socketOf,
  tryAttach,
  viewerOf,
} from '../presence-store/harness.ts'
import { type RedisNodes, untilJoined } from '../redis-harness.ts'
import { adoptInherited, listenTo, ownRedis, renew } from './own-redis.ts'

const NODE = { sweepIntervalMs: 50, nodeRenewMs: 100, nodeTtlMs: 600, reconnectGraceMs: 1000 }
const UNAVAILABLE = { code: 'UNAVAILABLE' }

const redis = ownRedis({ args: ['--appendonly', 'yes', '--appendfsync', 'always'] })

/** All is gone but the clock, which Redis itself would keep. */
async function flushAll(nodes: RedisNodes): Promise<void> {
  await nodes.redis.multi().flushall().set(`${nodes.root}:manual-clock`, nodes.nowMs()).exec()
}

/** The next script of a node finds that another life began, and the one after that goes through. */
async function findIt(store: PresenceStore): Promise<void> {
  await expect(store.setUser({ userId: 'nobody' })).rejects.toMatchObject(UNAVAILABLE)
  await untilJoined(store)
}

async function expectNoReads(store: PresenceStore): Promise<void> {
  const reads = [
    () => store.page({ room: null, first: 10, after: null }),
    () => store.count(null),
    () => store.lookup(['alice']),
    () => store.viewer('alice'),
    () => store.changes.position(),
    () => store.records.read(0, 10),
    () => store.records.snapshot(null, 10),
  ]
  for (const read of reads) await expect(read()).rejects.toMatchObject(UNAVAILABLE)
}

/** As nodes do: the word itself may come before anybody listens. */
async function untilReading(...all: readonly PresenceStore[]): Promise<void> {
  for (const [index, store] of all.entries()) {
    const isReading = async (): Promise<boolean> => {
      await renew(store, `reader-${index}`)
      return store.trouble() === null
    }
    await until(isReading, { what: 'the end of announcements' })
  }
}

async function step(nodes: RedisNodes, by: PresenceStore, ms = NODE.sweepIntervalMs): Promise<void> {
  await nodes.pass(by, ms)
}

/** What a node does for each of its sockets: under a new id, by a new name. */
async function announce(store: PresenceStore, was: Socket, nodeId: string, details: object = {}): Promise<Socket> {
  const socket = socketOf(was.userId, was.sessionId, nodeId)
  const comeback = { startedForMs: 5000, lastActiveForMs: 2000, formerFences: [was.fence], startId: null }
  const answer = await tryAttach(store, socket, { isActive: false, ...details, comeback })
  expect(answer).toMatchObject({ kind: 'attached' })
  return socket
}

describe('after FLUSHALL', () => {
  async function lost(timing: Partial<typeof NODE & { closeGraceMs: number }> = {}) {
    const nodes = await redis.nodes({ ...NODE, ...timing })
    const [one, other] = [await nodes.join(), await nodes.join()]
    const told = { one: listenTo(one), other: listenTo(other) }
    const alice = await connect(one, 'alice', { nodeId: 'node-1' })
    await until(() => told.other.changes.length === 1 && told.one.changes.length === 1, { what: 'the JOIN' })
    const position = await one.changes.position()
    await flushAll(nodes)
    return { nodes, one, other, told, alice, position }
  }

  it('the next script of each node finds it, and tells its node to start anew', async () => {
    const { one, other, told } = await lost()
    expect([told.one.anewCount, told.other.anewCount]).toEqual([0, 0])
    await findIt(one)
    expect([told.one.anewCount, told.other.anewCount]).toEqual([1, 0])
    await expect(renew(other, 'node-2')).rejects.toMatchObject(UNAVAILABLE)
    await until(() => told.other.anewCount === 1, { what: 'the word to start anew' })
    await until(
      () =>
        renew(other, 'node-2').then(
          () => true,
          () => false,
        ),
      { what: 'a renewal' },
    )
    expect([told.one.anewCount, told.other.anewCount]).toEqual([1, 1])
  })

  it('nobody reads before two NODE_RENEW have passed, though all are there', async () => {
    const { nodes, one, other, told, position } = await lost()
    for (const store of [one, other]) await findIt(store)
    await announce(one, socketOf('alice', 'a', 'node-1'), 'node-1b')
    await one.adopted()
    for (const store of [one, other]) await store.announced()
    for (let passedMs = 0; passedMs < 2 * NODE.nodeRenewMs; passedMs += NODE.sweepIntervalMs) {
      for (const store of [one, other]) {
        await expectNoReads(store)
        expect(store.trouble()).toContain('announce')
      }
      expect([told.one.newEpochs, told.other.newEpochs]).toEqual([[], []])
      await step(nodes, one)
    }

    await untilReading(one, other)
    expect(await onlineIds(other)).toEqual(['alice'])
    const fresh = await other.changes.position()
    expect(fresh.epoch).not.toBe(position.epoch)
    for (const { newEpochs, changes } of [told.one, told.other]) {
      expect(newEpochs).toEqual([`${fresh.epoch} ${fresh.seq}`])
      // What was before the new life's first word is nobody's change.
      expect(changes).toHaveLength(1)
    }
    for (const store of [one, other]) expect(await store.changes.read(position, 10)).toBe('expired')

    await connect(one, 'bob')
    await until(() => told.other.changes.length === 2, { what: 'the JOIN' })
    expect(told.other.changes[1]).toBe(`${fresh.seq + 1} bob JOIN`)
    for (let round = 0; round < 3; round += 1) {
      for (const [index, store] of [one, other].entries()) await renew(store, `node-${index + 1}b`)
    }
    expect([told.one.newEpochs.length, told.other.newEpochs.length]).toEqual([1, 1])
  })

  it('nobody comes back who was forgotten after their row was read, and before it was adopted', async () => {
    const { nodes, one, other } = await lost()
    for (const store of [one, other]) await findIt(store)
    await announce(one, socketOf('alice', 'a', 'node-1'), 'node-1b')
    const nowMs = nodes.nowMs()
    const read = ['alice', 'bob'].map((userId) => adoptedUser(userId, nowMs, { sessions: [openRow(nowMs)] }))

    expect(await one.forget({ userId: 'alice', tokensIssuedUpToMs: 1000 })).toBe(1)
    await one.adopt(read)

    await one.adopted()
    for (const store of [one, other]) await store.announced()
    for (let count = 0; count < 5; count += 1) await step(nodes, one)
    await untilReading(one, other)
    expect(await onlineIds(other)).toEqual(['bob'])
    expect(await other.viewer('alice')).toBeNull()
    const { records } = await one.records.read(0, 100)
    expect(records.filter(({ userId, isForgotten }) => userId === 'alice' && isForgotten !== true)).toEqual([])
    expect((await one.records.snapshot(null, 100)).map(({ userId }) => userId)).toEqual(['bob'])
  })

  it.each([
    ['a node still announces', (_one: PresenceStore, other: PresenceStore) => other.announced(), 'not announced'],
    ['nobody has adopted', (one: PresenceStore) => one.adopted(), 'not adopted'],
  ] as const)('nobody reads while %s', async (_title, finish, lack) => {
    const { nodes, one, other } = await lost()
    for (const store of [one, other]) await findIt(store)
    if (lack !== 'not adopted') await one.adopted()
    for (const store of lack === 'not announced' ? [one] : [one, other]) await store.announced()
    await step(nodes, one, 2 * NODE.nodeRenewMs + 2 * NODE.sweepIntervalMs)
    await expectNoReads(one)
    await finish(one, other)
    await expectNoReads(one)
    await step(nodes, one)
    await untilReading(one, other)
    expect(await onlineIds(one)).toEqual([])
  })

  it('nobody waits longer than NODE_TTL, and the records wait for the adoption all the same', async () => {
    const { nodes, one, other, told } = await lost()
    for (const store of [one, other]) await findIt(store)
    await one.announced()
    await step(nodes, one, NODE.nodeTtlMs - NODE.sweepIntervalMs)
    await expectNoReads(one)
    await step(nodes, one)
    await untilReading(one, other)
    expect(await onlineIds(one)).toEqual([])
    expect([told.one.newEpochs.length, told.other.newEpochs.length]).toEqual([1, 1])
    for (const read of [() => one.records.read(0, 10), () => one.records.snapshot(null, 10)]) {
      await expect(read()).rejects.toMatchObject(UNAVAILABLE)
    }
    await one.adopted()
    expect(await one.records.read(0, 10)).toMatchObject({ records: [] })
  })

  it('a node that comes only then is waited for as well', async () => {
    const { nodes, one, other } = await lost()
    for (const store of [one, other]) await findIt(store)
    await one.adopted()
    for (const store of [one, other]) await store.announced()
    const third = nodes.open()
    await untilJoined(third)
    await step(nodes, one, 2 * NODE.nodeRenewMs + NODE.sweepIntervalMs)
    await expectNoReads(one)
    await third.announced()
    await step(nodes, one)
    await untilReading(one)
  })

  it('one node is asked to adopt, and another where that one died', async () => {
    const { nodes, one, other } = await lost()
    for (const store of [one, other]) await findIt(store)
    expect(await renew(one, 'node-1b')).toMatchObject({ mustAdopt: true })
    expect(await renew(other, 'node-2b')).toMatchObject({ mustAdopt: false })
    expect(await renew(one, 'node-1b')).toMatchObject({ mustAdopt: true })
    for (let passedMs = 0; passedMs < NODE.nodeTtlMs; passedMs += NODE.nodeRenewMs) {
      expect(await renew(other, 'node-2b')).toMatchObject({ mustAdopt: false })
      await step(nodes, one, NODE.nodeRenewMs)
    }
    expect(await renew(other, 'node-2b')).toMatchObject({ mustAdopt: true })
    expect(await renew(one, 'node-1b')).toMatchObject({ mustAdopt: false })
    await other.adopted()
    for (const [store, nodeId] of [
      [one, 'node-1b'],
      [other, 'node-2b'],
    ] as const) {
      expect(await renew(store, nodeId)).toMatchObject({ mustAdopt: false })
    }
  })

  it('who ended before the adoption is not adopted', async () => {
    const { nodes, one, alice } = await lost()
    await findIt(one)
    await announce(one, alice, 'node-1b')
    const bob = await connect(one, 'bob', { nodeId: 'node-1b' })
    await goOffline(one, 'alice', alice.sessionId)
    const row = openRow(nodes.nowMs(), { sessionId: alice.sessionId, device: null })
    const otherRow = openRow(nodes.nowMs(), { sessionId: randomUUID(), device: null })
    await one.adopt([
      adoptedUser('alice', nodes.nowMs(), { sessions: [row, otherRow] }),
      adoptedUser('bob', nodes.nowMs(), {
        sessions: [openRow(nodes.nowMs(), { sessionId: bob.sessionId, device: null })],
      }),
    ])
    await one.adopted()
    await one.announced()
    await step(nodes, one, NODE.nodeTtlMs)
    await untilReading(one)
    expect((await viewerOf(one, 'alice')).sessions.map(({ id }) => id)).toEqual([otherRow.sessionId])
    expect((await viewerOf(one, 'bob')).sessions.map(({ id }) => id)).toEqual([bob.sessionId])
  })

  it.each([null, 'theirs'])('who ended before anybody brought them is not adopted (session: %s)', async (sessionId) => {
    const { nodes, one } = await lost()
    await findIt(one)
    // Programs over HTTP, whose rows are open in the database: no node announces them.
    await one.end({ userId: 'carol', sessionId, fence: null, reason: 'WENT_OFFLINE' })
    const nowMs = nodes.nowMs()
    const rows = ['theirs', 'another'].map((id) => ({
      ...openRow(nowMs, { sessionId: id, device: null }),
      hadSocket: false,
      nodeId: null,
    }))
    await one.adopt([adoptedUser('carol', nowMs, { sessions: rows })])
    await one.adopted()
    await one.announced()
    await step(nodes, one, NODE.nodeTtlMs)
    await untilReading(one)
    const left = (await viewerOf(one, 'carol')).sessions.map(({ id }) => id)
    expect(left).toEqual(sessionId === null ? [] : ['another'])
  })

  it('who came back before the adoption goes on in the row that the database has open', async () => {
    const { nodes, one } = await lost()
    await findIt(one)
    const nowMs = nodes.nowMs()
    const carol = await connect(one, 'carol', { nodeId: 'node-1b' })
    const dave = { userId: 'dave', sessionId: 'default', fence: null, nodeId: null }
    await tryAttach(one, dave)
    const rows = {
      carol: openRow(nowMs, { sessionId: carol.sessionId }),
      dave: openRow(nowMs, { sessionId: 'default', hadSocket: false, nodeId: null }),
    }
    await one.adopt([
      adoptedUser('carol', nowMs, { sessions: [rows.carol] }),
      adoptedUser('dave', nowMs, { sessions: [rows.dave] }),
    ])
    await one.adopted()
    await one.announced()
    await step(nodes, one, NODE.nodeTtlMs)
    await untilReading(one)
    await goOffline(one, 'dave')
    const { records } = await one.records.read(0, 1000)
    const inOrder = [...records, ...(await one.records.snapshot(null, 100))]
    const starts = (userId: string) =>
      new Set(
        inOrder
          .filter((record) => record.userId === userId)
          .flatMap(({ sessions }) => sessions.map((row) => row.startId)),
      )
    expect([...starts('carol')]).toEqual([rows.carol.startId])
    expect([...starts('dave')]).toEqual([rows.dave.startId])
    expect(inOrder.flatMap(({ sessions }) => sessions).find((row) => row.startId === rows.dave.startId)).toMatchObject({
      startedAtMs: rows.dave.startedAtMs,
    })
  })

  it('what ended before the adoption ends the row that the database has open, with its reason', async () => {
    const { nodes, one } = await lost()
    await findIt(one)
    const nowMs = nodes.nowMs()
    const carol = await connect(one, 'carol', { nodeId: 'node-1b' })
    await goOffline(one, 'carol', carol.sessionId)
    await one.end({ userId: 'dave', sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    const erin = await connect(one, 'erin', { nodeId: 'node-1b' })
    const http = { sessionId: 'default', hadSocket: false, nodeId: null }
    const rows = [openRow(nowMs, { sessionId: carol.sessionId }), openRow(nowMs), openRow(nowMs, http)] as const
    await one.adopt([
      adoptedUser('carol', nowMs, { sessions: [rows[0]] }),
      adoptedUser('dave', nowMs, { sessions: [rows[1]] }),
      adoptedUser('erin', nowMs, { sessions: [rows[2]] }),
    ])
    await one.adopted()
    await one.announced()
    await step(nodes, one, NODE.nodeTtlMs)
    await untilReading(one)
    const written = (await one.records.read(0, 1000)).records.flatMap(({ sessions }) => sessions)
    const endOf = (startId: string) => written.filter((row) => row.startId === startId).at(-1)?.endReason
    expect(rows.map(({ startId }) => endOf(startId))).toEqual(['WENT_OFFLINE', 'WENT_OFFLINE', 'TAKEN_OVER'])
    expect((await viewerOf(one, 'erin')).sessions.map(({ id }) => id)).toEqual([erin.sessionId])
  })

  it.each(['there', 'in its grace', 'closed', 'silent'])(
    'a `default` that the database has open is not adopted where its user came by a socket: %s',
    async (how) => {
      const { nodes, one } = await lost({ closeGraceMs: 200 })
      await findIt(one)
      const dave = await connect(one, 'dave', { nodeId: 'node-1b' })
      // The database is away for a while, so that the adoption comes late.
      await nodes.pass(one, NODE.nodeTtlMs, { renewing: ['node-1b'] })
      await untilReading(one)
      if (how === 'silent') await detach(one, dave, 'silent', NODE.reconnectGraceMs)
      if (how === 'closed' || how === 'in its grace') await detach(one, dave, 'closed')
      if (how === 'closed') await nodes.pass(one, 400)
      expect((await viewerOf(one, 'dave')).sessions).toHaveLength(how === 'closed' || how === 'silent' ? 0 : 1)
      const row = openRow(nodes.nowMs(), { sessionId: 'default', device: null, hadSocket: false, nodeId: null })
      await one.adopt([adoptedUser('dave', nodes.nowMs(), { sessions: [row] })])
      await one.adopted()
      const left = (await viewerOf(one, 'dave')).sessions.map(({ id }) => id)
      expect(left).not.toContain('default')
    },
  )

  it('the adoption of who is there already changes nothing but an earlier onlineSince', async () => {
    const { nodes, one, alice } = await lost()
    await findIt(one)
    const details = { rooms: ['bar'], device: 'phone' }
    const [socket, bob] = [
      await announce(one, alice, 'node-1b', details),
      await announce(one, socketOf('bob', randomUUID(), 'node-1'), 'node-1b', details),
    ]
    const nowMs = nodes.nowMs()
    await one.adopt([
      adoptedUser('alice', nowMs, {
        onlineSinceMs: nowMs - 9000,
        sessions: [openRow(nowMs, { sessionId: alice.sessionId, device: null })],
      }),
      adoptedUser('bob', nowMs, {
        onlineSinceMs: nowMs + 9000,
        sessions: [openRow(nowMs, { sessionId: bob.sessionId, device: null })],
      }),
    ])
    await one.adopted()
    await one.announced()
    await step(nodes, one, 2 * NODE.nodeRenewMs)
    await untilReading(one)
    const known = { isOnline: true, status: 'ONLINE', lastActiveAtMs: nowMs - 2000 }
    expect(await seen(one, 'alice')).toMatchObject({ ...known, onlineSinceMs: nowMs - 9000 })
    expect(await seen(one, 'bob')).toMatchObject({ ...known, onlineSinceMs: nowMs })
    for (const back of [socket, bob]) {
      expect(await sessionOf(one, back)).toMatchObject({
        ...details,
        fence: back.fence,
        startedAtMs: nowMs - 5000,
        lastActiveAtMs: nowMs - 2000,
        leaseEndsAtMs: null,
      })
    }
    expect([await onlineIds(one, 'bar'), await onlineIds(one, 'hall')]).toEqual([['alice', 'bob'], []])

    // When all can read, it is no time for another past.
    await one.adopt([adoptedUser('alice', nowMs, { onlineSinceMs: nowMs - 20_000 })])
    expect(await seen(one, 'alice')).toMatchObject({ onlineSinceMs: nowMs - 9000 })
  })
})

describe('after a restart of Redis that kept its data', () => {
  async function restarted() {
    const nodes = await redis.nodes(NODE)
    const [one, other] = [await nodes.join(), await nodes.join()]
    const told = { one: listenTo(one), other: listenTo(other) }
    const alice = await connect(one, 'alice', { nodeId: 'node-1', rooms: ['hall'], device: 'phone' })
    const bob = await connect(other, 'bob', { nodeId: 'node-2', rooms: ['hall'] })
    await nodes.pass(one, 200, { renewing: ['node-1', 'node-2'] })
    const before = {
      truth: await one.lookup(['alice', 'bob']),
      alice: await sessionOf(one, alice),
      bob: await sessionOf(one, bob),
      position: await one.changes.position(),
      row: await rowOf(one, alice),
      columns: { onlineSinceMs: nodes.nowMs() - 200 },
    }
    await until(() => told.other.changes.length === 2, { what: 'both JOINs' })
    await redis.server().restart()
    for (const { anewCount } of [told.one, told.other]) expect(anewCount).toBeLessThanOrEqual(1)
    await until(() => told.one.anewCount === 1 && told.other.anewCount === 1, { what: 'the word to start anew' })
    for (const store of [one, other]) {
      await untilJoined(store)
    }
    return { nodes, one, other, told, alice, bob, before }
  }

  it('the state is there, and a new epoch; those who announce show nothing, the others have their grace', async () => {
    const { nodes, one, other, told, alice, bob, before } = await restarted()
    await expectNoReads(one)
    const socket = await announce(one, alice, 'node-1b', { rooms: ['hall'], device: before.alice?.device ?? null })
    const adopted = await adoptInherited(one, ({ userId }) => adoptedUser(userId, nodes.nowMs(), before.columns))
    expect(adopted.map(({ userId }) => userId)).toEqual(['alice', 'bob'])
    await one.adopted()
    for (const store of [one, other]) await store.announced()
    await nodes.pass(one, 2 * NODE.nodeRenewMs, { renewing: ['node-1b', 'node-2b'] })
    await untilReading(one, other)
    const openedAtMs = nodes.nowMs()

    expect(await one.lookup(['alice', 'bob'])).toEqual(before.truth)
    expect(await onlineIds(one, 'hall')).toEqual(['alice', 'bob'])
    expect(await sessionOf(one, socket)).toEqual({ ...before.alice, fence: socket.fence })
    expect(await rowOf(one, socket)).toMatchObject({ startId: before.row.startId, endedAtMs: null })
    expect(await one.changes.read(before.position, 10)).toBe('expired')
    expect((await one.changes.position()).seq).toBe(0)
    expect([told.one.newEpochs.length, told.other.newEpochs.length]).toEqual([1, 1])

    // The node of before is gone for good: reaped as any dead one.
    await nodes.pass(one, 2 * NODE.sweepIntervalMs, { renewing: ['node-1b', 'node-2b'] })
    const left = await sessionOf(one, bob)
    expect(left).toMatchObject({ ...before.bob, fence: null, leaseEndsAtMs: expect.any(Number) })
    expect(Number(left?.leaseEndsAtMs)).toBeGreaterThanOrEqual(openedAtMs + NODE.reconnectGraceMs)
    expect(Number(left?.leaseEndsAtMs)).toBeLessThanOrEqual(nodes.nowMs() + NODE.reconnectGraceMs)
    await nodes.pass(one, NODE.reconnectGraceMs + NODE.sweepIntervalMs, { renewing: ['node-1b', 'node-2b'] })
    expect(await onlineIds(one)).toEqual(['alice'])
    await until(() => told.other.changes.length === 3, { what: 'the LEAVE' })
    expect(told.other.changes.slice(2)).toEqual(['1 bob LEAVE'])
    expect(await sessionOf(one, socket)).toMatchObject({ fence: socket.fence })
  })

  it('nobody is reaped before reads go on, and a client that comes by itself has its session', async () => {
    const { nodes, one, other, bob, before } = await restarted()
    await nodes.pass(one, NODE.nodeTtlMs - NODE.sweepIntervalMs)
    const socket = socketOf('bob', bob.sessionId, 'node-2b')
    expect(await attach(other, socket)).toMatchObject({ replacedFence: bob.fence })
    await nodes.pass(one, NODE.sweepIntervalMs)
    await untilReading(one)
    await nodes.pass(one, 2 * NODE.sweepIntervalMs, { renewing: ['node-2b'] })
    expect(await sessionOf(one, socket)).toEqual({ ...before.bob, fence: socket.fence })
  })
})
