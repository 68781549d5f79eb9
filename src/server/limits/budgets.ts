/**
 * Token buckets: what a caller may cause in one burst, and how fast that comes back.
 *
 * A bucket is one number, the moment when it is full again (the generic cell rate algorithm, ITU-T I.371). Time is an
 * argument; a full bucket needs no memory.
 */

import type { TakenWork } from '../../presence/store.ts'

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

  /**
   * Takes units for what was done already: the bucket may owe as much as it holds.
   *
   * @returns false where it owes nearly as much
   */
  spend(units: number, nowMs: number): boolean {
    const { burst, perSecond } = this.#rate
    const burstMs = (burst * 1000) / perSecond
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + (units * 1000) / perSecond
    this.#fullAtMs = Math.min(fullAtMs, nowMs + 2 * burstMs)
    return fullAtMs - nowMs < 1.9 * burstMs
  }

  /** The bucket is full no sooner than this: others have taken from it as well. */
  fillBy(fullAtMs: number, nowMs: number): void {
    const { burst, perSecond } = this.#rate
    this.#fullAtMs = Math.max(this.#fullAtMs, Math.min(fullAtMs, nowMs + (2 * burst * 1000) / perSecond))
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
  spend(key: string, units: number): boolean
  give(key: string, units: number): void
  /**
   * Tells other processes what was taken here, and learns what was taken there. What is worth no message waits: less
   * than a twentieth of a bucket.
   *
   * @param exchange - adds work to what all processes have taken; answers in how many ms each bucket is full again
   */
  share(exchange: (taken: readonly TakenWork[]) => Promise<readonly number[]>): Promise<void>
  /** Drops full buckets: to be called now and then. */
  forgetFull(): void
  size(): number
}

const WORTH_SHARING = 0.05

interface Account {
  readonly bucket: Bucket
  /** Units taken that other processes do not know of. */
  unsharedUnits: number
}

export function createBudgets(rate: Rate, monotonicMs: () => number): Budgets {
  const accounts = new Map<string, Account>()
  const burstMs = (rate.burst * 1000) / rate.perSecond

  function accountOf(key: string): Account {
    let account = accounts.get(key)
    if (account === undefined) {
      account = { bucket: new Bucket(rate), unsharedUnits: 0 }
      accounts.set(key, account)
    }
    return account
  }

  return {
    take(key, units) {
      const account = accountOf(key)
      const waitMs = account.bucket.take(units, monotonicMs())
      if (waitMs === 0) account.unsharedUnits += Math.min(units, rate.burst)
      return waitMs
    },

    spend(key, units) {
      const account = accountOf(key)
      account.unsharedUnits += units
      return account.bucket.spend(units, monotonicMs())
    },

    give(key, units) {
      const account = accounts.get(key)
      // Forgotten, it is full.
      if (account === undefined) return
      account.bucket.give(units)
      account.unsharedUnits -= units
    },

    async share(exchange) {
      const taken: TakenWork[] = []
      for (const [key, account] of accounts) {
        const { unsharedUnits } = account
        if (unsharedUnits < WORTH_SHARING * rate.burst) continue
        account.unsharedUnits = 0
        taken.push({ key, refillMs: (unsharedUnits * 1000) / rate.perSecond, burstMs })
      }
      if (taken.length === 0) return
      let fullInMs: readonly number[]
      try {
        fullInMs = await exchange(taken)
      } catch (error) {
        // It counts when the others can be told.
        for (const { key, refillMs } of taken) accountOf(key).unsharedUnits += (refillMs * rate.perSecond) / 1000
        throw error
      }
      const nowMs = monotonicMs()
      for (const [index, { key }] of taken.entries())
        accountOf(key).bucket.fillBy(nowMs + (fullInMs[index] ?? 0), nowMs)
    },

    forgetFull() {
      const nowMs = monotonicMs()
      for (const [key, { bucket }] of accounts) if (bucket.isFull(nowMs)) accounts.delete(key)
    },

    size: () => accounts.size,
  }
}
