/**
 * The connections of one postgres.js client, and the queries on them: each has a time limit, and afterwards it is over,
 * cancelled at the server or with its connection.
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
  /** Whether a connection is never replaced by a fresh one for its age. */
  readonly livesOn: boolean
  readonly connectTimeLimitMs: number
  /** Stops a query that is over its time limit. Left out: at the server. */
  readonly stopQuery?: (sockets: ReadonlySet<Socket>) => void
}

export interface Pool {
  /** No more at once than there are connections: the driver lets the others wait, without a limit. */
  run<Answer>(work: (drizzle: PostgresJsDatabase) => Promise<Answer>, timeLimitMs: number): Run<Answer>
  /** Ends it when its queries have ended, `withinMs` at most. */
  end(withinMs: number): Promise<void>
  /** Whether a server has answered on one of its connections. */
  hasAnswered(): boolean
}

export interface Run<Answer> {
  readonly answer: Promise<Answer>
  /** How many of its queries were made, and how many of them a connection was given: the others were never sent. */
  counts(): { readonly madeCount: number; readonly sentCount: number }
}

/** What postgres.js knows of a query and does not declare. */
type SentQuery = PendingQuery<Row[]> & {
  readonly active: boolean
  /** Null: it was never sent. */
  readonly state: object | null
  /** `cancel` calls it, and leaves its promise to nobody: a cancellation that fails would end the process. */
  canceller(query: SentQuery): Promise<void>
}

/** What Drizzle runs on, for one caller at a time. */
interface Place {
  readonly drizzle: PostgresJsDatabase
  queries: SentQuery[]
  timeLimitMs: number
}

/** How long a server may take to confirm that it stopped a query. */
const CANCEL_TIME_LIMIT_MS = 1000

export function openPool(options: PoolOptions): Pool {
  const { route, address } = options
  const sockets = new Set<Socket>()
  const openedAtMs = new WeakMap<Socket, number>()
  /** Queries over their time limit that no connection was there for. */
  const awaiting = new Set<SentQuery>()
  const places: Place[] = []
  let isCancelling = false
  let isEnded = false

  const sql = postgres({
    ...(address.user === null ? {} : { user: address.user }),
    ...(address.password === null ? {} : { password: address.password }),
    ...(address.database === null ? {} : { database: address.database }),
    // The sockets lead where the route leads. Of several hosts the driver would not give up any.
    host: 'localhost',
    port: 5432,
    ssl: false,
    // Its `read-write` takes a standby of Postgres 14 and later for a server that takes writes.
    ...(address.needsPrimary ? { target_session_attrs: 'primary' as const } : {}),
    keep_alive: address.keepAliveS ?? 60,
    max: options.connectionCount,
    prepare: options.isPreparing,
    // Its seconds are ours in milliseconds.
    connect_timeout: options.connectTimeLimitMs / 1000,
    backoff: (failedCount: number) => Math.min(0.025 * 2 ** failedCount, 0.25),
    // It would be a query of its own for each connection; arrays are sent as JSON instead.
    fetch_types: false,
    ...(options.livesOn ? { max_lifetime: null } : {}),
    connection: address.parameters,
    onnotice: () => {},
    socket: openSocket,
  } as postgres.Options<Record<string, never>>)

  async function openSocket(): Promise<Socket> {
    const isShort = isCancelling
    for (const socket of sockets) if (socket.destroyed) sockets.delete(socket)
    // Waits in any case, so that the driver listens before anything of the socket can fail.
    await null
    // Nobody waits for what would be sent on it.
    if (awaiting.size > 0 && !isShort) return failedSocket(connectionError('CLOSED_EARLY'))
    const startedAtMs = performance.now()
    const socket = await route.open(sockets, isShort)
    openedAtMs.set(socket, startedAtMs)
    // The driver forgets that it was ended before this one was there.
    if (isEnded) socket.destroy(connectionError('CONNECTION_ENDED'))
    return socket
  }

  /** Ends connections that a server has said nothing on for so long since they were opened. */
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

  function stop(query: SentQuery): void {
    if (options.stopQuery === undefined) void stopAtServer(query)
    else options.stopQuery(sockets)
  }

  /** Cancels a query at the server, and where that is not confirmed either, destroys what has fallen silent. */
  async function stopAtServer(query: SentQuery): Promise<void> {
    let isSettled = false
    whenSettled(query, () => {
      isSettled = true
    })
    const receivedBytes = new Map([...sockets].map((socket) => [socket, socket.bytesRead]))
    cancel(query)
    await sleep(CANCEL_TIME_LIMIT_MS, undefined, { ref: false })
    if (isSettled) return
    // Which connection it is on is the driver's secret. One that is idle is opened again when it is needed.
    for (const [socket, bytes] of receivedBytes) {
      if (socket.bytesRead === bytes) socket.destroy(connectionError('SILENT'))
    }
  }

  function cancel(query: SentQuery): void {
    // The driver asks for the socket before this returns.
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
      // With no time the driver ends them at once: it would wait for connections that broke long ago.
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

/** Not `query.then`, which would send it before Drizzle has said what form its rows shall have. */
function whenSettled(query: SentQuery, settled: () => void): void {
  void Promise.prototype.then.call(query, settled, settled)
}

async function whenClosed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise((done) => socket.once('close', done))
}
