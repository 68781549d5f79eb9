/**
 * The lengths of time and the sizes that the rules work with. src/config.ts says what each means and why.
 */
export interface PresenceTiming {
  readonly heartbeatIntervalMs: number
  readonly sessionTtlMs: number
  readonly closeGraceMs: number
  readonly reconnectGraceMs: number
  readonly pingIntervalMs: number
  readonly pongTimeoutMs: number
  readonly awayAfterMs: number
  readonly idleTimeoutMs: number
  readonly sweepIntervalMs: number
  readonly nodeTtlMs: number
  readonly nodeRenewMs: number
  readonly lastActiveFlushMs: number
  readonly logCount: number
  readonly logAgeMs: number
  readonly sessionsPerUser: number
}

/** A moment in epoch milliseconds that never goes back while the process lives. */
export type Clock = () => number

/**
 * The clock of one process: the wall clock as it stood at the start, moved on by the monotonic one, so that no
 * step of the host's clock puts anyone offline or brings anyone back.
 */
export function processClock(): Clock {
  const offsetMs = Date.now() - performance.now()
  return () => Math.floor(offsetMs + performance.now())
}

/**
 * Whether a check that should come every `intervalMs` comes so late that it must judge nobody (rule 10): after a
 * stall, what proves life may wait unread behind the timer.
 */
export function isLate(sinceLastMs: number, intervalMs: number): boolean {
  return sinceLastMs > lateAfterMs(intervalMs)
}

/** Half a second is what a busy event loop is late without having stalled. */
export function lateAfterMs(intervalMs: number): number {
  return 2 * intervalMs + 500
}
