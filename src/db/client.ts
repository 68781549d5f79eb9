/**
 * The one way to the database, embedded or not: postgres.js, wrapped by Drizzle.
 *
 * Every query has a time limit, and afterwards it is over: cancelled at the server, or its connection destroyed, or
 * the embedded database started again. No query relies on the session that it runs in, so poolers are welcome.
 */
import { connect, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres, { type PendingQuery, type Row, type Sql } from 'postgres'
import type { Config } from '../config.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import { createPermits } from '../presence/permits.ts'
import { openEmbedded } from './embedded.ts'
import { away, databaseFailure, isUnreachable } from './failures.ts'

export type DatabaseConfig = Pick<Config, 'DATABASE_URL' | 'DATABASE_PREPARE' | 'DATABASE_TIME_LIMIT' | 'DATA_DIR'>

export interface Database {
  /** Whether it is the embedded one: then no other process can have it. */
  readonly isEmbedded: boolean

  /**
   * Runs queries, one after the other. Every statement here is a transaction of its own: one of many statements
   * would hold the embedded database's only connection over as many round trips.
   *
   * @param timeLimitMs - instead of DATABASE_TIME_LIMIT, for all of it and for each query
   * @throws PresenceError `UNAVAILABLE` (`part: postgres`): out of reach, or too slow. Whether it took effect is unknown
   * @throws QueryRefusedError where the database answered, and refused
   */
  run<Answer>(work: (drizzle: PostgresJsDatabase) => Promise<Answer>, timeLimitMs?: number): Promise<Answer>

  /** Lets queries under way end, for a moment. */
  close(): Promise<void>
}

/** Enough for a process whose every query takes a few milliseconds; ten processes still fit the usual 100. */
const CONNECTION_COUNT = 8
/** How long a server may take to confirm that it stopped a query. */
const CANCEL_TIME_LIMIT_MS = 1000
const CLOSE_TIME_LIMIT_MS = 2000
/** A connection that ends so soon was refused, in whatever way. */
const EARLY_CLOSE_MS = 1000
const EARLY_CLOSE_REST_MS = 50

export async function openDatabase(config: DatabaseConfig, log: OperatorLog): Promise<Database> {
  const timeLimitMs = config.DATABASE_TIME_LIMIT
  if (config.DATABASE_URL !== null) {
    const client = openClient(config.DATABASE_URL, {
      connectionCount: CONNECTION_COUNT,
      isPreparing: config.DATABASE_PREPARE,
      timeLimitMs,
      socketPath: null,
    })
    return createDatabase({
      ...client,
      timeLimitMs,
      connectionCount: CONNECTION_COUNT,
      isEmbedded: false,
      stopQuery: (query) => void stopAtServer(query, client.sockets),
      closeServer: async () => {},
    })
  }

  const embedded = await openEmbedded({ folder: config.DATA_DIR, log })
  const client = openClient('postgres://postgres@localhost/postgres', {
    connectionCount: 1,
    isPreparing: true,
    timeLimitMs,
    socketPath: async () => {
      await Promise.race([embedded.ready(), sleep(timeLimitMs, undefined, { ref: false })])
      return embedded.socketPath
    },
  })
  return createDatabase({
    ...client,
    timeLimitMs,
    connectionCount: 1,
    isEmbedded: true,
    stopQuery() {
      embedded.restart('A query took longer than DATABASE_TIME_LIMIT.')
      for (const socket of client.sockets) socket.destroy()
    },
    closeServer: () => embedded.close(),
  })
}

/** What postgres.js knows of a query and does not declare. */
type SentQuery = PendingQuery<Row[]> & {
  readonly active: boolean
  /** `cancel` calls it, and leaves its promise to nobody: a cancellation that fails would end the process. */
  canceller(query: SentQuery): Promise<void>
}

interface Client {
  readonly sql: Sql
  readonly sockets: ReadonlySet<Socket>
  /** Queries over their time limit that no connection was there for. */
  readonly awaiting: Set<SentQuery>
  /** Ends connections that a server has said nothing on for so long since they were opened. */
  endUnanswered(forMs: number): void
}

function openClient(
  url: string,
  {
    connectionCount,
    isPreparing,
    timeLimitMs,
    socketPath,
  }: {
    readonly connectionCount: number
    readonly isPreparing: boolean
    readonly timeLimitMs: number
    /** Null: the address says where to connect. */
    readonly socketPath: (() => Promise<string>) | null
  },
): Client {
  const sockets = new Set<Socket>()
  const openedAtMs = new WeakMap<Socket, number>()
  const awaiting = new Set<SentQuery>()
  let attemptCount = 0
  let closedEarlyAtMs = Number.NEGATIVE_INFINITY

  /** The sockets are ours, so that a silent one can be destroyed: the driver would wait for it without end. */
  async function openSocket(options: { path: string | false; host: string[]; port: number[] }): Promise<Socket> {
    // Waits in any case, so that the driver listens before anything of the socket can fail.
    const path = await (socketPath === null ? options.path : socketPath())
    for (const socket of sockets) if (socket.destroyed) sockets.delete(socket)
    // Where a server closes connections before they are of use, the driver tries again at once, and for ever: this
    // slows it down, and this ends it.
    if (performance.now() < closedEarlyAtMs + EARLY_CLOSE_REST_MS) await sleep(EARLY_CLOSE_REST_MS)
    if (awaiting.size > 0) return new Socket().destroy(connectionError('The server closes every connection.'))
    const turn = attemptCount++ % options.host.length
    const host = String(options.host[turn])
    const socket = path === false ? connect(Number(options.port[turn]), host) : connect(path)
    sockets.add(socket)
    // TLS asks it for the name to expect in the certificate.
    if (path === false) Object.assign(socket, { host, port: options.port[turn] })
    socket.on('error', () => {})
    const nowMs = performance.now()
    openedAtMs.set(socket, nowMs)
    socket.on('close', (hadError) => {
      if (performance.now() < nowMs + EARLY_CLOSE_MS) closedEarlyAtMs = performance.now()
      // To the driver it would be no failure, and it would try again at once and for ever.
      if (!hadError && socket.bytesRead === 0) {
        socket.emit('error', connectionError('The server closed the connection at once.'))
      }
    })
    return socket
  }

  const options = {
    max: connectionCount,
    prepare: isPreparing,
    // Its seconds are ours in milliseconds.
    connect_timeout: timeLimitMs / 1000,
    backoff: (failedCount: number) => Math.min(0.025 * 2 ** failedCount, 0.25),
    // It would be a query of its own for each connection; arrays are sent as JSON instead.
    fetch_types: false,
    // One that stays in the embedded database's one session would leave its prepared statements there.
    ...(socketPath === null ? {} : { max_lifetime: null }),
    connection: { application_name: 'rollcall' },
    onnotice: () => {},
    socket: openSocket,
  }
  try {
    return {
      sql: postgres(url, options),
      sockets,
      awaiting,

      endUnanswered(forMs) {
        for (const socket of sockets) {
          const isYoung = performance.now() < (openedAtMs.get(socket) ?? 0) + forMs
          if (socket.bytesRead === 0 && !isYoung) socket.destroy(connectionError('The server does not answer.'))
        }
      },
    }
  } catch {
    // Its own message would repeat the address, with the password in it.
    throw new Error('DATABASE_URL cannot be used: it is no address of a Postgres database.')
  }
}

function createDatabase({
  sql,
  sockets,
  awaiting,
  endUnanswered,
  timeLimitMs: usualTimeLimitMs,
  connectionCount,
  isEmbedded,
  stopQuery,
  closeServer,
}: Client & {
  readonly timeLimitMs: number
  readonly connectionCount: number
  readonly isEmbedded: boolean
  stopQuery(query: SentQuery): void
  closeServer(): Promise<void>
}): Database {
  const permits = createPermits(connectionCount, tooSlow)
  const wrapped = new Map<number, PostgresJsDatabase>()

  function drizzleWithin(timeLimitMs: number): PostgresJsDatabase {
    let database = wrapped.get(timeLimitMs)
    if (database === undefined) {
      database = drizzle(watched(sql, (query) => watch(query, timeLimitMs)))
      wrapped.set(timeLimitMs, database)
    }
    return database
  }

  function watch(query: SentQuery, timeLimitMs: number): void {
    const timer = setInterval(() => {
      if (query.active) stopQuery(query)
      else {
        awaiting.add(query)
        // It may wait for one that was opened for it: the driver would give that up after the usual time limit.
        endUnanswered(timeLimitMs / 2)
      }
    }, timeLimitMs)
    timer.unref()
    whenSettled(query, () => {
      clearInterval(timer)
      awaiting.delete(query)
    })
  }

  return {
    isEmbedded,

    async run(work, timeLimitMs = usualTimeLimitMs) {
      const startedAtMs = performance.now()
      const release = await permits.acquire(timeLimitMs)
      const running = (async () => await work(drizzleWithin(timeLimitMs)))()
      // Not when the caller is told, but when it is over: the connection is taken until then.
      running.then(release, release)
      try {
        return await within(running, timeLimitMs - (performance.now() - startedAtMs))
      } catch (error) {
        const failure = databaseFailure(error)
        // Who stands in line would wait for the same. The embedded one is back in a second.
        if (!isEmbedded && isUnreachable(error) && failure instanceof Error) permits.turnAway(failure)
        throw failure
      }
    },

    async close() {
      const stopsWaiting = new AbortController()
      const time = sleep(CLOSE_TIME_LIMIT_MS, undefined, { signal: stopsWaiting.signal }).catch(() => {})
      await Promise.race([permits.close(away('The server stops.')), time])
      // At once: the driver would wait for connections that broke long ago.
      await sql.end({ timeout: 0 })
      await Promise.race([Promise.all([...sockets].map(whenClosed)), time])
      stopsWaiting.abort()
      for (const socket of sockets) socket.destroy()
      await closeServer()
    },
  }
}

/** Hands each query over as it is made. Drizzle makes them by `unsafe`. */
function watched(client: Sql, watch: (query: SentQuery) => void): Sql {
  return new Proxy(client, {
    get(target, name) {
      if (name === 'unsafe') {
        return (text: string, parameters?: never[], options?: object) => {
          // The texts are few and always the same, so each is parsed once a connection.
          const query = target.unsafe(text, parameters, { ...options, prepare: true })
          watch(query as unknown as SentQuery)
          return query
        }
      }
      return Reflect.get(target, name)
    },
  })
}

/** Cancels a query at the server, and where that is not confirmed either, destroys what has fallen silent. */
async function stopAtServer(query: SentQuery, sockets: ReadonlySet<Socket>): Promise<void> {
  let isSettled = false
  whenSettled(query, () => {
    isSettled = true
  })
  const receivedBytes = new Map([...sockets].map((socket) => [socket, socket.bytesRead]))
  query.canceller(query).catch(() => {})
  await sleep(CANCEL_TIME_LIMIT_MS, undefined, { ref: false })
  if (isSettled) return
  // Which connection it is on is the driver's secret. One that is idle is opened again when it is needed.
  for (const [socket, bytes] of receivedBytes) {
    if (socket.bytesRead === bytes) socket.destroy(connectionError('The database has fallen silent.'))
  }
}

/** Not `query.then`, which would send it before Drizzle has said what form its rows shall have. */
function whenSettled(query: SentQuery, settled: () => void): void {
  void Promise.prototype.then.call(query, settled, settled)
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

async function whenClosed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise((done) => socket.once('close', done))
}

function connectionError(message: string): Error {
  return Object.assign(new Error(message), { code: 'ECONNREFUSED' })
}

function tooSlow(): Error {
  return away('The database did not answer within DATABASE_TIME_LIMIT.')
}
