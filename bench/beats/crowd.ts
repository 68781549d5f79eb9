/**
 * One node of a build with a crowd of users on its sockets: what it sends to Redis, at the default settings.
 *
 * 300,000 sockets do not fit into one process, so the crowd is the load on the store itself: this process opens the
 * build's own Redis store and asks of it what a server asks: an attach for each user, then their heartbeats, one by
 * one, each user's every HEARTBEAT_INTERVAL; the jobs of a node (sweep, reap, renew); and what the recorder asks.
 * A process of its own for each build; `main.ts` speaks to it by IPC.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type * as ConfigModule from '../../src/config.ts'
import type { Beat, PresenceStore } from '../../src/presence/store.ts'
import type * as ConnectModule from '../../src/stores/redis/connect.ts'
import type * as StoreModule from '../../src/stores/redis/index.ts'
import type * as ScriptsModule from '../../src/stores/redis/scripts.ts'
import { attachRequest } from '../population/crowd.ts'

const ATTACHES_AT_ONCE = 64
const TICK_MS = 10
/** The recorder gathers for so long between two batches. */
const RECORDS_EVERY_MS = 40
const RECORDS_AT_ONCE = 1000
/** At the defaults, activity waits for four heartbeats. */
const ROUNDS_OF_BEGINNING = 4
const NODE_ID = 'node-1'

const [dist = '', redisUrl = '', userCount = '0'] = process.argv.slice(2)

async function load<Module>(path: string): Promise<Module> {
  return (await import(pathToFileURL(`${dist}/${path}.js`).href)) as Module
}

const { parseConfig, timingOf } = await load<typeof ConfigModule>('config')
const { connectTo } = await load<typeof ConnectModule>('stores/redis/connect')
const { createRedisStore } = await load<typeof StoreModule>('stores/redis/index')
const { loadScripts } = await load<typeof ScriptsModule>('stores/redis/scripts')
const config = parseConfig({})
const timing = timingOf(config)

const store: PresenceStore = createRedisStore({
  timing,
  scripts: loadScripts({ timing }),
  app: 'bench',
  databaseId: 'bench',
  beatFlushMs: config.BEAT_FLUSH,
  activityLagMs: config.ACTIVITY_LAG,
  connect: () => connectTo({ url: redisUrl, app: 'bench', timeLimitMs: 10_000, retryWithinMs: 1000 }),
  log: { info() {}, warn() {}, error() {} },
})

const counts = { beats: 0, faults: 0, records: 0 }
let firstFault: string | null = null
let seenLossCount = 0

function fault(what: string): void {
  counts.faults += 1
  firstFault ??= what
}

async function renew(): Promise<void> {
  const answer = await store.renewNode({ nodeId: NODE_ID, seenLossCount, seenDismissalCount: null, isReturning: false })
  seenLossCount = answer.lossCount
}

/** As a job of a server: the next run begins when the last one is over, and one that fails is tried again. */
async function every(ms: number, run: () => Promise<unknown>): Promise<never> {
  for (;;) {
    const startedAtMs = performance.now()
    await run().catch((error) => fault(String(error)))
    await sleep(Math.max(0, ms - (performance.now() - startedAtMs)))
  }
}

async function sweep(): Promise<void> {
  while ((await store.sweep(500)).hasMore);
}

async function record(): Promise<void> {
  const { epoch, records, lastSeq } = await store.records.read(recordedSeq, RECORDS_AT_ONCE)
  const seq = records.at(-1)?.seq ?? lastSeq
  if (seq === recordedSeq) return
  counts.records += records.length
  recordedSeq = seq
  await store.records.ack(epoch, seq)
}
let recordedSeq = 0

async function open(): Promise<void> {
  let hasJoined = false
  while (store.trouble() !== null) {
    try {
      await renew()
      if (!hasJoined) await Promise.all([store.announced(), store.adopted()])
      hasJoined = true
      await store.sweep(1)
    } catch {
      // Not there yet.
    }
    await sleep(20)
  }
  void every(config.NODE_RENEW, renew)
  void every(config.SWEEP_INTERVAL, sweep)
  void every(config.SWEEP_INTERVAL, () => store.reapNodes(500))
  void every(RECORDS_EVERY_MS, record)
}

const crowd: Beat[] = []

async function fill(): Promise<void> {
  const lanes = Array.from({ length: ATTACHES_AT_ONCE }, async () => {
    while (crowd.length < Number(userCount)) {
      const request = attachRequest(randomUUID(), {
        nodeId: NODE_ID,
        fence: `${NODE_ID}-${randomUUID()}:${crowd.length}`,
      })
      const { userId, sessionId, fence, profile } = request
      crowd.push({ userId, sessionId, fence, isActive: true, profile })
      const answer = await store.attach(request)
      if (answer.kind !== 'attached') fault(`An attach was answered with ${answer.kind}.`)
    }
  })
  await Promise.all(lanes)
}

/**
 * Every user once in HEARTBEAT_INTERVAL, and all of them evenly. They begin in different rounds, as people come at any
 * time: what a build keeps for some rounds is then sent as evenly.
 */
async function beat(): Promise<never> {
  const perMs = crowd.length / config.HEARTBEAT_INTERVAL
  const startedAtMs = performance.now()
  for (let turn = 0; ; ) {
    const due = Math.floor((performance.now() - startedAtMs) * perMs)
    for (; turn < due; turn += 1) {
      const place = turn % crowd.length
      if (turn / crowd.length >= place % ROUNDS_OF_BEGINNING) beatOne(crowd[place] as Beat)
    }
    await sleep(TICK_MS)
  }
}

/** What a socket hands to the store: an object of its own for each heartbeat. */
function beatOne({ userId, sessionId, fence, profile }: Beat): void {
  counts.beats += 1
  store.beat({ userId, sessionId, fence, isActive: true, profile, mayWait: true }).then(
    ({ kind }) => {
      if (kind !== 'counted' && kind !== 'kept') fault(`A heartbeat was answered with ${kind}.`)
    },
    (error) => fault(String(error)),
  )
}

process.on('message', async (asked) => {
  if (asked === 'fill') {
    await open()
    await fill()
    void beat()
  }
  const onlineCount = await store.stats().then(
    (stats) => stats.onlineCount,
    (error) => {
      fault(String(error))
      return 0
    },
  )
  process.send?.({ ...counts, firstFault, onlineCount })
})
process.on('disconnect', () => process.exit())
