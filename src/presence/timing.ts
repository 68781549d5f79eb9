/**
 * The durations and sizes that the rules use. src/config.ts says what each means and why.
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
 * One reading of the two clocks of a store.
 *
 * Ages and deadlines are counted on the steady clock, which no step of the wall clock moves. Moments that are returned
 * or written are read from the wall clock, so they follow a step at once.
 */
export interface Now {
  /** Milliseconds since an arbitrary start. Never goes back. */
  readonly steadyMs: number
  /** Epoch milliseconds by the host's clock. It may be set forward and back. */
  readonly wallMs: number
}

export type Clock = () => Now

/**
 * The clocks of one process. Linux does not count the time in which the host is suspended on the steady clock, so ages
 * do not grow while the host sleeps. Moments are right as soon as it wakes.
 */
export function processClock(): Clock {
  return () => ({ steadyMs: Math.floor(performance.now()), wallMs: Date.now() })
}

/**
 * A time service slews the wall clock, by 0.5 ms a second at most, and steps it if it is off by more than the service
 * can slew away soon: by 128 ms and more. A step below a second harms nobody who reads a log.
 */
const LOGGED_STEP_MS = 1000

/** @returns a function to call every second: it returns the step of the wall clock since the last call in ms, else 0 */
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
 * Whether a check that should run every `intervalMs` runs so late that it must put nobody offline (rule 10): after a
 * stall, proofs of life may wait unread behind the timer.
 */
export function isLate(sinceLastMs: number, intervalMs: number): boolean {
  return sinceLastMs > lateAfterMs(intervalMs)
}

/** @returns ms since the last check after which the next one is late. A busy loop is 500 ms late without a stall. */
export function lateAfterMs(intervalMs: number): number {
  return 2 * intervalMs + 500
}
