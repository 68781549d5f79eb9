/** Opens connections to Redis: a single server, Sentinels or a Cluster, each with or without TLS. */
import { createConnection, type NetConnectOpts } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis'

export interface ConnectOptions {
  readonly url: string
  /** The app. All of its keys lie in one slot of a Cluster. */
  readonly app: string
  /** A command fails after this time without an answer, and a connection after this time of silence. */
  readonly timeLimitMs: number
  /** Longest pause before the next attempt after a loss. */
  readonly retryWithinMs: number
}

const FIRST_RETRY_MS = 50
/** An unstable link may work for a second only: the node must be connected by then. */
const LAST_RETRY_MS = 200
const DEFAULT_PORT = { alone: 6379, sentinel: 26379, cluster: 6379 } as const

/** A connection that reconnects after a loss. It rejects a command that it cannot send at once. */
export interface Connection {
  readonly redis: Redis
  /** Must be called when the server has answered: resets the backoff for the next loss. */
  answers(): void
  /** Drops an open connection, because the next one may lead to another server. Does nothing while it reconnects. */
  reconnect(): void
  close(): void
}

export function connectTo(options: ConnectOptions): Connection {
  /** Attempts since the last answer, not since the last connection: a server may accept each one and end it at once. */
  let attemptCount = 0
  const redis = open(options, () => ++attemptCount)
  let isClosed = false
  // ioredis gives up for good if the Sentinels or the Cluster name no master.
  redis.on('end', () => {
    const again = (): void => void (!isClosed && redis.connect().catch(() => {}))
    setTimeout(again, options.retryWithinMs).unref()
  })
  return {
    redis,
    answers() {
      attemptCount = 0
    },
    reconnect() {
      if (redis.status === 'ready') redis.disconnect(true)
    },
    close() {
      isClosed = true
      redis.disconnect()
    },
  }
}

function open({ url, app, timeLimitMs, retryWithinMs }: ConnectOptions, countAttempt: () => number): Redis {
  const { kind, hasTls, hosts, name, ...access } = parseRedisUrl(url)
  const longestMs = Math.min(LAST_RETRY_MS, retryWithinMs)
  const backoff = (attempt: number): number => Math.min(FIRST_RETRY_MS * 2 ** Math.min(attempt, 16), longestMs)
  const options: RedisOptions = {
    ...access,
    ...(hasTls ? { tls: {} } : {}),
    enableOfflineQueue: false,
    // `CLIENT SETINFO` would need a further right (docs/operations.md).
    disableClientInfo: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // bell.ts subscribes again itself.
    autoResubscribe: false,
    commandTimeout: timeLimitMs,
    connectTimeout: timeLimitMs,
    // Ends half-open connections.
    socketTimeout: timeLimitMs,
    retryStrategy: () => backoff(countAttempt()),
  }
  const [first] = hosts
  if (kind === 'alone') return new Redis({ ...options, ...first })
  if (kind === 'sentinel') {
    return new Redis({
      ...options,
      sentinels: [...hosts],
      name: name ?? 'mymaster',
      ...(hasTls ? { sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
      sentinelCommandTimeout: timeLimitMs,
      sentinelRetryStrategy: backoff,
    })
  }
  return new Redis({ ...options, Connector: slotConnector({ ...options, hosts }, `{rollcall:${app}}`) })
}

interface Host {
  readonly host: string
  readonly port: number
}

export interface RedisUrl {
  readonly kind: keyof typeof DEFAULT_PORT
  readonly hasTls: boolean
  readonly hosts: readonly Host[]
  /** The master's name, for Sentinels. */
  readonly name?: string
  readonly username?: string
  readonly password?: string
  readonly db?: number
}

const URL_FORM = /^redis(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@/]*)@)?([^/?]+)(?:\/([^?]*))?$/

/**
 * Parses `redis://[user:password@]host[:port][/db]`. Sentinels and a Cluster take several hosts, separated by commas;
 * Sentinels also take the name of the master: `/master-name[/db]`.
 *
 * @throws Error with the expected form
 */
export function parseRedisUrl(url: string): RedisUrl {
  const match = URL_FORM.exec(url)
  if (match === null) throw new Error('REDIS_URL must be like redis://user:password@host:6379/0.')
  const [, secure, form, credentials = '', places = '', path = ''] = match
  const kind = form === 'sentinel' || form === 'cluster' ? form : 'alone'
  const parts = path.split('/').filter((part) => part !== '')
  const name = kind === 'sentinel' ? parts.shift() : undefined
  const [username = '', password = ''] = credentials.includes(':') ? splitOnce(credentials) : ['', credentials]
  return {
    kind,
    hasTls: secure === 's',
    hosts: places.split(',').map((place) => hostOf(place, DEFAULT_PORT[kind])),
    ...(name === undefined ? {} : { name: decodeURIComponent(name) }),
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(parts[0] === undefined ? {} : { db: Number(parts[0]) }),
  }
}

function splitOnce(credentials: string): [string, string] {
  const colon = credentials.indexOf(':')
  return [credentials.slice(0, colon), credentials.slice(colon + 1)]
}

function hostOf(place: string, defaultPort: number): Host {
  const match = /^(\[[^\]]+\]|[^:]+)(?::(\d+))?$/.exec(place)
  if (match === null) throw new Error(`REDIS_URL has no host and port in \`${place}\`.`)
  return { host: String(match[1]).replace(/^\[|\]$/g, ''), port: Number(match[2] ?? defaultPort) }
}

/**
 * Connects to the master of one slot of a Cluster. All keys of an app lie in one slot, so a plain connection is enough;
 * each new connection looks the master up again.
 */
function slotConnector({ hosts, ...options }: RedisOptions & { readonly hosts: readonly Host[] }, tag: string) {
  return class SlotConnector extends AbstractConnector {
    constructor() {
      super(0)
    }

    async connect() {
      this.connecting = true
      const master = await masterOf(hosts, options, tag)
      if (!this.connecting) throw new Error('The connection is closed.')
      const where: NetConnectOpts = { host: master.host, port: master.port }
      this.stream = options.tls === undefined ? createConnection(where) : connectTls({ ...where, ...options.tls })
      this.stream.once('error', (error) => {
        this.firstError = error
      })
      return this.stream
    }
  }
}

/** Asks the hosts in order, until one answers. */
async function masterOf(hosts: readonly Host[], options: RedisOptions, tag: string): Promise<Host> {
  let failure: unknown = new Error('REDIS_URL names no host.')
  for (const { host, port } of hosts) {
    const redis = new Redis({ ...options, host, port, lazyConnect: true, retryStrategy: null, enableReadyCheck: false })
    redis.on('error', () => {})
    try {
      await redis.connect()
      const slot = Number(await redis.cluster('KEYSLOT', tag))
      const ranges = await redis.cluster('SLOTS')
      const range = ranges.find(([first, last]) => first <= slot && slot <= last)
      const master = range?.[2]
      if (master === undefined) throw new Error(`No node of the cluster has slot ${slot}.`)
      const [masterHost, masterPort] = master
      // A cluster node that has no address for itself returns an empty host.
      return { host: masterHost === '' ? host : masterHost, port: masterPort }
    } catch (error) {
      failure = error
    } finally {
      redis.disconnect()
    }
  }
  throw failure
}
