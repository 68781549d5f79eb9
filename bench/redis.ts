/**
 * What one Redis takes and keeps: `npx tsx bench/redis.ts [--sessions 1000000]`.
 *
 * Steps through the scripts from two nodes at once, the memory of a session, a node's start with so many of them,
 * reads beside those of an app with a thousand users on the same server, and the way of a change from one process to
 * a subscriber of another. Absolute times are this machine's.
 */
import { randomUUID } from 'node:crypto'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { parseConfig, timingOf } from '../src/config.ts'
import type { PresenceStore } from '../src/presence/store.ts'
import { connectTo } from '../src/stores/redis/connect.ts'
import { createRedisStore } from '../src/stores/redis/index.ts'
import { loadScripts } from '../src/stores/redis/scripts.ts'
import { openTab, settled } from '../tests/support/clients.ts'
import { startPostgres } from '../tests/support/postgres.ts'
import { startProcess } from '../tests/support/process.ts'
import { startRedis } from '../tests/support/redis.ts'
import { command } from '../tests/support/redis-process.ts'
import { installServers } from '../tests/support/redis-program.ts'
import { sayComparison } from './population/compare.ts'
import { type Crowd, ROOM, seed } from './population/crowd.ts'
import { measureReads } from './population/reads.ts'

const { values } = parseArgs({
  options: { sessions: { type: 'string', default: '1000000' }, seconds: { type: 'string', default: '5' } },
})
const SESSIONS = Number(values.sessions)
const MEASURE_MS = Number(values.seconds) * 1000
/** Calls that each node has on the way at once. Heartbeats wait for their batch. */
const IN_FLIGHT = 64
const BEATS_IN_FLIGHT = 2000
const SMALL = 1000
/** In turn from the small app and from the large one. */
const READS = { rounds: 7, callsARound: 500 }
const CHANGES = 500

installServers()
const redis = await startRedis()
// Longer than the filling takes, so that nothing is due meanwhile.
const timing = timingOf(
  parseConfig({
    NODE_RENEW: '1s',
    AWAY_AFTER: '10h',
    IDLE_TIMEOUT: '20h',
    SESSION_TTL: '10h',
    LAST_ACTIVE_FLUSH: '10h',
  }),
)
/** Two apps on one server: their keys differ, and all else is the same. */
const apps = { large: randomUUID(), small: randomUUID() }
try {
  say(
    `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, Redis ${/redis_version:(\S+)/.exec(String(await command(redis, 'INFO', 'server')))?.[1]}`,
  )
  const [one, other] = await Promise.all([openNode(apps.large, 'node-1'), openNode(apps.large, 'node-2')])
  await measureSteps([one, other])
  await measureMany([one, other])
  await one.close()
  await other.close()
} finally {
  await redis.stop()
}
await measureArrival()

interface OpenNode {
  readonly store: PresenceStore
  readonly app: string
  readonly nodeId: string
  close(): Promise<void>
}

