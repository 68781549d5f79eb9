import type { Freshness } from './types.ts'

export const LOADING: Freshness = { state: 'loading', since: null, error: null }
const LIVE: Freshness = { state: 'live', since: null, error: null }

/** How much what is shown can be trusted, from what is heard of the server. */
export class Trust {
  #freshness: Freshness = LOADING
  #rightAt: Date | null = null

  get freshness(): Freshness {
    return this.#freshness
  }

  /** The server has just confirmed all of it. */
  confirm(): void {
    this.#rightAt = new Date()
  }

  /**
   * @param error - why the server refused the question for good
   * @returns whether `freshness` is another one
   */
  judge(isLive: boolean, error: Error | null): boolean {
    const before = this.#freshness
    const since = this.#rightAt
    if (error) {
      if (before.error !== error) this.#freshness = { state: 'failed', since, error }
    } else if (isLive) this.#freshness = LIVE
    else if (since === null) this.#freshness = LOADING
    else if (before.state !== 'stale') this.#freshness = { state: 'stale', since, error: null }
    return this.#freshness !== before
  }
}
