/**
 * Runs the app's own operations over the kit's connection: what the bindings of GraphQL clients are made of.
 *
 * A query waits for a connection, and is asked again where that ends before the answer. A mutation is sent once. A
 * subscription goes on over connections, and after what the server mends by itself: `$after` becomes the last position
 * that it saw, so that nothing is missed. All of them end with the link's error where the server refuses this client for
 * good.
 */
import { type Connection, ENDED } from './connection.ts'
import { closed, errorOf, isPassing, RollcallError } from './errors.ts'
import type { Link } from './link.ts'
import type { Variables } from './operations.ts'
import { linkOf, type Presence } from './presence.ts'
import { retryMs } from './schedule.ts'
import type { LinkSnapshot, Store } from './types.ts'

export interface AppOperation {
  readonly kind: 'query' | 'mutation' | 'subscription'
  readonly query: string
  readonly variables?: Variables | undefined
  readonly operationName?: string | undefined
}

/** A result as the server sent it: `data`, `errors` and `extensions`. */
export type AppResult = Readonly<Record<string, unknown>>

export interface AppSink {
  next(result: AppResult): void
  /** @param error - a RollcallError, or the server's errors as a list. Nothing comes after it */
  error(error: unknown): void
  complete(): void
}

/** @returns a function that ends it, without a word to the sink */
export function execute(presence: Presence, operation: AppOperation, sink: AppSink): () => void {
  const running = new Execution(linkOf(presence), presence.link, operation, sink)
  running.start()
  return () => running.stop()
}

const NOT_SENT = Number.POSITIVE_INFINITY

class Execution {
  readonly #link: Link
  readonly #linkStore: Store<LinkSnapshot>
  readonly #operation: AppOperation
  readonly #sink: AppSink
  #unfollowLink = (): void => {}
  #unsubscribe = (): void => {}
  #stopSending = (): void => {}
  #isSent = false
  #after: unknown
  /** A change came whose position is not known: then a lost connection is a gap. */
  #isBeyondAfter = false
  #generation = NOT_SENT
  #retry: ReturnType<typeof setTimeout> | undefined
  #failures = 0
  #isOver = false

  constructor(link: Link, linkStore: Store<LinkSnapshot>, operation: AppOperation, sink: AppSink) {
    this.#link = link
    this.#linkStore = linkStore
    this.#operation = operation
    this.#sink = sink
    this.#after = operation.variables?.after
  }

  start(): void {
    const { state } = this.#link.snapshot
    if (state === 'failed') {
      this.#refused()
      return
    }
    // A mutation that is sent an hour later is no longer wanted.
    if (this.#operation.kind === 'mutation' && state !== 'open' && state !== 'connecting') {
      this.#fail(closed('There is no connection.'))
      return
    }
    const unfollow = this.#link.follow({
      opened: (connection) => this.#send(connection),
      ended: () => this.#lost(),
      doubted() {},
      word: (position, generation) => {
        if (generation < this.#generation) return
        this.#after = position
        this.#isBeyondAfter = false
        this.#failures = 0
      },
    })
    // It may have been over before it had begun.
    if (this.#isOver) return void unfollow()
    this.#unfollowLink = unfollow
    this.#unsubscribe = this.#linkStore.subscribe(() => this.#refused())
  }

  stop(): void {
    this.#isOver = true
    clearTimeout(this.#retry)
    this.#unfollowLink()
    this.#unsubscribe()
    this.#stopSending()
  }

  #send(connection: Connection): void {
    if (this.#isOver) return
    const { kind, query, operationName, variables = {} } = this.#operation
    const isResumed = this.#isSent && kind === 'subscription'
    this.#isSent = true
    const after = isResumed && resumes(query) ? { after: this.#after } : {}
    this.#stopSending = connection.send(
      { query, operationName, variables: { ...variables, ...after } },
      {
        next: (result) => {
          this.#note(result)
          this.#sink.next(result)
        },
        end: (errors) => this.#ended(connection, errors),
      },
    )
    if (kind === 'subscription') this.#generation = this.#link.confirm()
  }

  #note(result: AppResult): void {
    const change = (result.data as { presenceChanged?: { position?: string } } | null)?.presenceChanged
    if (!change) return
    if (change.position) this.#after = change.position
    else this.#isBeyondAfter = true
  }

  #ended(connection: Connection, errors: unknown): void {
    // A subscription that is complete was ended by a process that stops.
    const isSubscription = this.#operation.kind === 'subscription'
    const cause = errors ?? (isSubscription ? ENDED : null)
    if (cause === null) {
      this.stop()
      this.#sink.complete()
      return
    }
    const error = errorOf(cause)
    if (!isSubscription || !isPassing(error) || this.#isGap()) {
      this.#fail(cause)
      return
    }
    this.#generation = NOT_SENT
    const ms = retryMs(this.#failures, Math.random(), error.retryAfterMs)
    this.#failures += 1
    this.#retry = setTimeout(() => this.#send(connection), ms)
  }

  #lost(): void {
    clearTimeout(this.#retry)
    this.#generation = NOT_SENT
    if (this.#operation.kind === 'mutation') {
      this.#fail(closed('The connection ended before the answer came.'))
      return
    }
    if (this.#operation.kind === 'subscription' && this.#isGap()) {
      const reason = 'The connection was lost. To go on without a gap the subscription needs $after, and `position`.'
      this.#fail(new RollcallError('POSITION_EXPIRED', `${reason} Read again.`))
    }
  }

  /** Whether a subscription that begins again would miss changes. */
  #isGap(): boolean {
    const { query } = this.#operation
    return /\bpresenceChanged\b/.test(query) && (!resumes(query) || this.#isBeyondAfter || !this.#after)
  }

  /** Nothing connects any more: an answer would never come. */
  #refused(): void {
    const { state, error } = this.#link.snapshot
    if (state === 'failed') this.#fail(error)
  }

  #fail(error: unknown): void {
    this.stop()
    this.#sink.error(error)
  }
}

/** Whether the document takes the position after which it goes on. */
function resumes(query: string): boolean {
  return /\$after\b/.test(query)
}
