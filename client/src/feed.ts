/**
 * Follows presence without a gap: reads everything with its position, follows the changes after it, and goes on from
 * the last position on the next connection. Where the server knows that position no longer, it reads again.
 */
import type { Connection } from './connection.ts'
import { isPassing, type RollcallError } from './errors.ts'
import type { Follower, Link } from './link.ts'
import { Presence, type Variables } from './operations.ts'
import { retryMs } from './schedule.ts'
import { Trust } from './trust.ts'
import type { Freshness, User } from './types.ts'

export interface Change {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly user: User
}

export interface FeedOptions {
  readonly link: Link
  /** `room` or `userIds` of the subscription. */
  readonly variables: Variables
  /** Reads all pages, and replaces what is known when the last one has come. @returns the position of the first */
  readonly read: (connection: Connection) => Promise<string>
  readonly apply: (change: Change) => void
  /** `freshness` is another one. */
  readonly changed: () => void
}

const NOT_SUBSCRIBED = Number.POSITIVE_INFINITY

export class Feed implements Follower {
  readonly #options: FeedOptions
  #leave = (): void => {}
  #connection: Connection | null = null
  #position: string | null
  #generation = NOT_SUBSCRIBED
  #unfollow = (): void => {}
  #retry: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #error: RollcallError | null = null
  readonly #trust = new Trust()

  /** @param position - of what is known already; null: it reads first */
  constructor(options: FeedOptions, position: string | null = null) {
    this.#options = options
    this.#position = position
  }

  get freshness(): Freshness {
    return this.#trust.freshness
  }

  start(): void {
    this.#leave = this.#options.link.follow(this)
  }

  stop(): void {
    this.#leave()
    this.ended()
  }

  opened(connection: Connection): void {
    this.#connection = connection
    void this.#begin(connection)
  }

  ended(): void {
    clearTimeout(this.#retry)
    this.#unfollow()
    this.#connection = null
    this.#generation = NOT_SUBSCRIBED
    this.doubted()
  }

  word(position: string, generation: number): void {
    if (generation < this.#generation) return
    this.#position = position
    this.#failures = 0
    this.#trust.confirm()
    this.doubted()
  }

  doubted(): void {
    if (this.#trust.judge(this.#options.link.covers(this.#generation), this.#error)) this.#options.changed()
  }

  async #begin(connection: Connection): Promise<void> {
    this.#error = null
    try {
      this.#position ??= await this.#options.read(connection)
    } catch (error) {
      return this.#failed(connection, error as RollcallError)
    }
    if (this.#connection !== connection) return
    this.#unfollow = connection.follow(
      Presence,
      { ...this.#options.variables, after: this.#position },
      {
        next: ({ presenceChanged: change }) => {
          this.#position = change.position
          this.#options.apply(change)
        },
        error: (error) => this.#failed(connection, error),
      },
    )
    this.#generation = this.#options.link.confirm()
  }

  #failed(connection: Connection, error: RollcallError): void {
    if (this.#connection !== connection) return
    this.#generation = NOT_SUBSCRIBED
    const isExpired = error.code === 'POSITION_EXPIRED'
    if (isExpired) this.#position = null
    else if (!isPassing(error)) this.#error = error
    this.doubted()
    if (this.#error) return
    // Reading again helps at once, but not where it expires again.
    const random = isExpired && this.#failures === 0 ? 0 : Math.random()
    const ms = retryMs(this.#failures, random, error.retryAfterMs)
    this.#failures += 1
    this.#retry = setTimeout(() => void this.#begin(connection), ms)
  }
}
