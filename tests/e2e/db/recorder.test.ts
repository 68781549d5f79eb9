import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type Database, openDatabase } from '../../../src/db/client.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import { createRecorder, type RecorderOptions } from '../../../src/db/recorder.ts'
import type { Settings } from '../../../src/presence/model.ts'
import type { Recorder } from '../../../src/presence/recorder.ts'
import type { PresenceStore, RecordLog } from '../../../src/presence/store.ts'
import type { PresenceTiming } from '../../../src/presence/timing.ts'
import { createMemoryStore } from '../../../src/stores/memory/index.ts'
import { openTcpProxy } from '../../support/tcp-proxy.ts'
import {
  createTestLog,
  DATABASES,
  empty,
  eventually,
  type OpenedDatabase,
  openPostgresDatabase,
  rows,
} from './databases.ts'

const TIMING: PresenceTiming = {
  heartbeatIntervalMs: 500,
  sessionTtlMs: 600_000,
  closeGraceMs: 0,
  reconnectGraceMs: 0,
  pingIntervalMs: 10_000,
  pongTimeoutMs: 5000,
  awayAfterMs: 600_000,
  idleTimeoutMs: 1_200_000,
  sweepIntervalMs: 50,
  nodeTtlMs: 600_000,
  nodeRenewMs: 100,
  lastActiveFlushMs: 200,
  logCount: 10_000,
  logAgeMs: 600_000,
  logBytes: 64 * 1024 * 1024,
  sessionsPerUser: 50,
}
const EVERYONE: Settings = {
  version: 0,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}
const START_MS = Date.UTC(2026, 0, 1)

/** The real store under a manual clock, in the short forms of these tests. */
function openStore(recordsKept?: number) {
  let nowMs = START_MS
  const store = createMemoryStore({
    timing: TIMING,
    clock: () => ({ steadyMs: nowMs, wallMs: nowMs }),
    ...(recordsKept === undefined ? {} : { recordsKept }),
  })
  return {
    store,
    pass(ms: number) {
      nowMs += ms
    },
    async come(
      userId: string,
      sessionId = 'default',
      settings: Settings | null = EVERYONE,
      name: string | null = null,
    ) {
      await store.attach({
        userId,
        sessionId,
        fence: null,
        nodeId: null,
        isActive: true,
        device: 'laptop',
        rooms: ['lobby'],
        profile: name === null ? null : { name, avatarUrl: null, issuedAtMs: nowMs },
        seed: {
          settings,
          profile: null,
          lastActiveAtMs: null,
          shownLastActiveAtMs: null,
          shownLastSeenAtMs: null,
          isActivityOver: false,
        },
        comeback: null,
      })
    },
    async beat(userId: string, sessionId = 'default') {
      await store.beat({ userId, sessionId, fence: null, isActive: true, profile: null })
    },
    async leave(userId: string) {
      await store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    },
    async sweep() {
      // A sweep after a pause judges nobody, the next one does.
      await store.sweep(1000)
      await store.sweep(1000)
    },
  }
}

const recorders = new Set<Recorder>()

async function startRecorder(
  options: Omit<RecorderOptions, 'log' | 'timing'> & Partial<Pick<RecorderOptions, 'log' | 'timing'>>,
): Promise<Recorder> {
  const recorder = createRecorder({
    timing: { nodeTtlMs: 2000, nodeRenewMs: 200 },
    log: createTestLog(),
    gatherMs: 5,
    ...options,
  })
  recorders.add(recorder)
  await recorder.start()
  recorder.follow()
  return recorder
}

afterEach(async () => {
  await Promise.all([...recorders].map((recorder) => recorder.stop()))
  recorders.clear()
})

const usersOf = (database: Database) =>
  rows<{
    id: string
    name: string | null
    online: boolean
    active: number | null
    since: number | null
    seen: number | null
  }>(
    database,
    sql`select id, name, is_online as online, (extract(epoch from last_active) * 1000)::float8 as active,
      (extract(epoch from online_since) * 1000)::float8 as since,
      (extract(epoch from last_seen) * 1000)::float8 as seen from rollcall.users order by id`,
  )

const sessionsOf = (database: Database) =>
  rows<{ user: string; session: string; reason: string | null; active: number; ended: number | null; rooms: string }>(
    database,
    sql`select user_id as user, client_session_id as session, end_reason as reason, array_to_json(rooms) as rooms,
      (extract(epoch from last_active) * 1000)::float8 as active,
      (extract(epoch from ended_at) * 1000)::float8 as ended from rollcall.presence_sessions order by 1, started_at, 2`,
  )

const checkpointOf = async (database: Database) =>
  (
    await rows<{ epoch: string; seq: number; holder: string | null }>(
      database,
      sql`select epoch, seq::float8 as seq, holder from rollcall.recorder_checkpoint`,
    )
  )[0]

/** Counts each row that is written, so that a record that took effect twice is seen. */
async function countWrites(database: Database): Promise<() => Promise<{ id: string; count: number }[]>> {
  await rows(database, sql`create table if not exists session_writes (id uuid, what text)`)
  await rows(database, sql`truncate session_writes`)
  await rows(
    database,
    sql.raw(`create or replace function count_session_write() returns trigger language plpgsql as $$
      begin insert into session_writes values (new.id, tg_op); return new; end $$`),
  )
  await rows(
    database,
    sql.raw(`create or replace trigger count_session_write after insert or update on rollcall.presence_sessions
      for each row execute function count_session_write()`),
  )
  return () => rows(database, sql`select id::text, count(*)::int as count from session_writes group by id`)
}

