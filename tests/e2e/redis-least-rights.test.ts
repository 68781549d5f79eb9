/** A user in Redis who may do what docs/operations.md says, and no more: everything works, and nothing is refused. */
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, expect, it } from 'vitest'
import { commandsOf, loadScripts } from '../../src/stores/redis/scripts.ts'
import { CALM } from '../contract/presence-store/harness.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, onlineIds, openTab, post, settled } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { startRedis } from '../support/redis.ts'
import { command } from '../support/redis-process.ts'
import { postgresData, startServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

const PAGE = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')

/** The words of the line on that page, after the user's name. */
function documentedRights(app: string): readonly string[] {
  const block = /^ACL SETUSER rollcall ([\s\S]*?)^```/m.exec(PAGE)?.[1]
  if (block === undefined) throw new Error('docs/operations.md has no `ACL SETUSER rollcall`.')
  return block.replaceAll('{rollcall:default}', `{rollcall:${app}}`).trim().split(/\s+/)
}

const cleanups = cleanupsAfterEach()

// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

/** A Redis with the user of the page, and a database. */
async function redisWithRights() {
  const redis = await startRedis()
  cleanups.push(redis.stop)
  const app = randomUUID()
  await command(redis, 'ACL', 'SETUSER', 'rollcall', ...documentedRights(app))
  const data = await postgresData()
  cleanups.push(data.drop)
  return { redis, app, data }
}

it('the page names each command that a script calls, and no other of their kind', () => {
  const allowed = documentedRights('default')
    .filter((word) => word.startsWith('+'))
    .map((word) => word.slice(1))
  const ofNodes = ['evalsha', 'info', 'script|exists', 'script|load', 'select', 'subscribe']
  const called = commandsOf(Object.values(loadScripts({ timing: CALM })).map(({ source }) => source))
  expect(allowed.filter((name) => !ofNodes.includes(name)).sort()).toEqual(called.map((name) => name.toLowerCase()))
  // No script names a command by a variable, so none escapes the list.
  for (const { source } of Object.values(loadScripts({ timing: CALM }))) {
    expect(source.match(/redis\.p?call\(/g)?.length).toBe(source.match(/redis\.p?call\('[A-Z]+'/g)?.length)
  }
})

it('two nodes do all that they do with these rights, on a database of their own number', async () => {
  const { redis, app, data } = await redisWithRights()
  const { log, lines } = createReadLog()
  const settings = {
    ...data.settings,
    JWT_SECRET: SECRET,
    REDIS_APP: app,
    REDIS_URL: `redis://rollcall:PASSWORD@${redis.host}:${redis.port}/3`,
    AWAY_AFTER: '1s',
    LAST_ACTIVE_FLUSH: '100ms',
    CHANGE_LOG_COUNT: '100',
    SESSIONS_PER_USER: '3',
    // What callers spend stays in Redis until it has flowed back.
    USER_WORK_RATE: '100',
    USER_WORK_BURST: '40000',
  }
  await command(redis, 'ACL', 'LOG', 'RESET')
  await command(redis, 'CONFIG', 'RESETSTAT')
  const [one, other] = [await startServer(settings, log), await startServer(settings, log)]
  let isOneStopped = false
  cleanups.push(async () => {
    if (!isOneStopped) await one.stop()
    await other.stop()
  })

  const rooms = Array.from({ length: 20 }, (_, index) => `room-with-a-long-name-${String(index).padStart(20, '0')}`)
  const watcher = await openTab(other, 'watcher', { observer: true })
  const changes = watcher.follow()
  await settled(watcher)
  const tab = await openTab(one, 'alice', { rooms })
  await until(() => changes.some(({ kind, user }) => kind === 'JOIN' && user.id === 'alice'), { what: 'the JOIN' })
  // In many rooms, and hidden for a while: what changes in that time is put off.
  await tab.ask('mutation { leaveRoom(room: "room-with-a-long-name-00000000000000000000") { __typename } }')
  await tab.ask('mutation { setVisibility(visibility: NOBODY) { __typename } }')
  await tab.ask('mutation { joinRoom(room: "put-off") { __typename } }')
  await tab.ask('mutation { setVisibility(visibility: EVERYONE) { __typename } }')
  await tab.ask('mutation { setStatus(status: BUSY, message: "at work") { __typename } }')
  await tab.ask('mutation { setStatus(status: AUTOMATIC) { __typename } }')
  for (let count = 0; count < 5; count += 1) await tab.ask('mutation { heartbeat { expiresAt } }')
  await until(() => changes.some(({ user }) => user.id === 'alice' && user.status === 'AWAY'), { what: 'AWAY' })
  expect(await onlineIds(other, 'dev:reader', 'put-off')).toEqual(['alice'])

  // Beats over HTTP, more sessions than a user may have, and a comeback with a position that is replayed.
  for (let count = 0; count < 4; count += 1) {
    const session = { 'rollcall-session': randomUUID() }
    const { errors } = await post(one, 'dev:bob', 'mutation { heartbeat { expiresAt } }', {}, session)
    expect(errors).toBeUndefined()
  }
  await post(other, 'dev:bob', 'mutation { goOffline(everywhere: true) { __typename } }')
  await until(() => changes.some(({ kind, user }) => kind === 'LEAVE' && user.id === 'bob'), { what: 'the LEAVE' })
  const position = String((await tab.ask('{ position }')).data?.position)
  await tab.ask('mutation { joinRoom(room: "after") { __typename } }')
  expect(watcher.follow(`(after: "${position}")`)).toBeInstanceOf(Array)

  // A dismissal on one node closes the socket on the other, and budgets are shared every second.
  const service = await sign({ sub: 'service', presence: { role: 'service', rooms: ['**'] } })
  const carol = await openTab(other, 'carol')
  const { errors } = await post(one, service, 'mutation { disconnectUser(userId: "carol") { __typename } }')
  expect(errors).toBeUndefined()
  await until(() => carol.wire().readyState === carol.wire().CLOSED, { what: 'the end of the socket' })
  await post(one, 'dev:spender', '{ onlineUsers(first: 1000) { nodes { id name } } }')
  const keys = () => command(redis, 'EVAL', "redis.call('SELECT', 3) return #redis.call('KEYS', '*:budget:*')", 0)
  await until(async () => Number(await keys()) > 0, { what: 'a budget in Redis' })

  // A node that dies is reaped by the other, and one that stops hands over.
  const doomed = await openTab(one, 'doomed')
  expect(await onlineIds(other, 'dev:reader')).toContain('doomed')
  doomed.reset()
  await one.stop()
  isOneStopped = true
  await until(async () => !(await onlineIds(other, 'dev:reader')).includes('doomed'), {
    everyMs: 200,
    what: 'the end of the others',
  })
  const metrics = await (await fetch(`${other.url}/metrics`)).text()
  expect(metrics).toContain('rollcall_store_up 1')

  expect(await command(redis, 'ACL', 'LOG')).toEqual([])
  expect(lines.filter((line) => /lacks a right|"level":50/.test(line))).toEqual([])
  // All of the list was allowed; of what was called, none is missing from it.
  const stats = String(await command(redis, 'INFO', 'commandstats'))
  const called = [...stats.matchAll(/^cmdstat_(\S+?):/gm)].map(([, name]) => String(name))
  const ofThisTest = ['acl|log', 'auth', 'config|resetstat', 'eval', 'keys', 'hello', 'client|setinfo']
  const allowed = documentedRights(app)
    .filter((word) => word.startsWith('+'))
    .map((word) => word.slice(1))
  expect(called.filter((name) => !allowed.includes(name) && !ofThisTest.includes(name))).toEqual([])
})

it('a missing right is named on /readyz, and by the process that starts', async () => {
  const { redis, app, data } = await redisWithRights()
  const { log, lines } = createReadLog()
  const url = `redis://rollcall:PASSWORD@${redis.host}:${redis.port}`
  const server = await startServer({ ...data.settings, REDIS_APP: app, REDIS_URL: url }, log)
  cleanups.push(server.stop)
  const readyz = async (): Promise<string> => (await fetch(`${server.url}/readyz`)).text()
  expect(await readyz()).toBe('ready\n')
  await command(redis, 'ACL', 'SETUSER', 'rollcall', '-zadd')
  await until(async () => (await readyz()).includes('the command `zadd`'), { what: 'the words' })
  expect(lines.some((line) => line.includes('the command `zadd`'))).toBe(true)
  await command(redis, 'ACL', 'SETUSER', 'rollcall', '+zadd')
  await until(async () => (await readyz()) === 'ready\n', { what: 'a node that is ready' })
})
