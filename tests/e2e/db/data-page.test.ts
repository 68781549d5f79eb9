/** Runs what docs/data.md tells readers to run. */
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../../src/config.ts'
import { createRecorder } from '../../../src/db/recorder.ts'
import type { EndReason, Settings } from '../../../src/presence/model.ts'
import { processClock } from '../../../src/presence/timing.ts'
import { createMemoryStore } from '../../../src/stores/memory/index.ts'
import { dataPage, sqlOfDataPage } from '../../support/data-page.ts'
import { createTestLog, type OpenedDatabase, openPostgresDatabase, rows } from './databases.ts'

const page = dataPage()
const blocks = sqlOfDataPage()
const EVERYONE: Settings = {
  version: 0,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}

describe('docs/data.md', () => {
  let opened: OpenedDatabase
  let app: postgres.Sql
  let readerName = ''

  beforeAll(async () => {
    opened = await openPostgresDatabase()
    app = postgres(String(opened.config.DATABASE_URL), { max: 1, onnotice: () => {} })
  })
  afterAll(async () => {
    if (readerName !== '') await app.unsafe(`drop owned by ${readerName}; drop role ${readerName}`)
    await app.end()
    await opened.close()
  })

  it('has SQL that runs, from above to below', async () => {
    expect(blocks.length).toBeGreaterThan(6)
    // Roles are the server's, not the database's: one of its own for this run.
    readerName = `presence_reader_${process.pid}`
    for (const block of blocks.filter((block) => !block.startsWith('delete'))) {
      await app.unsafe(block.replaceAll('presence_reader', readerName))
    }
  })

  it('mirrors into the app’s own table what everyone sees, from then on', async () => {
    const timing = timingOf(parseConfig({}))
    const store = createMemoryStore({ timing, clock: processClock() })
    const recorder = createRecorder({ database: opened.database, records: store.records, timing, log: createTestLog() })
    await recorder.start()
    recorder.follow()
    const come = (userId: string) =>
      store.attach({
        userId,
        sessionId: 'default',
        fence: null,
        nodeId: null,
        isActive: true,
        profile: null,
        seed: {
          settings: EVERYONE,
          profile: null,
          lastActiveAtMs: null,
          shownLastActiveAtMs: null,
          shownLastSeenAtMs: null,
          isActivityOver: false,
        },
        comeback: null,
      })
    // The app knows nobody of the id 77: that stops nothing.
    for (const userId of ['1', '77']) await come(userId)
    await recorder.flush(10_000)
    expect([
      ...(await app`select id, is_online, last_active is not null as was_active from public.users order by id`),
    ]).toEqual([
      { id: '1', is_online: true, was_active: true },
      { id: '2', is_online: false, was_active: false },
    ])

    await store.end({ userId: '1', sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    await recorder.flush(10_000)
    expect([
      ...(await app`select is_online, last_seen >= last_active as was_seen from public.users where id = 1`),
    ]).toEqual([{ is_online: false, was_seen: true }])
    await recorder.stop()
  })

  it('joins with the app’s own table', async () => {
    const join = blocks.find((block) => block.includes('left join')) ?? ''
    expect([...(await app.unsafe(join))]).toEqual([
      {
        id: '1',
        email: 'alice@example.com',
        is_online: false,
        last_active: expect.any(Date),
        last_seen: expect.any(Date),
      },
      { id: '2', email: 'bob@example.com', is_online: false, last_active: null, last_seen: null },
    ])
  })

  it('goes on where the mirror fails', async () => {
    await app`alter table public.users add constraint never_active check (last_active is null) not valid`
    await app`update rollcall.users set last_active = now(), is_online = true where id = '1'`
    expect([...(await app`select is_online from rollcall.users where id = '1'`)]).toEqual([{ is_online: true }])
    await app`alter table public.users drop constraint never_active`
  })

  it('lets the reader read what everyone sees, and nothing else', async () => {
    await app.unsafe(`set role ${readerName}`)
    expect([...(await app`select id, is_online from rollcall.users where id = '1'`)]).toHaveLength(1)
    await expect(app`select visibility from rollcall.users`).rejects.toThrow('permission denied')
    await expect(app`select id from rollcall.presence_sessions`).rejects.toThrow('permission denied')
    await app.unsafe('reset role')
  })

  it('deletes old sessions and users', async () => {
    for (const block of blocks.filter((block) => block.startsWith('delete'))) await app.unsafe(block)
  })

  it('names every table, column and end reason that there is', async () => {
    const columns = await rows<{ name: string }>(
      opened.database,
      sql`select column_name as name from information_schema.columns
        where table_schema = 'rollcall' and table_name in ('users', 'presence_sessions')
        union select 'rollcall.' || table_name from information_schema.tables where table_schema = 'rollcall'`,
    )
    const reasons: Record<EndReason, true> = {
      CLOSED: true,
      LOST: true,
      EXPIRED: true,
      WENT_OFFLINE: true,
      DISCONNECTED: true,
      DISPLACED: true,
      TAKEN_OVER: true,
      NODE_LOST: true,
      SERVER_RESTART: true,
      UNRECORDED: true,
    }
    for (const name of [...columns.map((column) => column.name), ...Object.keys(reasons)])
      expect(page).toContain(`\`${name}\``)
  })
})
