/** What an operator changes in Redis while nodes run: it is noticed within seconds, said once, and over when it is over. */
import { describe, expect, it } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { command } from '../../support/redis-process.ts'
import { until } from '../../support/wait.ts'
import { beat, connect, onlineIds } from '../presence-store/harness.ts'
import type { RedisNodes } from '../redis-harness.ts'
import { attachRequest, ownRedis, renew } from './own-redis.ts'

const UNAVAILABLE = { code: 'UNAVAILABLE' }
const redis = ownRedis()

async function world() {
  const nodes = await redis.nodes()
  const lines: string[] = []
  const note = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const store = await nodes.join({ onWarn: note, onInfo: note })
  lines.length = 0
  return { nodes, store, lines }
}

/** Sweeps, as a node does all the time, until the store says this, or nothing. */
function untilItSays(store: PresenceStore, word: string | null): Promise<string | true> {
  return until(
    async () => {
      await store.sweep(1).catch(() => {})
      const trouble = store.trouble()
      return word === null ? trouble === null : trouble?.includes(word) && trouble
    },
    { what: `the word ${word}` },
  ) as Promise<string | true>
}

describe('the policy', () => {
  async function setPolicy(nodes: RedisNodes, policy: string): Promise<void> {
    await nodes.redis.config('SET', 'maxmemory-policy', policy)
  }

  it('that throws keys away is said once, and everything is answered all the same', async () => {
    const { nodes, store, lines } = await world()
    const socket = await connect(store, 'alice')
    try {
      await setPolicy(nodes, 'allkeys-lru')
      expect(await untilItSays(store, 'maxmemory-policy')).toContain('set `maxmemory-policy noeviction`')
      expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
      expect(await onlineIds(store)).toEqual(['alice'])
      await setPolicy(nodes, 'volatile-ttl')
      await untilItSays(store, 'volatile-ttl')
    } finally {
      await setPolicy(nodes, 'noeviction')
    }
    await untilItSays(store, null)
    expect(lines).toEqual([
      expect.stringMatching(/^Redis was set in a way that loses presence.*allkeys-lru/),
      expect.stringMatching(/^Redis was set in a way that loses presence.*volatile-ttl/),
      expect.stringMatching(/^Redis is set as it has to be again/),
    ])
  })

  it('that throws keys away stops no node that runs when it connects again, and no new one starts', async () => {
    const { nodes, store, lines } = await world()
    await connect(store, 'alice')
    try {
      await setPolicy(nodes, 'allkeys-lru')
      await nodes.redis.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      await untilItSays(store, 'maxmemory-policy')
      await until(() => onlineIds(store).catch(() => null), { what: 'the list' })
      const late = nodes.open()
      await until(() => late.trouble()?.startsWith('Redis cannot be used: Redis may throw keys away'), {
        what: 'the refusal of a new node',
      })
      await expect(late.count(null)).rejects.toMatchObject(UNAVAILABLE)
    } finally {
      await setPolicy(nodes, 'noeviction')
    }
    // Found out by one connection, it is over for both.
    await untilItSays(store, null)
    expect(lines.filter((line) => line.startsWith('Redis was set'))).toHaveLength(1)
    expect(lines.filter((line) => line.startsWith('Redis is set as it has to be'))).toHaveLength(1)
  })
})

it('a replica that takes writes all the same is found out, and nothing more is written there', async () => {
  const { nodes, store, lines } = await world()
  const socket = await connect(store, 'alice')
  try {
    await nodes.redis.config('SET', 'replica-read-only', 'no')
    // Of nobody: it keeps its data.
    await nodes.redis.call('REPLICAOF', '127.0.0.1', '1')
    await untilItSays(store, 'is a replica')
    await expect(beat(store, socket)).rejects.toMatchObject(UNAVAILABLE)
  } finally {
    await nodes.redis.call('REPLICAOF', 'NO', 'ONE')
    await nodes.redis.config('SET', 'replica-read-only', 'yes')
  }
  await untilItSays(store, null)
  expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
  // Each of the two connections that work says it once.
  expect(lines.filter((line) => line.includes('is a replica')).length).toBeLessThanOrEqual(2)
})

it.each([
  ['min-replicas-to-write', '1', '0', 'min-replicas-to-write'],
  ['maxmemory', '1', '0', 'maxmemory'],
])('%s %s: what it refuses is named while it refuses, and no longer', async (name, bad, good, word) => {
  const { nodes, store } = await world()
  try {
    await nodes.redis.config('SET', name, bad)
    expect(await untilItSays(store, word)).toMatch(/^Redis refuses to write: /)
    await expect(store.attach(attachRequest('carol', 'one', 'node-1:c'))).rejects.toMatchObject(UNAVAILABLE)
  } finally {
    await nodes.redis.config('SET', name, good)
  }
  await untilItSays(store, null)
  expect(await renew(store, 'node-1')).toMatchObject({ losses: [] })
})

