/**
 * One connection to Redis, and what has to hold before anything goes through it: it leads to a server that takes
 * writes, and its node knows the epoch of what lies there.
 *
 * ioredis connects and connects again; it neither queues while there is no connection nor sends anything twice by
 * itself, for what is safe to send again is ours to know.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { ReplyError } from 'ioredis'
import { type PresenceError, unavailable } from '../../presence/errors.ts'
import type { OperatorLog } from '../../presence/operator-log.ts'
import type { Connection } from './connect.ts'
import type { ScriptName, Scripts } from './scripts.ts'

export interface Link {
  /**
   * @param args - what follows the root and the epoch
   * @throws PresenceError `UNAVAILABLE`: whether it took effect is not known
   */
  call(script: ScriptName, ...args: readonly string[]): Promise<unknown>
  isOpen(): boolean
  /** Why it does not do what it is asked, for an operator; null where it does. */
  trouble(): string | null
  /** Drops the connection and makes a new one: it may lead to another server then. */
  reconnect(): void
  close(): void
}

export interface LinkOptions {
  readonly connection: Connection
  readonly root: string
  readonly scripts: Scripts
  /** The epoch that the node believes in. */
  readonly epoch: () => string
  /**
   * Called on each new connection and where a script found another epoch, before anything else goes through.
   *
   * @param runId - the server's name, new at each of its starts
   * @param run - on this connection
   */
  readonly join: (runId: string, run: RunScript) => Promise<void>
  /** Told whenever it has become open. */
  readonly onOpen: () => void
  /** Told what `INFO` says of each server that it is connected to. */
  readonly onServer: (facts: string) => void
  /** Called if the Redis server's configuration makes it unusable (too old, or it evicts keys). */
  readonly onUnusable: (reason: string) => void
  readonly log: OperatorLog
}

interface Waiting {
  readonly send: () => void
  readonly reject: (error: unknown) => void
}

/** Calls a script with what follows the root, whether the link is open or not. */
export type RunScript = (script: ScriptName, ...args: readonly string[]) => Promise<unknown>

/** Why a connection does not serve, in words of ours. A class, because those words are shown to all. */
class ConnectionUselessError extends Error {
  override readonly name = 'ConnectionUselessError'
}

