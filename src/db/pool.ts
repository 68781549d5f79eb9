/**
 * The connections of one postgres.js client, and the queries on them. When a query's time limit expires, the server
 * cancels it or its connection is destroyed.
 */
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { drizzle, type PostgresJsDatabase } from 'drizzle-orm/postgres-js'
import postgres, { type PendingQuery, type Row, type Sql } from 'postgres'
import type { DatabaseAddress } from './address.ts'
import { connectionError, failedSocket, hasAnswered, type Route } from './route.ts'

export interface PoolOptions {
  readonly route: Route
  readonly address: Pick<
    DatabaseAddress,
    'user' | 'password' | 'database' | 'needsPrimary' | 'keepAliveS' | 'parameters'
  >
  readonly connectionCount: number
  readonly isPreparing: boolean
  /** Whether connections are kept regardless of their age. */
  readonly livesOn: boolean
  readonly connectTimeLimitMs: number
  /** Stops a query that exceeds its time limit. Default: cancels it at the server. */
  readonly stopQuery?: (sockets: ReadonlySet<Socket>) => void
}

export interface Pool {
  /** Run no more at once than there are connections: the driver queues the others without a limit. */
  run<Answer>(work: (drizzle: PostgresJsDatabase) => Promise<Answer>, timeLimitMs: number): Run<Answer>
  /** Ends the pool when its queries have ended, after `withinMs` at most. */
  end(withinMs: number): Promise<void>
  /** Whether a server has answered on one of the pool's connections. */
  hasAnswered(): boolean
}

export interface Run<Answer> {
  readonly answer: Promise<Answer>
  /** How many queries were made, and how many were given a connection; the others were never sent. */
  counts(): { readonly madeCount: number; readonly sentCount: number }
}

/** Fields of a postgres.js query that its types do not declare. */
type SentQuery = PendingQuery<Row[]> & {
  readonly active: boolean
  /** Null: the query was never sent. */
  readonly state: object | null
  /** `cancel` calls it and ignores its promise, so a cancellation that fails would end the process. */
  canceller(query: SentQuery): Promise<void>
}

/** A Drizzle client for one caller at a time. */
interface Place {
  readonly drizzle: PostgresJsDatabase
  queries: SentQuery[]
  timeLimitMs: number
}

/** How long the server may take to confirm a cancellation. */
const CANCEL_TIME_LIMIT_MS = 1000

