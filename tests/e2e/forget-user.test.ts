/** `forgetUser`, from the outside: on one node and on two, with the databases that there are. */
import { randomUUID } from 'node:crypto'
import { sql } from 'drizzle-orm'
import { SignJWT } from 'jose'
import postgres from 'postgres'
import { afterEach, describe, expect, it } from 'vitest'
import { parseConfig, type SettingTexts } from '../../src/config.ts'
import { openDatabase } from '../../src/db/client.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { DATABASES, startServer, type TestData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { createTestLog, rows } from './db/databases.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'
const FORGET = 'mutation ($id: ID!) { forgetUser(userId: $id) { userId sessionCount } }'

function sign(userId: string, { presence = {}, name }: { presence?: object; name?: string } = {}): Promise<string> {
  return new SignJWT({ presence, ...(name === undefined ? {} : { name }) })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(userId)
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))
}

/** A token of a later second: what was issued within the second of a revocation is refused. */
async function signLater(userId: string): Promise<string> {
  const second = Math.floor(Date.now() / 1000)
  await until(() => Math.floor(Date.now() / 1000) > second)
  return sign(userId)
}

describe.each(DATABASES)('forgetUser with $name', ({ name, prepare }) => {
  let data: TestData
  let servers: TestServer[] = []
  const hasRedis = name.includes('Redis')

  async function start(settings: SettingTexts = {}): Promise<TestServer> {
    const server = await startServer({ ...data.settings, JWT_SECRET: SECRET, ...settings })
    servers.push(server)
    return server
  }

  async function stopAll(): Promise<void> {
    for (const server of servers) await server.stop()
    servers = []
  }

  /** A second node where there can be one. */
  async function startPair(): Promise<[TestServer, TestServer]> {
    data = await prepare()
    const first = await start()
    return [first, hasRedis ? await start() : first]
  }

  afterEach(async () => {
    closeTabs()
    await stopAll()
    await data.drop()
  })

  /** Everything that the database has of a user. Null where no other process can read it. */
  async function rowsOf(userId: string): Promise<number | null> {
    const url = data.settings.DATABASE_URL
    if (url === undefined) return null
    const app = postgres(url, { max: 1 })
    const [row] = await app`select (select count(*) from rollcall.users where id = ${userId})
      + (select count(*) from rollcall.presence_sessions where user_id = ${userId}) as count`
    await app.end()
    return Number(row?.count)
  }

  it('ends sessions, sockets and streams on every node, and leaves no row', async () => {
    const [one, other] = await startPair()
    const service = await sign('backend', { presence: { role: 'service' } })
    const alices = await sign('alice', { name: 'Alice' })
    const watcher = await openTab(one, 'bob')
    const changes = watcher.follow()
    const here = await openTab(one, 'alice', { token: alices })
    const there = await openTab(other, 'alice', { token: alices })
    const observer = await openTab(other, 'alice', { token: alices, observer: true })
    const stream = await fetch(`${other.url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        authorization: `Bearer ${alices}`,
      },
      body: JSON.stringify({ query: 'subscription { viewerChanged { id } }' }),
    })
    const streamEnds = expect(stream.text()).rejects.toThrow()
    await until(() => changes.some(({ kind, user }) => kind === 'JOIN' && user.id === 'alice'))
    await until(async () => (await rowsOf('alice')) !== 0)

    const answer = await post(one, service, FORGET, { id: 'alice' })

    expect(answer.data?.forgetUser).toEqual({ userId: 'alice', sessionCount: 2 })
    await until(() => changes.at(-1)?.kind === 'LEAVE' && changes.at(-1)?.user.id === 'alice')
    for (const tab of [here, there, observer]) await until(() => tab.wire().readyState === tab.wire().CLOSED)
    await streamEnds
    expect((await post(other, alices, '{ viewer { id } }')).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    for (const server of [one, other]) {
      expect((await post(server, service, '{ user(id: "alice") { id } onlineUsers { nodes { id } } }')).data).toEqual({
        user: null,
        onlineUsers: { nodes: [{ id: 'bob' }] },
      })
    }
    // A record of somebody else comes after all that could be under way.
    await watcher.ask('mutation { joinRoom(room: "hall") { session { id } } }')
    await until(async () => [null, 2].includes(await rowsOf('bob')))
    expect([null, 0]).toContain(await rowsOf('alice'))
  })

  it('refuses the tokens of before after a restart, and lets a later one begin a new user', {
    timeout: 30_000,
  }, async () => {
    const [one] = await startPair()
    const service = await sign('backend', { presence: { role: 'service' } })
    const alices = await sign('alice', { name: 'Alice' })
    await post(one, alices, 'mutation { setStatus(status: BUSY, message: "in a meeting") { viewer { id } } }')
    await post(one, alices, 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
    await post(one, alices, 'mutation { heartbeat { viewer { id } } }')
    expect((await post(one, service, FORGET, { id: 'alice' })).data?.forgetUser.sessionCount).toBe(1)
    await stopAll()

    const next = await start()
    for (const query of ['{ viewer { id } }', 'mutation { heartbeat { viewer { id } } }']) {
      expect((await post(next, alices, query)).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    }
    expect((await post(next, service, '{ user(id: "alice") { id } }')).data).toEqual({ user: null })

    const fresh = await signLater('alice')
    const seen = '{ heartbeat { viewer { visibility statusChoice statusMessage user { id name isOnline } } } }'
    expect((await post(next, fresh, `mutation ${seen}`)).data?.heartbeat.viewer).toEqual({
      visibility: 'EVERYONE',
      statusChoice: 'AUTOMATIC',
      statusMessage: null,
      user: { id: 'alice', name: 'alice', isOnline: true },
    })
    // The old one stays refused beside it, and brings no name back.
    expect((await post(next, alices, '{ viewer { id } }')).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await post(next, service, '{ user(id: "alice") { name } }')).data).toEqual({ user: { name: 'alice' } })
  })

  it('forgets who is offline, and who was never seen', async () => {
    const [one] = await startPair()
    const service = await sign('backend', { presence: { role: 'service' } })
    const alices = await sign('alice')
    await post(one, alices, 'mutation { heartbeat { viewer { id } } }')
    await post(one, alices, 'mutation { goOffline(everywhere: true) { viewer { id } } }')
    for (const id of ['alice', 'alice', randomUUID()]) {
      expect((await post(one, service, FORGET, { id })).data?.forgetUser).toEqual({ userId: id, sessionCount: 0 })
    }
    expect((await post(one, service, '{ user(id: "alice") { id } }')).data).toEqual({ user: null })
    expect((await post(one, alices, '{ viewer { id } }')).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await post(one, service, FORGET, { id: '' })).errors?.[0]).toMatchObject({
      extensions: { code: 'BAD_USER_INPUT', argument: 'userId' },
    })
  })

  it('keeps a revocation whose row the app deleted by its own SQL', { timeout: 60_000 }, async () => {
    const [one] = await startPair()
    const service = await sign('backend', { presence: { role: 'service' } })
    const alices = await sign('alice')
    await post(one, alices, 'mutation { heartbeat { viewer { id } } }')
    await post(one, service, 'mutation { disconnectUser(userId: "alice") { sessionCount } }')
    await stopAll()
    const database = await openDatabase(parseConfig(data.settings), createTestLog())
    await rows(database, sql`delete from rollcall.users where id = 'alice'`)
    await database.close()

    const next = await start()
    const { errors } = await post(next, alices, 'mutation { heartbeat { viewer { id } } }')
    expect(errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await post(next, service, '{ user(id: "alice") { id } }')).data).toEqual({ user: null })
  })
})
