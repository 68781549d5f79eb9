/** What other programs publish on the channel and write into the streams: it is dropped, and nothing of ours is lost. */
import { expect, it } from 'vitest'
import { until } from '../../support/wait.ts'
import { connect, goOffline } from '../presence-store/harness.ts'
import type { RedisNodes } from '../redis-harness.ts'
import { listenTo, ownRedis, renew } from './own-redis.ts'

const redis = ownRedis()

interface Line {
  readonly fields: object
  readonly message: string
}

/** Two nodes: what the first one does is announced, what the second one does is not. */
async function world() {
  const nodes = await redis.nodes()
  const lines: Line[] = []
  const onWarn = (fields: object, message: string): void => void lines.push({ fields, message })
  const [loud, mute, listener] = [await nodes.join(), await nodes.join({ isMute: true }), await nodes.join({ onWarn })]
  // What it says of the server's version.
  lines.length = 0
  const seen = listenTo(listener)
  const epoch = String(await nodes.redis.hget(`${nodes.root}:meta`, 'epoch'))
  return { nodes, loud, mute, listener, seen, lines, epoch }
}

const LATE = 1_000_000_000

const STRANGE: Readonly<Record<string, (epoch: string) => string | Buffer>> = {
  null: () => 'null',
  'a text': () => 'a message of another program',
  nothing: () => '',
  'a number': () => '17',
  'a list': () => '[1, 2, 3]',
  bytes: () => Buffer.from([0, 255, 254, 128, 10]),
  'JSON of another shape': () => '{"type":"order","id":17}',
  'half a message': (epoch) => `{"epoch":"${epoch}","be`,
  'no number': (epoch) => JSON.stringify({ epoch }),
  'a number that is a text': (epoch) => JSON.stringify({ epoch, bell: '1' }),
  'a number below 1': (epoch) => JSON.stringify({ epoch, bell: -1, viewer: 'alice' }),
  'an epoch that is no text': () => JSON.stringify({ epoch: {}, bell: 1 }),
  'an entry that is no text': (epoch) => JSON.stringify({ epoch, bell: 1, seq: 2, entry: { seq: 2 } }),
  'a viewer that is no text': (epoch) => JSON.stringify({ epoch, bell: 1, viewer: { id: 'alice' } }),
  'nodes that are no list': (epoch) => JSON.stringify({ epoch, bell: 1, lostBy: 'node-1' }),
  'an entry that is no JSON': (epoch) => JSON.stringify({ epoch, bell: 1, seq: 2, entry: 'no JSON' }),
  'an entry that is null': (epoch) => JSON.stringify({ epoch, bell: 1, seq: 2, entry: 'null' }),
  'an entry of another shape': (epoch) => JSON.stringify({ epoch, bell: 1, seq: 2, entry: '[2,3,null,[],null,[]]' }),
  'an entry of texts': (epoch) =>
    JSON.stringify({ epoch, bell: 1, seq: 2, entry: '[2,3,"abcdefgh",[],"abcdefgh",[]]' }),
  'rooms that are no JSON': (epoch) =>
    JSON.stringify({ epoch, bell: 1, seq: 2, entry: '[2,3,[],[],[],[],0]', rooms: 'no JSON' }),
  'an entry that the log has not': (epoch) => JSON.stringify({ epoch, bell: 1, seq: LATE, entry: 'no JSON' }),
  'an entry with the number of another': (epoch) => {
    const user = ['mallory', 'Mallory', false, true, 'ONLINE', false, 1, 1]
    return JSON.stringify({ epoch, bell: 1, seq: 2, entry: JSON.stringify([3, 1, user, [], user, []]) })
  },
}

it.each(Object.entries(STRANGE))('goes on after %s, and reads what it may have been', async (_name, message) => {
  const { nodes, loud, mute, listener, seen, lines, epoch } = await world()
  await connect(loud, 'a')
  await until(() => seen.changes.length === 1, { what: 'the first entry' })
  // The message that announces it is the one that arrives broken.
  await connect(mute, 'b')
  await nodes.redis.publish(`${nodes.root}:bell`, message(epoch))
  await until(() => seen.changes.length === 2, { what: 'what the message may have said' })

  await nodes.redis.publish(`${nodes.root}:bell`, message(epoch))
  await connect(loud, 'c')
  await until(() => seen.changes.length === 3, { what: 'the next entry' })
  expect(seen.changes).toEqual(['1 a JOIN', '2 b JOIN', '3 c JOIN'])
  expect(seen.newEpochs).toEqual([])
  expect(lines.map(({ message: said }) => said)).toEqual([expect.stringContaining('is not of Rollcall')])
  expect(await listener.count(null)).toBe(3)
})