export function openPool(options: PoolOptions): Pool {
  const { route, address } = options
  const sockets = new Set<Socket>()
  const openedAtMs = new WeakMap<Socket, number>()
  /** Queries that exceeded their time limit while waiting for a connection. */
  const awaiting = new Set<SentQuery>()
  const places: Place[] = []
  let isCancelling = false
  let isEnded = false

  const sql = postgres({
    ...(address.user === null ? {} : { user: address.user }),
    ...(address.password === null ? {} : { password: address.password }),
    ...(address.database === null ? {} : { database: address.database }),
    // `openSocket` ignores these: the route picks the host. With several hosts the driver would retry them forever.
    host: 'localhost',
    port: 5432,
    ssl: false,
    // The driver's `read-write` accepts a standby of Postgres 14 and later.
    ...(address.needsPrimary ? { target_session_attrs: 'primary' as const } : {}),
    keep_alive: address.keepAliveS ?? 60,
    max: options.connectionCount,
    prepare: options.isPreparing,
    // postgres.js counts in seconds.
    connect_timeout: options.connectTimeLimitMs / 1000,
    backoff: (failedCount: number) => Math.min(0.025 * 2 ** failedCount, 0.25),
    // Fetching types would take a query per connection; arrays are sent as JSON instead.
    fetch_types: false,
    ...(options.livesOn ? { max_lifetime: null } : {}),
    connection: address.parameters,
    onnotice: () => {},
    socket: openSocket,
  } as postgres.Options<Record<string, never>>)

  async function openSocket(): Promise<Socket> {
    const isShort = isCancelling
    for (const socket of sockets) if (socket.destroyed) sockets.delete(socket)
    // Always yield once, so that the driver listens before the socket can fail.
    await null
    // No caller is waiting for a query on this connection.
    if (awaiting.size > 0 && !isShort) return failedSocket(connectionError('CLOSED_EARLY'))
    const startedAtMs = performance.now()
    const socket = await route.open(sockets, isShort)
    openedAtMs.set(socket, startedAtMs)
    // The driver does not destroy a socket that it gets after it was ended.
    if (isEnded) socket.destroy(connectionError('CONNECTION_ENDED'))
    return socket
  }

  /** Destroys connections on which the server has sent nothing since they were opened at least `forMs` ago. */
  function endUnanswered(forMs: number): void {
    for (const socket of sockets) {
      const isYoung = performance.now() < (openedAtMs.get(socket) ?? 0) + forMs
      if (!hasAnswered(socket) && !isYoung) socket.destroy(connectionError('CONNECT_TIMEOUT'))
    }
  }

  function watch(query: SentQuery, timeLimitMs: number): void {
    const timer = setInterval(() => {
      if (query.active) stop(query)
      else {
        awaiting.add(query)
        // The query may wait for a connection opened for it, which the driver would give up only after the usual time
        // limit.
        endUnanswered(timeLimitMs / 2)
      }
    }, timeLimitMs)
    timer.unref()
    whenSettled(query, () => {
      clearInterval(timer)
      awaiting.delete(query)
    })
  }

  function stop(query: SentQuery): void {
    if (options.stopQuery === undefined) void stopAtServer(query)
    else options.stopQuery(sockets)
  }

  /** Cancels a query at the server. If the server does not confirm that either, destroys the silent connections. */
  async function stopAtServer(query: SentQuery): Promise<void> {
    let isSettled = false
    whenSettled(query, () => {
      isSettled = true
    })
    const receivedBytes = new Map([...sockets].map((socket) => [socket, socket.bytesRead]))
    cancel(query)
    await sleep(CANCEL_TIME_LIMIT_MS, undefined, { ref: false })
    if (isSettled) return
    // The driver does not expose which connection runs the query. An idle one that is destroyed is reopened when
    // needed.
    for (const [socket, bytes] of receivedBytes) {
      if (socket.bytesRead === bytes) socket.destroy(connectionError('SILENT'))
    }
  }

  function cancel(query: SentQuery): void {
    // The driver calls `openSocket` before this returns.
    isCancelling = true
    try {
      query.canceller(query).catch(() => {})
    } finally {
      isCancelling = false
    }
  }

  function openPlace(): Place {
    const place: Place = { drizzle: drizzle(watched(sql, onQuery)), queries: [], timeLimitMs: 0 }
    function onQuery(query: SentQuery): void {
      place.queries.push(query)
      watch(query, place.timeLimitMs)
    }
    return place
  }

  return {
    run(work, timeLimitMs) {
      const place = places.pop() ?? openPlace()
      const queries: SentQuery[] = []
      place.queries = queries
      place.timeLimitMs = timeLimitMs
      const answer = (async () => await work(place.drizzle))()
      const leave = (): void => void places.push(place)
      answer.then(leave, leave)
      return {
        answer,
        counts: () => ({
          madeCount: queries.length,
          sentCount: queries.filter((query) => query.state !== null).length,
        }),
      }
    },

    async end(withinMs) {
      // A timeout of 0 ends the connections at once: otherwise the driver would wait for ones that broke long ago.
      await sql.end({ timeout: withinMs / 1000 })
      isEnded = true
      for (const socket of sockets) if (!hasAnswered(socket)) socket.destroy(connectionError('CONNECTION_ENDED'))
      await Promise.race([
        Promise.all([...sockets].map(whenClosed)),
        sleep(Math.max(withinMs, CANCEL_TIME_LIMIT_MS), undefined, { ref: false }),
      ])
      for (const socket of sockets) socket.destroy()
    },

    hasAnswered: () => [...sockets].some(hasAnswered),
  }
}

/** Calls `watch` with each query as it is made. Drizzle makes queries with `unsafe`. */
function watched(client: Sql, watch: (query: SentQuery) => void): Sql {
  return new Proxy(client, {
    get(target, name) {
      if (name === 'unsafe') {
        return (text: string, parameters?: never[], options?: object) => {
          // The texts are few and always the same, so each is prepared once per connection.
          const query = target.unsafe(text, parameters, { ...options, prepare: true })
          watch(query as unknown as SentQuery)
          return query
        }
      }
      return Reflect.get(target, name)
    },
  })
}

/** Does not use `query.then`, which would send the query before Drizzle has set the form of its rows. */
function whenSettled(query: SentQuery, settled: () => void): void {
  void Promise.prototype.then.call(query, settled, settled)
}

async function whenClosed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise((done) => socket.once('close', done))
}
