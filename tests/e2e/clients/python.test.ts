/** A client in another language, written after docs/protocol.md alone: examples/python. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { freePort } from '../../support/free-port.ts'
import { launchProcess, type StartingProcess } from '../../support/process.ts'
import { installPython } from '../../support/python.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { command } from '../../support/redis-process.ts'
import { postgresData, type TestData } from '../../support/server.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

const CLIENT = fileURLToPath(new URL('../../../examples/python/online_users.py', import.meta.url))

let python: string
let data: TestData
let redis: RedisServer
let app: string
let port: number
let server: StartingProcess
let folder: string
let client: ChildProcess
let shown: string[]
let failed: string

beforeAll(async () => {
  python = installPython()
  redis = await startRedis()
}, 300_000)
afterAll(() => redis.stop())
beforeEach(async () => {
  data = await postgresData()
  app = randomUUID()
  port = await freePort('127.0.0.1')
  folder = await mkdtemp(join(tmpdir(), 'rollcall-python-'))
  await start()
})
afterEach(async () => {
  client.kill()
  closeTabs()
  await server.end('SIGKILL')
  await data.drop()
  await rm(folder, { recursive: true })
})

async function start(): Promise<void> {
  const ofRedis = { REDIS_URL: `redis://127.0.0.1:${redis.port}`, REDIS_APP: app }
  const settings = { JWT_SECRET: SECRET, DRAIN_TIME: '500ms', RECONNECT_GRACE: '10s' }
  server = launchProcess({ ...data.settings, ...ofRedis, ...settings }, port)
  await server.ready
}

function run(token: string): void {
  shown = []
  failed = ''
  client = spawn(python, [CLIENT, server.wsUrl, token], { stdio: ['ignore', 'pipe', 'pipe'] })
  createInterface({ input: client.stdout as NodeJS.ReadableStream }).on('line', (line) => {
    shown = JSON.parse(line)
  })
  client.stderr?.on('data', (chunk) => {
    failed += chunk
  })
}

async function untilShown(...users: readonly string[]): Promise<void> {
  await until(() => String(shown) === String(users) || client.exitCode !== null, {
    what: `${users} in its list`,
    withinMs: 30_000,
  })
  expect([shown, failed]).toEqual([users, ''])
}

describe('a client in Python', () => {
  it('is online, shows who is, and is right again after a deploy and a lost live state', {
    timeout: 120_000,
  }, async () => {
    run('dev:alice')
    await untilShown('alice')
    await openTab(server, 'bob')
    await untilShown('alice', 'bob')
    expect((await post(server, 'dev:bob', '{ user(id: "alice") { status } }')).data?.user.status).toBe('ONLINE')

    await server.end('SIGTERM')
    await start()
    await openTab(server, 'carol')
    await until(() => shown.includes('carol'), { what: 'who came after the deploy', withinMs: 30_000 })

    await command(redis, 'FLUSHALL')
    await until(() => openTab(server, 'dave').catch(() => null), { what: 'another user' })
    await until(() => shown.includes('dave') && shown.includes('alice'), {
      what: 'who came afterwards',
      withinMs: 30_000,
    })
    expect([failed, client.exitCode]).toEqual(['', null])
  })

  it('goes on with a fresh token when its token has run out', { timeout: 60_000 }, async () => {
    const file = join(folder, 'token')
    const write = async (token: string) => {
      await writeFile(`${file}.new`, token)
      await rename(`${file}.new`, file)
    }
    await write(await sign({ sub: 'alice' }, '2s'))
    run(`@${file}`)
    await untilShown('alice')
    await write(await sign({ sub: 'alice' }))
    await openTab(server, 'bob')
    await untilShown('alice', 'bob')
    expect([failed, client.exitCode]).toEqual(['', null])
  })

  it('ends where its token does not hold, also when it asks again', { timeout: 60_000 }, async () => {
    run('no.such.token')
    await until(() => client.exitCode !== null, { what: 'the end', withinMs: 30_000 })
    expect(failed).toContain('UNAUTHENTICATED')
  })
})
