/** Whether this process can serve, and if not, why: for load balancers and for whoever starts it. */

export interface Health {
  /** Whether requests are answered. */
  isServing(): boolean
  /** Whether new clients are welcome. */
  isReady(): boolean
  /** A sentence for an operator. */
  notReadyBecause(): string
  /** @param trouble - looks at what comes and goes by itself: what stands in the way, or null */
  ready(trouble: () => string | null): void
  /** @param reason - why nothing is served, not yet or no more */
  notReady(reason: string): void
  /** From here on clients should go elsewhere; those who are here are still served. */
  drain(reason: string): void
}

export function createHealth(reason: string): Health {
  let standsInTheWay: string | null = reason
  let isDraining: string | null = null
  let look: () => string | null = () => null

  function because(): string | null {
    return standsInTheWay ?? isDraining ?? look()
  }

  return {
    isServing: () => standsInTheWay === null,
    isReady: () => because() === null,
    notReadyBecause: () => because() ?? '',
    ready(trouble) {
      look = trouble
      standsInTheWay = null
    },
    notReady(because) {
      standsInTheWay = because
    },
    drain(because) {
      isDraining = because
    },
  }
}
