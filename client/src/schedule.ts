/**
 * How long to wait: before the next connection, and before a question that the server could not answer is asked again.
 *
 * Pure. Two schedules: a network that comes back must be noticed within seconds, and a server that is away must not be
 * met by all of its clients in one moment.
 */

/** How the last connection, or the attempt to make one, ended. */
export type Loss =
  /** Nobody answered, or this machine is offline: no server notices the attempts. */
  | 'silence'
  /** A connection broke, or could not be made: a process that stopped, a load balancer without one. */
  | 'broken'
  /** The server said to come back later (1012, 1013). */
  | 'refused'

/**
 * A handshake may take so long before the next one begins. A browser waits up to 240 s (Chromium 156), and a network
 * that is back answers within a second or two. In a trial, 3 s and waits of at most 2 s were right 1.6 s (median) and at
 * most 4.2 s after the network's return, 5 s and 5 s after at most 8.8.
 */
export const HANDSHAKE_LIMIT_MS = 3000

/** The longest first wait, which doubles, and where that ends. */
const WAITS = {
  silence: { firstMs: 500, longestMs: 2000 },
  // 10,000 clients of a process that died come back over 2 s; their sessions wait for them for 15 s (RECONNECT_GRACE).
  broken: { firstMs: 2000, longestMs: 30_000 },
  refused: { firstMs: 4000, longestMs: 30_000 },
} as const satisfies Record<Loss, object>

/**
 * Full jitter: anything between nothing and the bound.
 *
 * @param attempts - how many attempts in a row have failed before this loss
 * @param random - from 0 to 1
 */
export function waitMs(loss: Loss, attempts: number, random: number): number {
  return backoffMs(WAITS[loss], attempts, random)
}

const RETRY = { firstMs: 500, longestMs: 15_000 }

/**
 * Before a question is asked again on an open connection, with full jitter: clients that were refused together do not
 * retry together.
 *
 * @param retryAfterMs - what the server asked to wait first
 */
export function retryMs(failures: number, random: number, retryAfterMs: number | null = null): number {
  return (retryAfterMs ?? 0) + backoffMs(RETRY, failures, random)
}

/** The bound doubles with each failure. */
function backoffMs(bound: { firstMs: number; longestMs: number }, failures: number, random: number): number {
  return Math.min(bound.longestMs, bound.firstMs * 2 ** failures) * random
}
