/**
 * The life cycle of a server: it starts, serves and stops. If it loses the work to another process, it waits and starts
 * again when the work is free.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isUnavailable, unavailable } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'
import type { Health } from '../server/health.ts'

/** The parts that exist from a start until the stop or the loss of the work. */
export interface Running {
  /** Resolves with a sentence for an operator if this process may no longer serve, because another one does or may. */
  readonly lost: Promise<string>
  /** Closes the sockets, so that their clients reconnect. Requests are still answered. */
  drain(): Promise<void>
  /**
   * Stops serving: its clients reconnect elsewhere, and its jobs stop. Resolves when the next start may acquire the
   * work, or another process has it.
   *
   * @throws PresenceError `UNAVAILABLE` if the server stops in that time
   */
  retire(): Promise<void>
  /** Writes every record to the database, and closes everything. */
  close(): Promise<void>
}

export interface LifeOptions<Parts extends Running> {
  readonly start: () => Promise<Parts>
  /** Whether a first start that failed with this error is retried. Logs why the server waits. */
  readonly mayStartLater: (error: unknown) => boolean
  /** Aborts the start or the wait that is under way. */
  readonly giveUp: () => Promise<void>
  /** Closes what outlives every start. */
  readonly end: () => Promise<void>
  readonly health: Health
  readonly log: Log
}

export interface Life<Parts> {
  /** Resolves when the server serves for the first time; rejects if the first start fails for good. */
  readonly ready: Promise<void>
  /** Null during a start, and after the loss of the work. */
  serving(): Parts | null
  drain(): Promise<void>
  /** @param untilAnswered - waits for requests that are under way, after the sockets are closed */
  close(untilAnswered: () => Promise<void>): Promise<void>
}

/** The pause between two starts: the cause of the last failure may be gone by then. */
const RESTART_AFTER_MS = 1000

export function createLife<Parts extends Running>(options: LifeOptions<Parts>): Life<Parts> {
  const { start, mayStartLater, giveUp, end, health, log } = options
  const stopping = new AbortController()
  let serving: Parts | null = null
  let isStopping = false
  let draining: Promise<Parts | null> | null = null
  let closing: Promise<void> | null = null
  /** The start that is under way, or the last one. */
  let starting = begin(firstStart())

  async function firstStart(): Promise<Parts> {
    for (;;) {
      try {
        return await start()
      } catch (error) {
        if (isStopping || !mayStartLater(error)) throw error
        await rest()
      }
    }
  }

  async function rest(): Promise<void> {
    await sleep(RESTART_AFTER_MS, undefined, { ref: false, signal: stopping.signal }).catch(() => {})
  }

  function begin(next: Promise<Parts>): Promise<Parts> {
    next.then(serve, () => {})
    return next
  }

  function serve(parts: Parts): void {
    serving = parts
    void parts.lost.then((reason) => {
      if (!isStopping) starting = begin(startAgain(parts, reason))
    })
  }

  async function startAgain(parts: Parts, reason: string): Promise<Parts> {
    serving = null
    health.notReady(reason)
    log.warn({}, reason)
    try {
      await parts.retire()
    } catch (error) {
      if (!isStopping) log.error({ err: error }, 'What served before could not be closed.')
    }
    for (;;) {
      if (isStopping) throw unavailable('server', 'The server stops.')
      try {
        const next = await start()
        log.info({}, 'Rollcall is ready again.')
        return next
      } catch (error) {
        if (!isStopping && !mayStartLater(error) && !isUnavailable(error))
          log.error({ err: error }, 'The server could not start again; it tries again.')
        await rest()
      }
    }
  }

  async function drain(): Promise<Parts | null> {
    isStopping = true
    stopping.abort()
    health.drain('The server is stopping.')
    if (serving === null) await giveUp()
    const parts = await starting.catch(() => null)
    await parts?.drain()
    return parts
  }

  async function close(untilAnswered: () => Promise<void>): Promise<void> {
    draining ??= drain()
    const parts = await draining
    if (parts !== null) {
      await untilAnswered()
      health.notReady('The server is stopping.')
      await parts.close()
    }
    await end()
  }

  const ready = starting.then(() => {})
  // Prevents an unhandled rejection. A caller that does not await `ready` gets the error from `fetch`.
  ready.catch(() => {})

  return {
    ready,
    serving: () => serving,

    async drain() {
      draining ??= drain()
      await draining
    },

    close(untilAnswered) {
      closing ??= close(untilAnswered)
      return closing
    },
  }
}