describe('another database', () => {
  it('is refused in words, by the same name as long as it lasts, and reads and writes nothing', async () => {
    const nodes = await redis.nodes()
    const owner = await nodes.join({ databaseId: 'one' })
    await connect(owner, 'alice')
    const lines: string[] = []
    const stranger = nodes.open({ databaseId: 'another', onWarn: (fields) => void lines.push(JSON.stringify(fields)) })
    await until(() => stranger.trouble()?.includes('belongs to another database'), { what: 'the refusal' })
    const words = new Set<string | null>()
    for (let count = 0; count < 50; count += 1) {
      words.add(stranger.trouble())
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect([...words]).toEqual([expect.stringContaining('belongs to another database')])
    for (const call of [() => stranger.count(null), () => renew(stranger, 'node-2'), () => stranger.sweep(1)]) {
      await expect(call()).rejects.toMatchObject(UNAVAILABLE)
    }
    expect(lines.filter((line) => line.includes('belongs to another database'))).toHaveLength(2)
    expect(await onlineIds(owner)).toEqual(['alice'])
  })

  it('is refused after the state was lost too, by the node that comes first', async () => {
    const nodes = await redis.nodes()
    const one = await nodes.join({ databaseId: 'one' })
    await nodes.lose()
    await renew(one, 'node-1').catch(() => {})
    await until(() => one.trouble()?.includes('announce'), { what: 'the new epoch' })
    const stranger = nodes.open({ databaseId: 'another' })
    await until(() => stranger.trouble()?.includes('belongs to another database'), { what: 'the refusal' })
  })

  it('takes over a state of a version that named none, and one that an operator let forget its database', async () => {
    const nodes = await redis.nodes()
    const one = await nodes.join({ databaseId: 'one' })
    await connect(one, 'alice')
    const other = nodes.open({ databaseId: 'another' })
    await until(() => other.trouble()?.includes('belongs to another database'), { what: 'the refusal' })
    await one.close()
    await nodes.redis.hdel(`${nodes.root}:meta`, 'databaseId')
    await until(async () => (await onlineIds(other).catch(() => [])).join() === 'alice', { what: 'the list' })
    expect(await nodes.redis.hget(`${nodes.root}:meta`, 'databaseId')).toBe('another')
  })
})

describe('rights', () => {
  const RIGHTS = ['reset', 'on', '>secret', '~*', '&*', '+@all', '-acl', '-config']

  async function asUser(rights: readonly string[] = RIGHTS) {
    const name = `user-${Math.random().toString(36).slice(2)}`
    const set = (...more: readonly string[]): Promise<unknown> =>
      command(redis.server(), 'ACL', 'SETUSER', name, ...more)
    await set(...rights)
    const { host, port } = redis.server()
    const url = `redis://${name}:secret@${host}:${port}`
    return { set, through: { work: url, lease: url, bell: url } }
  }

  it.each([
    ['a command of the node', ['-info'], 'the command `info`', ['+info']],
    [
      'a command with a subcommand',
      ['-script|load', '-script|exists'],
      'the command `script|exists`',
      ['+script|load', '+script|exists'],
    ],
    ['the command of the scripts', ['-evalsha'], 'the command `evalsha`', ['+evalsha']],
    ['a command that a script calls', ['-xadd'], 'the command `xadd`', ['+xadd']],
    ['several commands', ['-zadd', '-zrem'], 'the command `zadd`, the command `zrem`', ['+zadd', '+zrem']],
    ['the keys', ['resetkeys', '~other:*'], 'the keys `{rollcall:', ['~*']],
    ['the channel', ['resetchannels'], 'the channel `{rollcall:', ['&*']],
    ['a password', ['>another', '<secret'], 'the user or the password in REDIS_URL', ['>secret']],
    ['a user', ['off'], 'the user or the password in REDIS_URL', ['on']],
  ])(
    '%s that is missing is named, before a step is done by halves, and taken as soon as it is there',
    async (_name, without, words, mended) => {
      const nodes = await redis.nodes()
      const user = await asUser()
      await user.set(...without)
      const lines: string[] = []
      const store = nodes.open({ through: user.through, onWarn: (fields) => void lines.push(JSON.stringify(fields)) })
      await until(() => store.trouble()?.includes(words), { what: `the words ${words}` })
      expect(lines.filter((line) => line.includes(words)).length).toBeGreaterThan(0)
      expect(await nodes.redis.exists(`${nodes.root}:meta`)).toBe(0)
      await user.set(...mended)
      await until(() => store.trouble()?.includes('announce'), { what: 'the node to join' })
      expect(lines.length, lines.join('\n')).toBeLessThanOrEqual(5)
    },
  )

  it.each([
    ['a command that a script calls', ['-xadd'], 'the command `xadd`', ['+xadd']],
    ['the keys', ['resetkeys'], 'the keys `{rollcall:', ['~*']],
    ['the channel', ['resetchannels'], 'the channel `{rollcall:', ['&*']],
    ['a command of the node', ['-evalsha'], 'the command `evalsha`', ['+evalsha']],
    ['the question for its settings', ['-info'], 'the command `info`', ['+info']],
  ])('%s that is taken away while a node runs is named, and nobody leaves', async (_name, without, words, mended) => {
    const nodes = await redis.nodes()
    const user = await asUser()
    const store = await nodes.join({ through: user.through })
    const socket = await connect(store, 'alice')
    await user.set(...without)
    await until(
      async () => {
        await beat(store, socket).catch(() => {})
        await store.join({ ...socket, room: `room-${Math.random()}` }).catch(() => {})
        await store.sweep(1).catch(() => {})
        return store.trouble()?.includes(words)
      },
      { what: `the words ${words}` },
    )
    await user.set(...mended)
    await untilItSays(store, null)
    expect(await beat(store, socket)).toMatchObject({ kind: 'counted' })
    expect(await onlineIds(store)).toEqual(['alice'])
  })
})
