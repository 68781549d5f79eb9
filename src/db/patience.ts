/**
 * Limits how long a caller waits for the database, across all statements of one request.
 *
 * A database that falls silent uses up the limit once: a later statement has only what is left since the first
 * unanswered one was sent, and at least LEAST_WAIT_MS, until the database answers again.
 */
import { withinTime } from '../presence/time-limit.ts'
import { QueryRefusedError, tooSlow } from './failures.ts'

export interface Patience {
  /**
   * @param ask - gets the time limit of its statement. Its caller may give up earlier, but the statement continues
   *   until then, so that it opens a connection and detects that the database is back
   * @throws PresenceError `UNAVAILABLE`: it takes too long
   */
  within<Answer>(ask: (limitMs: number) => Promise<Answer>): Promise<Answer>
}

/** Enough for a statement, including a connection to a nearby server. */
const LEAST_WAIT_MS = 500
const TOO_LATE = Symbol('too late')

export function createPatience(waitMs: number, nowMs: () => number = () => performance.now()): Patience {
  /**
   * When the silence began: when the first unanswered statement was sent, or when the last answer came, if later. Null:
   * at the last answer no other statement was under way.
   */
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
