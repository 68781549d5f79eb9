/**
 * Redis comes back with an older copy of its data (a snapshot, a replica that lagged): it lacks who hid, signed out or
 * was disconnected since. They are listed at no moment, and nobody else is seen to leave.
 */
import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { SessionRow, Settings } from '../../../src/presence/model.ts'
import type { AdoptedUser, PresenceStore } from '../../../src/presence/store.ts'
import { takeSnapshot } from '../../support/redis-snapshot.ts'
import { until } from '../../support/wait.ts'
import {
  acknowledge,
  adoptedUser,
  beat,
  beatOverHttp,
  connect,
  goOffline,
  HIDDEN,
  isOnline,
  onlineIds,
  openRow,
  rowOf,
  type Socket,
  seedOf,
  seen,
  sessionOf,
  socketOf,
  tryAttach,
  VISIBLE,
  viewerOf,
} from '../presence-store/harness.ts'
import { type RedisNodes, untilJoined } from '../redis-harness.ts'
import { adoptInherited, listenTo, ownRedis, renew } from './own-redis.ts'

const NODE = { sweepIntervalMs: 50, nodeRenewMs: 100, nodeTtlMs: 600, reconnectGraceMs: 1000 }
const redis = ownRedis()

interface Copied {
  readonly nodes: RedisNodes
  readonly store: PresenceStore
  /** The server restarts with the copy, and the store has joined the epoch that begins then. */
  goBack(): Promise<void>
}

/** @param prepare - what is in the copy */
async function copied(prepare: (store: PresenceStore, nodes: RedisNodes) => Promise<unknown>): Promise<Copied> {
  const nodes = await redis.nodes(NODE)
  const store = await nodes.join()
  await prepare(store, nodes)
  const snapshot = await takeSnapshot(redis.server())
  const told = listenTo(store)
  return {
    nodes,
    store,
    async goBack() {
      const { anewCount } = told
      await snapshot.goBack()
      await until(() => told.anewCount === anewCount + 1, { what: 'the word to start anew' })
      await untilJoined(store)
    },
  }
}

/** What a node does for each of its sockets: under a new id, by a new name. */
async function announce(store: PresenceStore, was: Socket, details: object = {}): Promise<Socket> {
  const socket = socketOf(was.userId, was.sessionId, 'node-1b')
  const comeback = { startedForMs: 5000, lastActiveForMs: 0, formerFences: [was.fence], startId: null }
  const answer = await tryAttach(store, socket, { isActive: false, ...details, comeback })
  expect(answer).toMatchObject({ kind: 'attached' })
  return socket
}

/** Announcements end: with the adoption, or without it, when NODE_TTL has passed. */
async function untilReading({ nodes, store }: Copied): Promise<void> {
  await store.announced()
  const isReading = async (): Promise<boolean> => {
    await nodes.pass(store, NODE.sweepIntervalMs, { renewing: ['node-1b'] })
    await renew(store, 'node-1b')
    return store.trouble() === null
  }
  await until(isReading, { what: 'the end of announcements' })
}

async function expectUnseen(store: PresenceStore, userId: string): Promise<void> {
  expect([await onlineIds(store), await store.count(null)]).toEqual([[], 0])
  expect([await onlineIds(store, 'hall'), await store.count('hall')]).toEqual([[], 0])
  expect(await isOnline(store, userId)).toBe(false)
}

const rowOfUser = (userId: string, settings: Settings | null, more: Partial<AdoptedUser> = {}): AdoptedUser =>
  adoptedUser(userId, 0, { seed: seedOf(settings), onlineSinceMs: null, ...more })

const ended = (row: SessionRow, endedAtMs: number, endReason: SessionRow['endReason']): SessionRow => ({
  ...row,
  endedAtMs,
  endReason,
})

