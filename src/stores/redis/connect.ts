/** Opens connections to Redis, however it runs: alone, with TLS, behind Sentinels, as a Cluster. */
import { createConnection, type NetConnectOpts } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AbstractConnector, Redis, type RedisOptions } from 'ioredis'

export interface ConnectOptions {
  readonly url: string
  /** The app, for whose keys a Cluster has one slot. */
  readonly app: string
  /** A command that takes longer has failed, and so has a connection that is silent for so long. */
  readonly timeLimitMs: number
  /** After a loss it is tried again at least so often. */
  readonly retryWithinMs: number
}

const FIRST_RETRY_MS = 50
/** A link that flaps may be whole for a second only: by then the node has to be there. */
const LAST_RETRY_MS = 200
const DEFAULT_PORT = { alone: 6379, sentinel: 26379, cluster: 6379 } as const

/** A connection that is made again when it is lost, and that refuses what it cannot send at once. */
export interface Connection {
  readonly redis: Redis
  /** It answers: when it is lost, the first attempt comes at once again. */
  answers(): void
  /** Drops it, for it may lead to another server the next time. What is not connected is on its way already. */
  reconnect(): void
  close(): void
}

export function connectTo(options: ConnectOptions): Connection {
  /** Since it answered last. A server may take each connection and end it at once. */
  let attemptCount = 0
  const redis = open(options, () => ++attemptCount)
  let isClosed = false
  // Where Sentinels or a Cluster name no master, ioredis gives up for good.
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
    // It would take a right of its own, docs/operations.md.
    disableClientInfo: true,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    // Each listener subscribes again by itself.
    autoResubscribe: false,
    commandTimeout: timeLimitMs,
    connectTimeout: timeLimitMs,
    // No answer at all: half of the connection is gone.
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
 * `redis://[user:password@]host[:port][/db]`; for Sentinels hosts between commas and `/master-name[/db]`, for a Cluster
 * hosts between commas.
 *
 * @throws Error that says the form
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
 * Leads to the master of one slot of a Cluster: all keys of an app lie in one, so a plain connection does, and each
 * new one may lead to another master.
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

/** Asks one host after the other. */
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
      // A node that does not know its own address leaves it out.
      return { host: masterHost === '' ? host : masterHost, port: masterPort }
    } catch (error) {
      failure = error
    } finally {
      redis.disconnect()
    }
  }
  throw failure
}
