import type { Store } from './types.ts'

/** How long what nobody reads is followed: a page that is left for the next one reads the same list again. */
const LINGER_MS = 1000

/** A store whose value is computed when it is read, and at most once a change. */
export class ComputedStore<Snapshot> implements Store<Snapshot> {
  readonly #listeners = new Set<() => void>()
  readonly #compute: (previous: Snapshot | null) => Snapshot
  readonly #start: () => () => void
  #snapshot: Snapshot | null = null
  #isDirty = true
  #stop: (() => void) | null = null
  #lingering: ReturnType<typeof setTimeout> | undefined

  /**
   * @param compute - returns `previous` where nothing changed: readers compare by identity
   * @param start - called when somebody begins to read; returns what ends it, after the last reader has gone
   */
  constructor(compute: (previous: Snapshot | null) => Snapshot, start: () => () => void) {
    this.#compute = compute
    this.#start = start
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    // The same function may be given twice.
    const own = () => listener()
    this.#listeners.add(own)
    clearTimeout(this.#lingering)
    this.#stop ??= this.#start()
    return () => {
      if (!this.#listeners.delete(own) || this.#listeners.size > 0) return
      this.#lingering = setTimeout(() => this.stop(), LINGER_MS)
    }
  }

  readonly getSnapshot = (): Snapshot => {
    if (this.#isDirty || this.#snapshot === null) {
      this.#snapshot = this.#compute(this.#snapshot)
      this.#isDirty = false
    }
    return this.#snapshot
  }

  /** Something of it may have changed. */
  changed(): void {
    this.#isDirty = true
    const before = this.#snapshot
    if (this.#listeners.size > 0 && this.getSnapshot() !== before)
      for (const listener of [...this.#listeners]) listener()
  }

  stop(): void {
    clearTimeout(this.#lingering)
    this.#stop?.()
    this.#stop = null
  }
}