export function createLink(options: LinkOptions): Link {
  const { connection, root, scripts, epoch, join, onOpen, onServer, onUnusable, log } = options
  const { redis } = connection
  let closedBecause: string | null = 'Redis has not answered yet.'
  /** What it does not do just now, though it is there: a full one takes no writes. */
  let refusal: { readonly reason: string; readonly untilMs: number } | null = null
  let isClosed = false
  /** Raised with each connection: what one brought says nothing of the next. */
  let generation = 0
  /** Of the connection that is prepared just now. */
  let preparing: number | null = null
  let isWarned = false
  /** While scripts are loaded again: calls that found none, and those that came after them. */
  let untilLoaded: { readonly failed: Waiting[]; readonly deferred: Waiting[] } | null = null

  function shut(reason: string): void {
    closedBecause = reason
  }

  /** Goes out at once: Redis does what comes through one connection in the order in which it was sent. */
  function run(name: ScriptName, ...args: readonly string[]): Promise<unknown> {
    const again = (): Promise<unknown> => run(name, ...args)
    if (untilLoaded !== null) return later(untilLoaded.deferred, again)
    return redis.evalsha(scripts[name].sha, 1, root, ...args).catch((error) => {
      // It was not executed: somebody made the server forget its scripts.
      if (!isReply(error, 'NOSCRIPT')) throw error
      untilLoaded ??= loadAgain()
      return later(untilLoaded.failed, again)
    })
  }

  function later(list: Waiting[], send: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => list.push({ send: () => void send().then(resolve, reject), reject }))
  }

  /** Commands that arrive in that time wait, so that they do not overtake those that found no script. */
  function loadAgain(): NonNullable<typeof untilLoaded> {
    const waiting = { failed: [], deferred: [] } as { failed: Waiting[]; deferred: Waiting[] }
    const all = (): readonly Waiting[] => {
      untilLoaded = null
      return [...waiting.failed, ...waiting.deferred]
    }
    loadScripts().then(
      () => {
        for (const { send } of all()) send()
      },
      (error) => {
        for (const { reject } of all()) reject(error)
      },
    )
    return waiting
  }

  /** Those that the server does not know. Loaded, and not sent with each call: a script must not pass another. */
  async function loadScripts(): Promise<void> {
    const all = Object.values(scripts)
    const known = (await redis.script('EXISTS', ...all.map(({ sha }) => sha))) as number[]
    await Promise.all(all.filter((_, index) => known[index] !== 1).map(({ source }) => redis.script('LOAD', source)))
  }

  /** Finds out where the connection leads, and joins the epoch there. One at a time a connection. */
  function prepare(): void {
    if (preparing === generation) return
    shut('The node joins the state that lies in Redis.')
    const of = generation
    preparing = of
    void prepareNow(of).finally(() => {
      if (preparing === of) preparing = null
    })
  }

  async function prepareNow(of: number): Promise<void> {
    try {
      // One section a call: the older servers take no more.
      const sections = ['server', 'memory', 'replication'].map((section) => redis.info(section))
      const facts = (await Promise.all(sections)).join('\n')
      onServer(facts)
      const runId = /^run_id:(\S+)/m.exec(facts)?.[1]
      if (runId === undefined) throw new ConnectionUselessError('Redis does not say its run_id.')
      const unusable = whyUnusable(facts)
      if (unusable !== null) {
        onUnusable(unusable)
        throw new ConnectionUselessError(unusable)
      }
      if (/^role:(slave|replica)/m.test(facts))
        throw new ConnectionUselessError('Redis is a replica, and takes no writes.')
      await loadScripts()
      await join(runId, run)
      if (of !== generation) return
      closedBecause = null
      if (isWarned) log.info({}, 'Redis is back.')
      isWarned = false
      onOpen()
    } catch (error) {
      if (of !== generation) return
      fail(error)
      // Not at once: what stands in the way may stand there for a while.
      await sleep(RETRY_MS, undefined, { ref: false })
      if (of === generation && !isClosed) connection.reconnect()
    }
  }

  function fail(error: unknown): void {
    // `/readyz` is open to all, and what Redis and the system say has names of hosts in it: the log has that.
    shut(error instanceof ConnectionUselessError ? `Redis cannot be used: ${error.message}` : 'Redis is out of reach.')
    warn(error)
  }

  function warn(error: unknown): void {
    if (isClosed || isWarned) return
    isWarned = true
    log.warn({ said: wordsOf(error) }, 'Redis is away. Sockets stay, and nobody goes offline for it.')
  }

  redis.on('ready', () => {
    generation += 1
    prepare()
  })
  redis.on('close', () => {
    generation += 1
    fail(new ConnectionUselessError('the connection was lost'))
  })
  // It says why; whether the connection is there, `ready` and `close` say.
  redis.on('error', warn)

  return {
    async call(name, ...args) {
      if (closedBecause !== null) throw unavailable('store', 'The live state is out of reach just now.')
      try {
        return await run(name, epoch(), ...args)
      } catch (error) {
        throw translate(error)
      }
    },

    isOpen: () => closedBecause === null,
    trouble: () => closedBecause ?? (refusal !== null && performance.now() < refusal.untilMs ? refusal.reason : null),
    reconnect: connection.reconnect,

    close() {
      isClosed = true
      shut('The server stops.')
      connection.close()
    },
  }

  function refuse(said: string): void {
    const nowMs = performance.now()
    if (refusal === null || refusal.untilMs < nowMs) log.warn({ said }, 'Redis refuses to write.')
    refusal = { reason: 'Redis refuses to write.', untilMs: nowMs + REFUSAL_MS }
  }

  function translate(error: unknown): PresenceError {
    if (isReply(error, 'ANNOUNCING')) {
      return unavailable('store', 'The live state is being rebuilt: ask again in a few seconds.', { cause: error })
    }
    const said = wordsOf(error)
    if (isReply(error, 'EPOCH')) {
      prepare()
    } else if (ELSEWHERE.test(said)) {
      fail(error)
      connection.reconnect()
    } else {
      if (REFUSES.test(said)) refuse(said)
      // A script that fails is a fault of ours; an answer that does not come ends the connection by itself.
      // What it was asked stays out of the log: the error of ioredis holds it, users' names and all.
      else if (error instanceof ReplyError) log.error({ said }, 'Redis did not do what it was asked.')
    }
    return unavailable('store', 'The live state is out of reach just now.', { cause: error })
  }
}

/** The server is no master any more, or no longer of our slot. */
const ELSEWHERE = /\b(MOVED|ASK|CLUSTERDOWN|MASTERDOWN|LOADING|READONLY)\b/
/** It is full, or cannot save. */
const REFUSES = /\b(OOM|MISCONF|NOREPLICAS)\b/
/** After its last refusal it counts as refusing for so long: some sweeps. */
const REFUSAL_MS = 5000
const RETRY_MS = 100

/** Streams are trimmed by number, and lists read by the order of ids: both since 6.2. */
const LEAST_VERSION = [6, 2] as const

/** @returns what an operator has to change, null where the server will do */
function whyUnusable(facts: string): string | null {
  const [, major, minor] = /^redis_version:(\d+)\.(\d+)/m.exec(facts) ?? []
  const isOld =
    Number(major) < LEAST_VERSION[0] || (Number(major) === LEAST_VERSION[0] && Number(minor) < LEAST_VERSION[1])
  if (isOld) return `Redis ${major}.${minor} is too old: ${LEAST_VERSION.join('.')} or later is needed.`
  const policy = /^maxmemory_policy:(\S+)/m.exec(facts)?.[1]
  if (policy !== undefined && policy !== 'noeviction') {
    return `Redis may throw keys away (maxmemory-policy ${policy}): set \`maxmemory-policy noeviction\`.`
  }
  return null
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function isReply(error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(`${code} `)
}
