/**
 * The only client of the database, embedded or not: postgres.js, wrapped by Drizzle.
 *
 * Every query has a time limit. When it expires the query is ended: the server cancels it, its connection is destroyed,
 * or the embedded database restarts. No query relies on session state, so poolers work.
 *
 * A query is sent again only if it certainly was not executed: if the driver failed it without sending it (once per
 * connection), if a host was unreachable (once per other host), or if the server takes no writes (once, over new
 * connections, which resolve the server's name again).
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
  /** Whether this is the embedded database, which no other process can open. */
  readonly isEmbedded: boolean

  /**
   * Runs queries, one after the other. Every statement is its own transaction: a transaction of several statements
   * would occupy the embedded database's only connection for as many round trips.
   *
   * @param work - is called again if none of its queries was executed
   * @param timeLimitMs - replaces DATABASE_TIME_LIMIT, for all of `work` and for each query
   * @throws PresenceError `UNAVAILABLE` (`part: postgres`): out of reach or too slow; the query may or may not have
   *   taken effect
   * @throws QueryRefusedError if the database refused the query
   */
  run<Answer>(work: (drizzle: PostgresJsDatabase) => Promise<Answer>, timeLimitMs?: number): Promise<Answer>

  /** Waits a moment for queries under way. May be called again. */
  close(): Promise<void>
}

/** Enough for one process, since a query takes a few ms; ten processes still fit the usual limit of 100 connections. */
const CONNECTION_COUNT = 8
const CLOSE_TIME_LIMIT_MS = 2000
/** The shortest time between two replacements of the pool because the server takes no writes. */
const RENEW_EVERY_MS = 1000
/** Longer than the pause between two attempts to write, so an outage is logged once. */
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
      // A fresh connection would find the prepared statements of the last one still in the only session.
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
  /** Replaced pools whose last queries still run. */
  const retired = new Set<Promise<void>>()
  let renewedAtMs = Number.NEGATIVE_INFINITY
  let closing: Promise<void> | null = null

  /** Replaces connections to a server that takes no writes. @returns whether the pool is another one now */
  function renew(from: Pool): boolean {
    if (from !== pool) return true
    if (isEmbedded || closing !== null || performance.now() < renewedAtMs + RENEW_EVERY_MS) return false
    // Log once per outage.
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

  /** @returns whether to send it again: nothing was executed, and another attempt may succeed */
  function maySendAgain(error: unknown, run: ReturnType<Pool['run']>, from: Pool, attempt: number): boolean {
    const { madeCount, sentCount } = run.counts()
    // The failed statement did nothing, and no other statement ran before it.
    if (isReadOnly(error)) return renew(from) && madeCount === 1 && attempt === 1
    if (sentCount > 0) return false
    // Each connection of the pool may have one stale error that fails its next query.
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
    // Do not wait for a server that has not answered yet.
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
      // Release the permit when the query ends, not when its caller gets an answer: it occupies the connection until
      // then.
      running.then(release, release)
      try {
        return await within(running, untilMs - performance.now())
      } catch (error) {
        const failure = databaseFailure(error)
        // Callers waiting for a connection would fail the same way, so fail them now. The embedded database is back
        // in about a second.
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