describe('who hid since', () => {
  async function hidden() {
    let alice = socketOf('alice')
    const copy = await copied(async (store) => {
      alice = await connect(store, 'alice', { rooms: ['hall'] })
    })
    await copy.store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
    await copy.goBack()
    return { ...copy, alice }
  }

  it('is in no list though their node announced them, and is hidden when they are adopted', async () => {
    const { store, alice, ...copy } = await hidden()
    const socket = await announce(store, alice, { rooms: ['hall'] })
    await adoptInherited(store, ({ userId }) => rowOfUser(userId, { ...HIDDEN, version: 2 }))
    await store.adopted()
    await untilReading({ store, ...copy })
    await expectUnseen(store, 'alice')
    expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true, status: 'ONLINE' })
    expect((await store.changes.position()).seq).toBe(0)
    const { records } = await store.records.read(0, 100)
    expect(records.filter(({ columns }) => columns?.isOnline).map(({ seq }) => seq)).toEqual([1])
    await beat(store, socket)
    await expectUnseen(store, 'alice')
  })

  it('is in no list while Postgres is away, and what needs their settings says so', async () => {
    const { store, alice, ...copy } = await hidden()
    const socket = await announce(store, alice, { rooms: ['hall'] })
    await untilReading({ store, ...copy })
    await expectUnseen(store, 'alice')
    // Postgres knows best.
    expect(await seen(store, 'alice')).toBeNull()
    expect(await store.viewer('alice')).toBe('pending')
    await beat(store, socket)
    await beatOverHttp(store, 'alice', randomUUID(), { seed: seedOf(null) })
    await expectUnseen(store, 'alice')
    expect(await store.viewer('alice')).toBe('pending')

    await adoptInherited(store, ({ userId }) => rowOfUser(userId, { ...HIDDEN, version: 2 }))
    await store.adopted()
    await expectUnseen(store, 'alice')
    expect((await store.changes.position()).seq).toBe(0)
    expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
  })

  it('is hidden by whatever brings their row first: the attach of a client, or settings', async () => {
    const { store, nodes, alice, ...copy } = await hidden()
    // Asked for the row, as for who is not known.
    const tab = socketOf('alice', alice.sessionId, 'node-1b')
    expect(await store.attach({ ...request(tab), seed: null })).toEqual({ kind: 'unseeded' })
    expect(await store.attach({ ...request(tab), seed: seedOf({ ...HIDDEN, version: 2 }) })).toMatchObject({
      kind: 'attached',
      replacedFence: alice.fence,
    })
    await untilReading({ store, nodes, ...copy })
    await expectUnseen(store, 'alice')
    expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
  })

  it('is hidden by settings that come by themselves', async () => {
    const { store, alice, ...copy } = await hidden()
    await announce(store, alice, { rooms: ['hall'] })
    expect(await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })).toEqual({
      ...HIDDEN,
      version: 2,
    })
    await untilReading({ store, ...copy })
    await expectUnseen(store, 'alice')
    expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
  })

  it('was not last seen before the time in which they hid, where no row says when', async () => {
    let alice = socketOf('alice')
    const { store, nodes, ...copy } = await copied(async (one, { moveOn }) => {
      await connect(one, 'alice')
      await goOffline(one, 'alice')
      await moveOn(100)
      alice = await connect(one, 'alice', { sessionId: alice.sessionId })
    })
    await copy.goBack()
    await announce(store, alice)
    await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
    await untilReading({ store, nodes, ...copy })
    expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastSeenAtMs: null })
  })

  it.each([
    { how: 'with their last activity', shownAgoMs: null },
    { how: 'and hid their last activity later, which nobody saw', shownAgoMs: 60_000 },
  ])('$how shows of it what the row shows', async ({ shownAgoMs }) => {
    const { store, nodes, alice, ...copy } = await hidden()
    await announce(store, alice, { rooms: ['hall'] })
    const settings = { ...HIDDEN, version: 3, hideLastActive: true }
    const shownLastActiveAtMs = shownAgoMs === null ? null : nodes.nowMs() - shownAgoMs
    const shownLastSeenAtMs = shownLastActiveAtMs === null ? null : shownLastActiveAtMs + 2000
    const moments = { lastActiveAtMs: nodes.nowMs() - 1000, shownLastActiveAtMs, shownLastSeenAtMs }
    const seed = seedOf(settings, moments)
    await adoptInherited(store, ({ userId }) => rowOfUser(userId, settings, { seed }))
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await seen(store, 'alice')).toMatchObject({
      isOnline: false,
      lastActiveAtMs: shownLastActiveAtMs,
      lastSeenAtMs: shownLastSeenAtMs,
    })
  })

  it('was last seen when they hid, whichever of the row and the settings comes first', async () => {
    const { store, nodes, alice, ...copy } = await hidden()
    const hidAtMs = nodes.nowMs()
    await nodes.moveOn(500)
    const socket = await announce(store, alice, { rooms: ['hall'] })
    const settings = { ...HIDDEN, version: 2 }
    await store.setUser({ userId: 'alice', settings })
    const seed = seedOf(settings, { shownLastActiveAtMs: hidAtMs - 10, shownLastSeenAtMs: hidAtMs })
    await adoptInherited(store, ({ userId }) => rowOfUser(userId, settings, { seed }))
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect((await seen(store, 'alice'))?.lastSeenAtMs).toBe(hidAtMs)
    await beat(store, socket)
    await goOffline(store, 'alice')
    expect((await seen(store, 'alice'))?.lastSeenAtMs).toBe(hidAtMs)
    const { records } = await store.records.read(0, 100)
    expect(records.at(-1)?.columns).toMatchObject({ isOnline: false, lastSeenAtMs: hidAtMs })
  })

  it('and came back since is dated by that, and shows nothing of the time in hiding', async () => {
    const { store, nodes, alice, ...copy } = await hidden()
    const startedAtMs = nodes.nowMs()
    await nodes.moveOn(100)
    await announce(store, alice, { rooms: ['hall'] })
    const row = rowOfUser('alice', { ...VISIBLE, version: 3 })
    await adoptInherited(store, () => row)
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    // The record of their coming back was lost: nobody knows since when, and what they did while it is not known.
    const alone = await seen(store, 'alice')
    expect(alone).toMatchObject({ isOnline: true, lastActiveAtMs: startedAtMs })
    expect(Number(alone?.onlineSinceMs)).toBe(startedAtMs + 100)
  })
})

