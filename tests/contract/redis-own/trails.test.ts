/** Log entries of users in many rooms: how long they are, and what follows where a trail of theirs is gone. */
import { expect, it } from 'vitest'
import type { LogEntry } from '../../../src/presence/model.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { until } from '../../support/wait.ts'
import { beat, connect, goOffline, type Socket, VISIBLE } from '../presence-store/harness.ts'
import type { RedisNodes } from '../redis-harness.ts'
import { listenTo, ownRedis } from './own-redis.ts'

const redis = ownRedis()

const roomsOf = (session: number): readonly string[] =>
  Array.from({ length: 100 }, (_, index) => `session ${session} room ${index} `.padEnd(128, '.'))

/** A user in 5,000 rooms. @returns the sockets of the 50 sessions */
async function connectInThousands(store: PresenceStore): Promise<readonly [Socket, ...Socket[]]> {
  const first = await connect(store, 'alice', { rooms: roomsOf(0).slice(1) })
  const sockets: [Socket, ...Socket[]] = [first]
  for (let session = 1; session < 50; session += 1) {
    sockets.push(await connect(store, 'alice', { rooms: roomsOf(session) }))
  }
  return sockets
}

const setStatus = (store: PresenceStore, version: number, details: Partial<typeof VISIBLE>) =>
  store.setUser({ userId: 'alice', settings: { ...VISIBLE, version, ...details } })

async function logOf(nodes: RedisNodes): Promise<readonly string[]> {
  return (await nodes.redis.xrange(`${nodes.root}:log`, '-', '+')).map(([, fields]) => fields.join(' '))
}

async function keysOf(nodes: RedisNodes, kind: 'trail' | 'deferred'): Promise<readonly string[]> {
  return nodes.redis.keys(`${nodes.root}:${kind}:*`)
}

function follow(store: PresenceStore): LogEntry[] {
  const heard: LogEntry[] = []
  store.changes.listen({ entry: (entry) => void heard.push(entry), newEpoch() {} })
  return heard
}

it('an entry is short, however many rooms its user is in, and so is the message that says it', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const messages: string[] = []
  const listener = nodes.redis.duplicate()
  listener.on('message', (_channel, message: string) => void messages.push(message))
  const [socket] = await connectInThousands(store)
  await listener.subscribe(`${nodes.root}:bell`)
  const start = await store.changes.position()
  const before = (await logOf(nodes)).length

  await store.join({ ...socket, room: 'hall' })
  await store.leave({ ...socket, room: 'hall' })
  await setStatus(store, 2, { statusChoice: 'BUSY' })
  await setStatus(store, 3, { visibility: 'NOBODY' })
  await setStatus(store, 4, {})
  await beat(store, socket, { rooms: ['hall'] })
  await goOffline(store, 'alice')

  const entries = (await logOf(nodes)).slice(before)
  expect(entries).toHaveLength(7)
  expect(Math.max(...entries.map((entry) => Buffer.byteLength(entry)))).toBeLessThan(1024)
  await until(() => messages.filter((message) => message.includes('"entry"')).length === 7, { what: 'the messages' })
  // The messages say what changed as well, where that is not longer than the rooms of one session.
  const lengths = messages.filter((message) => message.includes('"entry"')).map((message) => message.length)
  expect(Math.max(...lengths.slice(0, 5))).toBeLessThan(1536)
  expect(Math.max(...lengths)).toBeLessThan(20_000)

  const answer = await store.changes.read(start, 10)
  if (answer === 'expired') throw new Error('Expected the log to reach back.')
  const counts = answer.entries.map(({ before, after }) => [before.rooms.size, after.rooms.size])
  expect(counts).toEqual([
    [4999, 5000],
    [5000, 4999],
    [4999, 4999],
    [4999, 0],
    [0, 4999],
    [4999, 4901],
    [4901, 0],
  ])
  listener.disconnect()
})

