/**
 * A moment by two clocks. The monotonic one may stand while the machine sleeps (Chromium on Linux and macOS), and the
 * wall clock may be set: the longer of both times is the safe one to go by.
 */
export interface Moment {
  readonly wallMs: number
  readonly monotonicMs: number
}

export function now(): Moment {
  return { wallMs: Date.now(), monotonicMs: performance.now() }
}

export function elapsedMs({ wallMs, monotonicMs }: Moment): number {
  return Math.max(Date.now() - wallMs, performance.now() - monotonicMs)
}