describe('who only stayed', () => {
  async function stayed() {
    let alice = socketOf('alice')
    const copy = await copied(async (store, nodes) => {
      alice = await connect(store, 'alice', { rooms: ['hall'], nodeId: 'node-1' })
      await nodes.pass(store, 100, { renewing: ['node-1'] })
      await beat(store, alice)
    })
    const before = await seen(copy.store, 'alice')
    await copy.goBack()
    return { ...copy, alice, before }
  }

  it('is seen again as before, with what the row knows later, and nothing is told', async () => {
    const { store, nodes, alice, before, ...copy } = await stayed()
    const told = listenTo(store)
    await announce(store, alice, { rooms: ['hall'] })
    await adoptInherited(store, () =>
      rowOfUser('alice', VISIBLE, { onlineSinceMs: Number(before?.onlineSinceMs) - 50 }),
    )
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await seen(store, 'alice')).toEqual(before)
    expect([await onlineIds(store, 'hall'), await store.count('hall')]).toEqual([['alice'], 1])
    expect([told.changes, told.newEpochs.length]).toEqual([[], 1])
  })

  it('is seen again as before where only the copy knows them, and by the settings that are newer', async () => {
    const { store, nodes, alice, before, ...copy } = await stayed()
    await announce(store, alice, { rooms: ['hall'] })
    await adoptInherited(store, () => rowOfUser('alice', null))
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await seen(store, 'alice')).toEqual(before)
  })

  it('joins with the moment of before, where the row could be read only after the lists', async () => {
    const { store, nodes, alice, before, ...copy } = await stayed()
    await announce(store, alice, { rooms: ['hall'] })
    await untilReading({ store, nodes, ...copy })
    const told = listenTo(store)
    await expectUnseen(store, 'alice')
    await adoptInherited(store, () => rowOfUser('alice', VISIBLE, { onlineSinceMs: Number(before?.onlineSinceMs) }))
    await until(() => told.changes.length > 0, { what: 'the JOIN' })
    expect(told.changes).toEqual(['1 alice JOIN'])
    expect(await seen(store, 'alice')).toEqual(before)
    expect(await onlineIds(store, 'hall')).toEqual(['alice'])
  })

  it('stays hidden where the copy says so and the row is the older one', async () => {
    let alice = socketOf('alice')
    const { store, ...copy } = await copied(async (one) => {
      alice = await connect(one, 'alice', { rooms: ['hall'], seed: seedOf({ ...HIDDEN, version: 5 }) })
    })
    await copy.goBack()
    await announce(store, alice, { rooms: ['hall'] })
    await adoptInherited(store, () => rowOfUser('alice', { ...VISIBLE, version: 3 }))
    await store.adopted()
    await untilReading({ store, ...copy })
    await expectUnseen(store, 'alice')
    expect(await store.setUser({ userId: 'alice' })).toEqual({ ...HIDDEN, version: 5 })
    const { records } = await store.records.read(0, 100)
    expect(records.at(-1)).toMatchObject({ settings: { version: 5 }, columns: { isOnline: false } })
  })
})

