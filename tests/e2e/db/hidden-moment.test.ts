/**
 * A hidden user changes whether others may see their last activity: nobody else sees anything of it, in no answer and
 * in no public column, until the user is seen again.
 */
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { postgresData, redisData, startServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

describe.each([
  { name: 'Postgres, alone', prepare: postgresData },
  { name: 'Postgres and Redis', prepare: redisData },
])('on $name', ({ prepare }) => {
  describe.each([{ hidWith: false }, { hidWith: true }])('who hid with hideLastActive: $hidWith', ({ hidWith }) => {
    it.each([
      { who: 'has a tab', isAway: false },
      { who: 'left long ago', isAway: true },
    ])('and $who shows no change of it', async ({ isAway }) => {
      const data = await prepare()
      cleanups.push(data.drop)
      // A stall of a slow machine is no part of it.
      const server = await startServer({ ...data.settings, PONG_TIMEOUT: '20s', NODE_TTL: '10s' })
      cleanups.push(server.stop)
      const sql = postgres(String(data.settings.DATABASE_URL), { max: 1, onnotice: () => {} })
      cleanups.push(() => sql.end())
      const alice = await openTab(server, 'alice')
      await untilLevel(server, sql)

      await hide(server, hidWith)
      if (isAway) {
        await alice.ask('mutation { goOffline { viewer { id } } }')
        await alice.close()
        await until(async () => (await openSessions(sql)) === 0, { what: 'the end of the session' })
      }
      await untilLevel(server, sql)
      const before = await publicView(server, sql)
      expect(before.user.lastActive === null).toBe(hidWith)
      expect(before.user.lastSeen === null).toBe(hidWith)

      for (const hideLastActive of [!hidWith, hidWith, !hidWith]) {
        await hide(server, hideLastActive)
        expect(await publicView(server, sql)).toEqual(before)
        // Whatever the live state writes of it has come by the time that this has.
        if (!isAway) {
          await alice.ask('mutation { heartbeat { expiresAt } }')
          const beatAt = await ownLastActive(server)
          await until(async () => (await recordedActivity(sql)) === beatAt, { what: 'the record of the heartbeat' })
        }
        expect(await publicView(server, sql)).toEqual(before)
      }

      await ask(server, 'dev:alice', 'mutation { setVisibility(visibility: EVERYONE) { viewer { id } } }')
      await ask(server, 'dev:alice', 'mutation { heartbeat { expiresAt } }')
      const after = await until(
        async () => {
          const view = await publicView(server, sql)
          return view.user.isOnline && view.row?.is_online === true ? view : null
        },
        { what: 'the user in sight again' },
      )
      expect([after.user.lastActive === null, after.row?.last_active === null]).toEqual([!hidWith, !hidWith])
      expect([after.user.lastSeen, after.row?.last_seen]).toEqual([null, null])
    })
  })
})

async function ask(server: TestServer, token: string, query: string): Promise<Record<string, any>> {
  const { data, errors } = await post(server, token, query)
  if (!data) throw new Error(JSON.stringify(errors))
  return data
}

const hide = (server: TestServer, hideLastActive: boolean) =>
  ask(
    server,
    'dev:alice',
    `mutation { setVisibility(visibility: NOBODY, hideLastActive: ${hideLastActive}) { viewer { id } } }`,
  )

/** All that another user and a reader of the public columns may know. */
async function publicView(server: TestServer, sql: postgres.Sql) {
  const data = await ask(
    server,
    'dev:reader',
    '{ user(id: "alice") { id name isOnline status lastActive lastSeen onlineSince } users(ids: ["alice"]) { lastActive lastSeen } onlineCount position }',
  )
  const [row] = await sql<
    {
      is_online: boolean
      online_since: Date | null
      last_active: Date | null
      last_seen: Date | null
      updated_at: Date
    }[]
  >`select is_online, online_since, last_active, last_seen, updated_at from rollcall.users where id = 'alice'`
  return { user: data.user, users: data.users, onlineCount: data.onlineCount, position: data.position, row }
}

/** Until the column has what everyone sees: it lags. */
async function untilLevel(server: TestServer, sql: postgres.Sql): Promise<void> {
  await until(
    async () => {
      const { user, row } = await publicView(server, sql)
      const [lastActive, lastSeen] = [row?.last_active, row?.last_seen].map((moment) => moment?.toISOString() ?? null)
      if (row === undefined || row.is_online !== user.isOnline) return false
      return lastActive === user.lastActive && lastSeen === user.lastSeen
    },
    { what: 'the public columns as everyone sees the user' },
  )
}

async function ownLastActive(server: TestServer): Promise<string> {
  return (await ask(server, 'dev:alice', '{ viewer { lastActive } }')).viewer.lastActive
}

async function recordedActivity(sql: postgres.Sql): Promise<string | undefined> {
  const [row] = await sql<{ at: Date | null }[]>`select max(last_active) as at from rollcall.presence_sessions`
  return row?.at?.toISOString()
}

async function openSessions(sql: postgres.Sql): Promise<number> {
  const [row] = await sql<{ count: string }[]>`
    select count(*) from rollcall.presence_sessions where ended_at is null`
  return Number(row?.count)
}
