/**
 * `User.lastSeen`: the moment of the last LEAVE, in every answer and in the column, and nothing by which others could
 * tell a user who hides from one who left.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post, type SeenChange, settled, type Tab } from '../support/clients.ts'
import { LONG_LEASE, postgresData, redisData, startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

const HIDE = 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }'
const SHOW = 'mutation { setVisibility(visibility: EVERYONE) { viewer { id } } }'
const GO_OFFLINE = 'mutation { goOffline(everywhere: true) { viewer { id } } }'
const BEAT = 'mutation { heartbeat { expiresAt } }'
const ALL_FIELDS = 'id name avatarUrl isOnline status statusMessage onlineSince lastActive lastSeen'

interface Row {
  readonly is_online: boolean
  readonly online_since: Date | null
  readonly last_active: Date | null
  readonly last_seen: Date | null
  readonly updated_at: Date
}

interface Place {
  readonly server: TestServer
  readonly sql: postgres.Sql
  readonly settings: SettingTexts
}

async function openPlace(prepare: typeof postgresData, more: SettingTexts = LONG_LEASE): Promise<Place> {
  const { settings, drop } = await prepare()
  cleanups.push(drop)
  // A stall of a slow machine is no part of it.
  const server = await startServer({ ...settings, PONG_TIMEOUT: '20s', ...more })
  cleanups.push(server.stop)
  const sql = postgres(String(settings.DATABASE_URL), { max: 1, onnotice: () => {} })
  cleanups.push(() => sql.end())
  return { server, sql, settings }
}

/** Follows these users, from now on. */
async function watch(server: TestServer, userIds: readonly string[]): Promise<SeenChange[]> {
  const watcher = await openTab(server, `watcher-${randomUUID()}`, { observer: true })
  const changes = watcher.follow(`(userIds: ${JSON.stringify(userIds)})`)
  await settled(watcher)
  return changes
}

async function rowOf(sql: postgres.Sql, userId: string): Promise<Row> {
  const [row] = await sql<Row[]>`
    select is_online, online_since, last_active, last_seen, updated_at from rollcall.users where id = ${userId}`
  if (row === undefined) throw new Error(`Expected a row of ${userId}.`)
  return row
}

/** All that others are answered about a user: the text of it. */
async function answersOf({ url }: TestServer, userId: string): Promise<string> {
  const query = `query ($id: ID!, $ids: [ID!]!) {
    user(id: $id) { ${ALL_FIELDS} } node(id: $id) { ... on User { ${ALL_FIELDS} } } users(ids: $ids) { ${ALL_FIELDS} }
    onlineCount onlineUsers { totalCount nodes { id } } position }`
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer dev:reader' },
    body: JSON.stringify({ query, variables: { id: userId, ids: [userId] } }),
  })
  return await response.text()
}

async function lastSeenOf(server: TestServer, userId: string): Promise<string | null> {
  const { data } = await post(server, 'dev:reader', `{ user(id: "${userId}") { lastSeen } }`)
  return data?.user.lastSeen
}

/** Until the columns have what everyone sees: they lag. */
async function untilLevel({ server, sql }: Place, userId: string): Promise<Row> {
  return await until(
    async () => {
      const { data } = await post(server, 'dev:reader', `{ user(id: "${userId}") { ${ALL_FIELDS} } }`)
      const row = await rowOf(sql, userId)
      const moments = [row.last_active, row.last_seen].map((moment) => moment?.toISOString() ?? null)
      const isLevel = row.is_online === data?.user.isOnline
      return isLevel && moments.join() === [data?.user.lastActive, data?.user.lastSeen].join() ? row : null
    },
    { what: `the columns of ${userId}` },
  )
}