describe('who signed out since', () => {
  it.each(['WENT_OFFLINE', 'DISCONNECTED'] as const)('is gone when they are adopted (%s)', async (reason) => {
    let [tab, program] = [socketOf('alice'), { userId: 'alice', sessionId: randomUUID() }]
    const { store, nodes, ...copy } = await copied(async (one) => {
      tab = await connect(one, 'alice', { rooms: ['hall'] })
      await beatOverHttp(one, 'alice', program.sessionId, { rooms: ['hall'] })
    })
    const rows = await Promise.all([tab, program].map((who) => rowOf(store, who)))
    await store.end({ userId: 'alice', sessionId: null, fence: null, reason })
    await copy.goBack()
    const nowMs = nodes.nowMs()
    const moments = { lastActiveAtMs: nowMs, shownLastActiveAtMs: nowMs, shownLastSeenAtMs: nowMs + 5 }
    await nodes.moveOn(100)
    const seed = seedOf(VISIBLE, { ...moments, isActivityOver: true })
    const asked = await adoptInherited(store, (user) =>
      adoptedUser(user.userId, nowMs, {
        seed: reason === 'WENT_OFFLINE' ? seed : { ...seed, isActivityOver: false },
        onlineSinceMs: null,
        sessions: rows.map((row) => ended(row, nowMs, reason)),
      }),
    )
    expect(asked).toEqual([{ userId: 'alice', startIds: rows.map(({ startId }) => startId) }])
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    await expectUnseen(store, 'alice')
    expect(await viewerOf(store, 'alice')).toMatchObject({
      isOnline: false,
      sessions: [],
      lastActiveAtMs: nowMs,
      user: { lastSeenAtMs: nowMs + 5 },
    })
    expect((await store.changes.position()).seq).toBe(0)
    // The rows that are over stay as they are.
    for (const who of [tab, program])
      expect(await rowOf(store, who)).toMatchObject({ endedAtMs: nowMs, endReason: reason })

    // A program that beats without activity brings back who was disconnected, and not who went offline.
    await beatOverHttp(store, 'alice', program.sessionId, { isActive: false })
    expect(await isOnline(store, 'alice')).toBe(reason === 'DISCONNECTED')
  })

  it('is gone also where the records of it were lost, by the moment of disconnectUser', async () => {
    const { store, nodes, ...copy } = await copied((one) => connect(one, 'alice', { rooms: ['hall'] }))
    await store.end({ userId: 'alice', sessionId: null, fence: null, reason: 'DISCONNECTED' })
    await copy.goBack()
    const tokensValidAfterMs = nodes.nowMs()
    await nodes.moveOn(10)
    // Another one, with a token that is younger.
    const bob = await connect(store, 'bob', { nodeId: 'node-1b' })
    await adoptInherited(store, ({ userId }) => rowOfUser(userId, VISIBLE, { tokensValidAfterMs }))
    await store.adopt([rowOfUser('bob', VISIBLE, { tokensValidAfterMs: nodes.nowMs() })])
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect([await onlineIds(store), await store.count('hall')]).toEqual([['bob'], 0])
    expect((await viewerOf(store, 'alice')).sessions).toEqual([])
    expect(await sessionOf(store, bob)).not.toBeNull()
    const { records } = await store.records.read(0, 100)
    expect(records.filter(({ userId }) => userId === 'alice').at(-1)?.sessions).toMatchObject([
      { endedAtMs: tokensValidAfterMs, endReason: 'DISCONNECTED' },
    ])
  })

  it('of one of two tabs stays by the other, and of a tab that the copy alone knows for its grace', async () => {
    let [one, two] = [socketOf('alice'), socketOf('alice')]
    const { store, nodes, ...copy } = await copied(async (before) => {
      one = await connect(before, 'alice', { rooms: ['hall'] })
      two = await connect(before, 'alice', { rooms: ['hall'] })
    })
    const row = await rowOf(store, one)
    await goOffline(store, 'alice', one.sessionId)
    await copy.goBack()
    await adoptInherited(store, () =>
      rowOfUser('alice', VISIBLE, { sessions: [ended(row, nodes.nowMs(), 'WENT_OFFLINE')] }),
    )
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect((await viewerOf(store, 'alice')).sessions.map(({ id }) => id)).toEqual([two.sessionId])
    expect(await onlineIds(store, 'hall')).toEqual(['alice'])
    await nodes.pass(store, NODE.reconnectGraceMs + 3 * NODE.sweepIntervalMs + NODE.nodeTtlMs, {
      renewing: ['node-1b'],
    })
    await expectUnseen(store, 'alice')
  })

  it('and in again, in the same tab, goes on as another start', async () => {
    let alice = socketOf('alice')
    const { store, nodes, ...copy } = await copied(async (before) => {
      alice = await connect(before, 'alice')
    })
    const former = await rowOf(store, alice)
    await copy.goBack()
    const socket = await announce(store, alice)
    await adoptInherited(store, () =>
      rowOfUser('alice', VISIBLE, { sessions: [ended(former, nodes.nowMs() - 10, 'WENT_OFFLINE')] }),
    )
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await onlineIds(store)).toEqual(['alice'])
    const row = await rowOf(store, socket)
    expect(row).toMatchObject({ sessionId: alice.sessionId, endedAtMs: null, nodeId: 'node-1b' })
    expect(row.startId).not.toBe(former.startId)
  })
})

