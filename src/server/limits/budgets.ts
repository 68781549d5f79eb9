/**
 * Token buckets: what a caller may cause in one burst, and how fast that comes back.
 *
 * A bucket is one number, the moment when it is full again (the generic cell rate algorithm, ITU-T I.371). Time is an
 * argument; a full bucket needs no memory.
 */

export interface Rate {
  /** Units that a full bucket holds. */
  readonly burst: number
  /** Units that flow back in a second. */
  readonly perSecond: number
}

/** One bucket. A class, because every socket has one. */
export class Bucket {
  readonly #rate: Rate
  #fullAtMs = Number.NEGATIVE_INFINITY

  constructor(rate: Rate) {
    this.#rate = rate
  }

  /**
   * Takes units. Work that costs more than the bucket holds takes all that it holds.
   *
   * @returns 0 where there were enough; else in how many ms there will be, and nothing was taken
   */
  take(units: number, nowMs: number): number {
    const { burst, perSecond } = this.#rate
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + (Math.min(units, burst) * 1000) / perSecond
    const missingMs = fullAtMs - nowMs - (burst * 1000) / perSecond
    // A burst in many small steps adds up with errors of the 15th digit.
    if (missingMs > 1e-6) return Math.ceil(missingMs)
    this.#fullAtMs = fullAtMs
    return 0
  }

  /** Takes units for what was done already: the bucket may owe as much as it holds. */
  spend(units: number, nowMs: number): void {
    const { burst, perSecond } = this.#rate
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + (units * 1000) / perSecond
    this.#fullAtMs = Math.min(fullAtMs, nowMs + (2 * burst * 1000) / perSecond)
  }

  /** Puts units back that were taken for nothing. */
  give(units: number): void {
    this.#fullAtMs -= (units * 1000) / this.#rate.perSecond
  }

  isFull(nowMs: number): boolean {
    return this.#fullAtMs <= nowMs
  }
}

/** A bucket a key. */
export interface Budgets {
  /** As `Bucket`. */
  take(key: string, units: number): number
  spend(key: string, units: number): void
  give(key: string, units: number): void
  /** Drops full buckets: to be called now and then. */
  forgetFull(): void
  size(): number
}

export function createBudgets(rate: Rate, monotonicMs: () => number): Budgets {
  const buckets = new Map<string, Bucket>()

  function bucketOf(key: string): Bucket {
    let bucket = buckets.get(key)
    if (bucket === undefined) {
      bucket = new Bucket(rate)
      buckets.set(key, bucket)
    }
    return bucket
  }

  return {
    take: (key, units) => bucketOf(key).take(units, monotonicMs()),
    spend: (key, units) => bucketOf(key).spend(units, monotonicMs()),
    give: (key, units) => buckets.get(key)?.give(units),

    forgetFull() {
      const nowMs = monotonicMs()
      for (const [key, bucket] of buckets) if (bucket.isFull(nowMs)) buckets.delete(key)
    },

    size: () => buckets.size,
  }
}
