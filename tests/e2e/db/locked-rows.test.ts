/** What an app locks in its own transactions, and whom it makes wait. */
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../../src/config.ts'
import { createRecorder } from '../../../src/db/recorder.ts'
import type { Recorder } from '../../../src/presence/recorder.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { processClock } from '../../../src/presence/timing.ts'
import { createMemoryStore } from '../../../src/stores/memory/index.ts'
import { mirrorTrigger } from '../../support/data-page.ts'
import { createTestLog, eventually, type OpenedDatabase, openPostgresDatabase, type TestLog } from './databases.ts'

const OTHER_COUNT = 40
/** Where a lock held everybody, it was for as long as it lasted. */
const WITHIN_MS = 10_000
const TIMING = timingOf(parseConfig({}))

let opened: OpenedDatabase
let app: postgres.Sql
let store: PresenceStore
let log: TestLog
let recorders: Recorder[]

beforeEach(async () => {
  opened = await openPostgresDatabase()
  app = postgres(String(opened.config.DATABASE_URL), {
    max: 4,
    onnotice: () => {},
    connection: { application_name: 'the-app' },
  })
  store = createMemoryStore({ timing: TIMING, clock: processClock() })
  log = createTestLog()
  recorders = []
})
afterEach(async () => {
  await Promise.all(recorders.map((recorder) => recorder.stop()))
  await store.close()
  await app.end({ timeout: 1 })
  await opened.close()
})

async function record(): Promise<Recorder> {
  const recorder = createRecorder({ database: opened.database, records: store.records, timing: TIMING, log })
  recorders.push(recorder)
  await recorder.start()
  recorder.follow()
  return recorder
}

async function come(userId: string): Promise<void> {
  await store.attach({
    userId,
    sessionId: 'default',
    fence: null,
    nodeId: null,
    isActive: true,
    profile: null,
    seed: {
      settings: {
        version: 0,
        statusChoice: 'AUTOMATIC',
        statusMessage: null,
        visibility: 'EVERYONE',
        hideLastActive: false,
      },
      profile: null,
      lastActiveAtMs: null,
      shownLastActiveAtMs: null,
      shownLastSeenAtMs: null,
      isActivityOver: false,
    },
    comeback: null,
  })
}

const leave = (userId: string) => store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })

const others = Array.from({ length: OTHER_COUNT }, (_, index) => `other-${index}`)

async function onlineIds(table = 'rollcall.users'): Promise<string[]> {
  const rows = await app.unsafe(`select id from ${table} where is_online order by id collate "C"`)
  return rows.map((row) => String(row.id))
}

/** Each of the others comes and leaves, and their columns follow. */
async function othersGoOn(): Promise<void> {
  for (const id of others) await come(id)
  await eventually(() => areOnline(others), WITHIN_MS)
  for (const id of others) await leave(id)
  await eventually(async () => !(await onlineIds()).some((id) => others.includes(id)), WITHIN_MS)
}

async function areOnline(ids: readonly string[]): Promise<boolean> {
  const online = new Set(await onlineIds())
  return ids.every((id) => online.has(id))
}

/** A transaction of an app that stays open. @returns ends it */
async function lock(statement: string): Promise<() => Promise<void>> {
  let end = (): void => {}
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  let isLocked = (): void => {}
  const locked = new Promise<void>((resolve) => {
    isLocked = resolve
  })
  const transaction = app.begin(async (sql) => {
    await sql.unsafe(statement)
    isLocked()
    await ended
  })
  await locked
  return async () => {
    end()
    await transaction
  }
}

const reasons = async (userId: string) =>
  (await app`select end_reason from rollcall.presence_sessions where user_id = ${userId} order by started_at, id`).map(
    (row) => row.end_reason,
  )