describe('what the copy leaves', () => {
  it('is gone through however often it comes, until all are adopted, and then nothing of it lies there', async () => {
    const ids = ['a', 'b', 'c', 'd', 'e']
    const { store, nodes, ...copy } = await copied(async (one) => {
      for (const id of ids) await connect(one, id, { rooms: ['hall', `of ${id}`] })
      await connect(one, 'hidden', { rooms: ['hall'], seed: seedOf(HIDDEN) })
      await connect(one, 'gone')
      await goOffline(one, 'gone')
    })
    await copy.goBack()
    // One half of them, by the first epoch.
    const first = await store.inherited(3)
    expect(first.map(({ userId }) => userId)).toEqual(['a', 'b', 'c'])
    expect(await store.inherited(3)).toEqual(first)
    await store.adopt(first.map(({ userId }) => rowOfUser(userId, VISIBLE)))
    await beatOverHttp(store, 'd', 'program', { seed: seedOf(null) })

    const snapshot = await takeSnapshot(redis.server())
    const told = listenTo(store)
    await snapshot.goBack()
    await until(() => told.anewCount === 1, { what: 'the word to start anew' })
    await untilJoined(store)
    const all = await adoptInherited(store, ({ userId }) => rowOfUser(userId, userId === 'hidden' ? HIDDEN : VISIBLE))
    expect(new Set(all.map(({ userId }) => userId))).toEqual(new Set([...ids, 'gone', 'hidden']))
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await onlineIds(store)).toEqual(ids)
    expect(await onlineIds(store, 'hall')).toEqual(ids)
    expect((await store.records.snapshot(null, 100)).map(({ userId }) => userId)).toEqual([...ids, 'gone', 'hidden'])

    const { epoch } = await store.changes.position()
    const keys = (await nodes.redis.keys(`${nodes.root}:*`)).map((key) => key.slice(nodes.root.length + 1))
    expect(keys.filter((key) => key.startsWith('inherited'))).toEqual([])
    expect(keys.filter((key) => key.startsWith('room:')).sort()).toEqual(
      ['hall', ...ids.map((id) => `of ${id}`)].map((room) => `room:${epoch}:${room}`).sort(),
    )

    // Who has no session leaves when that is recorded, and none of the others.
    await acknowledge(store, (await store.records.read(0, 1)).lastSeq)
    expect((await store.records.snapshot(null, 100)).map(({ userId }) => userId)).toEqual([...ids, 'hidden'])
  })

  it('of who left the store since is no user to adopt', async () => {
    const { store, nodes, ...copy } = await copied((one) => connect(one, 'alice', { rooms: ['hall'] }))
    await copy.goBack()
    await nodes.redis.del(`${nodes.root}:user:alice`)
    expect(await store.inherited(10)).toEqual([])
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    await expectUnseen(store, 'alice')
  })

  it('and the database has open besides comes as ever', async () => {
    const { store, nodes, ...copy } = await copied((one) => connect(one, 'alice', { rooms: ['hall'] }))
    await copy.goBack()
    await adoptInherited(store, ({ userId }) => rowOfUser(userId, VISIBLE))
    await store.adopt([adoptedUser('bob', nodes.nowMs(), { sessions: [openRow(nodes.nowMs())] })])
    await store.adopted()
    await untilReading({ store, nodes, ...copy })
    expect(await onlineIds(store, 'hall')).toEqual(['alice', 'bob'])
  })
})