async function flushed(recorder: Recorder): Promise<void> {
  expect(await recorder.flush(15_000)).toEqual({ isComplete: true })
}

describe.each(DATABASES)('the recorder on $name', ({ open }) => {
  let opened: OpenedDatabase
  let database: Database

  beforeAll(async () => {
    opened = await open()
    database = opened.database
  })
  afterAll(() => opened?.close())
  beforeEach(() => empty(database))

  it('writes who came, what they did, and how they left', async () => {
    const { store, come, beat, leave, pass, sweep } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice', 'default', EVERYONE, 'Alice')
    await flushed(recorder)
    expect(await usersOf(database)).toEqual([
      { id: 'alice', name: 'Alice', online: true, active: START_MS, since: START_MS, seen: null },
    ])
    expect(await sessionsOf(database)).toEqual([
      { user: 'alice', session: 'default', reason: null, active: START_MS, ended: null, rooms: ['lobby'] },
    ])

    pass(1000)
    await beat('alice')
    pass(250)
    await sweep()
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ active: START_MS + 1000, since: START_MS }])

    await leave('alice')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([
      { online: false, since: null, active: START_MS + 1000, seen: START_MS + 1250 },
    ])
    expect(await sessionsOf(database)).toMatchObject([{ reason: 'WENT_OFFLINE', ended: START_MS + 1250 }])
    expect(await store.viewer('alice')).toBeNull()

    await come('alice')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: true, seen: null }])
  })

  it('writes thousands of records in a few batches, each row once', async () => {
    const { store, come } = openStore()
    const writes = await countWrites(database)
    for (let index = 0; index < 1700; index += 1) await come(`user-${index}`)
    const recorder = await startRecorder({ database, records: store.records })
    await flushed(recorder)
    // The start is a repair: it writes the snapshot, and the records once more where their rows are still open.
    expect((await usersOf(database)).filter((user) => user.online)).toHaveLength(1700)
    const before = (await writes()).reduce((sum, row) => sum + row.count, 0)
    for (let index = 0; index < 1200; index += 1) await come(`late-${index}`)
    await flushed(recorder)
    const after = (await writes()).reduce((sum, row) => sum + row.count, 0)
    expect(after - before).toBe(1200)
    expect(recorder.state()).toEqual({ isHolder: true, isDatabaseUp: true, waitingCount: 0, setAsideCount: 0 })
  })

  it('takes ids that are names of an object as ids', async () => {
    const { store, come } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    const ids = ['__proto__', 'constructor', 'hasOwnProperty', `quote ' " \\ {}`, '\u{1f600}']
    for (const id of ids) await come(id, 'default', EVERYONE, `name of ${id}`)
    await flushed(recorder)
    const users = await usersOf(database)
    expect(new Map(users.map((user) => [user.id, user.name]))).toEqual(new Map(ids.map((id) => [id, `name of ${id}`])))
    expect(users.every((user) => user.online)).toBe(true)
  })

  it('leaves the public columns alone while the settings are not known', async () => {
    const { store, come } = openStore()
    await createDirectory({ database }).ensure('alice', null)
    await rows(database, sql`update rollcall.users set last_active = '2025-01-01T00:00:00Z'`)
    const recorder = await startRecorder({ database, records: store.records })
    await flushed(recorder)
    await come('alice', 'default', null)
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: false, active: Date.UTC(2025, 0, 1) }])
    expect(await sessionsOf(database)).toHaveLength(1)
  })

  it('never moves last_active back, and hides it', async () => {
    const { store, come } = openStore()
    await createDirectory({ database }).ensure('alice', null)
    await rows(database, sql`update rollcall.users set last_active = '2027-01-01T00:00:00Z'`)
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: true, active: Date.UTC(2027, 0, 1) }])

    const settings = await createDirectory({ database }).setSettings('alice', { hideLastActive: true }, null)
    await store.setUser({ userId: 'alice', settings: settings ?? EVERYONE })
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: true, active: null }])
  })

  it('shows no last activity of who hid it and then themselves, whatever older records are under way', async () => {
    const { store, come, beat, leave, pass } = openStore()
    const directory = createDirectory({ database })
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(recorder)
    // The row learns of each step first, and the live store of none yet.
    const hidden = await directory.setSettings('alice', { hideLastActive: true }, null)
    const gone = await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    pass(1000)
    await beat('alice')
    await leave('alice')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: false, active: null, seen: null }])
    for (const settings of [hidden, gone]) await store.setUser({ userId: 'alice', settings: settings ?? EVERYONE })
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: false, active: null, seen: null }])
  })

  it('shows nothing of who hides, whatever older records are under way', async () => {
    const { store, come, beat, pass, sweep } = openStore()
    const directory = createDirectory({ database })
    const updatedAt = async () =>
      (await rows<{ at: string }>(database, sql`select updated_at::text as at from rollcall.users`))[0]?.at
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(recorder)
    // The row is hidden first. What the live store records until it learns of it says `online`.
    const settings = await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    pass(1000)
    await come('alice', '6b8f9c5e-0d3b-4c5e-9a55-0c9d9f0b1a11')
    await flushed(recorder)
    // Until the LEAVE, the moment of hiding is by the clock of the database.
    const [first] = await usersOf(database)
    expect(first).toMatchObject({ online: false, since: null, active: START_MS })
    expect(first?.seen).toBeGreaterThan(START_MS + 1000)

    await store.setUser({ userId: 'alice', settings: settings ?? EVERYONE })
    await flushed(recorder)
    const hidden = await usersOf(database)
    const hiddenAt = await updatedAt()
    expect(hidden).toMatchObject([{ online: false, since: null, active: START_MS + 1000, seen: START_MS + 1000 }])
    pass(5000)
    await beat('alice')
    pass(1000)
    await sweep()
    await flushed(recorder)
    expect((await sessionsOf(database)).map((session) => session.active)).toContain(START_MS + 6000)
    expect(await usersOf(database)).toEqual(hidden)
    expect(await updatedAt()).toBe(hiddenAt)
  })

  it.each([
    {
      how: 'went back',
      goBack: sql`update rollcall.users set settings_version = 3, visibility = 'EVERYONE', status_message = 'old'`,
    },
    { how: 'is gone', goBack: sql`delete from rollcall.users` },
  ])('brings settings back to a row that $how, and shows nothing of who hides', async ({ goBack }) => {
    const { store, come, beat, pass, sweep } = openStore()
    const newer: string[] = []
    const recorder = await startRecorder({
      database,
      records: store.records,
      onNewerSettings: (userIds) => void newer.push(...userIds),
    })
    const settings: Settings = {
      version: 5,
      statusChoice: 'BUSY',
      statusMessage: 'here',
      visibility: 'NOBODY',
      hideLastActive: false,
    }
    await come('alice', 'default', settings)
    await flushed(recorder)
    await rows(database, goBack)

    await come('alice', '6b8f9c5e-0d3b-4c5e-9a55-0c9d9f0b1a11')
    pass(1000)
    await beat('alice')
    pass(1000)
    await sweep()
    await flushed(recorder)
    const directory = createDirectory({ database })
    expect(await directory.settings(['alice'])).toEqual([settings])
    expect(await usersOf(database)).toMatchObject([{ online: false, since: null, active: null }])

    await store.setUser({ userId: 'alice', settings: { ...settings, version: 6, visibility: 'EVERYONE' } })
    await flushed(recorder)
    expect(await directory.settings(['alice'])).toMatchObject([{ version: 6, visibility: 'EVERYONE' }])
    expect(await usersOf(database)).toMatchObject([{ online: true }])
    expect(newer).toEqual([])
  })

  it.each([
    { what: 'a later version', version: 6 },
    { what: 'others under the same version', version: 5 },
  ])('says whose row has $what, and shows nothing that the row hides', async ({ version }) => {
    const { store, come, beat, pass, sweep } = openStore()
    const newer: string[] = []
    const recorder = await startRecorder({
      database,
      records: store.records,
      onNewerSettings: (userIds) => void newer.push(...userIds),
    })
    for (const id of ['alice', 'bob']) await come(id, 'default', { ...EVERYONE, version: 5 })
    await flushed(recorder)
    expect(newer).toEqual([])
    await rows(
      database,
      sql`update rollcall.users set settings_version = ${version}, visibility = 'NOBODY', is_online = false,
        online_since = null where id = 'alice'`,
    )
    pass(1000)
    for (const id of ['alice', 'bob']) await beat(id)
    pass(1000)
    await sweep()
    await flushed(recorder)
    expect(newer).toEqual(['alice'])
    expect(await usersOf(database)).toMatchObject([
      { id: 'alice', online: false, since: null, active: START_MS },
      { id: 'bob', online: true, active: START_MS + 1000 },
    ])
    expect(await createDirectory({ database }).settings(['alice'])).toMatchObject([{ version, visibility: 'NOBODY' }])
  })

  it('keeps the newer profile, wherever it came from', async () => {
    const { store, come } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await createDirectory({ database }).ensure('alice', { name: 'Newest', avatarUrl: null, issuedAtMs: START_MS + 10 })
    await come('alice', 'default', EVERYONE, 'Older')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ name: 'Newest' }])
  })

  it('goes on where it stopped, and writes nothing twice', async () => {
    const { store, come, leave } = openStore()
    const first = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(first)
    await first.stop()
    const writes = await countWrites(database)
    await come('bob')
    await leave('alice')
    const second = await startRecorder({ database, records: store.records })
    await flushed(second)
    expect((await writes()).map((row) => row.count)).toEqual([1, 1])
    expect(await usersOf(database)).toMatchObject([
      { id: 'alice', online: false },
      { id: 'bob', online: true },
    ])
  })

  it('leaves out a record that the database refuses, says so, and goes on', async () => {
    const { store, come } = openStore()
    const log = createTestLog()
    const records: RecordLog = {
      ...store.records,
      async read(afterSeq, limit) {
        const batch = await store.records.read(afterSeq, limit)
        return {
          ...batch,
          records: batch.records.map((record) =>
            record.userId === 'mallory'
              ? { ...record, sessions: record.sessions.map((row) => ({ ...row, startId: 'no uuid' })) }
              : record,
          ),
        }
      },
    }
    const recorder = await startRecorder({ database, records, log })
    await flushed(recorder)
    for (const id of ['alice', 'bob', 'mallory', 'carol']) await come(id)
    await flushed(recorder)
    expect((await sessionsOf(database)).map((session) => session.user)).toEqual(['alice', 'bob', 'carol'])
    expect(log.lines).toContainEqual(
      expect.objectContaining({ level: 'error', details: expect.objectContaining({ userId: 'mallory' }) }),
    )
    expect(JSON.stringify(log.lines)).not.toContain('laptop')
  })

  it('keeps texts that Postgres cannot as near as it can', async () => {
    const { store, come } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice', 'default', EVERYONE, 'A\0l\ud800ice')
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ name: 'A\u{fffd}l\u{fffd}ice' }])
  })

  it('makes the database anew where records were lost, and says which', async () => {
    const log = createTestLog()
    const { store, come, leave } = openStore(20)
    const recorder = await startRecorder({ database, records: store.records, log })
    await come('stays')
    await come('leaves')
    await come('leaves-unseen')
    await flushed(recorder)
    expect(log.lines.filter((line) => line.level === 'warn')).toEqual([])

    // While nobody reads, more happens than is kept.
    await recorder.stop()
    await leave('leaves-unseen')
    for (let index = 0; index < 100; index += 1) {
      await come(`short-${index}`)
      await leave(`short-${index}`)
    }
    await come('comes')
    await leave('leaves')
    const second = await startRecorder({ database, records: store.records, log })
    await flushed(second)

    const users = new Map((await usersOf(database)).map((user) => [user.id, user]))
    expect(users.get('stays')).toMatchObject({ online: true })
    expect(users.get('comes')).toMatchObject({ online: true })
    expect(users.get('leaves')).toMatchObject({ online: false, since: null })
    expect(users.get('leaves-unseen')).toMatchObject({ online: false, since: null })
    const reasons = new Map((await sessionsOf(database)).map((session) => [session.user, session.reason]))
    expect(reasons.get('leaves-unseen')).toBe('UNRECORDED')
    // Its record is among those that are still there.
    expect(reasons.get('leaves')).toBe('WENT_OFFLINE')
    expect([...users.values()].filter((user) => user.online).map((user) => user.id)).toEqual(['comes', 'stays'])
    expect(log.lines.filter((line) => line.level === 'warn')).toEqual([
      expect.objectContaining({
        details: expect.objectContaining({ afterSeq: 3, beforeSeq: 187, lostCount: 183, unrecordedCount: 1 }),
      }),
    ])
  })

  it('ends what another epoch left open and the live store does not know, and says how many ends were lost', async () => {
    const earlier = openStore()
    const first = await startRecorder({ database, records: earlier.store.records })
    for (const id of ['alice', 'bob', '__proto__']) await earlier.come(id)
    await flushed(first)
    await first.stop()

    const { store } = openStore()
    const adopted = (await createDirectory({ database }).leftOpen(null, 10)).filter((user) => user.userId === 'bob')
    await store.adopt(adopted)
    const log = createTestLog()
    const second = await startRecorder({ database, records: store.records, log })
    await flushed(second)
    expect(await usersOf(database)).toMatchObject([
      { id: '__proto__', online: false, seen: START_MS },
      { id: 'alice', online: false, seen: START_MS },
      { id: 'bob', online: true, since: START_MS, seen: null },
    ])
    expect((await sessionsOf(database)).map(({ user, reason, ended }) => ({ user, reason, ended }))).toEqual([
      { user: '__proto__', reason: 'UNRECORDED', ended: START_MS },
      { user: 'alice', reason: 'UNRECORDED', ended: START_MS },
      { user: 'bob', reason: null, ended: null },
    ])
    expect(log.lines.filter((line) => line.level !== 'info')).toEqual([
      expect.objectContaining({
        level: 'warn',
        details: expect.objectContaining({ lostCount: 0, unrecordedCount: 2, since: new Date(START_MS).toISOString() }),
      }),
    ])
  })

  it('keeps the moment of hiding, whatever older records say of when the user left', async () => {
    const { store, come, leave, pass } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(recorder)
    // The row is hidden, and the live store does not know it.
    await createDirectory({ database }).setSettings('alice', { visibility: 'NOBODY' }, null)
    const [hidden] = await usersOf(database)
    expect(hidden?.seen).toBeGreaterThan(START_MS + 1000)
    pass(1000)
    await leave('alice')
    await flushed(recorder)
    expect(await usersOf(database)).toEqual([hidden])
  })

  it('hides when others last saw a user with their last activity, where the row lacks that setting', async () => {
    const { store, come, pass, sweep } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    for (let count = 0; count < 3; count += 1) {
      pass(500_000)
      await store.beat({ userId: 'alice', sessionId: 'default', fence: null, isActive: false, profile: null })
      await sweep()
    }
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: false, active: START_MS, seen: START_MS + 1_500_000 }])
    await store.setUser({ userId: 'alice', settings: { ...EVERYONE, version: 5, hideLastActive: true } })
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ online: false, active: null, seen: null }])
  })

  it('leaves the moment of hiding where the end of who hides was lost', async () => {
    const { store, come, pass } = openStore()
    const first = await startRecorder({ database, records: store.records })
    await come('alice')
    pass(1000)
    const hidden = { ...EVERYONE, version: 1, visibility: 'NOBODY' } as const
    await store.setUser({ userId: 'alice', settings: hidden })
    await flushed(first)
    await first.stop()
    const before = await usersOf(database)
    expect(before).toMatchObject([{ online: false, active: START_MS, seen: START_MS + 1000 }])
    const second = await startRecorder({ database, records: openStore().store.records })
    await flushed(second)
    expect(await sessionsOf(database)).toMatchObject([{ reason: 'UNRECORDED' }])
    expect(await usersOf(database)).toEqual(before)
  })

  it('keeps when others last saw a user where a record does not know it', async () => {
    const { store, come, leave, pass } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    await come('alice')
    pass(1000)
    await leave('alice')
    await flushed(recorder)
    const before = await usersOf(database)
    expect(before).toMatchObject([{ online: false, seen: START_MS + 1000 }])
    // As a process of a version that does not know the column records a user who is there, and not active.
    await store.attach({
      userId: 'alice',
      sessionId: 'default',
      fence: null,
      nodeId: null,
      isActive: false,
      profile: null,
      seed: {
        settings: EVERYONE,
        profile: null,
        lastActiveAtMs: START_MS,
        shownLastActiveAtMs: START_MS,
        shownLastSeenAtMs: null,
        isActivityOver: true,
      },
      comeback: null,
    })
    await flushed(recorder)
    expect(await usersOf(database)).toEqual(before)
  })

  it('says nothing of lost history where the end of what is open is among the records', async () => {
    const { store, come, leave } = openStore()
    const first = await startRecorder({ database, records: store.records })
    await come('alice')
    await flushed(first)
    await first.stop()
    await leave('alice')
    // As an epoch that goes on with the records of the one before.
    await rows(database, sql`update rollcall.recorder_checkpoint set epoch = 'before'`)
    const log = createTestLog()
    const second = await startRecorder({ database, records: store.records, log })
    await flushed(second)
    expect((await sessionsOf(database)).map(({ reason }) => reason)).toEqual(['WENT_OFFLINE'])
    expect(log.lines.filter((line) => line.level !== 'info')).toEqual([])
  })

  it('repairs more users than a page holds', async () => {
    const earlier = openStore()
    const first = await startRecorder({ database, records: earlier.store.records })
    for (let index = 0; index < 1300; index += 1) await earlier.come(`user-${index}`)
    await flushed(first)
    await first.stop()
    const { store, come } = openStore()
    for (let index = 0; index < 1300; index += 2) await come(`user-${index}`)
    const second = await startRecorder({ database, records: store.records })
    await flushed(second)
    const users = await usersOf(database)
    expect(users).toHaveLength(1300)
    expect(users.every((user) => user.online === (Number(user.id.slice(5)) % 2 === 0))).toBe(true)
    const [open] = await rows<{ count: number }>(
      database,
      sql`select count(*)::int as count from rollcall.presence_sessions where ended_at is null`,
    )
    expect(open?.count).toBe(650)
  })

  it('gives up the work when it stops, and holds no timer', async () => {
    const { store } = openStore()
    const recorder = await startRecorder({ database, records: store.records })
    expect(await checkpointOf(database)).toMatchObject({ holder: expect.any(String) })
    await recorder.stop()
    expect(await checkpointOf(database)).toMatchObject({ holder: null })
    expect(recorder.state().isHolder).toBe(false)
    expect(await recorder.flush(1000)).toEqual({ isComplete: false })
  })
})