describe.each([
  { name: 'one process', prepare: postgresData },
  { name: 'Redis', prepare: redisData },
])('lastSeen with $name', ({ prepare }) => {
  it('is the moment of the LEAVE in every answer and in the column, and null while the user is online', async () => {
    const place = await openPlace(prepare)
    const { server, sql } = place
    const changes = await watch(server, ['alice'])
    const alice = await openTab(server, 'alice')
    await until(() => changes.length === 1, { what: 'the JOIN' })
    expect(changes[0]?.user.lastSeen).toBeNull()
    expect(await lastSeenOf(server, 'alice')).toBeNull()
    expect(await untilLevel(place, 'alice')).toMatchObject({ is_online: true, last_seen: null })

    await alice.ask(GO_OFFLINE)
    await until(() => changes.length === 2, { what: 'the LEAVE' })
    const leave = changes[1] as SeenChange
    expect(leave).toMatchObject({ kind: 'LEAVE', room: null, user: { isOnline: false, lastSeen: leave.at } })
    expect(leave.at > String(leave.user.lastActive)).toBe(true)
    // In the live state until the record is written, and from the row afterwards.
    for (const untilMs = performance.now() + 500; performance.now() < untilMs; await sleep(20)) {
      expect(await lastSeenOf(server, 'alice')).toBe(leave.at)
    }
    const row = await rowOf(sql, 'alice')
    expect([row.is_online, row.last_seen?.toISOString()]).toEqual([false, leave.at])
    const { data } = await post(server, 'dev:alice', '{ viewer { user { lastSeen } } }')
    expect(data?.viewer.user.lastSeen).toBe(leave.at)

    await alice.ask(BEAT)
    await until(() => changes.length === 3, { what: 'the second JOIN' })
    expect([changes[2]?.user.lastSeen, await lastSeenOf(server, 'alice')]).toEqual([null, null])
    expect(await untilLevel(place, 'alice')).toMatchObject({ is_online: true, last_seen: null })
  })

  it('is hidden with the last activity, in answers and in the column', async () => {
    const place = await openPlace(prepare)
    const { server } = place
    const alice = await openTab(server, 'alice')
    await alice.ask('mutation { setVisibility(visibility: EVERYONE, hideLastActive: true) { viewer { id } } }')
    const changes = await watch(server, ['alice'])
    await alice.ask(GO_OFFLINE)
    await until(() => changes.length === 1, { what: 'the LEAVE' })
    expect(changes[0]?.user).toMatchObject({ isOnline: false, lastActive: null, lastSeen: null })
    expect(await lastSeenOf(server, 'alice')).toBeNull()
    expect(await untilLevel(place, 'alice')).toMatchObject({ is_online: false, last_active: null, last_seen: null })
  })

  it('is no different of who hides and of who goes offline, and stands still whatever they do then', async () => {
    const place = await openPlace(prepare)
    const { server } = place
    const changes = await watch(server, ['hides', 'leaves'])
    const tabs = new Map<string, Tab>()
    for (const userId of ['hides', 'leaves']) {
      const tab = await openTab(server, userId)
      tabs.set(userId, tab)
      await tab.ask(BEAT)
      await untilLevel(place, userId)
    }
    await tabs.get('leaves')?.ask(GO_OFFLINE)
    await tabs.get('leaves')?.close()
    await tabs.get('hides')?.ask(HIDE)
    await until(() => changes.length === 4, { what: 'two LEAVEs' })
    const rows = new Map<string, Row>()
    for (const userId of ['hides', 'leaves']) rows.set(userId, await untilLevel(place, userId))

    // The same texts but for the name, and the moments of each.
    const plain = async (userId: string) => {
      const leave = changes.find(({ kind, user }) => kind === 'LEAVE' && user.id === userId) as SeenChange
      const { receivedAtMs: _now, position: _place, ...told } = leave
      const row = rows.get(userId) as Row
      const text = JSON.stringify([await answersOf(server, userId), told, { ...row, updated_at: null }])
      // The row was written right after it, and once.
      const lagMs = row.updated_at.getTime() - Date.parse(leave.at)
      expect([lagMs >= 0, lagMs < 10_000]).toEqual([true, true])
      return text
        .replaceAll(userId, 'somebody')
        .replaceAll(leave.at, 'the LEAVE')
        .replaceAll(String(leave.user.lastActive), 'the activity')
    }
    const hidden = await plain('hides')
    expect(hidden).toBe(await plain('leaves'))
    expect(hidden.match(/the LEAVE/g)).toHaveLength(6)

    const [answers, row] = [await answersOf(server, 'hides'), rows.get('hides')]
    const expectSame = async () => {
      expect(await answersOf(server, 'hides')).toBe(answers)
      expect(await rowOf(place.sql, 'hides')).toEqual(row)
    }
    const hides = tabs.get('hides') as Tab
    for (let round = 0; round < 5; round += 1) {
      await hides.ask(BEAT)
      await sleep(100)
      await expectSame()
    }
    await hides.ask(GO_OFFLINE)
    await expectSame()
    await hides.close()
    await until(
      async () =>
        (await place.sql`select from rollcall.presence_sessions where user_id = 'hides' and ended_at is null`)
          .length === 0,
      { what: 'the end of the session' },
    )
    for (let round = 0; round < 5; round += 1) {
      await sleep(50)
      await expectSame()
    }

    await openTab(server, 'hides')
    await post(server, 'dev:hides', SHOW)
    await until(() => changes.length === 5, { what: 'the JOIN' })
    expect(changes[4]).toMatchObject({ kind: 'JOIN', user: { id: 'hides', lastSeen: null } })
    expect(await untilLevel(place, 'hides')).toMatchObject({ is_online: true, last_seen: null })
  })

  it('is null of a user whom nobody ever saw', async () => {
    const { server, sql } = await openPlace(prepare)
    const first = await openTab(server, 'alice', { active: false })
    await first.ask(HIDE)
    await first.ask(BEAT)
    await first.ask(GO_OFFLINE)
    await first.close()
    await until(
      async () =>
        (await sql`select from rollcall.presence_sessions where user_id = 'alice' and ended_at is null`).length === 0,
      { what: 'the end of the session' },
    )
    expect(await lastSeenOf(server, 'alice')).toBeNull()
    expect(await rowOf(sql, 'alice')).toMatchObject({ is_online: false, last_seen: null })
  })
})

