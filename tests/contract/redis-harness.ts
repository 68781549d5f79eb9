/**
 * The Redis store on a real Redis, under a manual clock: of all scripts only the one line that asks for the time is
 * another. What Redis itself does with time (keys that expire) keeps to its own.
 */
import { readFileSync } from 'node:fs'
import { Redis } from 'ioredis'
import { inject } from 'vitest'
import type { PresenceStore } from '../../src/presence/store.ts'
import { connectTo } from '../../src/stores/redis/connect.ts'
import { createRedisStore } from '../../src/stores/redis/index.ts'
import { loadScripts } from '../../src/stores/redis/scripts.ts'
import { until } from '../support/wait.ts'
import { passBySweeps } from './manual-time.ts'
import type { Harness, Meanwhile, OpenRequest } from './presence-store/harness.ts'

const START_MS = Date.UTC(2026, 0, 1)

/** Fakes only where the moment comes from, so that all that follows from it is the scripts' own. */
const MANUAL_TIME = `
local function store_time_ms() return tonumber(redis.call('GET', KEYS[1] .. ':manual-clock')) end`

/** What messages on another connection may take. */
const MESSAGE_MS = 2

export interface NodeOptions {
  readonly recordsKept?: number
  readonly recordBytes?: number
  /** How many bytes of room names a log entry lists. */
  readonly listedRoomBytes?: number
  /** What a command may take, in real time. */
  readonly timeLimitMs?: number
  /** Where a connection leads, where it is not to the server itself. */
  readonly through?: Partial<Readonly<Record<'work' | 'lease' | 'bell', string>>>
  /** Heartbeats are gathered for so long. */
  readonly beatFlushMs?: number
  /** Activity that changes no status waits for so long. */
  readonly activityLagMs?: number
  /** Of the database that the node says it has. */
  readonly databaseId?: string
  /** All that the bell should say by its steps is lost on the way. */
  readonly isMute?: boolean
  /** Told what the store tells an operator. */
  readonly onInfo?: (fields: object, message: string) => void
  readonly onWarn?: (fields: object, message: string) => void
}

/** Stores that share one state and one clock: what several processes are in production. */
export interface RedisNodes {
  /** For what no node does. */
  readonly redis: Redis
  /** With which all keys begin. */
  readonly root: string
  nowMs(): number
  /** Time passes, for Redis and for the nodes. */
  moveOn(ms: number): Promise<void>
  /** The clock of Redis is set forward, or back: no time passes. */
  step(ms: number): Promise<void>
  /** Lets time pass with sweeps and reaps by one of the nodes. */
  pass(by: PresenceStore, ms: number, meanwhile?: Meanwhile): Promise<void>
  /** Another node, which has not joined yet. */
  open(options?: NodeOptions): PresenceStore
  /** Another node that has joined: where it is the first, all of the state begins, and it has nothing to adopt. */
  join(options?: NodeOptions): Promise<PresenceStore>
  /** All that lies there is gone. */
  lose(): Promise<void>
  close(): Promise<void>
}

