/** Whether this process can serve, and if not, why: for load balancers and for the process that starts it. */

import { setTimeout as sleep } from 'node:timers/promises'

export interface Health {
  /** Whether requests are answered. */
  isServing(): boolean
  /** As `isServing`, after a short wait if that is unknown: a process that stood still asks whether another serves. */
  willServe(): Promise<boolean>
  /** Whether new clients are welcome. */
  isReady(): boolean
  /** Whether the server stops, so that connected clients should go elsewhere too. */
  isDraining(): boolean
  /** The reason, as a sentence for an operator. */
  notReadyBecause(): string
  /**
   * Both arguments check what comes and goes by itself, and return what is wrong, or null.
   *
   * @param trouble - clients are served all the same, and receive an error if an answer is not possible
   * @param exclusion - nothing may be served while it returns a reason
   */
  ready(trouble: () => string | null, exclusion?: () => string | null): void
  /** @param reason - why nothing is served, not yet or no longer */
  notReady(reason: string): void
  /** From here on clients should go elsewhere; connected clients are still served. */
  drain(reason: string): void
}

/** Longer than a query takes, and shorter than clients wait for an answer. */
const FINDING_OUT_MS = 2000
const LOOK_EVERY_MS = 10

export function createHealth(reason: string): Health {
  let standsInTheWay: string | null = reason
  let isDraining: string | null = null
  let look: () => string | null = () => null
  let lookForOthers: () => string | null = () => null

  function servesNotBecause(): string | null {
    return standsInTheWay ?? lookForOthers()
  }

  function because(): string | null {
    return servesNotBecause() ?? isDraining ?? look()
  }

  return {
    isServing: () => servesNotBecause() === null,

    async willServe() {
      const untilMs = performance.now() + FINDING_OUT_MS
      while (standsInTheWay === null && lookForOthers() !== null && performance.now() < untilMs) {
        await sleep(LOOK_EVERY_MS, undefined, { ref: false })
      }
      return servesNotBecause() === null
    },

    isReady: () => because() === null,
    isDraining: () => isDraining !== null,
    notReadyBecause: () => because() ?? '',
    ready(trouble, exclusion = () => null) {
      look = trouble
      lookForOthers = exclusion
      standsInTheWay = null
    },
    notReady(because) {
      lookForOthers = () => null
      standsInTheWay = because
    },
    drain(because) {
      isDraining = because
    },
  }
}
