/** A whole server within the test's own process: the one that `npm start` runs, on a free port. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import postgres from 'postgres'
import { inject } from 'vitest'
import { createRollcall, type Rollcall, type RollcallOptions } from '../../src/app.ts'
import type { SettingTexts } from '../../src/config.ts'
import type { Log } from '../../src/presence/operator-log.ts'
import { freshDatabase } from './postgres.ts'

export interface TestServer {
  readonly url: string
  readonly wsUrl: string
  stop(): Promise<void>
}

/** A few users do the work of many, and ask again and again how things stand. */
const FAR_LIMITS: SettingTexts = {
  USER_WORK_RATE: '1000000000',
  USER_WORK_BURST: '1000000000',
  ADDRESS_WORK_RATE: '1000000000',
  ADDRESS_WORK_BURST: '1000000000',
  SOCKET_FRAME_RATE: '1000000',
}

/** Short enough for a test to wait for, and of the same order as the defaults. */
export const QUICK: SettingTexts = {
  ...FAR_LIMITS,
  CLOSE_GRACE: '400ms',
  RECONNECT_GRACE: '1500ms',
  PING_INTERVAL: '1s',
  PONG_TIMEOUT: '1s',
  SWEEP_INTERVAL: '50ms',
  SESSION_TTL: '2s',
  HEARTBEAT_INTERVAL: '1s',
  NODE_RENEW: '300ms',
  NODE_TTL: '2s',
  LAST_ACTIVE_FLUSH: '200ms',
  DRAIN_TIME: '0ms',
  // No answer is refused because the machine is busy.
  DATABASE_WAIT: '10s',
}

/** Of a test in which no process dies: a renewal has a third of NODE_TTL, and one that is late is a line in the log. */
export const LONG_LEASE: SettingTexts = { NODE_TTL: '10s', NODE_RENEW: '3s' }

/** For a process that is to have the defaults: an empty variable counts as left out. */
export const DEFAULTS: SettingTexts = Object.fromEntries(Object.keys(QUICK).map((name) => [name, '']))

/** A server keeps its data here; whoever starts a second one on it starts it again after a restart. */
export interface TestData {
  readonly settings: SettingTexts
  drop(): Promise<void>
}

export const DATABASES: readonly { readonly name: string; readonly prepare: () => Promise<TestData> }[] = [
  { name: 'the embedded Postgres', prepare: embeddedData },
  { name: 'a real Postgres', prepare: postgresData },
  { name: 'a real Postgres and Redis', prepare: redisData },
]

export async function embeddedData(): Promise<TestData> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-test-'))
  return { settings: { DATA_DIR: join(folder, 'data') }, drop: () => rm(folder, { recursive: true, force: true }) }
}

/** A database that is an app's own, with its own `users`. */
export async function postgresData(): Promise<TestData> {
  const database = await freshDatabase()
  const app = postgres(database.url, { max: 1 })
  await app`create table public.users (id uuid primary key, email text not null unique)`
  await app.end()
  return { settings: { DATABASE_URL: database.url }, drop: () => database.drop() }
}

/** As many nodes as start on it are one presence. */
export async function redisData(): Promise<TestData> {
  const { settings, drop } = await postgresData()
  return { settings: { ...settings, REDIS_URL: inject('redisUrl'), REDIS_APP: randomUUID() }, drop }
}

/**
 * @param settings - QUICK stands beneath them; without a database of their own they get one of a real Postgres, which starts in a tenth of the time of an embedded one
 * @param log - what a test wants to look at
 */
export async function startServer(settings: SettingTexts = {}, log: Log = testLog()): Promise<TestServer> {
  const { rollcall, drop } = await startRollcall(settings, log)
  const server = await listen(rollcall)
  return {
    ...server,
    async stop() {
      await server.stop()
      await drop()
    },
  }
}

/** What `startServer` listens with, for a test that mounts it in a server of its own: it closes it before `drop`. */
export async function startRollcall(
  settings: SettingTexts = {},
  log: Log = testLog(),
  options: RollcallOptions = {},
): Promise<{ readonly rollcall: Rollcall; drop(): Promise<void> }> {
  const data = settings.DATA_DIR === undefined && settings.DATABASE_URL === undefined ? await postgresData() : null
  const rollcall = createRollcall({ ...QUICK, ...data?.settings, ...settings }, log, options)
  await rollcall.ready
  return { rollcall, drop: async () => data?.drop() }
}

/** As `npm start` does, ready or not. */
export async function listen(rollcall: Rollcall, port = 0): Promise<TestServer> {
  const http = createServer({ requireHostHeader: false })
  rollcall.mount(http)
  // A crowd may come at once: as many wait to be let in as the system allows.
  await new Promise<void>((resolve) => http.listen(port, '127.0.0.1', 4096, resolve))
  const { port: taken } = http.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${taken}`,
    wsUrl: `ws://127.0.0.1:${taken}/graphql`,
    async stop() {
      await rollcall.close()
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

function testLog(): Log {
  return pino({ level: process.env.TEST_LOG_LEVEL ?? 'silent' })
}