it('finds a gap again after a number that the channel never had', async () => {
  const { nodes, loud, mute, listener, seen, epoch } = await world()
  await connect(loud, 'a')
  await until(() => seen.changes.length === 1, { what: 'the first entry' })
  await nodes.redis.publish(`${nodes.root}:bell`, JSON.stringify({ epoch, bell: LATE }))
  await until(() => seen.viewers.includes(null), { what: 'the gap before the number' })
  await renew(listener, 'node-2')
  // What only the numbers of the channel tell: whose own view changed.
  seen.viewers.length = 0
  await connect(mute, 'b')
  await connect(loud, 'c')
  await until(() => seen.viewers.includes(null), { what: 'the gap' })
  await until(() => seen.changes.length === 3, { what: 'all entries' })
})

it('reads no more often for many strange messages than for a few', async () => {
  const { nodes, loud, seen, lines } = await world()
  await nodes.redis.config('RESETSTAT')
  for (let count = 0; count < 2000; count += 1) void nodes.redis.publish(`${nodes.root}:bell`, `noise ${count}`)
  await connect(loud, 'a')
  await until(() => seen.changes.length === 1, { what: 'the entry' })
  const calls = Number(/cmdstat_evalsha:calls=(\d+)/.exec(await nodes.redis.info('commandstats'))?.[1])
  expect(calls).toBeLessThan(100)
  expect(lines).toHaveLength(1)
})

/** Puts an entry into a stream as a script would, with a text of another program. */
async function writeStrange(nodes: RedisNodes, stream: 'log' | 'records', text: string): Promise<void> {
  const numbers = { log: 'seq', records: 'recordSeq' } as const
  const seq = await nodes.redis.hincrby(`${nodes.root}:meta`, numbers[stream], 1)
  const fields =
    stream === 'log'
      ? ['steadyMs', nodes.nowMs(), 'entry', text, 'bytesBefore', 0, 'trail', '']
      : ['record', text, 'bytesBefore', 0]
  await nodes.redis.xadd(`${nodes.root}:${stream}`, `${seq}-0`, ...fields)
}

it.each(['no JSON', 'null', '{}', '[2,3]', '"text"'])(
  'sends everyone who follows to read the list again where the log has the entry %s',
  async (text) => {
    const { nodes, loud, listener, seen, lines } = await world()
    await connect(loud, 'a')
    await until(() => seen.changes.length === 1, { what: 'the first entry' })
    const before = await listener.changes.position()
    await writeStrange(nodes, 'log', text)
    await renew(listener, 'node-2')
    await until(() => seen.newEpochs.length === 1, { what: 'the word to read the list again' })
    await connect(loud, 'b')
    await until(() => seen.changes.length === 2, { what: 'the entry after it' })
    expect(seen.changes).toEqual(['1 a JOIN', '3 b JOIN'])
    expect(await listener.changes.read(before, 10)).toBe('expired')
    expect(await listener.changes.read({ ...before, seq: 2 }, 10)).toMatchObject({ entries: [{ seq: 3 }] })
    expect(lines.map(({ message: said }) => said)).toEqual([expect.stringContaining('is not of Rollcall')])
  },
)

it('sends everyone who follows to read the list again where an entry was deleted', async () => {
  const { nodes, loud, mute, listener, seen } = await world()
  await connect(loud, 'a')
  await until(() => seen.changes.length === 1, { what: 'the first entry' })
  const before = await listener.changes.position()
  for (const userId of ['b', 'c']) await connect(mute, userId)
  await nodes.redis.xdel(`${nodes.root}:log`, '2-0')
  await renew(listener, 'node-2')
  await until(() => seen.newEpochs.length === 1, { what: 'the word to read the list again' })
  expect(await listener.changes.read(before, 10)).toBe('expired')
  await goOffline(loud, 'a')
  await until(() => seen.changes.length === 2, { what: 'the entry after it' })
  expect(seen.changes).toEqual(['1 a JOIN', '4 a LEAVE'])
})

it.each(['no JSON', 'null', '{}', '["alice"]'])('skips the record %s, and says that one was lost', async (text) => {
  const { nodes, loud, listener, lines } = await world()
  await connect(loud, 'a')
  const { lastSeq } = await listener.records.read(0, 100)
  await writeStrange(nodes, 'records', text)
  await connect(loud, 'b')

  // What comes before it is read as ever.
  const upTo = await listener.records.read(0, 100)
  expect(upTo.isGap).toBe(false)
  expect(upTo.records.map(({ seq }) => seq)).toEqual(Array.from({ length: lastSeq }, (_, index) => index + 1))
  const beyond = await listener.records.read(lastSeq, 100)
  expect(beyond.isGap).toBe(true)
  expect(beyond.records[0]).toMatchObject({ seq: lastSeq + 2, userId: 'b' })
  // Also where nothing else was read with it.
  expect(await listener.records.read(lastSeq, 1)).toMatchObject({ isGap: true, records: [{ seq: lastSeq + 2 }] })
  expect(lines).toHaveLength(1)
})
