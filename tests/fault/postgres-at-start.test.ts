/** A process that starts while Postgres cannot be used: it waits, says why, and goes on when Postgres comes. */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server as TcpServer } from 'node:net'
import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { freePort } from '../support/free-port.ts'
import { freshDatabase } from '../support/postgres.ts'
import { launchProcess, type StartingProcess } from '../support/process.ts'
import { postgresData, redisData } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

const HOST = '127.0.0.1'
const cleanups = cleanupsAfterEach()

async function launch(settings: SettingTexts): Promise<StartingProcess> {
  const server = launchProcess(settings, await freePort(HOST))
  cleanups.push(() => server.end('SIGKILL'))
  return server
}

/** What the log says of Postgres, in its order. */
function words({ lines }: StartingProcess): readonly string[] {
  return lines.map((line) => String(line.msg)).filter((message) => message.includes('Postgres'))
}

async function readyz({ url }: StartingProcess): Promise<{ readonly status: number; readonly text: string } | null> {
  const answer = await fetch(`${url}/readyz`).catch(() => null)
  return answer === null ? null : { status: answer.status, text: await answer.text() }
}

/** Until it says on `/readyz` why it waits. */
async function untilWaiting(server: StartingProcess, reason: string): Promise<void> {
  await until(async () => (await readyz(server))?.text.includes(reason), {
    what: `a wait for: ${reason}`,
    withinMs: 40_000,
  })
  expect((await readyz(server))?.status).toBe(503)
  // Its output comes by another way than its answers.
  await until(() => words(server).at(-1)?.includes(reason), { what: `a line in the log: ${reason}` })
  expect(await (await fetch(`${server.url}/healthz`)).text()).toBe('ok\n')
}

async function stopsAtOnce(server: StartingProcess): Promise<void> {
  const signalledAtMs = performance.now()
  expect(await server.end('SIGTERM')).toBe(0)
  expect(performance.now() - signalledAtMs).toBeLessThan(3000)
}

/** Counts the connections to a peer, for so long. */
async function countFor(ms: number, count: () => number): Promise<number> {
  const [before, untilMs] = [count(), performance.now() + ms]
  await until(() => performance.now() > untilMs, { withinMs: 2 * ms })
  return count() - before
}

describe.each([
  { name: 'without Redis', prepare: postgresData },
  { name: 'with Redis', prepare: redisData },
])('$name, a process that starts while nobody listens', ({ prepare }) => {
  it('waits, says why, and serves when Postgres comes', { timeout: 120_000 }, async () => {
    const data = await prepare()
    cleanups.push(data.drop)
    const address = new URL(String(data.settings.DATABASE_URL))
    const port = await freePort(HOST)
    const server = await launch({
      ...data.settings,
      DATABASE_URL: `postgres://postgres@${HOST}:${port}${address.pathname}`,
    })
    await untilWaiting(server, 'nothing listens at its address (ECONNREFUSED)')
    // Requests are answered all the same.
    expect(await post(server, 'dev:alice', '{ position }')).toMatchObject({
      status: 503,
      errors: [{ extensions: { code: 'UNAVAILABLE' } }],
    })
    const waitsMs = performance.now() + 3000
    await until(() => performance.now() > waitsMs)
    expect(words(server)).toHaveLength(1)

    const wire = await openTcpProxy({ host: address.hostname, port: Number(address.port), at: port })
    cleanups.push(wire.close)
    const cameAtMs = performance.now()
    await server.ready
    expect(performance.now() - cameAtMs).toBeLessThan(8000)
    expect(words(server)).toContain('Postgres answers.')
    expect((await readyz(server))?.status).toBe(200)
    expect(await post(server, 'dev:alice', 'mutation { heartbeat { nextHeartbeatInMs } }')).toMatchObject({
      status: 200,
    })
    expect(await server.end('SIGTERM')).toBe(0)
  })

  it('stops at once', { timeout: 120_000 }, async () => {
    const data = await prepare()
    cleanups.push(data.drop)
    const server = await launch({
      ...data.settings,
      DATABASE_URL: `postgres://postgres@${HOST}:${await freePort(HOST)}/x`,
    })
    await untilWaiting(server, 'nothing listens')
    await stopsAtOnce(server)
  })
})

