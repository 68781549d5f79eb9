/** The migrations on a database that a version before them has filled. */
import { readMigrationFiles } from 'drizzle-orm/migrator'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../../src/db/client.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import { createHistory } from '../../../src/db/history.ts'
import { migrate } from '../../../src/db/migrate.ts'
import { freshDatabase, type TestDatabase } from '../../support/postgres.ts'
import { createTestLog, defaults } from './databases.ts'

/** Those that there were before the history had an end. */
const FORMER_COUNT = 2
const ALL = { fromMs: null, toMs: null, first: 100, after: null }

describe('a filled database', () => {
  let fresh: TestDatabase
  let app: postgres.Sql
  let database: Database

  beforeAll(async () => {
    fresh = await freshDatabase()
    app = postgres(fresh.url, { max: 1, onnotice: () => {} })
    await app.unsafe(`create schema rollcall;
      create table rollcall.migrations (id serial primary key, hash text not null, created_at bigint not null unique)`)
    for (const { sql, hash, folderMillis } of readMigrationFiles({ migrationsFolder: 'drizzle' }).slice(
      0,
      FORMER_COUNT,
    )) {
      for (const statement of sql) await app.unsafe(statement)
      await app`insert into rollcall.migrations (hash, created_at) values (${hash}, ${folderMillis})`
    }
    await app.unsafe(`
      insert into rollcall.users (id, visibility) values ('alice', 'EVERYONE'), ('bob', 'NOBODY');
      insert into rollcall.presence_sessions (id, user_id, client_session_id, has_socket, started_at, last_active, ended_at, end_reason)
      select gen_random_uuid(), id, 'default', true, now() - interval '2 days', now() - interval '2 days',
        -- A clock that was set back: it ended before it began.
        now() - interval '3 days', 'CLOSED'
      from rollcall.users;
      insert into rollcall.recorder_checkpoint (id, epoch, seq) values (1, 'before', 7);
    `)
    database = await openDatabase({ ...defaults, DATABASE_URL: fresh.url }, createTestLog())
    await migrate(database)
  })
  afterAll(async () => {
    await database?.close()
    await app?.end()
    await fresh?.drop()
  })

  it('has what it had', async () => {
    expect([
      ...(await app`select epoch, seq::integer, forgotten_count::integer from rollcall.recorder_checkpoint`),
    ]).toEqual([{ epoch: 'before', seq: 7, forgotten_count: 0 }])
    expect(await app`select from rollcall.presence_sessions`).toHaveLength(2)
  })

  it('shows to nobody what may have been hidden before anybody kept that, and all to the user', async () => {
    const history = createHistory({ database })
    for (const userId of ['alice', 'bob']) {
      expect((await history.shown(userId, ALL)).sessions).toEqual([])
      expect((await history.own(userId, ALL)).sessions).toMatchObject([{ hiddenSpans: null }])
    }
  })

  it('knows from then on when each of them hides', async () => {
    await app`insert into rollcall.presence_sessions (id, user_id, client_session_id, has_socket, started_at, last_active)
      select gen_random_uuid(), id, 'default', true, now() + interval '1 second', now() from rollcall.users`
    const history = createHistory({ database })
    expect((await history.shown('alice', ALL)).sessions).toMatchObject([{ endedAtMs: null }])
    expect((await history.shown('bob', ALL)).sessions).toEqual([])
    await createDirectory({ database }).setSettings('bob', { visibility: 'EVERYONE' }, null)
    expect((await history.shown('bob', ALL)).sessions).toMatchObject([{ endedAtMs: null }])
    await createDirectory({ database }).ensure('carol', null)
    await app`insert into rollcall.presence_sessions (id, user_id, client_session_id, has_socket, started_at, last_active)
      values (gen_random_uuid(), 'carol', 'default', true, now() - interval '1 second', now())`
    // Of a user who came later all is known, also where their session began before their row.
    expect((await history.shown('carol', ALL)).sessions).toHaveLength(1)
  })
})
