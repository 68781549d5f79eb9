/**
 * A failover of Postgres: a streaming standby is promoted, and the primary of before comes back as a standby. Where the
 * name still leads to it, a pool connects to it, and stays there when the name moves.
 */
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { openDatabase } from '../../src/db/client.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { type Cluster, makeCluster } from '../support/postgres.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()
/** What is acknowledged must be there after the failover. */
const SETTINGS = { fsync: 'on', synchronous_commit: 'on' }

interface Replicated {
  readonly primary: Cluster
  readonly standby: Cluster
  /** The standby is the primary from now on, and the primary its standby. */
  failOver(): Promise<void>
}

async function startReplicated(): Promise<Replicated> {
  const primary = await makeCluster()
  const standby = await primary.copy()
  for (const cluster of [primary, standby]) {
    cleanups.push(async () => {
      await cluster.stop()
      cluster.remove()
    })
  }
  await primary.start(SETTINGS)
  await follow(standby, primary)
  return {
    primary,
    standby,
    async failOver() {
      await primary.stop()
      const administration = postgres(standby.url, { max: 1, onnotice: () => {} })
      await administration`select pg_promote()`
      await administration.end()
      await follow(primary, standby)
    },
  }
}

async function follow(standby: Cluster, primary: Cluster): Promise<void> {
  standby.write('standby.signal', '')
  await standby.start({ ...SETTINGS, primary_conninfo: `host=127.0.0.1 port=${primary.port} user=postgres` })
  const observer = postgres(primary.url, { max: 1, onnotice: () => {} })
  await until(async () => (await observer`select from pg_stat_replication where state = 'streaming'`).length === 1, {
    what: 'a standby that streams',
    withinMs: 30_000,
  })
  await observer.end()
}

const setStatus = (server: TestServer, message: string) =>
  post(server, 'dev:alice', `mutation { setStatus(status: BUSY, message: "${message}") { viewer { user { id } } } }`)

async function statusIn(cluster: Cluster): Promise<unknown> {
  const reader = postgres(cluster.url, { max: 1, onnotice: () => {} })
  const [row] = await reader`select status_message from rollcall.users where id = 'alice'`
  await reader.end()
  return row?.status_message
}

it('moves to the new primary within 10 s of its name, from a primary that became a standby', {
  timeout: 120_000,
}, async () => {
  const { primary, standby, failOver } = await startReplicated()
  const name = await openTcpProxy({ host: '127.0.0.1', port: primary.port })
  cleanups.push(name.close)
  const { log, lines } = createReadLog()
  const server = await startServer({ DATABASE_URL: `postgres://postgres@127.0.0.1:${name.port}/postgres` }, log)
  cleanups.push(server.stop)
  expect((await setStatus(server, 'before')).errors).toBeUndefined()

  await failOver()
  // The name leads to the old one still, which answers reads and refuses writes.
  const observer = postgres(primary.url, { max: 1, onnotice: () => {} })
  cleanups.push(() => observer.end())
  await until(
    async () => (await observer`select from pg_stat_activity where application_name = 'rollcall'`).length > 0,
    { what: 'a connection to the demoted primary', withinMs: 30_000 },
  )
  await until(() => lines.some((line) => line.includes('takes no writes (25006)')), { what: 'a refused write' })
  expect((await setStatus(server, 'between')).errors?.[0]?.extensions).toMatchObject({ code: 'UNAVAILABLE' })

  name.move(standby.port)
  const movedAtMs = performance.now()
  await until(async () => (await setStatus(server, 'after')).errors === undefined, {
    what: 'a write',
    withinMs: 10_000,
    everyMs: 100,
  })
  expect(performance.now() - movedAtMs).toBeLessThan(10_000)
  expect(await statusIn(standby)).toBe('after')
})

it('follows the primary among several hosts, with no name that moves', { timeout: 120_000 }, async () => {
  const { primary, standby, failOver } = await startReplicated()
  const hosts = `127.0.0.1:${standby.port},127.0.0.1:${primary.port}`
  const server = await startServer({
    DATABASE_URL: `postgres://postgres@${hosts}/postgres?target_session_attrs=read-write`,
  })
  cleanups.push(server.stop)
  expect((await setStatus(server, 'before')).errors).toBeUndefined()
  expect(await statusIn(primary)).toBe('before')

  await failOver()
  const doneAtMs = performance.now()
  await until(async () => (await setStatus(server, 'after')).errors === undefined, {
    what: 'a write',
    withinMs: 10_000,
    everyMs: 100,
  })
  expect(performance.now() - doneAtMs).toBeLessThan(10_000)
  expect(await statusIn(standby)).toBe('after')
})

it('waits at its start for a server that takes writes, and says so', { timeout: 120_000 }, async () => {
  const cluster = await makeCluster()
  await cluster.start()
  cleanups.push(async () => {
    await cluster.stop()
    cluster.remove()
  })
  // Its tables are there: nothing is to be migrated.
  await (await startServer({ DATABASE_URL: cluster.url })).stop()
  const administration = postgres(cluster.url, { max: 1, onnotice: () => {} })
  cleanups.push(() => administration.end())
  await administration`alter system set default_transaction_read_only = on`
  await administration`select pg_reload_conf()`
  const { log, lines } = createReadLog()
  const starting = startServer({ DATABASE_URL: cluster.url }, log)
  starting.catch(() => {})
  await until(
    () => lines.some((line) => line.includes('Postgres cannot be used: it is a standby, or is set to take no writes')),
    { what: 'the reason' },
  )
  await administration`set default_transaction_read_only = off`
  await administration`alter system reset default_transaction_read_only`
  await administration`select pg_reload_conf()`
  const server = await starting
  cleanups.push(server.stop)
  expect((await setStatus(server, 'after')).errors).toBeUndefined()
})

it('sends a write again that a demoted primary refused, where the name has moved by then', {
  timeout: 120_000,
}, async () => {
  const [fenced, other] = [await makeCluster(), await makeCluster()]
  for (const cluster of [fenced, other]) {
    await cluster.start()
    cleanups.push(async () => {
      await cluster.stop()
      cluster.remove()
    })
    const administration = postgres(cluster.url, { max: 1, onnotice: () => {} })
    await administration`create table notes (text text)`
    await administration.end()
  }
  const name = await openTcpProxy({ host: '127.0.0.1', port: fenced.port })
  cleanups.push(name.close)
  const database = await openDatabase(
    {
      DATABASE_URL: `postgres://postgres@127.0.0.1:${name.port}/postgres`,
      DATABASE_PREPARE: true,
      DATABASE_TIME_LIMIT: 5000,
      DATA_DIR: '',
    },
    createReadLog().log,
  )
  cleanups.push(database.close)
  const write = (text: string) => database.run((drizzle) => drizzle.execute(sql`insert into notes values (${text})`))
  await Promise.all(Array.from({ length: 8 }, () => write('before')))
  const administration = postgres(fenced.url, { max: 1, onnotice: () => {} })
  await administration`alter system set default_transaction_read_only = on`
  await administration`select pg_reload_conf()`
  await administration.end()
  name.move(other.port)

  const answers = await Promise.allSettled(Array.from({ length: 40 }, () => write('after')))
  expect(answers.filter(({ status }) => status === 'rejected')).toEqual([])
  const reader = postgres(other.url, { max: 1, onnotice: () => {} })
  cleanups.push(() => reader.end())
  // Each once, and those that a server took before it knew of the new setting are on the other one.
  const [row] = await reader`select count(*)::int as count from notes`
  expect(row?.count).toBeGreaterThan(0)
  expect(row?.count).toBeLessThanOrEqual(40)
})
