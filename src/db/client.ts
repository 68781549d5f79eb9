/**
 * The one way to the database, embedded or not: postgres.js, wrapped by Drizzle.
 *
 * Every query has a time limit, and afterwards it is over: cancelled at the server, or its connection destroyed, or
 * the embedded database started again. No query relies on the session that it runs in, so poolers are welcome.
 *
 * A query that surely was not executed is sent again once: where the driver failed it without sending it, and where the
 * server takes no writes, over connections that ask for the server's name again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import type { Config } from '../config.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import { createPermits } from '../presence/permits.ts'
import { parseAddress } from './address.ts'
import { openEmbedded } from './embedded.ts'
import { away, databaseFailure, isOfAnother, isReadOnly, isUnreachable, tooSlow } from './failures.ts'
import { openPool, type Pool, type PoolOptions } from './pool.ts'
import { createLocalRoute, createRoute, type Route } from './route.ts'

export type DatabaseConfig = Pick<Config, 'DATABASE_URL' | 'DATABASE_PREPARE' | 'DATABASE_TIME_LIMIT' | 'DATA_DIR'>

export interface Database {
  /** Whether it is the embedded one: then no other process can have it. */
  readonly isEmbedded: boolean

  /**
   * Runs queries, one after the other. Every statement here is a transaction of its own: one of many statements
   * would hold the embedded database's only connection over as many round trips.
   *
   * @param work - is called again where none of its queries was executed
   * @param timeLimitMs - instead of DATABASE_TIME_LIMIT, for all of it and for each query
   * @throws PresenceError `UNAVAILABLE` (`part: postgres`): out of reach, or too slow. Whether it took effect is unknown
   * @throws QueryRefusedError where the database answered, and refused
   */
  run<Answer>(work: (drizzle: PostgresJsDatabase) => Promise<Answer>, timeLimitMs?: number): Promise<Answer>

  /** Lets queries under way end, for a moment. May be called again. */
  close(): Promise<void>
}

/** Enough for a process whose every query takes a few milliseconds; ten processes still fit the usual 100. */
const CONNECTION_COUNT = 8
const CLOSE_TIME_LIMIT_MS = 2000
/** Between two changes of all connections for a server that takes no writes. */
const RENEW_EVERY_MS = 1000
/** Longer than the pauses between two attempts to write. */
const SAME_OUTAGE_MS = 30_000

export async function openDatabase(config: DatabaseConfig, log: OperatorLog): Promise<Database> {
  const timeLimitMs = config.DATABASE_TIME_LIMIT
  if (config.DATABASE_URL !== null) {
    const address = parseAddress(config.DATABASE_URL)
    const route = createRoute(address, timeLimitMs)
    const connectionCount = address.connectionCount ?? CONNECTION_COUNT
    return createDatabase({
      route,
      timeLimitMs,
      isEmbedded: false,
      log,
      closeServer: async () => {},
      pool: {
        route,
        address,
        connectionCount,
        isPreparing: config.DATABASE_PREPARE && address.isPreparing,
        livesOn: false,
        connectTimeLimitMs: Math.min(address.connectTimeoutMs ?? timeLimitMs, timeLimitMs),
      },
    })
  }

  const embedded = await openEmbedded({ folder: config.DATA_DIR, log })
  const route = createLocalRoute(async () => {
    await Promise.race([embedded.ready(), sleep(timeLimitMs, undefined, { ref: false })])
    return embedded.socketPath
  })
  return createDatabase({
    route,
    timeLimitMs,
    isEmbedded: true,
    log,
    closeServer: () => embedded.close(),
    pool: {
      route,
      address: {
        user: 'postgres',
        password: null,
        database: 'postgres',
        needsPrimary: false,
        keepAliveS: null,
        parameters: { application_name: 'rollcall' },
      },
      connectionCount: 1,
      isPreparing: true,
      // A fresh connection would leave the prepared statements of the one before in the only session.
      livesOn: true,
      connectTimeLimitMs: timeLimitMs,
      stopQuery(sockets) {
        embedded.restart('A query took longer than DATABASE_TIME_LIMIT.')
        for (const socket of sockets) socket.destroy()
      },
    },
  })
}

