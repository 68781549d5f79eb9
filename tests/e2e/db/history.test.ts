/** `presenceHistory` and `viewer.history`: what others get to know of a user's sessions, and what the user does. */
import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Database } from '../../../src/db/client.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import { createHistory } from '../../../src/db/history.ts'
import { createRetention } from '../../../src/db/retention.ts'
import type { History, HistoryRequest } from '../../../src/presence/history.ts'
import { DATABASES, empty, type OpenedDatabase, rows } from './databases.ts'

const DAY = Date.parse('2026-03-01T00:00:00Z')
const MINUTE_MS = 60_000
const ALL: HistoryRequest = { fromMs: null, toMs: null, first: 100, after: null }

/** Minutes of the day. */
const at = (minute: number): number => DAY + minute * MINUTE_MS
const momentOf = (minute: number) => sql`${new Date(at(minute)).toISOString()}::timestamptz(3)`

describe.each(DATABASES)('the history on $name', ({ open }) => {
  let opened: OpenedDatabase
  let database: Database
  let history: History

  beforeAll(async () => {
    opened = await open()
    database = opened.database
    history = createHistory({ database })
  })
  afterAll(() => opened?.close())
  beforeEach(async () => {
    await empty(database)
    await createDirectory({ database }).ensure('alice', null)
  })

  async function addSession(from: number, to: number | null, reason = 'CLOSED', userId = 'alice'): Promise<void> {
    await rows(
      database,
      sql`insert into rollcall.presence_sessions
        (id, user_id, client_session_id, device, has_socket, started_at, last_active, ended_at, end_reason)
        values (gen_random_uuid(), ${userId}, 'default', 'phone', true, ${momentOf(from)}, ${momentOf(from)},
          ${to === null ? sql`null` : momentOf(to)}, ${to === null ? null : reason})`,
    )
  }

  async function addHidden(from: number, to: number | null): Promise<void> {
    await rows(
      database,
      sql`insert into rollcall.hidden_spans (user_id, started_at, ended_at)
        values ('alice', ${momentOf(from)}, ${to === null ? sql`null` : momentOf(to)})`,
    )
  }

  /** As `[start, end, reason]`, in minutes. */
  async function shown(request: Partial<HistoryRequest> = {}) {
    const { sessions } = await history.shown('alice', { ...ALL, ...request })
    return sessions.map(({ startedAtMs, endedAtMs, endReason }) => [
      minuteOf(startedAtMs),
      minuteOf(endedAtMs),
      endReason,
    ])
  }

  async function own() {
    const { sessions } = await history.own('alice', ALL)
    return sessions.map(({ startedAtMs, endedAtMs, endReason, hiddenSpans }) => [
      minuteOf(startedAtMs),
      minuteOf(endedAtMs),
      endReason,
      hiddenSpans?.map((span) => [minuteOf(span.startedAtMs), minuteOf(span.endedAtMs)]) ?? null,
    ])
  }

  function minuteOf(atMs: number | null): number | null {
    return atMs === null ? null : (atMs - DAY) / MINUTE_MS
  }

  it('is the same for all of a user who never hid, the newest first', async () => {
    await addSession(0, 10)
    await addSession(5, 5, 'UNRECORDED')
    await addSession(20, null)
    await addSession(0, 10, 'LOST', 'alice')
    expect(await shown()).toEqual([
      [20, null, null],
      [5, 5, 'UNRECORDED'],
      [0, 10, expect.stringMatching(/CLOSED|LOST/)],
      [0, 10, expect.stringMatching(/CLOSED|LOST/)],
    ])
    expect((await own()).map((session) => session.slice(0, 2))).toEqual((await shown()).map((one) => one.slice(0, 2)))
    expect((await history.own('nobody', ALL)).sessions).toEqual([])
  })

  it.each([
    {
      name: 'in the middle',
      hidden: [[20, 30]],
      pieces: [
        [30, 60, 'LOST'],
        [0, 20, 'WENT_OFFLINE'],
      ],
    },
    {
      name: 'twice',
      hidden: [
        [20, 30],
        [40, 50],
      ],
      pieces: [
        [50, 60, 'LOST'],
        [30, 40, 'WENT_OFFLINE'],
        [0, 20, 'WENT_OFFLINE'],
      ],
    },
    { name: 'from before until within', hidden: [[-10, 30]], pieces: [[30, 60, 'LOST']] },
    { name: 'until after it', hidden: [[30, 90]], pieces: [[0, 30, 'WENT_OFFLINE']] },
    { name: 'and did not come back', hidden: [[30, null]], pieces: [[0, 30, 'WENT_OFFLINE']] },
    { name: 'all the time', hidden: [[-10, 90]], pieces: [] },
    {
      name: 'before and after it',
      hidden: [
        [-10, -5],
        [70, 90],
      ],
      pieces: [[0, 60, 'LOST']],
    },
  ])('shows to others as gone who hid $name', async ({ hidden, pieces }) => {
    await addSession(0, 60, 'LOST')
    for (const [from, to] of hidden) await addHidden(Number(from), to ?? null)
    expect(await shown()).toEqual(pieces)
    const within = hidden
      .map(([from, to]) => [Math.max(0, Number(from)), Math.min(60, to ?? 60)])
      .filter(([from, to]) => Number(from) < Number(to))
    expect(await own()).toEqual([[0, 60, 'LOST', within]])
  })

  it('shows an open session of one who hides as ended, and theirs to themselves as open', async () => {
    await addSession(0, null)
    await addHidden(30, null)
    expect(await shown()).toEqual([[0, 30, 'WENT_OFFLINE']])
    expect(await own()).toEqual([[0, null, null, [[30, null]]]])
  })

  it('gives nobody a hint that two pieces are of one session', async () => {
    await addSession(0, 60)
    await addHidden(20, 30)
    const { sessions } = await history.shown('alice', ALL)
    const ids = await rows<{ id: string }>(database, sql`select id::text as id from rollcall.presence_sessions`)
    expect(new Set(sessions.map(({ place }) => place.id)).size).toBe(2)
    for (const { place } of sessions) expect(place.id).not.toBe(ids[0]?.id)
  })

  it('is read in pages, each session once', async () => {
    for (let count = 0; count < 25; count += 1)
      await addSession(10 * Math.floor(count / 3), 10 * Math.floor(count / 3) + 5)
    for (const read of [history.shown, history.own]) {
      const seen: string[] = []
      let after: HistoryRequest['after'] = null
      for (let pages = 0; pages < 20; pages += 1) {
        const page = await read('alice', { ...ALL, first: 4, after })
        seen.push(...page.sessions.map(({ place }) => place.id))
        after = page.sessions.at(-1)?.place ?? null
        if (!page.hasMore) break
      }
      expect([seen.length, new Set(seen).size]).toEqual([25, 25])
    }
  })

  it('is cut by the moments that are asked for', async () => {
    for (const start of [0, 20, 40]) await addSession(start, start + 10)
    await addSession(60, null)
    await addHidden(65, null)
    const starts = async (fromMs: number | null, toMs: number | null) =>
      (await shown({ fromMs, toMs })).map(([start]) => start)
    expect(await starts(at(15), null)).toEqual([60, 40, 20])
    expect(await starts(null, at(40))).toEqual([20, 0])
    expect(await starts(at(25), at(41))).toEqual([40, 20])
    // Hidden by then: to others it was over.
    expect(await starts(at(70), null)).toEqual([])
  })

  it('knows since when by the change of the settings itself', async () => {
    const directory = createDirectory({ database })
    const spans = () =>
      rows<{ is_since: boolean; is_open: boolean }>(
        database,
        sql`select started_at > '-infinity' as is_since, ended_at is null as is_open
          from rollcall.hidden_spans order by started_at`,
      )
    await directory.setSettings('alice', { statusChoice: 'BUSY' }, null)
    expect(await spans()).toEqual([])
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    await directory.setSettings('alice', { statusChoice: 'AWAY' }, null)
    expect(await spans()).toEqual([{ is_since: true, is_open: true }])
    await directory.setSettings('alice', { visibility: 'EVERYONE' }, null)
    expect(await spans()).toEqual([{ is_since: true, is_open: false }])
  })

  it('shows nothing where nobody knows since when the user hides: the row was older than the live state', async () => {
    const directory = createDirectory({ database })
    await addSession(0, 60)
    for (let round = 0; round < 2; round += 1) {
      const base = {
        version: 7 + 10 * round,
        statusChoice: 'AUTOMATIC',
        statusMessage: null,
        hideLastActive: false,
      } as const
      await directory.setSettings('alice', {}, { ...base, visibility: 'NOBODY' })
      expect(await shown()).toEqual([])
      await directory.setSettings('alice', { visibility: 'EVERYONE' }, null)
      expect(await shown()).toEqual([])
    }
    await addSession(60 * 24 * 365 * 100, null)
    expect(await shown()).toHaveLength(1)
  })

  it('shows nothing of a user whose row comes back hidden, and all that comes after they are seen again', async () => {
    await rows(database, sql`delete from rollcall.users where id = 'alice'`)
    await rows(
      database,
      sql`insert into rollcall.users (id, visibility, settings_version) values ('alice', 'NOBODY', 3)`,
    )
    await addSession(0, null)
    expect(await shown()).toEqual([])
    await createDirectory({ database }).setSettings('alice', { visibility: 'EVERYONE' }, null)
    const [piece] = (await history.shown('alice', ALL)).sessions
    expect(piece?.startedAtMs).toBeGreaterThan(at(0))
    expect(piece?.endedAtMs).toBeNull()
  })

  it('shows nothing from before hiding was kept', async () => {
    await addSession(0, 60)
    await rows(database, sql`update rollcall.users set hiding_known_since = ${momentOf(30)}`)
    await addSession(30, 60)
    expect(await shown()).toEqual([[30, 60, 'CLOSED']])
    expect(await own()).toEqual([
      [30, 60, 'CLOSED', []],
      [0, 60, 'CLOSED', null],
    ])
  })

  it('keeps the times of hiding for as long as a session of theirs', async () => {
    await addSession(0, 60)
    await addHidden(-30, -20)
    await addHidden(20, 30)
    const retentionOf = (retentionMs: number) =>
      createRetention({ database, retentionMs, tokenMaxAgeMs: 60_000, monotonicMs: () => performance.now() })
    const spanCount = async () => (await rows(database, sql`select from rollcall.hidden_spans`)).length
    // Between the end of the span and the end of the session.
    await retentionOf(Date.now() - at(45)).run()
    expect([await spanCount(), await shown()]).toEqual([
      1,
      [
        [30, 60, 'CLOSED'],
        [0, 20, 'WENT_OFFLINE'],
      ],
    ])
    await retentionOf(MINUTE_MS).run()
    expect([await spanCount(), await shown()]).toEqual([0, []])
  })
})
