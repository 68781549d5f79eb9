import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'drizzle-orm'
import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { Database } from '../../../src/db/client.ts'
import { createDirectory } from '../../../src/db/directory.ts'
import type { UserDirectory } from '../../../src/presence/directory.ts'
import type { Settings } from '../../../src/presence/model.ts'
import { hasSameSettings, newerSettings } from '../../../src/presence/rules.ts'
import { DATABASES, empty, type OpenedDatabase, rows } from './databases.ts'

describe.each(DATABASES)('the directory on $name', ({ open }) => {
  let opened: OpenedDatabase
  let database: Database
  let directory: UserDirectory

  beforeAll(async () => {
    opened = await open()
    database = opened.database
  })
  afterAll(() => opened?.close())
  beforeEach(async () => {
    await empty(database)
    directory = createDirectory({ database })
  })

  async function updatedAt(id: string): Promise<string | undefined> {
    const [row] = await rows<{ at: string }>(
      database,
      sql`select updated_at::text as at from rollcall.users where id = ${id}`,
    )
    return row?.at
  }

  async function addSession(
    userId: string,
    session: { lastActive: string; startedAt?: string; endedAt?: string; endReason?: string; rooms?: string[] },
  ): Promise<string> {
    const id = randomUUID()
    await rows(
      database,
      sql`insert into rollcall.presence_sessions
        (id, user_id, client_session_id, device, rooms, node, has_socket, started_at, last_active, ended_at, end_reason)
        select ${id}::uuid, ${userId}, 'default', 'phone', array(select jsonb_array_elements_text(${JSON.stringify(session.rooms ?? [])}::jsonb)),
        'node-1', true, ${session.startedAt ?? session.lastActive}::timestamptz, ${session.lastActive}::timestamptz,
        ${session.endedAt ?? null}::timestamptz, ${session.endReason ?? null}::text`,
    )
    return id
  }

  const at = (text: string) => Date.parse(text)

  it('makes a row at first sight, and reads it from then on', async () => {
    const first = await directory.ensure('alice', { name: 'Alice', avatarUrl: null, issuedAtMs: 1000 })
    const second = await directory.ensure('alice', null)

    expect(first).toEqual({
      userId: 'alice',
      seed: {
        settings: {
          version: 0,
          statusChoice: 'AUTOMATIC',
          statusMessage: null,
          visibility: 'EVERYONE',
          hideLastActive: false,
        },
        profile: { name: 'Alice', avatarUrl: null, issuedAtMs: 1000 },
        lastActiveAtMs: null,
        shownLastActiveAtMs: null,
        shownLastSeenAtMs: null,
        isActivityOver: false,
      },
      tokensValidAfterMs: null,
    })
    expect(second).toEqual(first)
  })

  it('makes one row where many ask at once', async () => {
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        directory.ensure('alice', { name: `Alice ${index}`, avatarUrl: null, issuedAtMs: 1000 + index }),
      ),
    )
    expect(new Set(answers.map((answer) => answer.userId))).toEqual(new Set(['alice']))
    expect(await directory.read(['alice'])).toMatchObject([{ name: 'Alice 39' }])
  })

  it('has no profile for who never brought one, and shows their id', async () => {
    const { seed } = await directory.ensure('bob', { name: null, avatarUrl: null, issuedAtMs: 5000 })
    expect(seed.profile).toBeNull()
    expect(await directory.read(['bob'])).toMatchObject([{ id: 'bob', name: 'bob', avatarUrl: null }])
  })

  it('writes a profile only where it is newer, and keeps what it leaves out', async () => {
    await directory.ensure('alice', { name: 'Alice', avatarUrl: 'https://example.com/a.png', issuedAtMs: 2000 })
    await directory.ensure('alice', { name: 'Old', avatarUrl: null, issuedAtMs: 1000 })
    const same = await directory.ensure('alice', { name: 'Same', avatarUrl: null, issuedAtMs: 2000 })
    expect(same.seed.profile).toEqual({ name: 'Alice', avatarUrl: 'https://example.com/a.png', issuedAtMs: 2000 })

    const newer = await directory.ensure('alice', { name: 'New', avatarUrl: null, issuedAtMs: 3000 })
    expect(newer.seed.profile).toEqual({ name: 'New', avatarUrl: 'https://example.com/a.png', issuedAtMs: 3000 })
  })

  it('reads users in the order asked, null for those never seen, and everybody offline', async () => {
    for (const id of ['alice', 'bob']) await directory.ensure(id, null)
    await rows(
      database,
      sql`update rollcall.users set is_online = true, online_since = now(), status_message = 'hi',
        last_active = '2026-01-02T03:04:05.678Z' where id = 'alice'`,
    )
    expect(await directory.read(['bob', 'nobody', 'alice', 'bob'])).toEqual([
      expect.objectContaining({ id: 'bob' }),
      null,
      {
        id: 'alice',
        name: 'alice',
        avatarUrl: null,
        isOnline: false,
        status: 'OFFLINE',
        statusMessage: null,
        onlineSinceMs: null,
        lastActiveAtMs: at('2026-01-02T03:04:05.678Z'),
        lastSeenAtMs: null,
      },
      expect.objectContaining({ id: 'bob' }),
    ])
    expect(await directory.read([])).toEqual([])
  })

  it('takes ids that are names of an object, quotes, and characters beyond U+FFFF as ids', async () => {
    const ids = ['__proto__', 'constructor', 'toString', `o'hara "x" \\ {a,b}`, '\u{1f600}', '\u{ffee}', '100%', 'null']
    for (const id of ids) await directory.ensure(id, { name: `name of ${id}`, avatarUrl: null, issuedAtMs: 1 })
    expect((await directory.read(ids)).map((user) => user?.name)).toEqual(ids.map((id) => `name of ${id}`))
    expect(await directory.tokensValidAfterMs('__proto__')).toBeNull()
    expect(await directory.revokeTokens('__proto__')).toEqual(expect.any(Number))
    expect(await directory.tokensValidAfterMs('constructor')).toBeNull()
  })

  it('raises the version with the settings, and keeps what is left out', async () => {
    await directory.ensure('alice', null)
    await directory.setSettings('alice', { statusChoice: 'BUSY', statusMessage: 'writing' }, null)
    const settings = await directory.setSettings('alice', { hideLastActive: true }, null)
    expect(settings).toEqual({
      version: 2,
      statusChoice: 'BUSY',
      statusMessage: 'writing',
      visibility: 'EVERYONE',
      hideLastActive: true,
    })
    expect(await directory.setSettings('alice', { statusMessage: null }, null)).toMatchObject({
      version: 3,
      statusMessage: null,
    })
    expect((await directory.ensure('alice', null)).seed.settings).toMatchObject({ version: 3, statusChoice: 'BUSY' })
    expect(await directory.setSettings('nobody', { statusChoice: 'BUSY' }, null)).toBeNull()
  })

  it('builds a change on what the live store goes by, where the row went back', async () => {
    await directory.ensure('alice', null)
    await directory.setSettings('alice', { statusMessage: 'old' }, null)
    const base: Settings = {
      version: 5,
      statusChoice: 'BUSY',
      statusMessage: 'new',
      visibility: 'NOBODY',
      hideLastActive: true,
    }
    await rows(database, sql`update rollcall.users set is_online = true, online_since = now(), last_active = now()`)
    expect(await directory.setSettings('alice', { statusChoice: 'AWAY' }, base)).toEqual({
      ...base,
      version: 6,
      statusChoice: 'AWAY',
    })
    const [row] = await rows(database, sql`select is_online, online_since, last_active from rollcall.users`)
    expect(row).toEqual({ is_online: false, online_since: null, last_active: null })
    // The row is the newer one from now on.
    expect(await directory.setSettings('alice', { visibility: 'EVERYONE' }, base)).toMatchObject({
      version: 7,
      statusChoice: 'AWAY',
    })
    expect(await directory.settings(['nobody', 'alice'])).toMatchObject([null, { version: 7, statusMessage: 'new' }])
    expect(await directory.settings([])).toEqual([])
  })

  it('brings a row and the live store together by the rule of both', async () => {
    const settings: fc.Arbitrary<Settings> = fc.record({
      version: fc.integer({ min: 1, max: 2 }),
      statusChoice: fc.constantFrom('AUTOMATIC', 'BUSY'),
      statusMessage: fc.constantFrom(null, 'here', 'there'),
      visibility: fc.constantFrom('EVERYONE', 'NOBODY'),
      hideLastActive: fc.boolean(),
    })
    await directory.ensure('alice', null)
    await fc.assert(
      fc.asyncProperty(settings, settings, async (row, live) => {
        await rows(
          database,
          sql`update rollcall.users set settings_version = ${row.version}, chosen_status = ${row.statusChoice},
            status_message = ${row.statusMessage}, visibility = ${row.visibility}, hide_last_active = ${row.hideLastActive}`,
        )
        const newer = newerSettings(row, live) as Settings
        const areOfTwoHistories = row.version === live.version && !hasSameSettings(row, live)
        const expected = { ...newer, version: newer.version + (areOfTwoHistories ? 1 : 0) }
        expect(await directory.setSettings('alice', {}, live)).toEqual(expected)
        // Once they agree, nothing is written any more.
        expect(await directory.setSettings('alice', {}, expected)).toEqual(expected)
      }),
      { numRuns: 60 },
    )
  })

  it('gives each of many changes at once a version of its own', async () => {
    await directory.ensure('alice', null)
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        directory.setSettings('alice', { statusMessage: `message ${index}` }, null),
      ),
    )
    expect(new Set(answers.map((settings) => settings?.version)).size).toBe(20)
  })

  it('takes who hides out of the public columns at once', async () => {
    await directory.ensure('alice', null)
    await rows(database, sql`update rollcall.users set is_online = true, online_since = now(), last_active = now()`)
    await directory.setSettings('alice', { visibility: 'NOBODY', hideLastActive: true }, null)
    const [row] = await rows(database, sql`select is_online, online_since, last_active, last_seen from rollcall.users`)
    expect(row).toEqual({ is_online: false, online_since: null, last_active: null, last_seen: null })
  })

  it('writes when others last saw who hides, and moves it no more', async () => {
    await directory.ensure('alice', null)
    await rows(database, sql`update rollcall.users set is_online = true, online_since = now(), last_active = now()`)
    const lastSeenAtMs = async () => (await directory.read(['alice']))[0]?.lastSeenAtMs
    expect(await lastSeenAtMs()).toBeNull()
    const beforeMs = Date.now()
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    const hidAtMs = Number(await lastSeenAtMs())
    expect(Math.abs(hidAtMs - beforeMs)).toBeLessThan(10_000)
    expect((await directory.ensure('alice', null)).seed.shownLastSeenAtMs).toBe(hidAtMs)

    await sleep(5)
    await directory.setSettings('alice', { statusChoice: 'BUSY' }, null)
    await directory.setSettings('alice', { hideLastActive: true }, null)
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    expect(await lastSeenAtMs()).toBe(hidAtMs)
    await directory.setSettings('alice', { visibility: 'EVERYONE' }, null)
    expect(await lastSeenAtMs()).toBeNull()
  })

  it('leaves when others last saw a user who is offline, when they hide', async () => {
    await directory.ensure('alice', null)
    const moments = sql`last_active = '2026-01-01T00:00:00Z', last_seen = '2026-01-01T00:05:00Z'`
    await rows(database, sql`update rollcall.users set ${moments}`)
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    expect((await directory.read(['alice']))[0]?.lastSeenAtMs).toBe(at('2026-01-01T00:05:00Z'))
  })

  it('reads no last_seen that a version without that column left behind', async () => {
    await directory.ensure('alice', null)
    await rows(
      database,
      sql`update rollcall.users set last_seen = '2026-01-01T00:00:00Z', last_active = '2026-01-02T00:00:00Z'`,
    )
    const [user] = await directory.read(['alice'])
    expect([user?.lastSeenAtMs, (await directory.ensure('alice', null)).seed.shownLastSeenAtMs]).toEqual([null, null])
    await rows(
      database,
      sql`update rollcall.users set is_online = true, last_seen = now(), last_active = now() - interval '1 day'`,
    )
    expect((await directory.read(['alice']))[0]?.lastSeenAtMs).toBeNull()
  })

  it('changes no public column by hideLastActive while a user hides, and takes it up when they are seen again', async () => {
    await directory.ensure('alice', null)
    await rows(
      database,
      sql`update rollcall.users set last_active = '2026-01-01T00:00:00Z', last_seen = '2026-01-01T01:00:00Z'`,
    )
    const publicColumns = async () =>
      (
        await rows(
          database,
          sql`select is_online, online_since, last_active::text, last_seen::text, updated_at::text from rollcall.users`,
        )
      )[0]
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    const before = await publicColumns()
    for (const hideLastActive of [true, false, true]) {
      expect(await directory.setSettings('alice', { hideLastActive }, null)).toMatchObject({ hideLastActive })
      expect(await publicColumns()).toEqual(before)
    }
    const [shown] = await directory.read(['alice'])
    expect([shown?.lastActiveAtMs, shown?.lastSeenAtMs]).toEqual([Date.UTC(2026, 0, 1), Date.UTC(2026, 0, 1, 1)])
    await directory.setSettings('alice', { visibility: 'EVERYONE' }, null)
    expect(await publicColumns()).toMatchObject({ last_active: null, last_seen: null })
  })

  it('moves updated_at with what everyone may see, and with no setting of who hides', async () => {
    await directory.ensure('alice', { name: 'Alice', avatarUrl: null, issuedAtMs: 1000 })
    await directory.setSettings('alice', { visibility: 'NOBODY' }, null)
    const atFirst = await updatedAt('alice')

    await directory.setSettings('alice', { statusChoice: 'BUSY', statusMessage: 'secret' }, null)
    await directory.setSettings('alice', { visibility: 'EVERYONE' }, null)
    await directory.setSettings('alice', { visibility: 'NOBODY', hideLastActive: true }, null)
    await directory.revokeTokens('alice')
    await directory.ensure('alice', { name: 'Alice', avatarUrl: null, issuedAtMs: 2000 })
    expect(await updatedAt('alice')).toBe(atFirst)

    await directory.ensure('alice', { name: 'Alicia', avatarUrl: null, issuedAtMs: 3000 })
    expect(await updatedAt('alice')).not.toBe(atFirst)
  })

  it('lets updateUser win over tokens issued before, whatever their clock says', async () => {
    const aheadMs = Date.now() + 3_600_000
    await directory.ensure('alice', { name: 'Alice', avatarUrl: null, issuedAtMs: aheadMs })
    const profile = await directory.setProfile('alice', { name: 'Alicia' })
    expect(profile).toEqual({ name: 'Alicia', avatarUrl: null, issuedAtMs: aheadMs + 1 })
    expect(await directory.setProfile('nobody', { name: 'Nobody' })).toBeNull()
  })

  it('revokes tokens, and knows it at once', async () => {
    await directory.ensure('alice', null)
    expect(await directory.tokensValidAfterMs('alice')).toBeNull()
    const moment = await directory.revokeTokens('alice')
    expect(moment).toBeGreaterThan(Date.now() - 60_000)
    expect(await directory.tokensValidAfterMs('alice')).toBe(moment)
    expect((await directory.ensure('alice', null)).tokensValidAfterMs).toBe(moment)
    expect(await directory.revokeTokens('nobody')).toBeNull()
  })

  it('learns what another process revoked when it is told, and asks for it only where it may have missed it', async () => {
    const other = createDirectory({ database })
    await directory.ensure('alice', null)
    await directory.ensure('bob', null)
    for (const userId of ['alice', 'bob']) expect(await other.tokensValidAfterMs(userId)).toBeNull()
    const [ofAlice, ofBob] = [await directory.revokeTokens('alice'), await directory.revokeTokens('bob')]
    for (const userId of ['alice', 'bob']) expect(await other.tokensValidAfterMs(userId)).toBeNull()

    other.learnRevocation('alice', Number(ofAlice))
    expect(await other.tokensValidAfterMs('alice')).toBe(ofAlice)
    expect(await other.tokensValidAfterMs('bob')).toBeNull()
    other.forgetRevocations()
    expect(await other.tokensValidAfterMs('bob')).toBe(ofBob)
  })

  it('seeds the private truth from the sessions, and what everyone may see from the column', async () => {
    await directory.ensure('alice', null)
    await rows(database, sql`update rollcall.users set last_active = '2026-01-01T10:00:00Z' where id = 'alice'`)
    // The last to end was idle for an hour, the other was active meanwhile.
    await addSession('alice', {
      lastActive: '2026-01-01T11:00:00Z',
      endedAt: '2026-01-01T12:00:00Z',
      endReason: 'LOST',
    })
    await addSession('alice', {
      lastActive: '2026-01-01T11:30:00Z',
      endedAt: '2026-01-01T11:31:00Z',
      endReason: 'CLOSED',
    })
    await addSession('alice', {
      lastActive: '2026-01-01T09:00:00Z',
      endedAt: '2026-01-01T09:01:00Z',
      endReason: 'CLOSED',
    })

    const { seed } = await directory.ensure('alice', null)
    expect(seed.lastActiveAtMs).toBe(at('2026-01-01T11:30:00Z'))
    expect(seed.shownLastActiveAtMs).toBe(at('2026-01-01T10:00:00Z'))

    await addSession('alice', { lastActive: '2026-01-01T11:45:00Z' })
    expect((await directory.ensure('alice', null)).seed.lastActiveAtMs).toBe(at('2026-01-01T11:45:00Z'))
  })

  it('says that activity is over only where goOffline ended the last session', async () => {
    await directory.ensure('alice', null)
    const isOver = async () => (await directory.ensure('alice', null)).seed.isActivityOver
    await addSession('alice', {
      lastActive: '2026-01-01T11:00:00Z',
      endedAt: '2026-01-01T11:00:00Z',
      endReason: 'WENT_OFFLINE',
    })
    expect(await isOver()).toBe(true)
    // A session may end at its very last activity, and is looked at all the same.
    expect((await directory.ensure('alice', null)).seed.lastActiveAtMs).toBe(at('2026-01-01T11:00:00Z'))
    await addSession('alice', {
      lastActive: '2026-01-01T12:00:00Z',
      endedAt: '2026-01-01T12:00:00Z',
      endReason: 'CLOSED',
    })
    expect(await isOver()).toBe(false)
    await addSession('alice', {
      lastActive: '2026-01-01T13:00:00Z',
      endedAt: '2026-01-01T13:00:00Z',
      endReason: 'WENT_OFFLINE',
    })
    expect(await isOver()).toBe(true)
    await addSession('alice', { lastActive: '2026-01-01T12:30:00Z' })
    expect(await isOver()).toBe(false)
  })

  it('says of users whom the live store inherited what is open, and which of their starts have ended', async () => {
    for (const id of ['alice', 'bob', 'carol']) await directory.ensure(id, null)
    const moment = '2026-01-01T11:00:00Z'
    const openId = await addSession('alice', { lastActive: moment })
    const endedId = await addSession('alice', { lastActive: moment, endedAt: moment, endReason: 'WENT_OFFLINE' })
    await addSession('alice', { lastActive: moment, endedAt: moment, endReason: 'LOST' })
    const bobsId = await addSession('bob', { lastActive: moment, endedAt: moment, endReason: 'WENT_OFFLINE' })
    await directory.setSettings('bob', { visibility: 'NOBODY' }, null)
    const validAfterMs = await directory.revokeTokens('bob')

    const unknownId = randomUUID()
    const answer = await directory.recorded([
      { userId: 'carol', startIds: [] },
      { userId: 'nobody', startIds: [unknownId] },
      { userId: 'alice', startIds: [endedId, unknownId, bobsId] },
      { userId: 'bob', startIds: [bobsId] },
    ])
    expect(answer.map(({ userId }) => userId)).toEqual(['carol', 'nobody', 'alice', 'bob'])
    expect(answer.map(({ sessions }) => sessions.map(({ startId, endReason }) => [startId, endReason]))).toEqual([
      [],
      [],
      [
        [openId, null],
        [endedId, 'WENT_OFFLINE'],
      ],
      [[bobsId, 'WENT_OFFLINE']],
    ])
    expect(answer[1]?.seed.settings).toBeNull()
    expect(answer[3]).toMatchObject({
      seed: { settings: { version: 1, visibility: 'NOBODY' }, isActivityOver: true },
      tokensValidAfterMs: validAfterMs,
      sessions: [{ endedAtMs: at(moment) }],
    })
  })

  it('pages through whoever an earlier run left open, ordered by the bytes of the id', async () => {
    // UTF-16 would put the last two the other way round.
    const ids = ['B', 'a', '\u{ffee}', '\u{1f600}']
    for (const id of [...ids, 'gone']) await directory.ensure(id, null)
    await rows(
      database,
      sql`update rollcall.users set is_online = true, online_since = '2026-01-01T00:00:00.5Z' where id = 'B'`,
    )
    const startId = await addSession('a', {
      lastActive: '2026-01-01T11:00:00Z',
      startedAt: '2026-01-01T10:00:00Z',
      rooms: ['x', 'y"z'],
    })
    for (const id of ids.slice(2)) await addSession(id, { lastActive: '2026-01-01T11:00:00Z' })
    await addSession('gone', { lastActive: '2026-01-01T11:00:00Z', endedAt: '2026-01-01T11:00:00Z', endReason: 'LOST' })
    await addSession('a', { lastActive: '2026-01-01T09:00:00Z', endedAt: '2026-01-01T09:00:00Z', endReason: 'LOST' })

    const first = await directory.leftOpen(null, 2)
    const second = await directory.leftOpen('a', 2)
    expect(await directory.leftOpen('\u{1f600}', 2)).toEqual([])

    expect([...first, ...second].map((user) => user.userId)).toEqual(ids)
    expect(first[0]).toMatchObject({ onlineSinceMs: at('2026-01-01T00:00:00.5Z'), sessions: [] })
    expect(first[1]).toMatchObject({
      seed: { lastActiveAtMs: at('2026-01-01T11:00:00Z'), shownLastActiveAtMs: null, isActivityOver: false },
      onlineSinceMs: null,
      sessions: [
        {
          startId,
          sessionId: 'default',
          device: 'phone',
          rooms: ['x', 'y"z'],
          nodeId: 'node-1',
          hadSocket: true,
          startedAtMs: at('2026-01-01T10:00:00Z'),
          lastActiveAtMs: at('2026-01-01T11:00:00Z'),
          endedAtMs: null,
          endReason: null,
        },
      ],
    })
  })

  it('cuts to now what was written while a clock stood ahead, and leaves alone what is null', async () => {
    await directory.ensure('alice', null)
    await directory.ensure('bob', null)
    const ahead = '2999-01-01T00:00:00Z'
    await rows(
      database,
      sql`update rollcall.users set is_online = true, last_active = ${ahead}::timestamptz,
        online_since = ${ahead}::timestamptz where id = 'alice'`,
    )
    await addSession('alice', { lastActive: ahead })

    const [dates] = await rows<{ at: string }>(database, sql`select clock_timestamp()::text as at`)
    const nowMs = Date.parse(String(dates?.at))
    const [alice, bob] = await directory.read(['alice', 'bob'])
    const { seed } = await directory.ensure('alice', null)
    const [left] = await directory.leftOpen(null, 10)
    const [session] = left?.sessions ?? []
    const moments = [
      alice?.lastActiveAtMs,
      seed.lastActiveAtMs,
      seed.shownLastActiveAtMs,
      left?.seed.lastActiveAtMs,
      left?.onlineSinceMs,
      session?.startedAtMs,
      session?.lastActiveAtMs,
    ]
    for (const moment of moments) {
      expect(Number.isInteger(moment)).toBe(true)
      expect(Number(moment)).toBeGreaterThanOrEqual(nowMs - 1)
      expect(Number(moment)).toBeLessThan(nowMs + 60_000)
    }
    expect(bob?.lastActiveAtMs).toBeNull()
    expect((await directory.ensure('bob', null)).seed).toMatchObject({
      lastActiveAtMs: null,
      shownLastActiveAtMs: null,
    })
  })
})
