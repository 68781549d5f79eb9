/**
 * A deploy and the loss of the live state under clients of each kind at once: all of them are right again, with nobody
 * loading anything again.
 *
 * `DEPLOY_CLIENTS=100 DEPLOY_KINDS='urql|relay-runtime' npx vitest run --project tests tests/e2e/clients/deploy.test.ts` is
 * the long form, for some kinds at a time: one process has to be all of the clients.
 */
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { freePort } from '../../support/free-port.ts'
import { launchProcess, type StartingProcess } from '../../support/process.ts'
import { type RedisServer, startRedis } from '../../support/redis.ts'
import { command } from '../../support/redis-process.ts'
import { postgresData } from '../../support/server.ts'
import { SECRET } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'
import { type Herd, type Listener, openHerd } from './herd.ts'

const OF_A_KIND = Number(process.env.DEPLOY_CLIENTS ?? '2')
/** graphql-sse doubles its wait at each attempt, up to 30 s. */
const REPAIR_MS = 60_000

let herd: Herd
let listeners: Listener[] = []
let server: StartingProcess
let redis: RedisServer
const closers: (() => unknown)[] = []
beforeAll(async () => {
  herd = await openHerd()
}, 300_000)
afterAll(() => herd.close())
afterEach(async () => {
  for (const { close } of listeners) close()
  closeTabs()
  for (const close of closers.splice(0).reverse()) await close()
})

async function listed(): Promise<readonly string[]> {
  const { data } = await post(server, 'dev:watcher', '{ onlineUsers(first: 1000) { nodes { id } } }')
  return data?.onlineUsers.nodes.map(({ id }: { id: string }) => id).sort()
}

async function untilAllAreRight(): Promise<void> {
  let users = ''
  const wrong = () => listeners.filter((one) => String(one.shown()) !== users)
  async function areRight(): Promise<boolean> {
    users = String(await listed().catch(() => null))
    return wrong().length === 0
  }
  await until(areRight, { withinMs: REPAIR_MS, everyMs: 200 }).catch(() => {
    const shown = wrong().map(({ name, shown, story }) => `${name}: ${shown()}\n  ${story.slice(-20).join('\n  ')}`)
    throw new Error(`Wrong after ${REPAIR_MS} ms, in place of ${users}:\n${shown.join('\n')}`)
  })
}

it(`${OF_A_KIND} clients of each kind are right again`, { timeout: 300_000 }, async () => {
  const data = await postgresData()
  closers.push(data.drop)
  redis = await startRedis()
  closers.push(() => redis.stop())
  const port = await freePort('127.0.0.1')
  const settings = {
    ...data.settings,
    REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    // For the gateway.
    FEDERATION: 'true',
    JWT_SECRET: SECRET,
    DRAIN_TIME: '500ms',
    RECONNECT_GRACE: '30s',
    // Hundreds of clients in one process are slow to answer.
    PING_INTERVAL: '10s',
    PONG_TIMEOUT: '10s',
    SOCKETS_PER_ADDRESS: '10000',
    HANDSHAKES_PER_ADDRESS: '10000',
  }
  async function start(): Promise<void> {
    server = launchProcess(settings, port)
    const { end } = server
    closers.push(() => end('SIGKILL'))
    await server.ready
  }
  await start()
  const kinds = process.env.DEPLOY_KINDS?.split('|') ?? herd.kinds
  listeners = kinds.flatMap((kind) =>
    Array.from({ length: OF_A_KIND }, (_, index) => herd.open(kind, server, `${kinds.indexOf(kind)}-${index}`)),
  )
  await openTab(server, 'before')
  await untilAllAreRight()

  const tellAll: string[] = []
  const ways: Record<string, () => Promise<unknown>> = {
    'a deploy': () => server.end('SIGTERM').then(start),
    'kill -9': () => server.end('SIGKILL').then(start),
    'the loss of the live state': () => command(redis, 'FLUSHALL'),
  }
  for (const [way, happens] of Object.entries(ways)) {
    const startedAtMs = performance.now()
    await happens()
    // What comes afterwards has to reach them as well.
    await until(() => openTab(server, `after ${way}`).catch(() => null), { what: 'another user' })
    await untilAllAreRight()
    expect([way, listeners.flatMap(({ failures }) => failures)]).toEqual([way, []])
    expect(await listed()).toContain(`after ${way}`)
    tellAll.push(`${listeners.length} clients are right ${Math.round(performance.now() - startedAtMs)} ms after ${way}`)
  }
  process.stdout.write(`${tellAll.join('\n')}\n`)
})
