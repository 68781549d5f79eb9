/**
 * How long somebody waits for the database: no longer than a bound for all that one request asks it in turn.
 *
 * A database that falls silent is waited for once. Of the bound, a statement that follows has what is left since the
 * first one that was not answered; later ones have LEAST_WAIT_MS, until there is an answer.
 */
import { withinTime } from '../presence/time-limit.ts'
import { QueryRefusedError, tooSlow } from './failures.ts'

export interface Patience {
  /**
   * @param ask - is given the time limit of its statement: its caller may leave before, and it goes on until then, so
   *   that it opens a connection and finds out whether the database is back
   * @throws PresenceError `UNAVAILABLE`: it takes too long
   */
  within<Answer>(ask: (limitMs: number) => Promise<Answer>): Promise<Answer>
}

/** Enough for a statement, and for a connection to a server that is near. */
const LEAST_WAIT_MS = 500
const TOO_LATE = Symbol('too late')

export function createPatience(waitMs: number, nowMs: () => number = () => performance.now()): Patience {
  /** When the first statement was sent that has no answer, and none after it; null: all were answered. */
  let silentSinceMs: number | null = null
  let underWayCount = 0

  function answered(): void {
    silentSinceMs = underWayCount > 1 ? nowMs() : null
  }

  async function watched<Answer>(asking: Promise<Answer>): Promise<Answer> {
    try {
      const answer = await asking
      answered()
      return answer
    } catch (error) {
      if (error instanceof QueryRefusedError) answered()
      throw error
    } finally {
      underWayCount -= 1
    }
  }

  return {
    async within(ask) {
      silentSinceMs ??= nowMs()
      underWayCount += 1
      const leftMs = Math.max(waitMs - (nowMs() - silentSinceMs), Math.min(waitMs, LEAST_WAIT_MS))
      const answer = await withinTime(watched(ask(waitMs)), leftMs, TOO_LATE)
      if (answer === TOO_LATE) throw tooSlow()
      return answer
    },
  }
}
