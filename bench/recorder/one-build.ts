/** One build of the recorder, measured in a process of its own: see main.ts. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import type * as client from '../../src/db/client.ts'
import type * as migrations from '../../src/db/migrate.ts'
import type * as recorders from '../../src/db/recorder.ts'
import type * as timings from '../../src/presence/timing.ts'
import type * as memory from '../../src/stores/memory/index.ts'
import { quantileOf } from '../measure/spread.ts'

export interface Task {
  readonly dist: string
  readonly url: string
  readonly recordCount: number
  readonly changesPerSecond: number
  readonly seconds: number
}

export interface Measured {
  readonly recordsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of this process, for each record of the backlog. */
  readonly cpuMicrosPerRecord: number
}

const HOUR_MS = 3_600_000
const STEP_MS = 10
const TIME_LIMIT_MS = 120_000
const TIMING = {
  heartbeatIntervalMs: HOUR_MS,
  sessionTtlMs: HOUR_MS,
  closeGraceMs: 0,
  reconnectGraceMs: 0,
  pingIntervalMs: HOUR_MS,
  pongTimeoutMs: HOUR_MS,
  awayAfterMs: HOUR_MS,
  idleTimeoutMs: HOUR_MS,
  sweepIntervalMs: HOUR_MS,
  nodeTtlMs: HOUR_MS,
  nodeRenewMs: 1000,
  lastActiveFlushMs: HOUR_MS,
  logCount: 1000,
  logAgeMs: HOUR_MS,
  logBytes: 64 * 1024 * 1024,
  sessionsPerUser: 50,
}
const SETTINGS = {
  version: 0,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
} as const

const task = JSON.parse(process.argv[2] ?? '') as Task
const of = async <Module>(path: string): Promise<Module> =>
  (await import(pathToFileURL(join(task.dist, path)).href)) as Module
const { openDatabase } = await of<typeof client>('db/client.js')
const { migrate } = await of<typeof migrations>('db/migrate.js')
const { createRecorder } = await of<typeof recorders>('db/recorder.js')
const { createMemoryStore } = await of<typeof memory>('stores/memory/index.js')
const { processClock } = await of<typeof timings>('presence/timing.js')

const say = (fields: object, message: string): void =>
  void process.stderr.write(`${message} ${JSON.stringify(fields)}\n`)
const log = { debug() {}, info() {}, warn: say, error: say }
const database = await openDatabase(
  { DATABASE_URL: task.url, DATABASE_PREPARE: true, DATABASE_TIME_LIMIT: 10_000, DATA_DIR: '' },
  log,
)
await migrate(database)
const store = createMemoryStore({ timing: TIMING, clock: processClock() })
let written = 0
let whenWritten: (seq: number) => void = () => {}
const recorder = createRecorder({
  database,
  records: {
    ...store.records,
    async ack(epoch, seq) {
      written = seq
      whenWritten(seq)
      await store.records.ack(epoch, seq)
    },
  },
  timing: TIMING,
  log,
})
await recorder.start()

/** In so many changes a user leaves after they came: never in the batch in which they came. */
const STAY_CHANGES = 4001

/** Every second change is one of a user who comes, the others are of users who leave. */
async function change(index: number): Promise<void> {
  const leaving = index % 2 === 0 ? -1 : index - STAY_CHANGES
  const userId = `user-${leaving >= 0 ? leaving : index}`
  if (leaving >= 0) await store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
  else {
    await store.attach({
      userId,
      sessionId: 'default',
      fence: null,
      nodeId: null,
      isActive: true,
      device: 'laptop',
      rooms: ['lobby', 'kitchen'],
      profile: { name: 'A name', avatarUrl: 'https://example.com/a.png', issuedAtMs: Date.now() },
      seed: {
        settings: SETTINGS,
        profile: null,
        lastActiveAtMs: null,
        shownLastActiveAtMs: null,
        shownLastSeenAtMs: null,
        isActivityOver: false,
      },
      comeback: null,
    })
  }
}

async function untilWritten(seq: number): Promise<void> {
  const untilMs = performance.now() + TIME_LIMIT_MS
  while (written < seq) {
    if (performance.now() > untilMs) throw new Error(`Only ${written} of ${seq} records were written in time.`)
    await sleep(5)
  }
}

/** A backlog: all of it waits before the recorder begins. */
async function backlog(): Promise<{ recordsPerSecond: number; cpuMicrosPerRecord: number }> {
  for (let index = 0; index < task.recordCount; index += 1) await change(index)
  const cpu = process.cpuUsage()
  const startedAtMs = performance.now()
  recorder.follow()
  await untilWritten(task.recordCount)
  const { user, system } = process.cpuUsage(cpu)
  return {
    recordsPerSecond: (1000 * task.recordCount) / (performance.now() - startedAtMs),
    cpuMicrosPerRecord: (user + system) / task.recordCount,
  }
}

/** A record is acknowledged when its column can be read. */
async function lags(): Promise<number[]> {
  const atMs: number[] = []
  const lags: number[] = []
  const first = task.recordCount
  whenWritten = (seq) => {
    const nowMs = performance.now()
    for (let index = lags.length; index < seq - first; index += 1) lags.push(nowMs - (atMs[index] as number))
  }
  const startedAtMs = performance.now()
  const count = task.changesPerSecond * task.seconds
  while (atMs.length < count) {
    const expected = Math.min(count, ((performance.now() - startedAtMs) / 1000) * task.changesPerSecond)
    while (atMs.length < expected) {
      atMs.push(performance.now())
      await change(first + atMs.length - 1)
    }
    await sleep(STEP_MS)
  }
  await untilWritten(first + count)
  return lags
}

const { recordsPerSecond, cpuMicrosPerRecord } = await backlog()
const measured = await lags()
await recorder.stop()
await store.close()
await database.close()
const result: Measured = {
  recordsPerSecond,
  cpuMicrosPerRecord,
  p50Ms: quantileOf(measured, 0.5),
  p99Ms: quantileOf(measured, 0.99),
}
process.send?.(result, () => process.disconnect())