function request(socket: Socket) {
  const { userId, sessionId, fence, nodeId } = socket
  return { userId, sessionId, fence, nodeId, isActive: true, profile: null, comeback: null }
}

/** A user, as a version wrote them that did not have the last fields yet. */
const WITHOUT_LAST_FIELDS = `
  local value = cmsgpack.unpack(redis.call('GET', KEYS[1]))
  for _ = 1, tonumber(ARGV[1]) do table.remove(value[1]) end
  redis.call('SET', KEYS[1], cmsgpack.pack(value))`

it('shows no last activity of who hid it before a deploy, when a version before this one wrote them', async () => {
  const nodes = await redis.nodes(NODE)
  const store = await nodes.join()
  const atMs = nodes.nowMs() - 60_000
  const settings = { ...HIDDEN, version: 2, hideLastActive: true }
  const seed = seedOf(settings, { lastActiveAtMs: atMs, shownLastActiveAtMs: atMs })
  await tryAttach(store, socketOf('alice'), { seed })
  expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(atMs)
  // It had no word for when others last saw a user, nor for what they see of a hidden one.
  await nodes.redis.eval(WITHOUT_LAST_FIELDS, 1, `${nodes.root}:user:alice`, 2)
  expect((await seen(store, 'alice'))?.lastActiveAtMs).toBeNull()
})

describe('a version before this one, which does not know lastSeen,', () => {
  it('leaves users of whom that is not known until they leave again', async () => {
    const nodes = await redis.nodes(NODE)
    const store = await nodes.join()
    await connect(store, 'alice')
    await goOffline(store, 'alice')
    await connect(store, 'bob')
    for (const userId of ['alice', 'bob']) {
      await nodes.redis.eval(WITHOUT_LAST_FIELDS, 1, `${nodes.root}:user:${userId}`, 1)
    }
    expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastSeenAtMs: null })
    await nodes.moveOn(100)
    await goOffline(store, 'bob')
    expect((await seen(store, 'bob'))?.lastSeenAtMs).toBe(nodes.nowMs())
    await connect(store, 'alice')
    await nodes.moveOn(100)
    await goOffline(store, 'alice')
    expect((await seen(store, 'alice'))?.lastSeenAtMs).toBe(nodes.nowMs())
  })

  it('reads the entries of this one: no user in them has more than eight values', async () => {
    const nodes = await redis.nodes(NODE)
    const store = await nodes.join()
    await connect(store, 'alice', { rooms: ['hall'] })
    await goOffline(store, 'alice')
    const stream = await nodes.redis.xrange(`${nodes.root}:log`, '-', '+')
    const entries = stream.map(([, fields]) => JSON.parse(String(fields[fields.indexOf('entry') + 1])))
    expect(entries.map(({ length }) => length)).toEqual([6, 6])
    for (const [, , before, , after] of entries) expect([before.length, after.length]).toEqual([8, 8])
  })

  it('has records without it, which leave the column as it is', async () => {
    const nodes = await redis.nodes(NODE)
    const store = await nodes.join()
    const seq = await nodes.redis.hincrby(`${nodes.root}:meta`, 'recordSeq', 1)
    const record = JSON.stringify(['alice', false, [false, false, 1000], [], false])
    await nodes.redis.xadd(`${nodes.root}:records`, `${seq}-0`, 'record', record, 'bytesBefore', 0)
    const { records } = await store.records.read(seq - 1, 10)
    expect(records.map(({ columns }) => columns)).toEqual([
      { isOnline: false, onlineSinceMs: null, lastActiveAtMs: 1000, lastSeenAtMs: null },
    ])
  })
})
