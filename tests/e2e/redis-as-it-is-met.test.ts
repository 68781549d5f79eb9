/** A Redis that others use too, or that is set otherwise while processes run: nobody's list is mixed, and no process ends. */
import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import { afterEach, describe, expect, it } from 'vitest'
import { createRollcall } from '../../src/app.ts'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, onlineIds, openTab, settled } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { startProcess } from '../support/process.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { command } from '../support/redis-process.ts'
import { embeddedData, listen, postgresData, QUICK, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()

// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

async function ownRedis(): Promise<RedisServer> {
  const redis = await startRedis()
  cleanups.push(redis.stop)
  return redis
}

async function ownData(prepare: typeof postgresData = postgresData): Promise<SettingTexts> {
  const data = await prepare()
  cleanups.push(data.drop)
  return data.settings
}

/** A server that may never become ready. */
async function begin(settings: SettingTexts) {
  const { log, lines } = createReadLog()
  const rollcall = createRollcall({ ...QUICK, ...settings }, log)
  const server = await listen(rollcall)
  let isStopped = false
  const stop = async (): Promise<void> => {
    if (isStopped) return
    isStopped = true
    await server.stop()
  }
  cleanups.push(stop)
  return { ...server, stop, lines, ready: rollcall.ready, readyz: () => readyzOf(server) }
}

async function readyzOf({ url }: Pick<TestServer, 'url'>): Promise<string> {
  const response = await fetch(`${url}/readyz`)
  return `${response.status} ${await response.text()}`
}

const READY = '200 ready\n'

describe('messages of another program on the channel', () => {
  it('end neither of two processes, and each says so once', async () => {
    const redis = await ownRedis()
    const REDIS_APP = randomUUID()
    const settings = { ...(await ownData()), REDIS_URL: redis.url, REDIS_APP }
    const processes = await Promise.all([startProcess(settings), startProcess(settings)])
    for (const process of processes) cleanups.push(() => process.end('SIGKILL'))
    const [one, other] = processes
    const watcher = await openTab(other, 'watcher', { observer: true })
    const changes = watcher.follow()
    await settled(watcher)

    const client = new Redis(redis.url)
    cleanups.push(async () => client.disconnect())
    const [channel, meta] = [`{rollcall:${REDIS_APP}}:bell`, `{rollcall:${REDIS_APP}}:meta`]
    const epoch = await client.hget(meta, 'epoch')
    const strange = [
      'null',
      'a text',
      '[]',
      '17',
      '',
      Buffer.from([0, 255, 254]),
      JSON.stringify({ epoch, bell: 'one' }),
      JSON.stringify({ epoch, bell: 1, seq: 1, entry: 'no JSON' }),
      JSON.stringify({ epoch, bell: 1, seq: 99, entry: 'null' }),
      JSON.stringify({ epoch, bell: 1, lostBy: {} }),
    ]
    for (const message of [...strange, ...strange]) expect(await client.publish(channel, message)).toBe(2)

    await openTab(one, 'alice')
    await until(() => changes.length === 1, { what: 'the JOIN' })
    for (const process of processes) {
      expect(process.child.exitCode).toBeNull()
      expect(await readyzOf(process)).toBe(READY)
      const warned = process.lines.filter(({ msg }) => String(msg).includes('is not of Rollcall'))
      expect(warned).toMatchObject([{ level: 40, channel }])
    }
  })
})

describe('two deployments with one Redis and one REDIS_APP', () => {
  it('are not one list: the second one is refused in words and not ready, and serves as soon as it may', async () => {
    const redis = await ownRedis()
    const shared = { REDIS_URL: redis.url, REDIS_APP: 'shared' }
    const firstData = await ownData()
    const first = await begin({ ...firstData, ...shared })
    await first.ready
    await openTab(first, 'alice')

    const second = await begin({ ...(await ownData()), ...shared })
    await until(async () => (await second.readyz()).includes('belongs to another database'), { what: 'the words' })
    expect(await second.readyz()).toBe(
      '503 Redis cannot be used: The live state of REDIS_APP `shared` belongs to another database than DATABASE_URL. Give ' +
        'this deployment a REDIS_APP or a Redis of its own; if its database was replaced, see docs/operations.md ' +
        '(“Another database”).\n',
    )
    expect(second.lines.some((line) => line.includes('belongs to another database'))).toBe(true)
    await expect(openTab(second, 'mallory')).rejects.toBeDefined()
    expect(await first.readyz()).toBe(READY)
    expect(await onlineIds(first, 'dev:reader')).toEqual(['alice'])

    // Another process of the first deployment is welcome.
    const third = await begin({ ...firstData, ...shared })
    await third.ready
    expect(await onlineIds(third, 'dev:reader')).toEqual(['alice'])
    await third.stop()

    // As docs/operations.md says for a database that was made again.
    closeTabs()
    await first.stop()
    expect(await command(redis, 'HDEL', '{rollcall:shared}:meta', 'databaseId')).toBe(1)
    await second.ready
    expect(await second.readyz()).toBe(READY)
    await openTab(second, 'bob')
    const late = await begin({ ...firstData, ...shared })
    await until(async () => (await late.readyz()).includes('belongs to another database'), { what: 'the words' })
  })

  it('go on by the same identity after Redis was emptied, and after the database came back from a copy', async () => {
    const redis = await ownRedis()
    const shared = { REDIS_URL: redis.url, REDIS_APP: 'shared' }
    const data = await ownData()
    const first = await begin({ ...data, ...shared })
    await first.ready
    const meta = '{rollcall:shared}:meta'
    const databaseId = await command(redis, 'HGET', meta, 'databaseId')
    expect(databaseId).toMatch(/^[0-9a-f-]{36}$/)
    await command(redis, 'FLUSHALL')
    await until(async () => (await command(redis, 'HGET', meta, 'databaseId')) === databaseId, { what: 'the id' })
    await until(async () => (await first.readyz()) === READY, { what: 'a process that is ready' })
    await first.stop()

    const url = new URL(String(data.DATABASE_URL))
    const copyName = `copy_${randomUUID().replaceAll('-', '')}`
    const { default: postgres } = await import('postgres')
    const administration = postgres(String(data.DATABASE_URL).replace(url.pathname, '/postgres'), { max: 1 })
    await administration.unsafe(`create database ${copyName} template ${url.pathname.slice(1)}`)
    cleanups.push(async () => {
      await administration.unsafe(`drop database ${copyName} with (force)`)
      await administration.end()
    })
    url.pathname = `/${copyName}`
    const restored = await begin({ DATABASE_URL: url.href, ...shared })
    await restored.ready
    expect(await restored.readyz()).toBe(READY)
  })

  it('takes a live state that no version before named, and keeps who is online', async () => {
    const redis = await ownRedis()
    const settings = { ...(await ownData()), REDIS_URL: redis.url, REDIS_APP: 'shared' }
    const first = await begin(settings)
    await first.ready
    await openTab(first, 'alice')
    await command(redis, 'HDEL', '{rollcall:shared}:meta', 'databaseId')
    const second = await begin(settings)
    await second.ready
    expect(await onlineIds(second, 'dev:reader')).toEqual(['alice'])
    expect(await command(redis, 'HGET', '{rollcall:shared}:meta', 'databaseId')).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('are two with embedded databases as well', async () => {
    const redis = await ownRedis()
    const shared = { REDIS_URL: redis.url, REDIS_APP: 'shared' }
    const first = await begin({ ...(await ownData(embeddedData)), ...shared })
    await first.ready
    const second = await begin({ ...(await ownData(embeddedData)), ...shared })
    await until(async () => (await second.readyz()).includes('belongs to another database'), { what: 'the words' })
    expect(await first.readyz()).toBe(READY)
  })
})

it('a policy that throws keys away is said on /readyz and in the log while processes run, and its end too', async () => {
  const redis = await ownRedis()
  const server = await begin({ ...(await ownData()), REDIS_URL: redis.url, REDIS_APP: randomUUID() })
  await server.ready
  const tab = await openTab(server, 'alice')
  await command(redis, 'CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
  await until(async () => (await server.readyz()).includes('maxmemory-policy allkeys-lru'), { what: 'the words' })
  expect(await server.readyz()).toMatch(/^503 Redis may throw keys away/)
  expect(server.lines.filter((line) => line.includes('Redis may throw keys away'))).toHaveLength(1)
  // Who is there is served.
  expect((await tab.ask('mutation { heartbeat { viewer { user { id } } } }')).data?.heartbeat.viewer.user.id).toBe(
    'alice',
  )
  await command(redis, 'CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  await until(async () => (await server.readyz()) === READY, { what: 'a process that is ready' })
  expect(server.lines.filter((line) => line.includes('Redis is set as it has to be again'))).toHaveLength(1)
})
