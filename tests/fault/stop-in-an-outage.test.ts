/** A process that is told to stop while Postgres or Redis is away: it waits for the database, and stops cleanly. */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { afterEach, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { startProcess } from '../support/process.ts'
import { postgresData } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { type Node, openWorld } from './world.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

it('without Redis, waits for a database that refuses connections, and loses no record', {
  timeout: 60_000,
}, async () => {
  const data = await postgresData()
  cleanups.push(data.drop)
  const databaseUrl = new URL(String(data.settings.DATABASE_URL))
  const wire = await openTcpProxy({ host: databaseUrl.hostname, port: Number(databaseUrl.port) })
  cleanups.push(wire.close)
  const wiredUrl = new URL(databaseUrl)
  wiredUrl.port = String(wire.port)
  const lines: Record<string, unknown>[] = []
  const server = await startProcess({ DATABASE_URL: wiredUrl.href }, lines)
  cleanups.push(() => server.end('SIGKILL'))
  const sql = postgres(databaseUrl.href, { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  const endOf = async () =>
    (await sql`select end_reason from rollcall.presence_sessions where user_id = 'alice'`)[0]?.end_reason

  const tab = await openTab(server, 'alice')
  await until(async () => (await endOf()) === null, { what: 'the session in the table' })
  wire.refuse()
  await tab.ask('mutation { goOffline { viewer { isOnline } } }')
  const ended = server.end('SIGTERM')
  await until(() => messages(lines).some((line) => line.startsWith('The database is away')), { what: 'the failure' })
  // It waits for 10 s at most (FLUSH_WAIT_MS of src/app.ts). One that nothing holds would be gone by then.
  expect(await Promise.race([ended, sleep(2000, 'it waits')])).toBe('it waits')
  wire.mend()
  expect(await ended).toBe(0)
  expect(await endOf()).toBe('WENT_OFFLINE')
  expect(messages(lines)).toContain('Stopped.')
})

it('with Redis out of reach, stops cleanly and releases the work', { timeout: 60_000 }, async () => {
  const world = await openWorld({ nodeCount: 1 })
  cleanups.push(world.close)
  const [node] = world.nodes as [Node]
  const sql = postgres(world.databaseUrl, { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  const holder = async () => (await sql`select holder from rollcall.recorder_checkpoint`)[0]?.holder
  await until(async () => typeof (await holder()) === 'string', { what: 'a holder' })

  node.wire.refuse()
  await until(async () => (await fetch(`${node.url()}/readyz`)).status === 503, { what: 'the failure' })
  expect(await node.process().end('SIGTERM')).toBe(0)
  expect(messages(node.lines)).toContain('Stopped.')
  expect(await holder()).toBeNull()
})

function messages(lines: readonly Record<string, unknown>[]): readonly string[] {
  return lines.map(({ msg }) => String(msg))
}