it('are followed by the messages, and a node that joins later reads the rooms once', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const heardEarly = follow(store)
  const stats = async () => {
    const found = /cmdstat_lrange:calls=(\d+)/.exec(await nodes.redis.info('commandstats'))
    return Number(found?.[1] ?? 0)
  }
  await nodes.redis.config('RESETSTAT')
  const [socket] = await connectInThousands(store)
  await until(() => heardEarly.length === 50, { what: 'the attaches' })
  expect(await stats()).toBe(0)

  const late = await nodes.join()
  const heard = follow(late)
  const first = await late.changes.position()
  await store.join({ ...socket, room: 'hall' })
  await until(() => heard.some(({ seq }) => seq === first.seq + 1), { what: 'the first entry' })

  const readCount = await stats()
  expect(readCount).toBeGreaterThan(0)
  for (let round = 0; round < 20; round += 1) {
    await store.leave({ ...socket, room: 'hall' })
    await store.join({ ...socket, room: 'hall' })
  }
  await until(() => heard.some(({ seq }) => seq === first.seq + 41), { what: 'the last entry' })
  expect(await stats()).toBe(readCount)
  expect(heard.slice(-2).map(({ before, after }) => [before.rooms.size, after.rooms.size])).toEqual([
    [5000, 4999],
    [4999, 5000],
  ])
  expect((await late.stats()).gapFillCount).toBe(0)
})

it('ends with the entries of its user, by count, age and bytes', async () => {
  for (const timing of [{ logCount: 5 }, { logBytes: 5000 }, { logAgeMs: 1000 }]) {
    const nodes = await redis.nodes(timing)
    const store = await nodes.join()
    const socket = await connect(store, 'alice', { rooms: roomsOf(1).slice(1) })
    await setStatus(store, 2, { visibility: 'NOBODY' })
    await store.join({ ...socket, room: 'hall' })
    expect(await keysOf(nodes, 'trail')).toHaveLength(1)
    expect(await keysOf(nodes, 'deferred')).toHaveLength(1)
    expect((await store.stats()).logBytes).toBeGreaterThan(100)

    if ('logAgeMs' in timing) await nodes.pass(store, 1100)
    else for (let index = 0; index < 40; index += 1) await connect(store, `user-${index}`)
    expect(await keysOf(nodes, 'trail')).toEqual([])
    expect(await keysOf(nodes, 'deferred')).toEqual([])
    await setStatus(store, 3, { visibility: 'EVERYONE' })
    expect(await keysOf(nodes, 'trail')).toHaveLength(1)
  }
})

it('counts the bytes of a trail as bytes of the log', async () => {
  const nodes = await redis.nodes({ logBytes: 100_000 })
  const store = await nodes.join()
  const start = await store.changes.position()
  const socket = await connect(store, 'alice', { rooms: roomsOf(0) })
  const attached = (await store.stats()).logBytes
  expect(attached).toBeGreaterThan(12_800)
  for (let round = 0; round < 10; round += 1) await beat(store, socket, { rooms: roomsOf(round) })
  const { logBytes, logCount } = await store.stats()
  expect(logBytes).toBeLessThanOrEqual(100_000)
  expect(logCount).toBeLessThan(5)
  expect(await store.changes.read(start, 10)).toBe('expired')
  const [trail] = await keysOf(nodes, 'trail')
  expect(await nodes.redis.llen(String(trail))).toBe(logCount)
})

