/**
 * Sessions of this node's sockets that are over, for as long as their records may be on the way to the database. If the
 * live state is lost, their records are lost with it, and nobody else knows of them: the node then writes them itself.
 *
 * Sessions that go on are not here: their sockets bring them back.
 */
import type { EndReason, SessionRow } from './model.ts'

/** A session that is over. Moments are by the monotonic clock of this process. */
export interface EndedSession extends Pick<SessionRow, 'startId' | 'sessionId' | 'device' | 'rooms' | 'nodeId'> {
  readonly userId: string
  readonly startedAtMs: number
  readonly lastActiveAtMs: number
  readonly endedAtMs: number
  /** `SERVER_RESTART` for a session that was left in its grace: a guess, which any record overrules. */
  readonly endReason: EndReason
}

export interface RecentEnds {
  add(session: EndedSession): void
  /** Adds a session that ended after the live state was lost, and before its socket brought it back. */
  addLost(session: EndedSession): void
  /** The live state is lost: it has the records of none of these sessions. */
  lose(): void
  hasLost(): boolean
  /**
   * Writes the ends that the live state lost, oldest first.
   *
   * @param write - rejects if the database is away: the next call tries again
   */
  writeLost(write: (ends: readonly EndedSession[]) => Promise<void>): Promise<void>
}

/** Longer than records wait while the database is up. */
const REMEMBER_MS = 60_000
/** Some 10 MB. */
const MAX_COUNT = 20_000
const BATCH_ENDS = 500

export function createRecentEnds(monotonicMs: () => number): RecentEnds {
  let ends: EndedSession[] = []
  /** What lies before it is forgotten. */
  let first = 0
  let lost: EndedSession[] = []

  function forgetOld(): void {
    const sinceMs = monotonicMs() - REMEMBER_MS
    for (;;) {
      const oldest = ends[first]
      if (oldest === undefined || (oldest.endedAtMs >= sinceMs && ends.length - first <= MAX_COUNT)) break
      first += 1
    }
    if (first < ends.length / 2) return
    ends = ends.slice(first)
    first = 0
  }

  return {
    add(session) {
      ends.push(session)
      forgetOld()
    },
    addLost(session) {
      lost.push(session)
    },
    lose() {
      forgetOld()
      lost = lost.concat(ends.slice(first))
      ends = []
      first = 0
    },
    hasLost: () => lost.length > 0,
    async writeLost(write) {
      while (lost.length > 0) {
        const batch = lost.slice(0, BATCH_ENDS)
        await write(batch)
        lost = lost.slice(batch.length)
      }
    },
  }
}
