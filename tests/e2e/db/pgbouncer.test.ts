/** A whole server behind pgbouncer, whose connections are shared between transactions. */
import postgres from 'postgres'
import { beforeAll, expect, inject, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { createReadLog } from '../../support/log.ts'
import { INSTALL_TIME_LIMIT_MS } from '../../support/packages.ts'
import { installPooler, startPooler } from '../../support/pgbouncer.ts'
import { freshDatabase } from '../../support/postgres.ts'
import { LONG_LEASE, startServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const cleanups = cleanupsAfterEach()

beforeAll(() => installPooler(), 3 * INSTALL_TIME_LIMIT_MS)

it.each([
  { mode: 'transaction', settings: { DATABASE_PREPARE: 'false' }, query: '' },
  { mode: 'transaction', settings: {}, query: '?pgbouncer=true' },
  { mode: 'session', settings: {}, query: '?connection_limit=2' },
] as const)('serves with pool_mode=$mode $settings $query', { timeout: 60_000 }, async ({ mode, settings, query }) => {
  const { url, drop } = await freshDatabase()
  cleanups.push(drop)
  // Fewer than the connections of the process, where they are shared.
  const pooler = await startPooler(inject('postgresUrl'), { mode, serverConnectionCount: 2 })
  cleanups.push(pooler.stop)
  const { log, takeFaults } = createReadLog()
  const server = await startServer({ ...LONG_LEASE, ...settings, DATABASE_URL: `${pooler.urlOf(url)}${query}` }, log)
  cleanups.push(server.stop, async () => closeTabs())

  const people = Array.from({ length: 40 }, (_, index) => `user-${index}`)
  const tabs = await Promise.all(people.map((userId) => openTab(server, userId)))
  const answers = await Promise.all(
    people.flatMap((userId) => [
      post(server, `dev:${userId}`, 'mutation { setStatus(status: BUSY, message: "Here") { viewer { user { id } } } }'),
      post(server, `dev:${userId}`, '{ users(ids: ["user-1", "nobody"]) { id } }'),
    ]),
  )
  expect(answers.filter(({ errors }) => errors !== undefined)).toEqual([])
  await Promise.all(tabs.map((tab) => tab.ask('mutation { goOffline { viewer { isOnline } } }')))

  const sql = postgres(url, { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  await until(
    async () => {
      const [row] = await sql`select count(*)::int as count from rollcall.users
        where chosen_status = 'BUSY' and status_message = 'Here' and not is_online`
      return row?.count === people.length
    },
    { what: 'the columns of all' },
  )
  const [{ count } = { count: 0 }] = await sql`select count(*)::int as count from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()`
  expect(count).toBeLessThanOrEqual(2)
  expect(takeFaults()).toEqual([])
})