it('is expired where its trail is gone, and never wrong', async () => {
  const nodes = await redis.nodes()
  const [store, late] = [await nodes.join(), await nodes.join()]
  const start = await store.changes.position()
  const socket = await connect(store, 'alice', { rooms: roomsOf(1).slice(1) })
  const told = listenTo(late)
  await until(async () => (await late.stats()).logCount === 1, { what: 'the attach' })
  await nodes.redis.del(...(await keysOf(nodes, 'trail')))
  expect(await store.changes.read(start, 10)).toBe('expired')

  const middle = await store.changes.position()
  await store.join({ ...socket, room: 'hall' })
  await store.join({ ...socket, room: 'bar' }).catch(() => {})
  const answer = await store.changes.read(middle, 10)
  if (answer === 'expired') throw new Error('Expected the log to reach back to the middle.')
  expect(answer.entries.map(({ after }) => after.rooms.size)).toEqual([100])
  expect(await store.changes.read(start, 10)).toBe('expired')
  await until(() => told.changes.includes(`${middle.seq + 1} alice UPDATE`), { what: 'the entry' })
})

it('costs a heartbeat and a change of status what it costs a user in one room', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const [socket] = await connectInThousands(store)
  // 50 sessions, and none of their 5,000 rooms.
  expect(await nodes.redis.strlen(`${nodes.root}:user:alice`)).toBeLessThan(20_000)
  const callsOf = async (step: () => Promise<unknown>) => {
    await step()
    await nodes.redis.config('RESETSTAT')
    await step()
    const stats = await nodes.redis.info('commandstats')
    return (name: string): number => Number(new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(stats)?.[1] ?? 0)
  }
  // What the answer says of the session.
  const ofABeat = await callsOf(() => beat(store, socket))
  expect([ofABeat('hget'), ofABeat('hset')]).toEqual([1, 0])
  let version = 1
  const ofAStatus = await callsOf(() => {
    version += 1
    return setStatus(store, version, { statusChoice: version % 2 === 0 ? 'BUSY' : 'AWAY' })
  })
  expect([ofAStatus('hget'), ofAStatus('hset')]).toEqual([0, 0])
})

it('leaves no rooms behind where a session is in fewer, or is over', async () => {
  const nodes = await redis.nodes()
  const store = await nodes.join()
  const [one, two] = [
    await connect(store, 'alice', { rooms: roomsOf(1) }),
    await connect(store, 'alice', { rooms: roomsOf(2) }),
  ]
  const apart = () => nodes.redis.hkeys(`${nodes.root}:rooms:alice`)
  expect(await apart()).toHaveLength(2)
  await beat(store, one, { rooms: ['hall'] })
  expect(await apart()).toEqual([two.sessionId])
  await beat(store, one, { rooms: roomsOf(1) })
  await goOffline(store, 'alice', two.sessionId)
  expect(await apart()).toEqual([one.sessionId])
  await goOffline(store, 'alice')
  expect(await apart()).toEqual([])
})

it('reads and trims a log that a version before began, which counted no bytes and listed all rooms', async () => {
  const nodes = await redis.nodes({ logBytes: 3000 })
  const store = await nodes.join()
  const socket = await connect(store, 'alice', { rooms: ['hall'] })
  const start = await store.changes.position()
  const seq = await nodes.redis.hincrby(`${nodes.root}:meta`, 'seq', 1)
  const alice = ['alice', 'alice', false, true, 'ONLINE', false, 1000, 1000]
  const entry = JSON.stringify([seq, nodes.nowMs(), alice, ['hall'], alice, ['hall', 'bar']])
  await nodes.redis.xadd(`${nodes.root}:log`, `${seq}-0`, 'steadyMs', nodes.nowMs(), 'entry', entry)

  const answer = await store.changes.read(start, 10)
  if (answer === 'expired') throw new Error('Expected the log to reach back.')
  expect(answer.entries.map(({ after, movedRooms }) => [[...after.rooms], movedRooms])).toEqual([
    [['hall', 'bar'], ['bar']],
  ])
  for (let round = 0; round < 20; round += 1) {
    await store.join({ ...socket, room: 'attic' })
    await store.leave({ ...socket, room: 'attic' })
    const { logBytes } = await store.stats()
    expect(logBytes).toBeGreaterThanOrEqual(0)
    expect(logBytes).toBeLessThanOrEqual(3000)
  }
  expect(await store.changes.read(start, 10)).toBe('expired')
})
