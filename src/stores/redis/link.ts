/**
 * One connection to Redis. It opens for calls only when the server accepts writes and the node has joined the epoch of
 * the live state.
 *
 * ioredis connects and reconnects. It neither queues commands while disconnected nor sends any twice: only this code
 * can decide what is safe to send again.
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
   * @param args - the arguments after the root and the epoch
   * @throws PresenceError `UNAVAILABLE`: it is unknown whether the script took effect
   */
  call(script: ScriptName, ...args: readonly string[]): Promise<unknown>
  isOpen(): boolean
  /** Why calls fail, as a sentence for the operator; null if they do not. */
  trouble(): string | null
  /**
   * Reads the server's role and eviction policy again, because both can change while it runs. At most once in
   * `LOOK_REST_MS`.
   */
  look(): void
  /** Drops the connection and opens a new one, which may lead to another server. */
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
   * Called on each new connection, and when a script found another epoch, before any call.
   *
   * @param runId - the server's `run_id`, new at each of its starts
   * @param run - calls a script on this connection
   */
  readonly join: (runId: string, run: RunScript) => Promise<void>
  /** Called each time the link opens. */
  readonly onOpen: () => void
  /** Called on each new connection with the server's answer to `INFO`. */
  readonly onServer: (facts: string) => void
  /** Called if the Redis server's configuration makes it unusable (too old, or it evicts keys). */
  readonly onUnusable: (reason: string) => void
  /** Called after each check with what the operator has to change although the server works; null if nothing. */
  readonly onConcern: (reason: string | null) => void
  /** Called when the server has become a replica: no other connection may write there either. */
  readonly onReplica: () => void
  readonly log: OperatorLog
}

interface Waiting {
  readonly send: () => void
  readonly reject: (error: unknown) => void
}

/** Calls a script with the arguments after the root, whether the link is open or not. */
export type RunScript = (script: ScriptName, ...args: readonly string[]) => Promise<unknown>

export function createLink(options: LinkOptions): Link {
  const { connection, app, root, scripts, epoch, join, onOpen, onServer, onUnusable, onConcern, onReplica, log } =
    options
  const { redis } = connection
  let closedBecause: string | null = 'Redis has not answered yet.'
  /** Why the server refuses some commands although it is reachable: a full one refuses writes. */
  let refusal: { readonly reason: string; readonly untilMs: number } | null = null
  /** What the operator has to change before the link can open. It stays set during retries. */
  let standing: ServerRefusedError | null = null
  /** Why the server refused `AUTH` on this connection. ioredis ends it, and may emit `ready` before that. */
  let refusedOpening: ServerRefusedError | null = null
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let hasOpened = false
  let isClosed = false
  /** Increases with each connection, so that late results of an earlier one are ignored. */
  let generation = 0
  /** The generation that is being prepared; null if none is. */
  let preparing: number | null = null
  let isWarned = false
  /** The refusal that was logged last. */
  let loggedRefusal: string | null = null
  /** While scripts are reloaded: calls that failed with NOSCRIPT, and those made after them. */
  let untilLoaded: { readonly failed: Waiting[]; readonly deferred: Waiting[] } | null = null

  function shut(reason: string): void {
    closedBecause = reason
  }

  /** Sends at once: Redis executes the commands of one connection in the order of sending. */
  function run(name: ScriptName, ...args: readonly string[]): Promise<unknown> {
    const again = (): Promise<unknown> => run(name, ...args)
    if (untilLoaded !== null) return later(untilLoaded.deferred, again)
    return redis.evalsha(scripts[name].sha, 1, root, ...args).catch((error) => {
      // NOSCRIPT: the call was not executed, because the server's scripts were flushed.
      if (!isReply(error, 'NOSCRIPT')) throw error
      untilLoaded ??= loadAgain()
      return later(untilLoaded.failed, again)
    })
  }

  function later(list: Waiting[], send: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => list.push({ send: () => void send().then(resolve, reject), reject }))
  }

  /** Reloads the scripts. Calls in that time wait, so that they do not overtake those that failed with NOSCRIPT. */
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

  /** Loads the missing scripts. No fallback to EVAL per call: a call must not overtake another. */
  async function loadScripts(): Promise<void> {
    const all = Object.values(scripts)
    const known = (await redis.script('EXISTS', ...all.map(({ sha }) => sha))) as number[]
    await Promise.all(all.filter((_, index) => known[index] !== 1).map(({ source }) => redis.script('LOAD', source)))
  }

  /** Checks the server and joins its epoch. At most one check per connection runs at a time. */
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
      // A running node has users online: a warning on `/readyz` serves them better than a stop.
      const unusable = whyTooOld(facts) ?? (hasOpened ? null : evicting)
      if (unusable !== null) {
        onUnusable(unusable)
        throw new ServerRefusedError(unusable)
      }
      if (isReplica(facts)) throw new ServerRefusedError(IS_REPLICA)
      // ioredis silently stays in database 0 if its SELECT is refused, so select again and let it fail.
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
      // Wait before the retry: the obstacle may last for a while.
      await sleep(RETRY_MS, undefined, { ref: false })
      if (of === generation && !isClosed) connection.reconnect()
    }
  }

  /** Asks for one section per call: older servers accept only one. */
  async function readFacts(sections: readonly string[]): Promise<string> {
    return (await Promise.all(sections.map((section) => redis.info(section)))).join('\n')
  }

  async function lookNow(): Promise<void> {
    const of = generation
    try {
      const facts = await readFacts(['memory', 'replication'])
      if (of !== generation || closedBecause !== null) return
      onConcern(whyEvicting(facts))
      // A replica that accepts writes would lose them.
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
    // `/readyz` is public, and messages of Redis and the system contain host names, so only the log has them.
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
  // `error` only gives the reason; `ready` and `close` give the state of the connection.
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
        // Check all rights before the next step, which could be refused half-way.
        prepare()
      }
      // An error reply of a script is a bug of Rollcall. A timeout needs no log: it ends the connection.
      // Log the message only: the error of ioredis contains the arguments, and so names of users.
      else if (error instanceof ReplyError) log.error({ said }, 'Redis did not do what it was asked.')
    }
    return unavailable('store', 'The live state is out of reach just now.', { cause: error })
  }
}

/** Replies of a server that is no longer the master, or no longer has the slot. */
const ELSEWHERE = /\b(MOVED|ASK|CLUSTERDOWN|MASTERDOWN|LOADING|READONLY)\b/
/** How long `trouble` reports a refusal after it last occurred: a few sweeps. */
const REFUSAL_MS = 5000
const RETRY_MS = 100
/** The operator learns of a changed setting within seconds; a check costs about 0.1 ms of Redis. */
const LOOK_REST_MS = 2000
const IS_REPLICA = 'Redis is a replica, and takes no writes.'

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function isReply(error: unknown, code: string): boolean {
  return error instanceof Error && error.message.startsWith(`${code} `)
}