describe('many processes on one Postgres', () => {
  let opened: OpenedDatabase
  let database: Database

  beforeEach(async () => {
    opened = await openPostgresDatabase()
    database = opened.database
  })
  afterEach(async () => {
    await Promise.all([...recorders].map((recorder) => recorder.stop()))
    await opened.close()
  })

  it('lets one work, and the next when it stops', async () => {
    const log = createTestLog()
    const one = openStore()
    const other = openStore()
    const timing = { nodeTtlMs: 500, nodeRenewMs: 100 }
    const first = await startRecorder({ database, records: one.store.records, timing })
    const second = createRecorder({
      database,
      records: other.store.records,
      timing,
      log,
    })
    recorders.add(second)
    let hasStarted = false
    const starting = second.start().then(() => {
      hasStarted = true
    })
    await eventually(() => log.lines.some((line) => line.message.includes('takes over')))
    // Longer than the lease: the first one renews it.
    const untilMs = performance.now() + 1200
    await eventually(() => performance.now() > untilMs)
    expect(hasStarted).toBe(false)
    expect(second.state().isHolder).toBe(false)

    await first.stop()
    await starting
    expect(second.state().isHolder).toBe(true)
  })

  it('takes over from one that died when its time is over', async () => {
    const { store } = openStore()
    const startedAtMs = performance.now()
    await rows(
      database,
      sql`insert into rollcall.recorder_checkpoint values (1, 'dead', 7, 'gone', clock_timestamp() + interval '1 second')`,
    )
    const recorder = await startRecorder({ database, records: store.records })
    expect(performance.now() - startedAtMs).toBeGreaterThan(800)
    expect(await checkpointOf(database)).not.toMatchObject({ holder: 'gone' })
    await flushed(recorder)
  })

  it('lets a start that waits be stopped', async () => {
    await rows(
      database,
      sql`insert into rollcall.recorder_checkpoint values (1, '', 0, 'other', clock_timestamp() + interval '1 hour')`,
    )
    const recorder = createRecorder({
      database,
      records: openStore().store.records,
      timing: { nodeTtlMs: 2000, nodeRenewMs: 200 },
      log: createTestLog(),
    })
    const starting = recorder.start().catch((error: unknown) => error)
    await recorder.stop()
    expect(await starting).toMatchObject({ code: 'UNAVAILABLE' })
    expect(await checkpointOf(database)).toMatchObject({ holder: 'other' })
  })

  it('gives each record effect once where two believe that they have the work', async () => {
    const { store, come } = openStore()
    const writes = await countWrites(database)
    const shared = { database, records: store.records, timing: { nodeTtlMs: 30_000, nodeRenewMs: 10_000 } }
    const first = await startRecorder({ ...shared, holder: 'twin' })
    const second = await startRecorder({ ...shared, holder: 'twin' })
    await Promise.all([first.flush(10_000), second.flush(10_000)])
    for (let round = 0; round < 20; round += 1) {
      for (let index = 0; index < 25; index += 1) await come(`user-${round}-${index}`)
      await Promise.all([first.flush(10_000), second.flush(10_000)])
    }
    expect(await usersOf(database)).toHaveLength(500)
    const counts = await writes()
    expect(counts).toHaveLength(500)
    expect(counts.filter((row) => row.count !== 1)).toEqual([])
  })

  it('writes nothing when another has taken the work meanwhile, and waits', async () => {
    const { store, come } = openStore()
    const log = createTestLog()
    const recorder = await startRecorder({
      database,
      records: store.records,
      log,
      timing: { nodeTtlMs: 30_000, nodeRenewMs: 10_000 },
    })
    await flushed(recorder)
    await rows(
      database,
      sql`update rollcall.recorder_checkpoint set holder = 'other', held_until = clock_timestamp() + interval '1 hour'`,
    )
    await come('alice')
    await eventually(() => !recorder.state().isHolder)
    expect(await usersOf(database)).toEqual([])
    await rows(database, sql`update rollcall.recorder_checkpoint set holder = null`)
    await flushed(recorder)
    expect(await usersOf(database)).toMatchObject([{ id: 'alice', online: true }])
  })
})

