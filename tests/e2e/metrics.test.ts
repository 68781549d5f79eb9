import { afterEach, expect, it } from 'vitest'
import { OWN_VERSION } from '../../src/own-version.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { embeddedData, redisData, startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

async function start(prepare: typeof redisData, settings: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
  const data = await prepare()
  const server = await startServer({ ...data.settings, ...settings })
  cleanups.push(data.drop, server.stop)
  return server
}

async function read({ url }: TestServer, token?: string) {
  const response = await fetch(
    `${url}/metrics`,
    token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
  )
  const page = await response.text()
  const values = new Map<string, number>()
  for (const line of page.split('\n')) {
    const match = /^(rollcall_\S+) (\S+)$/.exec(line)
    if (match !== null) values.set(String(match[1]), Number(match[2]))
  }
  return { status: response.status, values }
}

it.each([
  ['in memory', embeddedData],
  ['in Redis', redisData],
])('tells what an operator watches, with the live state %s', async (_where, prepare) => {
  const server = await start(prepare)
  const tab = await openTab(server, 'alice')
  tab.follow()
  await post(server, 'dev:bob', 'mutation { heartbeat { expiresAt } }')
  await post(
    server,
    'dev:bob',
    'mutation { joinRoom(room: "hall", sessionId: "00000000-0000-4000-8000-000000000000") { session { id } } }',
  )
  // A node has its lease by its first renewal or attach.
  await until(async () => (await read(server)).values.get('rollcall_recorder_holder') === 1, { what: 'the work' })
  const { values } = await read(server)
  expect(
    Object.fromEntries([...values].filter(([name]) => name.startsWith('rollcall_') && !/waiting|gap/.test(name))),
  ).toEqual({
    [`rollcall_build_info{version="${OWN_VERSION}"}`]: 1,
    rollcall_ready: 1,
    rollcall_store_up: 1,
    rollcall_postgres_up: 1,
    rollcall_recorder_holder: 1,
    rollcall_users_set_aside: 0,
    rollcall_sockets: 1,
    rollcall_subscriptions: 1,
    rollcall_subscriptions_behind: 0,
    rollcall_replays_total: 0,
    rollcall_nodes_alive: 1,
    rollcall_users_online: 2,
    rollcall_sessions: 2,
    rollcall_log_entries: 2,
    rollcall_log_bytes: expect.any(Number),
    rollcall_epochs_total: 1,
    rollcall_reaped_total: 0,
    'rollcall_errors_total{code="NOT_FOUND",part=""}': 1,
  })
})

it('asks for the token, where there is one', async () => {
  const server = await start(embeddedData, { METRICS_TOKEN: 'a-token-of-the-operator' })
  expect((await read(server)).status).toBe(401)
  expect((await read(server, 'another')).status).toBe(401)
  expect((await read(server, 'a-token-of-the-operator')).status).toBe(200)
})

it('is closed in production without a token', async () => {
  const server = await start(embeddedData, { NODE_ENV: 'production', JWT_SECRET: 'x'.repeat(32) })
  expect((await read(server)).status).toBe(404)
})