it('says which of the two it waits for, Postgres or another process', { timeout: 120_000 }, async () => {
  const data = await postgresData()
  cleanups.push(data.drop)
  const address = new URL(String(data.settings.DATABASE_URL))
  const first = await launch(data.settings)
  await first.ready
  const wire = await openTcpProxy({ host: address.hostname, port: Number(address.port) })
  cleanups.push(wire.close)
  address.port = String(wire.port)
  const second = await launch({ DATABASE_URL: address.href })
  const says = (words: string) => async () => (await readyz(second))?.text.includes(words)
  await until(says('Another process serves this database'), { what: 'a wait for the process', withinMs: 40_000 })
  wire.refuse()
  await until(says('Postgres cannot be used'), { what: 'a wait for Postgres' })
  wire.mend()
  await until(says('Another process serves this database'), { what: 'a wait for the process' })
  expect(await first.end('SIGTERM')).toBe(0)
  await second.ready
})

describe('a process that starts', () => {
  it.each([
    {
      name: 'an HTTP port',
      reason: 'what answers at its address is no Postgres',
      open: (count: () => void) => createHttpServer().on('connection', count) as TcpServer,
    },
    {
      name: 'a port that closes each connection at once',
      reason: 'it closes each connection at once',
      open: (count: () => void) =>
        createServer((socket) => {
          count()
          socket.end()
        }),
    },
    {
      name: 'a port that says nothing',
      reason: 'it does not answer in time',
      open: (count: () => void) =>
        createServer((socket) => {
          count()
          socket.resume()
        }),
    },
  ])(
    'on $name says so once, asks a few times a second, and stops at once',
    { timeout: 120_000 },
    async ({ reason, open }) => {
      let connectionCount = 0
      const peer = open(() => {
        connectionCount += 1
      })
      peer.on('connection', (socket) => {
        socket.on('error', () => {})
        cleanups.push(async () => socket.destroy())
      })
      peer.listen(0, HOST)
      await once(peer, 'listening')
      cleanups.push(async () => peer.close())
      const { port } = peer.address() as AddressInfo
      const server = await launch({ DATABASE_URL: `postgres://user@${HOST}:${port}/app`, DATABASE_TIME_LIMIT: '2s' })
      await untilWaiting(server, reason)
      expect(await countFor(5000, () => connectionCount)).toBeLessThanOrEqual(10)
      expect(words(server)).toHaveLength(1)
      await stopsAtOnce(server)
    },
  )

  it('waits for a database that is still to be made', { timeout: 120_000 }, async () => {
    const { url, drop } = await freshDatabase()
    cleanups.push(drop)
    const late = new URL(url)
    late.pathname += '_late'
    const sql = postgres(url, { max: 1, onnotice: () => {} })
    cleanups.push(() => sql.end())
    const server = await launch({ DATABASE_URL: late.href })
    await untilWaiting(server, 'it has no database of this name (3D000)')
    await sql.unsafe(`create database ${late.pathname.slice(1)}`)
    await server.ready
    expect(await server.end('SIGTERM')).toBe(0)
    await sql.unsafe(`drop database ${late.pathname.slice(1)} with (force)`)
  })

  it.each(['LATIN1', 'SQL_ASCII'])(
    'on a database that is %s ends, and says what to do',
    { timeout: 120_000 },
    async (encoding) => {
      const { url, drop } = await freshDatabase()
      cleanups.push(drop)
      const other = new URL(url)
      other.pathname += '_other'
      const sql = postgres(url, { max: 1, onnotice: () => {} })
      cleanups.push(() => sql.end())
      const name = other.pathname.slice(1)
      await sql.unsafe(`create database ${name} encoding '${encoding}' template template0 locale 'C'`)
      cleanups.push(() => sql.unsafe(`drop database ${name} with (force)`))
      const server = await launch({ DATABASE_URL: other.href })
      const ended = once(server.child, 'exit')
      await expect(server.ready).rejects.toThrow(`has the encoding ${encoding}, and Rollcall needs UTF8`)
      expect(await ended).toEqual([1, null])
      expect(await sql.unsafe(`select count(*)::int as count from pg_namespace where nspname = 'rollcall'`)).toEqual([
        { count: 0 },
      ])
    },
  )
})
