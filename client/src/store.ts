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
      this.#lingering = setTimeout(() => {
        this.#stop?.()
        this.#stop = null
      }, LINGER_MS)
    }
  }

  readonly getSnapshot = (): Snapshot => {
    if (this.#isDirty || this.#snapshot === null) {
      this.#snapshot = this.#compute(this.#snapshot)
      this.#isDirty = false
    }
    return this.#snapshot
  }

  /** Whether somebody reads it, or did a moment ago. */
  get isRead(): boolean {
    return this.#stop !== null
  }

  /** Something of it may have changed. */
  changed(): void {
    this.#isDirty = true
    const before = this.#snapshot
    if (this.#listeners.size > 0 && this.getSnapshot() !== before)
      for (const listener of [...this.#listeners]) listener()
  }
}

/** How long a store that nobody reads is handed out again: a component may ask for it and never be shown. */
const UNREAD_MS = 10_000

/** The stores of one kind of question, so that all who ask the same one share a store. */
export class StoreCache<Snapshot> {
  readonly #stores = new Map<string, ComputedStore<Snapshot>>()
  #pruning: ReturnType<typeof setTimeout> | undefined

  /** @param make - is given what to call when the store is read; it returns what ends that */
  get(
    key: string,
    make: (start: (begin: () => () => void) => () => void) => ComputedStore<Snapshot>,
  ): ComputedStore<Snapshot> {
    const known = this.#stores.get(key)
    if (known) return known
    const store = make((begin) => {
      const other = this.#stores.get(key)
      // It was forgotten before it was read, and somebody has asked again.
      if (other && other !== store) return other.subscribe(() => store.changed())
      this.#stores.set(key, store)
      const end = begin()
      return () => {
        end()
        this.#stores.delete(key)
      }
    })
    this.#stores.set(key, store)
    this.#pruning ??= setTimeout(() => {
      this.#pruning = undefined
      for (const [key, store] of this.#stores) if (!store.isRead) this.#stores.delete(key)
    }, UNREAD_MS)
    return store
  }

  changed(key: string): void {
    this.#stores.get(key)?.changed()
  }

  /** @param isConcerned - left out, all of them may have changed */
  someChanged(isConcerned: (store: ComputedStore<Snapshot>) => boolean = () => true): void {
    for (const store of [...this.#stores.values()]) if (isConcerned(store)) store.changed()
  }
}
