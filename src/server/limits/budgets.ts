/**
 * Token buckets: how much a caller may cause in one burst, and how fast that refills.
 *
 * A bucket is one number, the time when it is full again (the generic cell rate algorithm, ITU-T I.371). Callers pass
 * the time in; a full bucket needs no memory.
 */

import type { TakenWork } from '../../presence/store.ts'

export interface Rate {
  /** Units that a full bucket holds. */
  readonly burst: number
  /** Units that flow back per second. */
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
   * Takes units. Work that costs more than a full bucket takes a full bucket.
   *
   * @returns 0 if there were enough; otherwise the ms until there are enough, and nothing was taken
   */
  take(units: number, nowMs: number): number {
    const { burst, perSecond } = this.#rate
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + (Math.min(units, burst) * 1000) / perSecond
    const missingMs = fullAtMs - nowMs - (burst * 1000) / perSecond
    // A burst in many small steps adds up rounding errors in the 15th digit.
    if (missingMs > 1e-6) return Math.ceil(missingMs)
    this.#fullAtMs = fullAtMs
    return 0
  }

  /**
   * Takes units for work that is already done: the bucket may owe as much as it holds.
   *
   * @returns false if it owes nearly that much
   */
  spend(units: number, nowMs: number): boolean {
    const { burst, perSecond } = this.#rate
    const burstMs = (burst * 1000) / perSecond
    const fullAtMs = Math.max(this.#fullAtMs, nowMs) + (units * 1000) / perSecond
    this.#fullAtMs = Math.min(fullAtMs, nowMs + 2 * burstMs)
    return fullAtMs - nowMs < 1.9 * burstMs
  }

  /** Sets the earliest time when the bucket is full: others have taken from it too. */
  fillBy(fullAtMs: number, nowMs: number): void {
    const { burst, perSecond } = this.#rate
    this.#fullAtMs = Math.max(this.#fullAtMs, Math.min(fullAtMs, nowMs + (2 * burst * 1000) / perSecond))
  }

  /** Puts back units that were taken for nothing. */
  give(units: number): void {
    this.#fullAtMs -= (units * 1000) / this.#rate.perSecond
  }

  isFull(nowMs: number): boolean {
    return this.#fullAtMs <= nowMs
  }
}

/** One bucket per key. */
export interface Budgets {
  /** As in `Bucket`. */
  take(key: string, units: number): number
  spend(key: string, units: number): boolean
  give(key: string, units: number): void
  /**
   * Tells other processes what was taken here, and learns what was taken there. Less than a twentieth of a bucket is
   * not worth a message, and waits.
   *
   * @param exchange - adds work to what all processes have taken; returns in how many ms each bucket is full again
   */
  share(exchange: (taken: readonly TakenWork[]) => Promise<readonly number[]>): Promise<void>
  /** Drops full buckets. Call it now and then. */
  forgetFull(): void
  size(): number
}

const WORTH_SHARING = 0.05

interface Account {
  readonly bucket: Bucket
  /** Units taken that other processes do not know of yet. */
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
      // A forgotten bucket is full.
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
        // Share these units at the next exchange.
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
