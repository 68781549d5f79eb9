/**
 * Postgres goes back to an older state (a standby that lacks the last commits, a backup) under a running server: what a
 * user asks for holds when it is answered, what they chose before holds on, and who hides is shown at no moment.
 */
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { type Answer, closeTabs, onlineIds, openTab, post, type SeenChange, type Tab } from '../../support/clients.ts'
import { postgresData, redisData, startServer, type TestServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

const GOING_BACK = [
  { how: 'the row is an older one', isGone: false },
  { how: 'the row is gone', isGone: true },
] as const

describe.each([
  { name: 'Postgres, alone', prepare: postgresData },
  { name: 'Postgres and Redis', prepare: redisData },
])('on $name', ({ prepare }) => {
  describe.each(GOING_BACK)('where $how', ({ isGone }) => {
    it('a user who hides then is hidden when it is answered', async () => {
      const { server, alice, sql, changes, goBack } = await openStreet()
      await choose(server, 'setStatus(status: BUSY, message: "first")')
      const older = await goBack.remember()
      await choose(server, 'setStatus(status: AWAY, message: "second")')
      await choose(server, 'setStatus(status: BUSY, message: "third")')
      await until(() => changes.length === 4, { what: 'the updates' })
      await goBack.to(isGone ? null : older)

      const { data } = await alice.ask(
        'mutation { setVisibility(visibility: NOBODY) { viewer { visibility statusMessage user { isOnline } } } }',
      )
      expect(data?.setVisibility.viewer).toEqual({
        visibility: 'NOBODY',
        statusMessage: 'third',
        user: { isOnline: false },
      })
      expect(await onlineIds(server, 'dev:reader')).toEqual([])
      expect(await rowOf(sql)).toMatchObject({ visibility: 'NOBODY', status_message: 'third', is_online: false })
      await until(() => changes.length === 5, { what: 'the LEAVE' })
      expect(changes.at(-1)?.kind).toBe('LEAVE')
      await expectHidden({ server, alice, sql })
    })

    it('a hidden user who changes something else stays hidden', async () => {
      const { server, alice, sql, changes, goBack } = await openStreet()
      const older = await goBack.remember()
      await choose(server, 'setVisibility(visibility: NOBODY)')
      await choose(server, 'setStatus(status: AWAY)')
      await until(() => changes.length === 2, { what: 'the LEAVE' })
      await goBack.to(isGone ? null : older)
      // Several at once, of which none may be the first to tell.
      const messages = ['one', 'two', 'three']
      const answers = await Promise.all(
        messages.map((message) => choose(server, `setStatus(status: BUSY, message: "${message}")`)),
      )
      for (const { viewer } of answers)
        expect(viewer).toMatchObject({ visibility: 'NOBODY', user: { isOnline: false } })
      expect(await rowOf(sql)).toMatchObject({ visibility: 'NOBODY', chosen_status: 'BUSY' })
      await expectHidden({ server, alice, sql })
      expect(changes.map(({ kind }) => kind)).toEqual(['JOIN', 'LEAVE'])
      const shown = await choose(server, 'setVisibility(visibility: EVERYONE)')
      expect(shown.viewer).toMatchObject({ visibility: 'EVERYONE', user: { isOnline: true } })
      expect(messages).toContain((await rowOf(sql))?.status_message)
    })

    it('the row learns from the next record what the user chose, and nothing is shown of it', async () => {
      const { server, alice, sql, changes, goBack } = await openStreet()
      const older = await goBack.remember()
      await choose(server, 'setStatus(status: BUSY, message: "here")')
      await choose(server, 'setVisibility(visibility: NOBODY, hideLastActive: true)')
      const newest = await until(async () => ((await rowOf(sql))?.last_active === null ? rowOf(sql) : null))
      await goBack.to(isGone ? null : { ...older, is_online: false, online_since: null })
      await alice.ask('mutation { heartbeat { expiresAt } }')
      await until(async () => (await rowOf(sql))?.settings_version === newest.settings_version, {
        what: 'the row as it was',
      })
      expect(await rowOf(sql)).toMatchObject({
        ...newest,
        created_at: expect.anything(),
        updated_at: expect.anything(),
      })
      await expectHidden({ server, alice, sql })
      expect(changes.map(({ kind }) => kind)).toEqual(['JOIN', 'UPDATE', 'LEAVE'])
    })
  })

  it('a row that is newer reaches the live state by the next record', async () => {
    const { server, alice, sql, changes } = await openStreet()
    // As a process does that dies then.
    await sql`update rollcall.users set settings_version = settings_version + 1, visibility = 'NOBODY',
      is_online = false, online_since = null`
    await alice.ask('mutation { heartbeat { expiresAt } }')
    await until(() => changes.length === 2, { what: 'the LEAVE' })
    await expectHidden({ server, alice, sql })
  })

  it('of two histories under one version the more private holds, until the user says another', async () => {
    const { server, alice, sql, changes } = await openStreet()
    await choose(server, 'setStatus(status: BUSY, message: "here")')
    await sql`update rollcall.users set visibility = 'NOBODY', chosen_status = 'AWAY', status_message = 'there',
      is_online = false, online_since = null`
    await alice.ask('mutation { heartbeat { expiresAt } }')
    await until(() => changes.length === 3, { what: 'the LEAVE' })
    expect(changes.at(-1)?.kind).toBe('LEAVE')
    await until(async () => (await rowOf(sql))?.settings_version === 2, { what: 'a version above both' })
    await expectHidden({ server, alice, sql })
    const { viewer } = await choose(server, 'setVisibility(visibility: EVERYONE)')
    expect(viewer).toMatchObject({ visibility: 'EVERYONE', user: { isOnline: true } })
  })

  async function openStreet() {
    const data = await prepare()
    cleanups.push(data.drop)
    // A stall of a slow machine is no part of it.
    const server = await startServer({ ...data.settings, PONG_TIMEOUT: '20s', NODE_TTL: '10s' })
    cleanups.push(server.stop)
    const sql = postgres(String(data.settings.DATABASE_URL), { max: 1, onnotice: () => {} })
    cleanups.push(() => sql.end())
    const reader = await openTab(server, 'reader', { observer: true })
    const changes = reader.follow('(userIds: ["alice"])')
    await reader.ask('{ position }')
    const alice = await openTab(server, 'alice')
    await until(async () => (changes.length === 1 && (await rowOf(sql))?.is_online === true ? true : null), {
      what: 'the JOIN',
    })
    return { server, sql, alice, changes: changes as readonly SeenChange[], goBack: createGoingBack(sql) }
  }
})

/** The row, put back as it was, or taken away. */
function createGoingBack(sql: postgres.Sql) {
  return {
    async remember(): Promise<Row> {
      return (await rowOf(sql)) as Row
    },
    async to(row: Row | null): Promise<void> {
      if (row === null) await sql`delete from rollcall.users where id = 'alice'`
      else await sql`update rollcall.users set ${sql(row)} where id = 'alice'`
    },
  }
}

interface Row {
  readonly settings_version: number
  readonly visibility: string
  readonly chosen_status: string
  readonly status_message: string | null
  readonly is_online: boolean
  readonly online_since: Date | null
  readonly last_active: Date | null
  readonly last_seen: Date | null
}

const isoOf = (moment: Date | null | undefined) => moment?.toISOString() ?? null

async function rowOf(sql: postgres.Sql): Promise<Row | undefined> {
  const [row] = await sql<Row[]>`select * from rollcall.users where id = 'alice'`
  return row
}

/** Over HTTP, as another tab may. */
async function choose(server: TestServer, mutation: string) {
  const answer: Answer = await post(
    server,
    'dev:alice',
    `mutation { ${mutation} { viewer { visibility status statusMessage user { isOnline } } } }`,
  )
  const [result] = Object.values(answer.data ?? {})
  if (result === undefined || result === null) throw new Error(JSON.stringify(answer.errors))
  return result as { readonly viewer: Record<string, unknown> }
}

/** Whatever they do, for longer than a flush: in no list, no count and no column, and true for themselves. */
async function expectHidden({
  server,
  alice,
  sql,
}: {
  readonly server: TestServer
  readonly alice: Tab
  readonly sql: postgres.Sql
}): Promise<void> {
  const query = '{ onlineCount user(id: "alice") { isOnline lastActive lastSeen } }'
  const moments = new Set<string>()
  const untilMs = performance.now() + 800
  let columns = ''
  while (performance.now() < untilMs) {
    await alice.ask('mutation { heartbeat { expiresAt } }')
    const { data } = await post(server, 'dev:reader', query)
    expect(data).toMatchObject({ onlineCount: 0, user: { isOnline: false } })
    moments.add(`${data?.user.lastActive}, seen ${data?.user.lastSeen}`)
    const row = await rowOf(sql)
    expect(row).toMatchObject({ is_online: false, online_since: null })
    columns = `${isoOf(row?.last_active)}, seen ${isoOf(row?.last_seen)}`
  }
  expect([...moments]).toEqual([columns])
  const { data } = await post(server, 'dev:alice', '{ viewer { visibility isOnline } }')
  expect(data?.viewer).toEqual({ visibility: 'NOBODY', isOnline: true })
  expect(await onlineIds(server, 'dev:reader')).toEqual([])
}
