/** What was gathered when a process stops cleanly is in the database, and what it was asked is answered. */
import { randomUUID } from 'node:crypto'
import postgres, { type Sql } from 'postgres'
import { describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post, settled } from '../support/clients.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { DATABASES, postgresData, redisData } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** Longer than any of these tests: nothing but the stop brings activity to the database. */
const SETTINGS: SettingTexts = { LAST_ACTIVE_FLUSH: '10m', RECONNECT_GRACE: '20s', SESSION_TTL: '30s' }
const HEARTBEAT = 'mutation { heartbeat { viewer { lastActive } } }'

const cleanups = cleanupsAfterEach()

async function start(settings: SettingTexts): Promise<ServerProcess> {
  const server = await startProcess({ ...SETTINGS, ...settings })
  cleanups.push(() => server.end('SIGKILL'))
  cleanups.push(async () => closeTabs())
  return server
}

async function untilRecorded(url: string, sessionCount: number): Promise<void> {
  const sql = connectTo(url)
  await until(async () => (await sql`select from rollcall.presence_sessions`).length === sessionCount, {
    what: 'the records of every start',
  })
}

function connectTo(url: string | undefined): Sql {
  const sql = postgres(String(url), { max: 1 })
  cleanups.push(() => sql.end())
  return sql
}

describe.each(DATABASES)('a clean stop on $name', ({ prepare }) => {
  it('loses no activity, neither of a socket nor over HTTP', async () => {
    const data = await prepare()
    cleanups.push(data.drop)
    const [onSocket, overHttp] = [`socket-${randomUUID()}`, `http-${randomUUID()}`]
    const first = await start(data.settings)
    const tab = await openTab(first, onSocket)
    await post(first, `dev:${overHttp}`, HEARTBEAT)
    // Started, they are recorded at once. What comes after that is not.
    if (data.settings.DATABASE_URL !== undefined) await untilRecorded(data.settings.DATABASE_URL, 2)
    const started = String((await tab.ask('{ viewer { lastActive } }')).data?.viewer.lastActive)
    const beats = await until(async () => {
      const { data: beaten } = await tab.ask(HEARTBEAT)
      const { data: beatenOverHttp } = await post(first, `dev:${overHttp}`, HEARTBEAT)
      const moments = [beaten, beatenOverHttp].map((answer) => String(answer?.heartbeat.viewer.lastActive))
      return moments[0] !== started && moments
    })
    expect(await first.end('SIGTERM')).toBe(0)

    if (data.settings.DATABASE_URL !== undefined) {
      const sql = connectTo(data.settings.DATABASE_URL)
      const users =
        await sql`select id, last_active from rollcall.users where id in (${onSocket}, ${overHttp}) order by id desc`
      expect(users.map((row) => row.last_active.toISOString())).toEqual(beats)
      const sessions = await sql`select last_active from rollcall.presence_sessions where user_id = ${onSocket}`
      expect(sessions.map((row) => row.last_active.toISOString())).toEqual([beats[0]])
    }
    const second = await start(data.settings)
    const { data: after } = await post(
      second,
      'dev:reader',
      'query ($ids: [ID!]!) { users(ids: $ids) { isOnline lastActive } }',
      {
        ids: [onSocket, overHttp],
      },
    )
    expect(after?.users).toEqual(beats.map((lastActive) => ({ isOnline: true, lastActive })))
    expect(await second.end('SIGTERM')).toBe(0)
  })
})