/** Where each process has a live state of its own, the one that has the work is the one that serves. */
describe('the work of one that serves alone', () => {
  const TTL_MS = 1500
  const timing = { nodeTtlMs: TTL_MS, nodeRenewMs: 300 }
  let opened: OpenedDatabase
  let database: Database
  const closing: (() => Promise<void>)[] = []

  beforeEach(async () => {
    opened = await openPostgresDatabase()
    database = opened.database
  })
  afterEach(async () => {
    await Promise.all([...recorders].map((recorder) => recorder.stop()))
    for (const close of closing.splice(0)) await close()
    await opened.close()
  })

  function create(store: PresenceStore, options: Partial<RecorderOptions> = {}): Recorder {
    const recorder = createRecorder({
      database,
      records: store.records,
      timing,
      isFenced: true,
      gatherMs: 5,
      log: createTestLog(),
      ...options,
    })
    recorders.add(recorder)
    return recorder
  }

  async function start(store: PresenceStore, options: Partial<RecorderOptions> = {}): Promise<Recorder> {
    const recorder = create(store, options)
    await recorder.start()
    recorder.follow()
    return recorder
  }

  /** Another process that waits. */
  async function standby(): Promise<{ readonly recorder: Recorder; hasStarted(): boolean }> {
    const recorder = create(openStore().store)
    let hasStarted = false
    void recorder.start().then(
      () => {
        hasStarted = true
      },
      () => {},
    )
    const isKnown = sql`select standby_until > clock_timestamp() as known from rollcall.recorder_checkpoint`
    await eventually(async () => (await rows<{ known: boolean }>(database, isKnown))[0]?.known)
    return { recorder, hasStarted: () => hasStarted }
  }

  /** By then the holder knows who waits. */
  async function untilRenewed(): Promise<void> {
    const heldUntil = async () => {
      const query = sql`select held_until::text as at from rollcall.recorder_checkpoint`
      return (await rows<{ at: string }>(database, query))[0]?.at
    }
    const before = await heldUntil()
    await eventually(async () => (await heldUntil()) !== before)
  }

  async function ownWay() {
    const target = new URL(String(opened.config.DATABASE_URL))
    const proxy = await openTcpProxy({ host: target.hostname, port: Number(target.port) })
    target.port = String(proxy.port)
    const far = await openDatabase({ ...opened.config, DATABASE_URL: target.href }, createTestLog())
    closing.push(
      () => far.close(),
      () => proxy.close(),
    )
    return { proxy, far }
  }

  /** Whether it excludes others, looked at all the time for so long. */
  async function watchFor(recorder: Recorder, ms: number): Promise<readonly boolean[]> {
    const seen: boolean[] = []
    const untilMs = performance.now() + ms
    await eventually(() => {
      seen.push(recorder.excludesOthers())
      return performance.now() > untilMs
    })
    return seen
  }

  it('is taken from one that died only after it was watched for NODE_TTL, whatever the clock of the database says', async () => {
    await rows(
      database,
      sql`insert into rollcall.recorder_checkpoint values (1, 'dead', 7, 'gone', clock_timestamp() - interval '1 hour')`,
    )
    const startedAtMs = performance.now()
    const recorder = await start(openStore().store)
    expect(performance.now() - startedAtMs).toBeGreaterThan(TTL_MS)
    expect(recorder.excludesOthers()).toBe(true)
  })

  it('is taken at once where it was released', async () => {
    const first = await start(openStore().store)
    const second = await standby()
    expect(second.recorder.excludesOthers()).toBe(false)
    await first.stop()
    const releasedAtMs = performance.now()
    await eventually(() => second.hasStarted())
    expect(performance.now() - releasedAtMs).toBeLessThan(TTL_MS)
  })

  it('stays with its holder while the database is away, where nobody waits', async () => {
    const { proxy, far } = await ownWay()
    const { store, come } = openStore()
    const recorder = await start(store, { database: far })
    for (const fail of [proxy.refuse, proxy.fallSilent]) {
      fail()
      expect(await watchFor(recorder, 2.5 * TTL_MS)).not.toContain(false)
      expect(recorder.state()).toMatchObject({ isHolder: true, isDatabaseUp: false })
      proxy.mend()
      await eventually(() => recorder.state().isDatabaseUp)
    }
    await come('alice')
    await flushed(recorder)
  })

  it.each(['refuse', 'fallSilent', 'loseAnswers'] as const)(
    'is lost after NODE_TTL by who cannot reach the database (%s) and knows of one that waits; its records are not',
    async (how) => {
      const { proxy, far } = await ownWay()
      const { store, come } = openStore()
      const recorder = await start(store, { database: far })
      await come('before')
      await flushed(recorder)
      const second = await standby()
      await untilRenewed()
      proxy[how]()
      const cutAtMs = performance.now()
      await come('meanwhile')
      expect(await recorder.lost).toBe('unknown')
      expect(performance.now() - cutAtMs).toBeLessThan(TTL_MS + 500)
      expect(recorder.excludesOthers()).toBe(false)
      expect(second.hasStarted()).toBe(false)

      proxy.mend()
      expect(await recorder.regain()).toBe('nobody wrote')
      await flushed(recorder)
      expect((await usersOf(database)).map(({ id }) => id)).toEqual(['before', 'meanwhile'])
      expect(recorder.excludesOthers()).toBe(true)
      expect(second.hasStarted()).toBe(false)
    },
  )

  it('is lost to another one that took it meanwhile, and what waited is never written', async () => {
    const { proxy, far } = await ownWay()
    const { store, come } = openStore()
    const recorder = await start(store, { database: far })
    await come('before')
    await flushed(recorder)
    const second = await standby()
    await untilRenewed()
    proxy.refuse()
    await come('meanwhile')
    await eventually(() => second.hasStarted())
    expect(recorder.excludesOthers()).toBe(false)
    second.recorder.follow()
    await flushed(second.recorder)
    proxy.mend()
    expect(await recorder.regain()).toBe('another wrote')
    expect((await usersOf(database)).map(({ id }) => id)).toEqual(['before'])
  })

  it.each([
    ['slept', { steadyMs: 0, wallMs: 10 * TTL_MS }],
    ['stood still', { steadyMs: 10 * TTL_MS, wallMs: 10 * TTL_MS }],
  ])('is asked for again by a process that %s, before it serves', async (_what, later) => {
    let passed = { steadyMs: 0, wallMs: 0 }
    const clock = () => ({
      steadyMs: performance.now() + passed.steadyMs,
      wallMs: Date.now() + passed.wallMs,
    })
    const recorder = await start(openStore().store, { clock })
    expect(recorder.excludesOthers()).toBe(true)
    passed = later
    expect(recorder.excludesOthers()).toBe(false)
    await eventually(() => recorder.excludesOthers())
  })

  it('stays lost to one that stood still and does not reach the database, though nobody waits', async () => {
    const { proxy, far } = await ownWay()
    let passedMs = 0
    const clock = () => ({ steadyMs: performance.now() + passedMs, wallMs: Date.now() + passedMs })
    const recorder = await start(openStore().store, { database: far, clock })
    proxy.refuse()
    passedMs = 10 * TTL_MS
    expect(await recorder.lost).toBe('unknown')
    expect(await watchFor(recorder, TTL_MS)).not.toContain(true)
    proxy.mend()
    expect(await recorder.regain()).toBe('nobody wrote')
  })

  it.each([
    ['released', sql`update rollcall.recorder_checkpoint set holder = null, seq = 0`],
    [
      'of an earlier process',
      sql`update rollcall.recorder_checkpoint set holder = 'earlier', epoch = 'earlier', held_until = now() - interval '1 day'`,
    ],
    ['not there', sql`delete from rollcall.recorder_checkpoint`],
  ])(
    'stays with its holder where the database went back to a row that is %s, and all is written again',
    async (_what, change) => {
      const { store, come } = openStore()
      const log = createTestLog()
      const recorder = await start(store, { log })
      await come('alice')
      await flushed(recorder)
      await rows(database, sql`delete from rollcall.presence_sessions`)
      await rows(database, sql`delete from rollcall.users`)
      await rows(database, change)
      await eventually(() => log.lines.some(({ message }) => message.includes('went back')))
      await eventually(async () => (await usersOf(database)).some(({ id, online }) => id === 'alice' && online))
      expect(recorder.excludesOthers()).toBe(true)
    },
  )
})