function createDatabase({
  route,
  pool: poolOptions,
  timeLimitMs: usualTimeLimitMs,
  isEmbedded,
  log,
  closeServer,
}: {
  readonly route: Route
  readonly pool: PoolOptions
  readonly timeLimitMs: number
  readonly isEmbedded: boolean
  readonly log: OperatorLog
  closeServer(): Promise<void>
}): Database {
  const permits = createPermits(poolOptions.connectionCount, tooSlow)
  let pool = openPool(poolOptions)
  /** Pools that were replaced, while their last queries run. */
  const retired = new Set<Promise<void>>()
  let renewedAtMs = Number.NEGATIVE_INFINITY
  let closing: Promise<void> | null = null

  /** Replaces connections that lead to a server without writes. @returns whether there are others now */
  function renew(from: Pool): boolean {
    if (from !== pool) return true
    if (isEmbedded || closing !== null || performance.now() < renewedAtMs + RENEW_EVERY_MS) return false
    // Once for a while in which there is no other server.
    if (performance.now() > renewedAtMs + SAME_OUTAGE_MS) {
      log.warn({}, 'This Postgres takes no writes (25006): its connections are closed, and its name is asked again.')
    }
    renewedAtMs = performance.now()
    route.turn()
    pool = openPool(poolOptions)
    const ending = from.end(CLOSE_TIME_LIMIT_MS).finally(() => retired.delete(ending))
    retired.add(ending)
    return true
  }

  /** @returns whether it may be sent again: nothing of it was executed, and it may fare better */
  function maySendAgain(error: unknown, run: ReturnType<Pool['run']>, from: Pool, attempt: number): boolean {
    const { madeCount, sentCount } = run.counts()
    // The failed statement did nothing, and no other one was before it.
    if (isReadOnly(error)) return renew(from) && madeCount === 1 && attempt === 1
    if (sentCount > 0) return false
    // Each place of the pool may have one such failure to hand on.
    if (isOfAnother(error)) return attempt <= poolOptions.connectionCount
    return isUnreachable(error) && attempt < route.hostCount
  }

  async function runWithin<Answer>(
    work: (drizzle: PostgresJsDatabase) => Promise<Answer>,
    untilMs: number,
    timeLimitMs: number,
  ): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      const from = pool
      const run = from.run(work, timeLimitMs)
      try {
        return await run.answer
      } catch (error) {
        if (!maySendAgain(error, run, from, attempt) || performance.now() >= untilMs) throw error
      }
    }
  }

  async function close(): Promise<void> {
    // A server that has not answered yet is not waited for.
    const isWorking = pool.hasAnswered() || isEmbedded
    const stopsWaiting = new AbortController()
    const time = sleep(CLOSE_TIME_LIMIT_MS, undefined, { signal: stopsWaiting.signal }).catch(() => {})
    const released = permits.close(away('the server stops'))
    if (isWorking) await Promise.race([released, time])
    stopsWaiting.abort()
    await pool.end(0)
    await Promise.all(retired)
    await closeServer()
  }

  return {
    isEmbedded,

    async run(work, timeLimitMs = usualTimeLimitMs) {
      const untilMs = performance.now() + timeLimitMs
      const release = await permits.acquire(timeLimitMs)
      const running = runWithin(work, untilMs, timeLimitMs)
      // Not when the caller is told, but when it is over: the connection is taken until then.
      running.then(release, release)
      try {
        return await within(running, untilMs - performance.now())
      } catch (error) {
        const failure = databaseFailure(error)
        // Who stands in line would wait for the same. The embedded one is back in a second.
        if (!isEmbedded && isUnreachable(error) && failure instanceof Error) permits.turnAway(failure)
        throw failure
      }
    },

    close() {
      closing ??= close()
      return closing
    },
  }
}

async function within<Answer>(running: Promise<Answer>, limitMs: number): Promise<Answer> {
  let timer: NodeJS.Timeout | undefined
  try {
    return await Promise.race([
      running,
      new Promise<never>((_, fail) => {
        timer = setTimeout(() => fail(tooSlow()), Math.max(0, limitMs))
      }),
    ])
  } finally {
    clearTimeout(timer)
  }
}
