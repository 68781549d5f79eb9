/** Forgetting a user in the database, beside a recorder that has something of them under way. */
import { sql } from 'drizzle-orm'
import postgres from 'postgres'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../../src/config.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import { createRecorder } from '../../../src/db/recorder.ts'
import { createRetention } from '../../../src/db/retention.ts'
import type { UserDirectory } from '../../../src/presence/directory.ts'
import type { Recorder } from '../../../src/presence/recorder.ts'
import type { PresenceStore, RecordBatch, RecordLog } from '../../../src/presence/store.ts'
import { processClock } from '../../../src/presence/timing.ts'
import { createMemoryStore } from '../../../src/stores/memory/index.ts'
import { connect, goOffline, profileOf } from '../../contract/presence-store/harness.ts'
import { createTestLog, eventually, type OpenedDatabase, openPostgresDatabase, rows } from './databases.ts'

describe('forgetting', () => {
  let opened: OpenedDatabase
  let directory: UserDirectory
  let store: PresenceStore
  let recorder: Recorder
  let app: postgres.Sql
  /** What happens between a read of records and their write. */
  let afterRead: (batch: RecordBatch) => Promise<void>

  beforeEach(async () => {
    opened = await openPostgresDatabase()
    const { database } = opened
    const timing = timingOf(parseConfig({}))
    directory = createDirectory({ database })
    store = createMemoryStore({ timing, clock: processClock() })
    afterRead = async () => {}
    const records: RecordLog = {
      ...store.records,
      async read(afterSeq, limit) {
        const batch = await store.records.read(afterSeq, limit)
        await afterRead(batch)
        return batch
      },
    }
    recorder = createRecorder({ database, records, timing, log: createTestLog(), gatherMs: 0 })
    app = postgres(String(opened.config.DATABASE_URL), { max: 2 })
    await recorder.start()
    recorder.follow()
    await connect(store, 'alice', { profile: profileOf('Alice', null, 1) })
    await recorder.flush(10_000)
  })
  afterEach(async () => {
    await recorder.stop()
    await store.close()
    await app.end()
    await opened.close()
  })

  async function userIds(): Promise<string[]> {
    const found = await rows<{ id: string }>(opened.database, sql`select id from rollcall.users order by id`)
    return found.map(({ id }) => id)
  }

  /** Statements of this database that wait for a lock. */
  async function waitingCount(): Promise<number> {
    const [row] = await app`select count(*)::integer as count from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`
    return Number(row?.count)
  }

  it('waits for a batch that is under way, and deletes what it wrote', async () => {
    await app
      .begin(async (transaction) => {
        await transaction`select from rollcall.recorder_checkpoint for update`
        await goOffline(store, 'alice')
        await eventually(async () => (await waitingCount()) === 1)
        await directory.revokeForGood('alice')
        await store.forget({ userId: 'alice', tokensIssuedUpToMs: Date.now() })
        const forgetting = directory.forget('alice')
        await eventually(async () => (await waitingCount()) === 2)
        await transaction`select 1`
        return { forgetting }
      })
      .then(({ forgetting }) => forgetting)
    await connect(store, 'bob')
    expect(await recorder.flush(10_000)).toEqual({ isComplete: true })
    expect(await userIds()).toEqual(['bob'])
  })

  it('leaves no row to a batch that was prepared before and comes after it', async () => {
    await app
      .begin(async (transaction) => {
        await transaction`select from rollcall.recorder_checkpoint for update`
        await directory.revokeForGood('alice')
        const forgetting = directory.forget('alice')
        await eventually(async () => (await waitingCount()) === 1)
        // The record is read now, and its statement waits behind the other one with what it knew of the tables.
        await goOffline(store, 'alice')
        await eventually(async () => (await waitingCount()) === 2)
        await store.forget({ userId: 'alice', tokensIssuedUpToMs: Date.now() })
        return { forgetting }
      })
      .then(({ forgetting }) => forgetting)
    await connect(store, 'bob')
    expect(await recorder.flush(10_000)).toEqual({ isComplete: true })
    expect(await userIds()).toEqual(['bob'])
  })

  it('leaves no row to records that were read before, and are sent after it', async () => {
    let isForgotten = false
    afterRead = async ({ records }) => {
      if (isForgotten || !records.some(({ userId }) => userId === 'alice')) return
      isForgotten = true
      const tokensIssuedUpToMs = await directory.revokeForGood('alice')
      await store.forget({ userId: 'alice', tokensIssuedUpToMs })
      await directory.forget('alice')
    }
    await goOffline(store, 'alice')
    await eventually(async () => isForgotten)
    await connect(store, 'bob')
    expect(await recorder.flush(10_000)).toEqual({ isComplete: true })
    expect(await userIds()).toEqual(['bob'])
  })

  it('makes no row for a token of before, and one for a token of later', async () => {
    const atMs = await directory.revokeForGood('alice')
    await store.forget({ userId: 'alice', tokensIssuedUpToMs: atMs })
    await directory.forget('alice')
    const old = { name: 'Alice', avatarUrl: null, issuedAtMs: atMs - 1000 }
    await expect(directory.ensure('alice', old, atMs - 1000)).rejects.toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(await userIds()).toEqual([])
    const fresh = await directory.ensure('alice', null, atMs + 1000)
    expect([fresh.seed.profile, fresh.seed.settings.version]).toEqual([null, 0])
    // To a row that is there, the old token brings no name.
    expect((await directory.ensure('alice', old, atMs - 1000)).seed.profile).toBeNull()
    expect((await directory.ensure('alice', null, atMs + 1000)).tokensValidAfterMs).toBe(atMs)
    expect(await createDirectory({ database: opened.database }).tokensValidAfterMs('alice')).toBe(atMs)
  })

  it('keeps nothing that names the user, and no revocation for longer than a token may live', async () => {
    await directory.revokeForGood('alice')
    await directory.forget('alice')
    const known = await rows<{ text: string }>(
      opened.database,
      sql`select row_to_json(revocations)::text as text from rollcall.revocations`,
    )
    expect(known).toHaveLength(1)
    expect(known[0]?.text).not.toContain('alice')

    let nowMs = 0
    const retention = createRetention({
      database: opened.database,
      retentionMs: 0,
      tokenMaxAgeMs: 60_000,
      monotonicMs: () => nowMs,
    })
    await retention.run()
    expect(await rows(opened.database, sql`select from rollcall.revocations`)).toHaveLength(1)
    await rows(opened.database, sql`update rollcall.revocations set tokens_valid_after = now() - interval '25 hours'`)
    nowMs += 60_000
    await retention.run()
    expect(await rows(opened.database, sql`select from rollcall.revocations`)).toHaveLength(0)
  })

  it('names the users of an older live state who were forgotten since', async () => {
    const atMs = await directory.revokeForGood('alice')
    await directory.forget('alice')
    const recorded = await directory.recorded([
      { userId: 'alice', startIds: [] },
      { userId: 'nobody', startIds: [] },
    ])
    expect(
      recorded.map(({ userId, isForgotten, tokensValidAfterMs }) => [userId, isForgotten, tokensValidAfterMs]),
    ).toEqual([
      ['alice', true, atMs],
      ['nobody', undefined, null],
    ])
  })

  it('gives up on a row that somebody else has locked, and holds nobody up for long', async () => {
    await app.begin(async (transaction) => {
      await transaction`select from rollcall.users where id = 'alice' for update`
      await expect(directory.forget('alice')).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    })
    await directory.forget('alice')
    expect(await userIds()).toEqual([])
  })
})