describe('while an app locks a row', () => {
  it('everybody else goes on, the log names the lock, and nothing of the user is lost', async () => {
    const recorder = await record()
    await come('alice')
    await eventually(() => areOnline(['alice']))
    const release = await lock(`select from rollcall.users where id = 'alice' for update`)
    await leave('alice')
    await come('alice')
    await leave('alice')
    await othersGoOn()
    await eventually(() => log.lines.some((line) => line.level === 'warn'))
    await othersGoOn()
    expect(recorder.state()).toEqual({ isHolder: true, isDatabaseUp: true, waitingCount: 0, setAsideCount: 1 })
    expect(await recorder.flush(5000)).toEqual({ isComplete: true })
    expect(await onlineIds()).toEqual(['alice'])

    await release()
    await eventually(async () => recorder.state().setAsideCount === 0)
    expect(await onlineIds()).toEqual([])
    expect(await reasons('alice')).toEqual(['WENT_OFFLINE', 'WENT_OFFLINE'])
    expect(await app`select from rollcall.recorder_set_aside`).toHaveLength(0)
    expect(log.lines.filter(({ level }) => level !== 'info')).toEqual([
      {
        level: 'warn',
        message: expect.stringContaining('locks'),
        details: {
          userId: 'alice',
          relation: 'users',
          lockedBy: [expect.objectContaining({ application: 'the-app', user: 'postgres', pid: expect.any(Number) })],
        },
      },
    ])
    await othersGoOn()
  })

  it('of its own table, which the documented trigger writes to, that user alone waits, in both tables', async () => {
    await app.unsafe('create table public.users (id text primary key)')
    for (const id of ['alice', ...others]) await app`insert into public.users (id) values (${id})`
    await app.unsafe(mirrorTrigger())

    const recorder = await record()
    const release = await lock(`select from public.users where id = 'alice' for update`)
    await come('alice')
    for (const id of others) await come(id)
    await eventually(() => areOnline(others), WITHIN_MS)
    expect(await onlineIds('public.users')).toEqual([...others].sort())
    await eventually(() => log.lines.some(({ details }) => 'relation' in details))
    expect(recorder.state()).toMatchObject({ isDatabaseUp: true, setAsideCount: 1 })
    await release()
    await eventually(async () => recorder.state().setAsideCount === 0)
    expect(await onlineIds('public.users')).toEqual(['alice', ...[...others].sort()])
    expect(await onlineIds()).toEqual(['alice', ...[...others].sort()])
  })

  it('many users at once wait, and the others do not', async () => {
    const locked = Array.from({ length: 60 }, (_, index) => `locked-${index}`)
    const recorder = await record()
    for (const id of locked) await come(id)
    await eventually(() => areOnline(locked))
    const release = await lock(`select from rollcall.users where id like 'locked-%' for update`)
    for (const id of locked) await leave(id)
    await eventually(() => recorder.state().setAsideCount === locked.length)
    await othersGoOn()
    expect(await areOnline(locked)).toBe(true)
    await release()
    await eventually(async () => (await onlineIds()).length === 0)
    await eventually(() => recorder.state().setAsideCount === 0)
  })

  it('a recorder that takes over writes what another one set aside, in order', async () => {
    const first = await record()
    await come('alice')
    await eventually(() => areOnline(['alice']))
    const release = await lock(`select from rollcall.users where id = 'alice' for update`)
    await leave('alice')
    await come('alice')
    await eventually(() => first.state().setAsideCount === 1)
    await first.flush(5000)
    await first.stop()
    const second = await record()
    await eventually(() => second.state().setAsideCount === 1)
    await leave('alice')
    await othersGoOn()
    expect(await onlineIds()).toEqual(['alice'])
    await release()
    await eventually(() => second.state().setAsideCount === 0)
    expect(await onlineIds()).toEqual([])
    expect(await reasons('alice')).toEqual(['WENT_OFFLINE', 'WENT_OFFLINE'])
  })

  it('of a session, its user alone waits, also where the database is rebuilt', async () => {
    const first = await record()
    for (const id of ['alice', 'bob', 'carol']) await come(id)
    await eventually(() => areOnline(['alice', 'bob', 'carol']))
    await first.stop()
    await store.close()
    // Another life of the live state, in which alice and bob are not.
    store = createMemoryStore({ timing: TIMING, clock: processClock() })
    await come('carol')
    const release = await lock(`update rollcall.presence_sessions set device = 'locked' where user_id = 'alice'`)
    const second = await record()
    await eventually(async () => !(await onlineIds()).includes('bob'))
    await othersGoOn()
    expect(await onlineIds()).toEqual(['alice', 'carol'])
    await release()
    await eventually(async () => !(await onlineIds()).includes('alice'))
    await eventually(() => second.state().setAsideCount === 0)
    expect(await reasons('alice')).toEqual(['UNRECORDED'])
  })

  it('for a moment, nobody is set aside', async () => {
    const recorder = await record()
    await come('alice')
    await eventually(() => areOnline(['alice']))
    for (let round = 0; round < 5; round += 1) {
      const release = await lock(`select from rollcall.users where id = 'alice' for update`)
      await leave('alice')
      await release()
      await come('alice')
    }
    await recorder.flush(5000)
    expect(log.lines.filter(({ level }) => level !== 'info')).toEqual([])
    expect(await areOnline(['alice'])).toBe(true)
  })

  it('of the recorder, its statement fails, is sent again, and the database counts as up', async () => {
    const recorder = await record()
    await come('alice')
    await eventually(() => areOnline(['alice']))
    const release = await lock('select from rollcall.recorder_checkpoint for update')
    await leave('alice')
    await eventually(() => log.lines.some(({ level }) => level === 'warn'))
    expect(recorder.state()).toMatchObject({ isDatabaseUp: true, setAsideCount: 0 })
    await release()
    await eventually(async () => (await onlineIds()).length === 0)
  })

  async function everybodyWaitsFor(mode: 'exclusive' | 'access exclusive') {
    const recorder = await record()
    await come('alice')
    await eventually(() => areOnline(['alice']))
    const release = await lock(`lock table rollcall.users in ${mode} mode`)
    await leave('alice')
    const line = await eventually(() => log.lines.find(({ level }) => level === 'warn'))
    expect(JSON.stringify(line)).toContain('the-app')
    expect(recorder.state()).toMatchObject({ isDatabaseUp: true })
    await release()
    await eventually(async () => (await onlineIds()).length === 0)
    return recorder
  }

  it('of a whole table, everybody waits, and the log says for whom', async () => {
    const recorder = await everybodyWaitsFor('exclusive')
    await eventually(() => recorder.state().setAsideCount === 0)
  })

  it('of a whole table even to readers, everybody waits, and the log says for whom', async () => {
    await opened.close()
    opened = await openPostgresDatabase({ DATABASE_TIME_LIMIT: 2000 })
    await app.end()
    app = postgres(String(opened.config.DATABASE_URL), {
      onnotice: () => {},
      connection: { application_name: 'the-app' },
    })
    await everybodyWaitsFor('access exclusive')
  })
})