async function openNode(app: string, nodeId: string): Promise<OpenNode> {
  const store = createRedisStore({
    timing,
    scripts: loadScripts({ timing }),
    app,
    databaseId: 'bench',
    beatFlushMs: 20,
    activityLagMs: 0,
    connect: () => connectTo({ url: redis.url, app, timeLimitMs: 5000, retryWithinMs: 1000 }),
    log: { info() {}, warn() {}, error() {} },
  })
  let isOver = false
  const living = (async () => {
    let hasJoined = false
    while (!isOver) {
      try {
        await store.renewNode({ nodeId, seenLossCount: 0, seenDismissalCount: null, isReturning: false })
        if (!hasJoined) await Promise.all([store.announced(), store.adopted()])
        hasJoined = true
        await store.sweep(100)
      } catch {
        // Not there yet.
      }
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  while (store.trouble() !== null) await new Promise((resolve) => setTimeout(resolve, 1))
  return {
    store,
    app,
    nodeId,
    async close() {
      isOver = true
      await living
      await store.close()
    },
  }
}

/** Keeps `IN_FLIGHT` calls of each node on the way. @returns calls a second */
async function pressed(
  nodes: readonly OpenNode[],
  call: (node: OpenNode, number: number) => Promise<unknown>,
  { count, inFlight = IN_FLIGHT }: { readonly count?: number; readonly inFlight?: number } = {},
): Promise<number> {
  let number = 0
  const startedAtMs = performance.now()
  const isOver = (): boolean => (count === undefined ? performance.now() > startedAtMs + MEASURE_MS : number >= count)
  const lanes = nodes.flatMap((node) =>
    Array.from({ length: inFlight }, async () => {
      while (!isOver()) {
        number += 1
        await call(node, number)
      }
    }),
  )
  await Promise.all(lanes)
  return number / ((performance.now() - startedAtMs) / 1000)
}

async function measureSteps(nodes: readonly OpenNode[]): Promise<void> {
  const users = Array.from({ length: 1000 }, (_, index) => ({ userId: `step-${index}`, sessionId: randomUUID() }))
  for (const [index, user] of users.entries()) await attach(nodes[index % 2] as OpenNode, user)
  const of = (number: number) => users[number % users.length] as (typeof users)[number]
  const flips = await pressed(nodes, ({ store }, number) => {
    const request = { ...of(number), fence: null, room: 'hall' }
    return Math.floor(number / users.length) % 2 === 0 ? store.join(request) : store.leave(request)
  })
  const beats = await pressed(
    nodes,
    ({ store }, number) => store.beat({ ...of(number), fence: null, isActive: true, profile: null }),
    { inFlight: BEATS_IN_FLIGHT },
  )
  say(`steps that are changes (a room entered or left), logged and told: ${flips.toFixed(0)}/s`)
  say(`heartbeats in batches: ${beats.toFixed(0)}/s`)
}

function attach(
  { store, nodeId }: OpenNode,
  { userId, sessionId, rooms = [] }: { userId: string; sessionId: string; rooms?: string[] },
) {
  return store.attach({
    userId,
    sessionId,
    fence: `${nodeId}-00000000-0000-4000-8000-000000000000:${userId}`,
    nodeId,
    isActive: true,
    device: 'browser',
    rooms,
    profile: { name: `Name of ${userId}`, avatarUrl: null, issuedAtMs: 1 },
    seed: seed(),
    comeback: null,
  })
}

async function measureMany(nodes: readonly OpenNode[]): Promise<void> {
  await settle(nodes[0] as OpenNode)
  const before = await usedMemory()
  const large = await fill(nodes, SESSIONS)
  await settle(nodes[0] as OpenNode)
  const bytes = ((await usedMemory()) - before) / SESSIONS
  say(
    `${SESSIONS} sessions of as many users, all in one room: started at ${large.rate.toFixed(0)}/s, ` +
      `${bytes.toFixed(0)} bytes of Redis each`,
  )
  const lonely = await openNode(apps.small, 'node-1')
  const small = await fill([lonely], SMALL)
  for (const room of [null, ROOM]) {
    const where = room === null ? 'everyone' : 'a room'
    const { firstPage, nextPage, pageAnywhere, count } = await measureReads({ small, large }, room, READS)
    say(`${where}, ${SMALL} → ${SESSIONS} users:`)
    say(`  first page of 50: ${sayComparison(firstPage)}`)
    say(`  next page of 50:  ${sayComparison(nextPage)}`)
    say(`  page anywhere:    ${sayComparison(pageAnywhere)}`)
    say(`  count:            ${sayComparison(count)}`)
  }
  await lonely.close()
  const startedAtMs = performance.now()
  const third = await openNode(apps.large, 'node-3')
  say(`a node joins ${SESSIONS} sessions within ${(performance.now() - startedAtMs).toFixed(0)} ms`)
  await third.close()
}

async function fill(nodes: readonly OpenNode[], count: number): Promise<Crowd & { readonly rate: number }> {
  const userIds: string[] = []
  const rate = await pressed(
    nodes,
    (node) => {
      const userId = randomUUID()
      userIds.push(userId)
      return attach(node, { userId, sessionId: randomUUID(), rooms: [ROOM] })
    },
    { count },
  )
  return { store: (nodes[0] as OpenNode).store, userIds, rate }
}

/** As a recorder does, so that what is measured is what stays; the log ages by itself. */
async function settle({ store, app }: OpenNode): Promise<void> {
  const { epoch, lastSeq } = await store.records.read(0, 1)
  await store.records.ack(epoch, lastSeq)
  await command(redis, 'XTRIM', `{rollcall:${app}}:log`, 'MAXLEN', 0)
}

async function usedMemory(): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(String(await command(redis, 'INFO', 'memory')))?.[1])
}

function spread(times: readonly number[]) {
  const sorted = [...times].sort((one, other) => one - other)
  const at = (share: number) => (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0).toFixed(2)
  return { p50: at(0.5), p99: at(0.99), most: at(1) }
}

/** Two processes, otherwise idle: from before a change is asked of one until a subscriber of the other has it. */
async function measureArrival(): Promise<void> {
  const [postgres, ownRedis] = await Promise.all([startPostgres(), startRedis()])
  const settings = { DATABASE_URL: postgres.url, REDIS_URL: ownRedis.url, NODE_RENEW: '1s' }
  const servers = await Promise.all([startProcess(settings), startProcess(settings)])
  try {
    const [near, far] = servers as [(typeof servers)[number], (typeof servers)[number]]
    const actor = await openTab(near, 'actor')
    const watcher = await openTab(far, 'watcher', { observer: true })
    const changes = watcher.follow('(room: "hall")')
    await settled(watcher)
    const times: number[] = []
    for (let index = 0; index < CHANGES; index += 1) {
      const startedAtMs = performance.now()
      const field = index % 2 === 0 ? 'joinRoom' : 'leaveRoom'
      await actor.ask(`mutation { ${field}(room: "hall") { session { id } } }`)
      while (changes.length <= index) await new Promise((resolve) => setImmediate(resolve))
      times.push((changes[index]?.receivedAtMs ?? 0) - startedAtMs)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    const { p50, p99, most } = spread(times)
    say(`from a change on one process to a subscriber of another: p50 ${p50} ms, p99 ${p99} ms, most ${most} ms`)
    await actor.close()
    await watcher.close()
  } finally {
    await Promise.all(servers.map((server) => server.end('SIGTERM')))
    await ownRedis.stop()
    await postgres.stop()
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}