it('of the last of many nodes brings the activity of all to the database', async () => {
  const data = await redisData()
  cleanups.push(data.drop)
  const nodes = [await start(data.settings), await start(data.settings), await start(data.settings)]
  const moments: Record<string, string> = {}
  const tabs = await Promise.all(nodes.map((node, index) => openTab(node, `user-${index}`)))
  await untilRecorded(String(data.settings.DATABASE_URL), tabs.length)
  for (const [index, tab] of tabs.entries()) {
    const started = String((await tab.ask('{ viewer { lastActive } }')).data?.viewer.lastActive)
    moments[`user-${index}`] = await until(async () => {
      const lastActive = String((await tab.ask(HEARTBEAT)).data?.heartbeat.viewer.lastActive)
      return lastActive !== started && lastActive
    })
  }
  // At once, as an orchestrator does that scales to nothing.
  expect(await Promise.all(nodes.map((node) => node.end('SIGTERM')))).toEqual([0, 0, 0])
  const sql = connectTo(data.settings.DATABASE_URL)
  const users = await sql`select id, last_active from rollcall.users order by id`
  expect(Object.fromEntries(users.map((row) => [row.id, row.last_active.toISOString()]))).toEqual(moments)
})

it('answers heartbeats that are gathered just then', async () => {
  const data = await redisData()
  cleanups.push(data.drop)
  const server = await start({ ...data.settings, BEAT_FLUSH: '2s' })
  const tab = await openTab(server, 'alice')
  // The first one goes at once, and the others are gathered.
  await tab.ask(HEARTBEAT)
  const answers = Array.from({ length: 5 }, () => tab.ask(HEARTBEAT))
  const httpAnswers = Array.from({ length: 5 }, (_, index) => post(server, `dev:http-${index}`, HEARTBEAT))
  await settled(tab)
  const stopped = server.end('SIGTERM')
  for (const answer of await Promise.all(answers))
    expect(answer.data?.heartbeat.viewer.lastActive).toEqual(expect.any(String))
  for (const { status, data: answered } of await Promise.all(httpAnswers)) {
    expect([status, answered?.heartbeat]).toEqual([200, expect.any(Object)])
  }
  expect(await stopped).toBe(0)
})

describe.each([
  { name: 'alone', prepare: postgresData },
  { name: 'one of many', prepare: redisData },
])('a process that is $name', ({ prepare }) => {
  it('answers what a socket asked before it stopped, and takes nothing more', async () => {
    const data = await prepare()
    cleanups.push(data.drop)
    const server = await start(data.settings)
    const tab = await openTab(server, 'alice')
    const watcher = await openTab(server, 'watcher', { observer: true })
    watcher.follow()
    await settled(watcher)
    const codes: number[] = []
    for (const { client } of [tab, watcher])
      client.on('closed', (event) => void codes.push((event as { code: number }).code))
    const sql = connectTo(data.settings.DATABASE_URL)
    const observer = connectTo(data.settings.DATABASE_URL)

    // It waits for a row that somebody else has locked.
    let release = (): void => {}
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const locked = sql.begin(async (transaction) => {
      await transaction`select from rollcall.users where id = 'alice' for update`
      await released
    })
    await until(
      async () =>
        (await observer`select from rollcall.users where id = 'alice' for update nowait`.catch(() => [])).length === 0,
    )
    const answer = tab.ask('mutation { setStatus(status: BUSY) { viewer { status } } }')
    await until(
      async () =>
        (await observer`select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
          .length > 0,
    )
    const stopped = server.end('SIGTERM')
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
    release()
    await locked
    expect((await answer).data?.setStatus.viewer.status).toBe('BUSY')
    expect(await stopped).toBe(0)
    expect(codes).toEqual([1012, 1012])
    expect(await observer`select chosen_status from rollcall.users where id = 'alice'`).toMatchObject([
      { chosen_status: 'BUSY' },
    ])
  })

  it('waits for no subscription, and not for ever for what does not come', async () => {
    const data = await prepare()
    cleanups.push(data.drop)
    const server = await start(data.settings)
    const tab = await openTab(server, 'alice')
    tab.follow()
    await settled(tab)
    const startedAtMs = performance.now()
    expect(await server.end('SIGTERM')).toBe(0)
    // Less than an operation may take that is waited for.
    expect(performance.now() - startedAtMs).toBeLessThan(4500)
  })
})