describe('a Postgres that fails', () => {
  let opened: OpenedDatabase
  let database: Database
  let store: PresenceStore
  let come: ReturnType<typeof openStore>['come']

  beforeEach(async () => {
    opened = await openPostgresDatabase()
    database = opened.database
    ;({ store, come } = openStore())
  })
  afterEach(async () => {
    await Promise.all([...recorders].map((recorder) => recorder.stop()))
    await opened.close()
  })

  async function through(settings: { timeLimitMs?: number } = {}) {
    const target = new URL(String(opened.config.DATABASE_URL))
    const proxy = await openTcpProxy({ host: target.hostname, port: Number(target.port) })
    target.port = String(proxy.port)
    const log = createTestLog()
    const throughProxy = await openDatabase(
      { ...opened.config, DATABASE_URL: target.href, DATABASE_TIME_LIMIT: settings.timeLimitMs ?? 500 },
      log,
    )
    return {
      proxy,
      database: throughProxy,
      log,
      async close() {
        await Promise.all([...recorders].map((recorder) => recorder.stop()))
        await throughProxy.close()
        await proxy.close()
      },
    }
  }

  it('loses nothing of what happens while it is away, and catches up', async () => {
    const { proxy, database: away, log, close } = await through()
    const recorder = await startRecorder({ database: away, records: store.records, log })
    await come('before')
    await flushed(recorder)
    proxy.refuse()
    const writes = await countWrites(database)
    for (let index = 0; index < 50; index += 1) await come(`user-${index}`)
    await eventually(() => !recorder.state().isDatabaseUp && recorder.state().waitingCount === 50)
    expect(await recorder.flush(100)).toEqual({ isComplete: false })

    proxy.mend()
    await flushed(recorder)
    expect(recorder.state()).toEqual({ isHolder: true, isDatabaseUp: true, waitingCount: 0, setAsideCount: 0 })
    const counts = await writes()
    expect(counts).toHaveLength(50)
    expect(counts.every((row) => row.count === 1)).toBe(true)
    expect(log.lines.filter((line) => line.message.includes('away'))).toHaveLength(1)
    await close()
  })

  it('gives a record effect once where the answer to its write was lost', async () => {
    const { proxy, database: far, log, close } = await through()
    const recorder = await startRecorder({ database: far, records: store.records, log })
    await come('before')
    await flushed(recorder)
    const writes = await countWrites(database)
    proxy.loseAnswers()
    await come('alice')
    // It is written, and its writer does not know.
    await eventually(async () => (await usersOf(database)).some((user) => user.id === 'alice'))
    await eventually(() => !recorder.state().isDatabaseUp)
    proxy.mend()
    await come('bob')
    await flushed(recorder)
    expect((await writes()).map((row) => row.count)).toEqual([1, 1])
    await close()
  })

  it('gives a record effect once where its transaction was killed', async () => {
    const recorder = await startRecorder({ database, records: store.records })
    await come('before')
    await flushed(recorder)
    const writes = await countWrites(database)
    const other = postgres(String(opened.config.DATABASE_URL), { max: 1 })
    for (let round = 0; round < 5; round += 1) {
      // The write waits for the lock, and is killed there, after it moved the checkpoint.
      await other.begin(async (transaction) => {
        await transaction`lock table rollcall.presence_sessions in share mode`
        await come(`user-${round}`)
        const pid = await eventually(async () => {
          // On another connection: within a transaction the view stands still.
          const [row] = await rows<{ pid: number }>(
            database,
            sql`select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
          )
          return row?.pid
        })
        await transaction`select pg_terminate_backend(${pid})`
      })
    }
    await other.end()
    await flushed(recorder)
    const counts = await writes()
    expect(counts).toHaveLength(5)
    expect(counts.every((row) => row.count === 1)).toBe(true)
  })

  it('is noticed when it falls silent, and no query waits behind it for long', async () => {
    const { proxy, database: silent, log, close } = await through()
    const recorder = await startRecorder({ database: silent, records: store.records, log })
    await come('before')
    await flushed(recorder)
    proxy.fallSilent()
    const startedAtMs = performance.now()
    await expect(rows(silent, sql`select 1`)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      details: { part: 'postgres' },
    })
    expect(performance.now() - startedAtMs).toBeLessThan(2000)
    await come('alice')
    await eventually(() => !recorder.state().isDatabaseUp)
    proxy.mend()
    await flushed(recorder)
    expect((await usersOf(database)).map((user) => user.id)).toEqual(['alice', 'before'])
    await close()
  })
})
