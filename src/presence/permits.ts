/**
 * Permits to use a connection: as many at once as there are connections. The other callers wait in line.
 *
 * The line is here and not in the driver, because a caller that waited too long has to leave it, and a query that the
 * driver has not sent yet cannot be withdrawn from the driver safely.
 */

export interface Permits {
  /** @returns a function that releases the permit; null if no permit is free */
  tryAcquire(): (() => void) | null
  /** @returns a function that releases the permit */
  acquire(withinMs: number): Promise<() => void>
  /** Rejects all callers in line. */
  turnAway(reason: Error): void
  /** Rejects all callers, in line and from now on. @returns when all permits have been released */
  close(reason: Error): Promise<void>
}

interface Waiting {
  readonly admit: (release: () => void) => void
  readonly refuse: (reason: Error) => void
}

/** @param tooLate - creates the error for a caller that waited too long */
export function createPermits(count: number, tooLate: () => Error): Permits {
  const line = new Set<Waiting>()
  let freeCount = count
  let closedFor: Error | null = null
  let allBack = (): void => {}

  function releaseOnce(): () => void {
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      freeCount += 1
      admitNext()
      if (freeCount === count) allBack()
    }
  }

  function admitNext(): void {
    const [next] = line
    if (next === undefined || freeCount === 0) return
    freeCount -= 1
    next.admit(releaseOnce())
  }

  function tryAcquire(): (() => void) | null {
    if (freeCount === 0 || closedFor !== null) return null
    freeCount -= 1
    return releaseOnce()
  }

  function turnAway(reason: Error): void {
    for (const waiting of line) waiting.refuse(reason)
  }

  return {
    tryAcquire,

    async acquire(withinMs) {
      if (closedFor !== null) throw closedFor
      const release = tryAcquire()
      if (release !== null) return release
      return await new Promise((resolve, reject) => {
        const timer = setTimeout(() => waiting.refuse(tooLate()), withinMs)
        timer.unref()
        const waiting: Waiting = {
          admit(release) {
            clearTimeout(timer)
            line.delete(waiting)
            resolve(release)
          },
          refuse(reason) {
            clearTimeout(timer)
            line.delete(waiting)
            reject(reason)
          },
        }
        line.add(waiting)
      })
    },

    turnAway,

    async close(reason) {
      closedFor = reason
      turnAway(reason)
      if (freeCount < count) await new Promise<void>((resolve) => (allBack = resolve))
    },
  }
}
