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
import {
  ConnectionUselessError,
  isReplica,
  lacking,
  ServerRefusedError,
  whyEvicting,
  whyForbidden,
  whyForeign,
  whyNotWriting,
  whyTooOld,
} from './refusals.ts'
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
  /**
   * Asks the server whether it still is as it was when it was connected to: it may be set otherwise while it runs. At
   * most once in `LOOK_REST_MS`.
   */
  look(): void
  /** Drops the connection and makes a new one: it may lead to another server then. */
  reconnect(): void
  close(): void
}

export interface LinkOptions {
  readonly connection: Connection
  /** The name of the app, as in `root`. */
  readonly app: string
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
  /** Called with what an operator has to change though the server does what it is asked, or null, each time it is asked. */
  readonly onConcern: (reason: string | null) => void
  /** Called where the server has become a replica: no other connection may write there either. */
  readonly onReplica: () => void
  readonly log: OperatorLog
}

interface Waiting {
  readonly send: () => void
  readonly reject: (error: unknown) => void
}

/** Calls a script with what follows the root, whether the link is open or not. */
export type RunScript = (script: ScriptName, ...args: readonly string[]) => Promise<unknown>

export function createLink(options: LinkOptions): Link {
  const { connection, app, root, scripts, epoch, join, onOpen, onServer, onUnusable, onConcern, onReplica, log } =
    options
  const { redis } = connection
  let closedBecause: string | null = 'Redis has not answered yet.'
  /** What it does not do just now, though it is there: a full one takes no writes. */
  let refusal: { readonly reason: string; readonly untilMs: number } | null = null
  /** What an operator has to change before it opens. It holds while the connection is tried again and again. */
  let standing: ServerRefusedError | null = null
  /** Why the server refused this connection's `AUTH`: ioredis ends such a connection, and may call it ready before. */
  let refusedOpening: ServerRefusedError | null = null
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let hasOpened = false
  let isClosed = false
  /** Raised with each connection: what one brought says nothing of the next. */
  let generation = 0
  /** Of the connection that is prepared just now. */
  let preparing: number | null = null
  let isWarned = false
  /** The refusal that the log said last. */
  let loggedRefusal: string | null = null
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
    if (standing === null) shut('The node joins the state that lies in Redis.')
    const of = generation
    preparing = of
    void prepareNow(of).finally(() => {
      if (preparing === of) preparing = null
    })
  }

  async function prepareNow(of: number): Promise<void> {
    try {
      const facts = await readFacts(['server', 'memory', 'replication'])
      onServer(facts)
      const runId = /^run_id:(\S+)/m.exec(facts)?.[1]
      if (runId === undefined) throw new ConnectionUselessError('Redis does not say its run_id.')
      const evicting = whyEvicting(facts)
      // A node that runs has people online, whom a full stop would help less than the words on `/readyz`.
      const unusable = whyTooOld(facts) ?? (hasOpened ? null : evicting)
      if (unusable !== null) {
        onUnusable(unusable)
        throw new ServerRefusedError(unusable)
      }
      if (isReplica(facts)) throw new ServerRefusedError(IS_REPLICA)
      // ioredis goes on in database 0 where it may not select another one.
      if (redis.options.db) await redis.select(redis.options.db)
      await loadScripts()
      const missing = (await run('check-rights', '')) as string[]
      if (missing.length > 0) throw new ServerRefusedError(lacking(missing))
      await join(runId, run)
      if (of !== generation) return
      closedBecause = null
      standing = null
      connection.answers()
      if (isWarned) log.info({}, 'Redis is back.')
      isWarned = false
      loggedRefusal = null
      hasOpened = true
      onConcern(evicting)
      onOpen()
    } catch (error) {
      if (of !== generation) return
      const said = wordsOf(error)
      const refused = whyForbidden(said, root) ?? whyForeign(said, app)
      fail(refused === null ? (refusedOpening ?? error) : new ServerRefusedError(refused))
      // Not at once: what stands in the way may stand there for a while.
      await sleep(RETRY_MS, undefined, { ref: false })
      if (of === generation && !isClosed) connection.reconnect()
    }
  }

  /** One section a call: the older servers take no more. */
  async function readFacts(sections: readonly string[]): Promise<string> {
    return (await Promise.all(sections.map((section) => redis.info(section)))).join('\n')
  }

  async function lookNow(): Promise<void> {
    const of = generation
    try {
      const facts = await readFacts(['memory', 'replication'])
      if (of !== generation || closedBecause !== null) return
      onConcern(whyEvicting(facts))
      // One that takes writes all the same would lose them.
      if (!isReplica(facts)) return
      fail(new ServerRefusedError(IS_REPLICA))
      connection.reconnect()
      onReplica()
    } catch (error) {
      if (of === generation) translate(error)
    }
  }

  function fail(error: unknown): void {
    standing = error instanceof ServerRefusedError ? error : null
    // `/readyz` is open to all, and what Redis and the system say has names of hosts in it: the log has that.
    shut(error instanceof ConnectionUselessError ? `Redis cannot be used: ${error.message}` : 'Redis is out of reach.')
    warn(error)
  }

  function warn(error: unknown): void {
    if (isClosed) return
    if (error instanceof ServerRefusedError) {
      if (loggedRefusal !== error.message) log.warn({ reason: error.message }, 'Redis cannot be used as it is.')
      loggedRefusal = error.message
    } else if (!isWarned) {
      log.warn({ said: wordsOf(error) }, 'Redis is away. Sockets stay, and nobody goes offline for it.')
    }
    isWarned = true
  }

  redis.on('ready', () => {
    generation += 1
    prepare()
  })
  redis.on('close', () => {
    generation += 1
    fail(standing ?? new ConnectionUselessError('the connection was lost'))
    refusedOpening = null
  })
  // It says why; whether the connection is there, `ready` and `close` say.
  redis.on('error', (error) => {
    const refused = whyForbidden(wordsOf(error), root)
    standing = refused === null ? null : new ServerRefusedError(refused)
    refusedOpening = standing
    warn(standing ?? error)
  })

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
    trouble() {
      const refusing = refusal !== null && performance.now() < refusal.untilMs ? refusal.reason : null
      return closedBecause ?? refusing
    },

    look() {
      if (closedBecause !== null || performance.now() - lookedAtMs < LOOK_REST_MS) return
      lookedAtMs = performance.now()
      void lookNow()
    },

    reconnect: connection.reconnect,

    close() {
      isClosed = true
      shut('The server stops.')
      connection.close()
    },
  }

  function refuse(reason: string, said: string): void {
    const nowMs = performance.now()
    if (refusal?.reason !== reason || refusal.untilMs < nowMs)
      log.warn({ reason, said }, 'Redis refuses what it is asked.')
    refusal = { reason, untilMs: nowMs + REFUSAL_MS }
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
      const notWriting = whyNotWriting(said)
      const forbidden = whyForbidden(said, root)
      if (notWriting !== null) refuse(notWriting, said)
      else if (forbidden !== null) {
        refuse(forbidden, said)
        // It finds out whether more is missing, before the next step is done by halves.
        prepare()
      }
      // A script that fails is a fault of ours; an answer that does not come ends the connection by itself.
      // What it was asked stays out of the log: the error of ioredis holds it, users' names and all.
      else if (error instanceof ReplyError) log.error({ said }, 'Redis did not do what it was asked.')
    }
    return unavailable('store', 'The live state is out of reach just now.', { cause: error })
  }
}

/** The server is no master any more, or no longer of our slot. */
const ELSEWHERE = /\b(MOVED|ASK|CLUSTERDOWN|MASTERDOWN|LOADING|READONLY)\b/
/** After its last refusal it counts as refusing for so long: some sweeps. */
const REFUSAL_MS = 5000
const RETRY_MS = 100
/** An operator hears within seconds of what was set; the questions cost some 0.1 ms of Redis. */
const LOOK_REST_MS = 2000
const IS_REPLICA = 'Redis is a replica, and takes no writes.'

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function isReply(error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(`${code} `)
}
