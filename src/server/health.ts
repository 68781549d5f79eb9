/** Whether this process can serve, and if not, why: for load balancers and for whoever starts it. */

export interface Health {
  isReady(): boolean
  /** A sentence for an operator. */
  notReadyBecause(): string
  ready(): void
  /** @param reason - what stands in the way */
  notReady(reason: string): void
}

export function createHealth(reason: string): Health {
  let standsInTheWay: string | null = reason
  return {
    isReady: () => standsInTheWay === null,
    notReadyBecause: () => standsInTheWay ?? '',
    ready() {
      standsInTheWay = null
    },
    notReady(because) {
      standsInTheWay = because
    },
  }
}