describe('lastSeen where the live state is lost', () => {
  it('stays of who hides and who left, and is the LEAVE of who does not come back', async () => {
    const place = await openPlace(redisData, {})
    const { server, sql, settings } = place
    const hidden = await openTab(server, 'hidden', { retryAttempts: 100 })
    const offline = await openTab(server, 'offline')
    await openTab(server, 'stays', { retryAttempts: 100 })
    await post(server, 'dev:program', BEAT)
    await hidden.ask(HIDE)
    await offline.ask(GO_OFFLINE)
    await offline.close()
    const gone = ['hidden', 'offline']
    for (const userId of [...gone, 'stays', 'program']) await untilLevel(place, userId)
    const before = await Promise.all(gone.map((userId) => lastSeenOf(server, userId)))
    expect(before).not.toContain(null)
    const rows = await Promise.all(gone.map((userId) => rowOf(sql, userId)))

    const redis = new Redis(String(settings.REDIS_URL))
    cleanups.push(async () => redis.disconnect())
    const keys = await redis.keys(`{rollcall:${settings.REDIS_APP}}*`)
    await redis.del(...keys)

    const ids = JSON.stringify([...gone, 'stays', 'program'])
    let sawEpoch = false
    for (const untilMs = performance.now() + 6000; performance.now() < untilMs; await sleep(50)) {
      const { data, errors } = await post(server, 'dev:reader', `{ users(ids: ${ids}) { isOnline lastSeen } }`)
      if (errors?.some(({ extensions }) => extensions.code === 'UNAVAILABLE')) sawEpoch = true
      if (!data || errors !== undefined) continue
      const [first, second, third, fourth] = data.users
      expect([first, second]).toEqual(before.map((lastSeen) => ({ isOnline: false, lastSeen })))
      expect(third).toEqual({ isOnline: true, lastSeen: null })
      expect(fourth.isOnline && fourth.lastSeen !== null).toBe(false)
      void hidden.ask(BEAT).catch(() => {})
    }
    expect(sawEpoch).toBe(true)
    expect(await Promise.all(gone.map((userId) => rowOf(sql, userId)))).toEqual(rows)
    // The program sends no more heartbeats: its SESSION_TTL began again with the adoption.
    const row = await untilLevel(place, 'program')
    expect(row.is_online).toBe(false)
    expect(Number(row.last_seen)).toBeGreaterThan(Number(row.last_active))
  })
})
