/** HISTORY_RETENTION: what goes, what stays, and what is still known of who is gone. */
import { randomUUID } from 'node:crypto'
import { type SQL, sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Database } from '../../../src/db/client.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import { createRetention } from '../../../src/db/retention.ts'
import { post } from '../../support/clients.ts'
import { postgresData, redisData, startServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'
import { DATABASES, empty, type OpenedDatabase, openPostgresDatabase, rows } from './databases.ts'

const DAY_MS = 86_400_000
const RETENTION_MS = 90 * DAY_MS

const daysAgo = (days: number): SQL => sql`date_trunc('milliseconds', now()) - ${days}::float8 * interval '1 day'`

interface PastSession {
  readonly activeDaysAgo: number
  /** Null: it is open. */
  readonly endedDaysAgo: number | null
  readonly reason?: string
}

async function addUser(database: Database, userId: string, visibility = 'EVERYONE'): Promise<void> {
  await rows(database, sql`insert into rollcall.users (id, visibility) values (${userId}, ${visibility})`)
}

async function addSession(
  database: Database,
  userId: string,
  { activeDaysAgo, endedDaysAgo, reason = 'CLOSED' }: PastSession,
): Promise<string> {
  const id = randomUUID()
  await rows(
    database,
    sql`insert into rollcall.presence_sessions
      (id, user_id, client_session_id, has_socket, started_at, last_active, ended_at, end_reason)
      values (${id}::uuid, ${userId}, 'default', true, ${daysAgo(activeDaysAgo + 0.5)}, ${daysAgo(activeDaysAgo)},
        ${endedDaysAgo === null ? sql`null` : daysAgo(endedDaysAgo)}, ${endedDaysAgo === null ? null : reason})`,
  )
  return id
}

describe.each(DATABASES)('retention on $name', ({ open }) => {
  let opened: OpenedDatabase
  let database: Database

  beforeAll(async () => {
    opened = await open()
    database = opened.database
  })
  afterAll(() => opened?.close())
  beforeEach(() => empty(database))

  const retentionOf = (retentionMs = RETENTION_MS, batchCount = 3) =>
    createRetention({
      database,
      retentionMs,
      tokenMaxAgeMs: 365 * DAY_MS,
      batchCount,
      monotonicMs: () => performance.now(),
    })

  async function sessionIds(): Promise<string[]> {
    const found = await rows<{ id: string }>(database, sql`select id from rollcall.presence_sessions`)
    return found.map(({ id }) => id).sort()
  }

  async function lastActiveDaysAgo(userId: string): Promise<number> {
    const { seed } = await createDirectory({ database }).ensure(userId, null)
    return Math.round((Date.now() - (seed.lastActiveAtMs ?? 0)) / DAY_MS)
  }

  it('deletes what ended before its time, in batches, and nothing that is open', async () => {
    await addUser(database, 'alice')
    for (let count = 0; count < 10; count += 1) {
      await addSession(database, 'alice', { activeDaysAgo: 100, endedDaysAgo: 91 + count })
    }
    const staying = [
      await addSession(database, 'alice', { activeDaysAgo: 90, endedDaysAgo: 89 }),
      await addSession(database, 'alice', { activeDaysAgo: 400, endedDaysAgo: null }),
    ]
    await retentionOf().run()
    expect(await sessionIds()).toEqual(staying.sort())
  })

  it('keeps all for 0', async () => {
    await addUser(database, 'alice')
    const id = await addSession(database, 'alice', { activeDaysAgo: 3000, endedDaysAgo: 2999 })
    await retentionOf(0).run()
    expect(await sessionIds()).toEqual([id])
  })

  it.each([
    { name: 'of one whose last session is gone', sessions: [{ activeDaysAgo: 101, endedDaysAgo: 100 }] },
    {
      name: 'of one whose later session was not as active',
      sessions: [
        { activeDaysAgo: 101, endedDaysAgo: 100 },
        { activeDaysAgo: 300, endedDaysAgo: 80 },
      ],
    },
    {
      name: 'of one whose session is open and idle',
      sessions: [
        { activeDaysAgo: 101, endedDaysAgo: 100 },
        { activeDaysAgo: 300, endedDaysAgo: null },
      ],
    },
    {
      name: 'of one whose sessions go in different batches',
      sessions: Array.from({ length: 7 }, (_, index) => ({ activeDaysAgo: 101 + index, endedDaysAgo: 92 + index })),
    },
  ])('still knows the last activity $name, hidden or not', async ({ sessions }) => {
    for (const visibility of ['EVERYONE', 'NOBODY']) {
      await addUser(database, visibility, visibility)
      for (const session of sessions) await addSession(database, visibility, session)
      expect(await lastActiveDaysAgo(visibility)).toBe(101)
    }
    await retentionOf().run()
    for (const visibility of ['EVERYONE', 'NOBODY']) expect(await lastActiveDaysAgo(visibility)).toBe(101)
  })

  it('shows nobody what it remembers of a user who hides', async () => {
    await addUser(database, 'alice', 'NOBODY')
    const before = await rows(database, sql`select last_active, updated_at from rollcall.users`)
    await addSession(database, 'alice', { activeDaysAgo: 101, endedDaysAgo: 100 })
    await retentionOf().run()
    expect(await sessionIds()).toEqual([])
    expect(await rows(database, sql`select last_active, updated_at from rollcall.users`)).toEqual(before)
    expect((await createDirectory({ database }).read(['alice']))[0]?.lastActiveAtMs).toBeNull()
  })
})

describe('retention beside a lock of somebody else', () => {
  let opened: OpenedDatabase
  let app: postgres.Sql

  beforeAll(async () => {
    opened = await openPostgresDatabase()
    app = postgres(String(opened.config.DATABASE_URL), { max: 1 })
  })
  afterAll(async () => {
    await app?.end()
    await opened?.close()
  })

  it('waits for no row, and loses nothing of the user whose row is locked', async () => {
    const { database } = opened
    for (const userId of ['alice', 'bob']) {
      await addUser(database, userId)
      await addSession(database, userId, { activeDaysAgo: 101, endedDaysAgo: 100 })
    }
    const retention = createRetention({
      database,
      retentionMs: RETENTION_MS,
      tokenMaxAgeMs: 365 * DAY_MS,
      monotonicMs: () => performance.now(),
    })
    const usersWithSessions = async () =>
      (await rows<{ id: string }>(database, sql`select user_id as id from rollcall.presence_sessions`)).map(
        ({ id }) => id,
      )
    await app.begin(async (transaction) => {
      await transaction`select from rollcall.users where id = 'alice' for update`
      await retention.run()
      expect(await usersWithSessions()).toEqual(['alice'])
    })
    await retention.run()
    expect(await usersWithSessions()).toEqual([])
    const { seed } = await createDirectory({ database }).ensure('alice', null)
    expect(Math.round((Date.now() - (seed.lastActiveAtMs ?? 0)) / DAY_MS)).toBe(101)
  })
})

describe.each([
  { name: 'one process', prepare: postgresData },
  { name: 'Redis', prepare: redisData },
])('a server with $name', ({ prepare }) => {
  it('shortens the history by itself', { timeout: 60_000 }, async () => {
    const data = await prepare()
    const server = await startServer({ ...data.settings, HISTORY_RETENTION: '91d' })
    const app = postgres(String(data.settings.DATABASE_URL), { max: 1 })
    try {
      await post(server, 'dev:alice', 'mutation { heartbeat { viewer { id } } }')
      await until(async () => (await app`select from rollcall.presence_sessions`).length === 1)
      await app`insert into rollcall.presence_sessions
        (id, user_id, client_session_id, has_socket, started_at, last_active, ended_at, end_reason)
        values (gen_random_uuid(), 'alice', 'default', true, now() - interval '93 days', now() - interval '93 days',
          now() - interval '92 days', 'CLOSED')`
      await until(async () => (await app`select from rollcall.presence_sessions`).length === 1, { withinMs: 30_000 })
      expect(
        await app`select from rollcall.presence_sessions where started_at > now() - interval '1 day'`,
      ).toHaveLength(1)
    } finally {
      await app.end()
      await server.stop()
      await data.drop()
    }
  })
})
