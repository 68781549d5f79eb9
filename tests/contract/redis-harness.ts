/**
 * The Redis store on a real Redis, under a manual clock: of all scripts only the one line that asks for the time is
 * another. What Redis itself does with time (keys that expire) keeps to its own.
 */
import { Redis } from 'ioredis'
import { inject } from 'vitest'
import { connectTo } from '../../src/stores/redis/connect.ts'
import { createRedisStore } from '../../src/stores/redis/index.ts'
import { loadScripts } from '../../src/stores/redis/scripts.ts'
import { passBySweeps } from './manual-time.ts'
import type { Harness, OpenRequest } from './presence-store/harness.ts'

const START_MS = Date.UTC(2026, 0, 1)

/** Fakes only where the moment comes from, so that all that follows from it is the scripts' own. */
const MANUAL_TIME = `
local function store_time_ms() return tonumber(redis.call('GET', KEYS[1] .. ':manual-clock')) end`

/** What messages on another connection may take. */
const MESSAGE_MS = 2

interface RedisHarnessOptions {
  readonly recordsKept?: number
}

export async function openRedis(
  { namespace, timing }: OpenRequest,
  options: RedisHarnessOptions = {},
): Promise<Harness> {
  const url = inject('redisUrl')
  const clock = new Redis(url)
  const clockKey = `{rollcall:${namespace}}:manual-clock`
  let nowMs = START_MS
  await clock.set(clockKey, nowMs)
  const store = createRedisStore({
    timing,
    scripts: loadScripts({ timing, shared: { time: MANUAL_TIME }, ...options }),
    app: namespace,
    beatFlushMs: 0,
    connect: () => connectTo({ url, app: namespace, timeLimitMs: 5000, retryWithinMs: 100 }),
    log: { info() {}, warn() {}, error() {} },
  })

  async function moveOn(ms: number): Promise<void> {
    nowMs += ms
    await clock.set(clockKey, nowMs)
  }

  await untilJoined()
  return {
    store,
    async pass(ms, meanwhile) {
      await passBySweeps(store, timing, ms, moveOn, meanwhile)
      await new Promise((resolve) => setTimeout(resolve, MESSAGE_MS))
    },
    async close() {
      await store.close()
      const keys = await clock.keys(`{rollcall:${namespace}}:*`)
      if (keys.length > 0) await clock.del(keys)
      clock.disconnect()
    },
  }

  /** A new live state waits for nodes that might announce: here there are none. */
  async function untilJoined(): Promise<void> {
    for (;;) {
      try {
        await store.announced()
        await store.adopted()
        break
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    }
    await passBySweeps(store, timing, 2 * timing.nodeRenewMs, moveOn)
    // As nodes do: the word that announcements are over may come before anybody listens.
    while (store.trouble() !== null) {
      await store.renewNode({ nodeId: 'node-of-the-harness', seenLossCount: 0, seenDismissalCount: null })
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
}
