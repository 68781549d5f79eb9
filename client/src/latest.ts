/** The latest value of a subscription that brings the present one first: a count, the viewer. */
import type { Connection, Sink } from './connection.ts'
import { isPassing, type RollcallError } from './errors.ts'
import type { Follower, Link } from './link.ts'
import { retryMs } from './schedule.ts'
import { ComputedStore } from './store.ts'
import { Trust } from './trust.ts'
import type { Freshness } from './types.ts'

export interface LatestOptions<Value, Snapshot> {
  readonly link: Link
  /** Returns what ends it. */
  readonly follow: (connection: Connection, sink: Sink<Value>) => () => void
  readonly snapshot: (freshness: Freshness, value: Value | null, previous: Snapshot | null) => Snapshot
  /** Called when somebody begins to read it; what it returns, when nobody does any more. */
  readonly start?: (begin: () => () => void) => () => void
}

export class Latest<Value, Snapshot> implements Follower {
  readonly store: ComputedStore<Snapshot>
  readonly #options: LatestOptions<Value, Snapshot>
  readonly #trust = new Trust()
  #value: Value | null = null
  /** Whether the value came on this connection. */
  #isFromNow = false
  #connection: Connection | null = null
  #unfollow = (): void => {}
  #retry: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #error: RollcallError | null = null

  constructor(options: LatestOptions<Value, Snapshot>) {
    this.#options = options
    this.store = new ComputedStore(
      (previous) => options.snapshot(this.#trust.freshness, this.#value, previous),
      () => (options.start ? options.start(() => this.#start()) : this.#start()),
    )
  }

  /** The server's answer to something else brought it. */
  put(value: Value): void {
    this.#value = value
    this.store.changed()
  }

  opened(connection: Connection): void {
    this.#connection = connection
    this.#begin(connection)
  }

  ended(): void {
    clearTimeout(this.#retry)
    this.#unfollow()
    this.#connection = null
    this.#isFromNow = false
    this.doubted()
  }

  word(): void {
    this.#failures = 0
    this.doubted()
  }

  doubted(): void {
    const isLive = this.#isFromNow && this.#options.link.isProven
    if (isLive) this.#trust.confirm()
    if (this.#trust.judge(isLive, this.#error)) this.store.changed()
  }

  #start(): () => void {
    const leave = this.#options.link.follow(this)
    return () => {
      leave()
      this.ended()
    }
  }

  #begin(connection: Connection): void {
    this.#error = null
    this.#unfollow = this.#options.follow(connection, {
      next: (value) => {
        this.#value = value
        this.#isFromNow = true
        this.doubted()
        this.store.changed()
      },
      error: (error) => {
        if (this.#connection !== connection) return
        this.#isFromNow = false
        if (!isPassing(error)) this.#error = error
        this.doubted()
        if (this.#error) return
        const ms = retryMs(this.#failures, Math.random(), error.retryAfterMs)
        this.#failures += 1
        this.#retry = setTimeout(() => this.#begin(connection), ms)
      },
    })
  }
}
