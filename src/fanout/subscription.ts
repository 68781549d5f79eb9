/**
 * One subscription to the change log.
 *
 * While its outlet has room, a subscription gets each event as it comes. If the outlet is full, the subscription is
 * *behind*: only its place is kept, and once the outlet drains it is replayed from the log, merged to one change per
 * user.
 *
 * A class, because a node has tens of thousands of them.
 */
import { isUnavailable } from '../presence/errors.ts'
import type { ChangeEvent, ChangeOutlet, ChangeStream } from '../presence/feed.ts'
import type { IndexedFilter } from './filter-index.ts'
import { createReader, type Reader } from './reader.ts'
import type { Replays } from './replays.ts'

/** What the subscriptions of a hub share. */
export interface SubscriptionContext {
  readonly replays: Replays
  /** How far the subscriptions that are not behind have got. */
  readonly announcedSeq: () => number
  /** Resolves at the next tick. */
  readonly untilTick: () => Promise<void>
  /** How many events may wait for a reader. */
  readonly waitingMost: number
  /** Called each time a subscription falls behind, and when it has caught up or ended. */
  readonly fellBehind: () => void
  readonly caughtUp: () => void
}

export class Subscription implements ChangeStream {
  readonly #filter: IndexedFilter
  readonly #context: SubscriptionContext
  readonly #onEnd: (subscription: Subscription) => void
  /** The last number that it has taken in, if it is behind; otherwise a lower bound. */
  #takenSeq: number
  #isBehind: boolean
  #isCatchingUp = false
  /** Its reader may know later states than its place says: from a page, or from a merge that it saw a part of. */
  #mayHaveSeenLater: boolean
  #outlet: ChangeOutlet | null = null
  #reader: Reader | null = null
  /** Its log is lost: it takes no more events, and will fail. */
  #isLost = false
  #isOver = false
  #failure: Error | null = null
  #settle: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null

  /** @param startSeq - its reader knows everything up to this number */
  constructor(
    context: SubscriptionContext,
    filter: IndexedFilter,
    startSeq: number,
    isAtHead: boolean,
    onEnd: (subscription: Subscription) => void,
  ) {
    this.#context = context
    this.#filter = filter
    this.#takenSeq = startSeq
    this.#isBehind = !isAtHead
    this.#mayHaveSeenLater = !isAtHead
    this.#onEnd = onEnd
    if (this.#isBehind) context.fellBehind()
  }

  /** Reads from its start to now, so that an expired start fails at once. */
  async prepare(): Promise<void> {
    if (this.#isBehind) await this.#replay()
  }

  /** @param isMerged - whether the event merges several entries: it may say less than what came before it */
  offer(event: ChangeEvent, isMerged: boolean): void {
    // A subscription that is behind reads this event from the log later.
    if (this.#isBehind || this.#isDone || event.position.seq <= this.#takenSeq) return
    if (this.#outlet === null || this.#outlet.isFull()) {
      this.#isBehind = true
      this.#takenSeq = event.position.seq - 1
      if (isMerged) this.#mayHaveSeenLater = true
      this.#context.fellBehind()
      this.#resumeWhenDrained()
    } else this.#write(event)
  }

  flowInto(outlet: ChangeOutlet): Promise<void> {
    this.#outlet = outlet
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (this.#isOver) return Promise.resolve()
    const over = new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
    })
    this.resume()
    return over
  }

  /** Whether no more events may be written. */
  get #isDone(): boolean {
    return this.#isLost || this.#isOver
  }

  /** Catches up if it can. */
  resume(): void {
    if (!this.#isBehind || this.#isCatchingUp || this.#isDone || this.#outlet === null) return
    this.#catchUp(this.#outlet).catch((error) => this.fail(error))
  }

  /** Every event up to this number that the filter lets through has been written. Null if its log is lost. */
  writtenSeq(): number | null {
    if (this.#isLost) return null
    const unwrittenSeq = this.#reader?.unwrittenSeq() ?? null
    if (unwrittenSeq !== null) return unwrittenSeq - 1
    return this.#isBehind ? this.#takenSeq : this.#context.announcedSeq()
  }

  /** The log is lost: later events belong to another log. `fail` follows. */
  lose(): void {
    this.#isLost = true
  }

  fail(error: Error): void {
    if (this.#isOver) return
    this.#failure = error
    this.#close()
    this.#settle?.reject(error)
  }

  end(): void {
    if (this.#isOver) return
    this.#close()
    this.#settle?.resolve()
  }

  #close(): void {
    this.#isOver = true
    if (this.#isBehind) this.#context.caughtUp()
    this.#onEnd(this)
  }

  #write(event: ChangeEvent): void {
    try {
      this.#outlet?.write(event)
      this.#takenSeq = event.position.seq
    } catch (error) {
      this.fail(error as Error)
    }
  }

  async #catchUp(outlet: ChangeOutlet): Promise<void> {
    this.#isCatchingUp = true
    try {
      while (this.#isBehind && !this.#isDone) {
        if (outlet.isFull()) return this.#resumeWhenDrained()
        const replay = await this.#replayWhenAvailable()
        if (replay === null) continue
        const isWritten = this.#writeAll(replay.events, outlet)
        if (this.#isDone) return
        if (!isWritten) return this.#resumeWhenDrained()
        this.#takenSeq = replay.upToSeq
        const announcedSeq = this.#context.announcedSeq()
        // The subscription is ahead of the others, and waits for them.
        if (replay.upToSeq > announcedSeq) return
        if (replay.upToSeq === announcedSeq) {
          this.#isBehind = false
          this.#mayHaveSeenLater = false
          this.#context.caughtUp()
        }
      }
    } finally {
      this.#isCatchingUp = false
    }
  }

  /** @returns false if the outlet was full before the end */
  #writeAll(events: readonly ChangeEvent[], outlet: ChangeOutlet): boolean {
    for (const event of events) {
      if (this.#isDone) return false
      if (outlet.isFull()) {
        // A part of a merged replay lacks what was merged into the changes that were not written.
        this.#mayHaveSeenLater = true
        return false
      }
      this.#write(event)
    }
    return true
  }

  #replay() {
    return this.#context.replays.after(this.#takenSeq, this.#filter, this.#mayHaveSeenLater)
  }

  /** @returns null if the log cannot be read just now: the subscription gets everything later, when it can be read */
  async #replayWhenAvailable() {
    try {
      const replay = await this.#replay()
      // The store may be a moment behind what we have heard from it.
      if (replay.upToSeq > this.#takenSeq || this.#takenSeq >= this.#context.announcedSeq()) return replay
    } catch (error) {
      if (!isUnavailable(error)) throw error
    }
    await this.#context.untilTick()
    return null
  }

  #resumeWhenDrained(): void {
    this.#outlet?.onceDrained(() => this.resume())
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<ChangeEvent>> {
    if (this.#isOver && this.#failure === null) return { value: undefined, done: true }
    this.#reader ??= createReader(this, this.#context.waitingMost)
    return this.#reader.next()
  }

  async return(): Promise<IteratorResult<ChangeEvent>> {
    this.end()
    return { value: undefined, done: true }
  }

  async throw(error: unknown): Promise<IteratorResult<ChangeEvent>> {
    this.end()
    throw error
  }
}