/** @param url - of a server that leaves the keys of others alone */
export async function openRedisNodes({ namespace, timing }: OpenRequest, url: string): Promise<RedisNodes> {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 20 })
  redis.on('error', () => {})
  const root = `{rollcall:${namespace}}`
  const clockKey = `${root}:manual-clock`
  const stores: PresenceStore[] = []
  let nowMs = START_MS
  /** What the nodes' own clocks count: no step moves it. */
  let passedMs = 0
  let isClosed = false
  await redis.set(clockKey, nowMs)

  async function moveOn(ms: number): Promise<void> {
    passedMs += ms
    await step(ms)
  }

  async function step(ms: number): Promise<void> {
    nowMs += ms
    await redis.set(clockKey, nowMs)
  }

  async function pass(by: PresenceStore, ms: number, meanwhile?: Meanwhile): Promise<void> {
    await passBySweeps(by, timing, ms, moveOn, meanwhile)
    await new Promise((resolve) => setTimeout(resolve, MESSAGE_MS))
  }

  function open(options: NodeOptions = {}): PresenceStore {
    const {
      recordsKept,
      recordBytes,
      listedRoomBytes,
      timeLimitMs = 5000,
      through = {},
      beatFlushMs = 0,
      activityLagMs = 0,
      databaseId = 'the database of all nodes',
      isMute = false,
      onInfo = () => {},
      onWarn = () => {},
    } = options
    const shared = { time: MANUAL_TIME, ...(isMute ? { commit: withoutBell() } : {}) }
    const store = createRedisStore({
      timing,
      scripts: loadScripts({
        timing,
        shared,
        ...(recordsKept === undefined ? {} : { recordsKept }),
        ...(recordBytes === undefined ? {} : { recordBytes }),
        ...(listedRoomBytes === undefined ? {} : { listedRoomBytes }),
      }),
      app: namespace,
      databaseId,
      beatFlushMs,
      activityLagMs,
      connect: (purpose) => {
        return connectTo({
          url: through[purpose] ?? url,
          app: namespace,
          timeLimitMs,
          retryWithinMs: timing.nodeRenewMs,
        })
      },
      log: { info: onInfo, warn: onWarn, error() {} },
      monotonicMs: () => passedMs,
    })
    stores.push(store)
    return store
  }

  /** A new live state waits for nodes that might announce. */
  async function join(options: NodeOptions = {}): Promise<PresenceStore> {
    const store = open(options)
    await untilJoined(store)
    await store.announced()
    if (stores.length === 1) {
      await store.adopted()
      await passBySweeps(store, timing, 2 * timing.nodeRenewMs, moveOn)
    }
    // As nodes do: the word that announcements are over may come before anybody listens.
    await until(
      async () => {
        if (store.trouble() === null) return true
        await store.renewNode({
          nodeId: 'node-of-the-harness',
          seenLossCount: 0,
          seenDismissalCount: null,
          isReturning: false,
        })
        return false
      },
      { everyMs: 1, what: 'the end of announcements' },
    )
    await store.endNode('node-of-the-harness', 1)
    return store
  }

  async function keys(): Promise<readonly string[]> {
    return (await redis.keys(`${root}:*`)).filter((key) => key !== clockKey)
  }

  return {
    redis,
    root,
    nowMs: () => nowMs,
    moveOn,
    step,
    pass,
    open,
    join,

    async lose() {
      await redis.del(...(await keys()))
    },

    async close() {
      if (isClosed) return
      isClosed = true
      await Promise.all(stores.map((store) => store.close()))
      await redis.del(clockKey, ...(await keys()))
      redis.disconnect()
    },
  }
}

/** Until all of its connections have joined the life of the state that lies there, whether that can be read or not. */
export async function untilJoined(store: PresenceStore): Promise<void> {
  const hasJoined = (): boolean => store.trouble()?.includes('announce') ?? true
  await until(hasJoined, { everyMs: 1, what: 'the first answer of Redis' })
}

/** The scripts' text with a bell that rings unheard. */
function withoutBell(): string {
  const text = readFileSync(new URL('../../src/stores/redis/lua/shared/commit.lua', import.meta.url), 'utf8')
  const mute = text.replace("redis.call('PUBLISH', BELL, cjson.encode(message))", '')
  if (mute === text) throw new Error('Expected the bell to be rung in commit.lua.')
  return mute
}

export async function openRedis(request: OpenRequest, options: NodeOptions = {}): Promise<Harness> {
  const nodes = await openRedisNodes(request, inject('redisUrl'))
  const store = await nodes.join(options)
  return {
    store,
    pass: (ms, meanwhile) => nodes.pass(store, ms, meanwhile),
    step: nodes.step,
    close: nodes.close,
  }
}
