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
  readonly logBytes: number
  readonly sessionsPerUser: number
}

/**
 * One look at the two clocks of a store.
 *
 * Ages and deadlines are counted on the steady clock: no step of the wall clock moves it. What is told or written as a
 * moment is read from the wall clock, so it follows a step at once.
 */
export interface Now {
  /** Counts milliseconds from some start, and never goes back. */
  readonly steadyMs: number
  /** Epoch milliseconds, as the host has them. It may be set forward and back. */
  readonly wallMs: number
}

export type Clock = () => Now

/**
 * The clocks of one process. Linux does not count the time in which the host is suspended in the steady one, so ages
 * do not grow while the host sleeps; moments are right as soon as it wakes.
 */
export function processClock(): Clock {
  return () => ({ steadyMs: Math.floor(performance.now()), wallMs: Date.now() })
}

/**
 * A wall clock that a time service keeps is slewed, by 0.5 ms a second at most, and stepped where it is off by more
 * than a service can slew away soon: by 128 ms and more. Below a second a step harms nobody who reads a log.
 */
const LOGGED_STEP_MS = 1000

/** @returns what to call every second: it tells how far the wall clock was stepped since the last call, 0 if it was not */
export function createStepWatch(clock: Clock): () => number {
  const offsetOf = ({ wallMs, steadyMs }: Now): number => wallMs - steadyMs
  let knownOffsetMs = offsetOf(clock())
  return () => {
    const offsetMs = offsetOf(clock())
    const stepMs = offsetMs - knownOffsetMs
    knownOffsetMs = offsetMs
    return Math.abs(stepMs) < LOGGED_STEP_MS ? 0 : stepMs
  }
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
