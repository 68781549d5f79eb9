/**
 * One subscription to the change log.
 *
 * While its outlet takes them it gets each event as it comes. An outlet that is full is *behind*: nothing is kept for
 * it but its place, and when it has drained it is replayed from the log, merged to one change a user.
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
  /** How far the subscriptions that are not behind have come. */
  readonly announcedSeq: () => number
  /** Resolves a little later. */
  readonly untilTick: () => Promise<void>
  /** How many events may wait for one who reads. */
  readonly waitingMost: number
  /** Told of each time when a subscription falls behind, and when it is not any more. */
  readonly fellBehind: () => void
  readonly caughtUp: () => void
}

export class Subscription implements ChangeStream {
  readonly #filter: IndexedFilter
  readonly #context: SubscriptionContext
  readonly #onEnd: (subscription: Subscription) => void
  /** What it has taken in, while it is behind; else at least so far. */
  #takenSeq: number
  #isBehind: boolean
  #isCatchingUp = false
  /** Its reader may know later states than its place says: from a page, or from a merging that it saw a part of. */
  #mayHaveSeenLater: boolean
  #outlet: ChangeOutlet | null = null
  #reader: Reader | null = null
  /** Its log is lost: it takes no event any more, and will fail. */
  #isLost = false
  #isOver = false
  #failure: Error | null = null
  #settle: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null

  /** @param startSeq - its reader knows everything up to here */
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

  /** Reads what is between its start and now, so that a start that expired fails at once. */
  async prepare(): Promise<void> {
    if (this.#isBehind) await this.#replay()
  }

  /** @param isMerged - of several entries: it may say less than what came before it */
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

  /** Whether nothing may be written to it any more. */
  get #isDone(): boolean {
    return this.#isLost || this.#isOver
  }

  /** Catches up where it can. */
  resume(): void {
    if (!this.#isBehind || this.#isCatchingUp || this.#isDone || this.#outlet === null) return
    this.#catchUp(this.#outlet).catch((error) => this.fail(error))
  }

  /** Everything up to it that the filter lets through has been written. Null where its log is lost. */
  writtenSeq(): number | null {
    if (this.#isLost) return null
    const unwrittenSeq = this.#reader?.unwrittenSeq() ?? null
    if (unwrittenSeq !== null) return unwrittenSeq - 1
    return this.#isBehind ? this.#takenSeq : this.#context.announcedSeq()
  }

  /** The log is lost: what comes from now on is of another one. `fail` is to follow. */
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
        // Ahead of what the others have been told, it waits for them.
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

  /** @returns false where the outlet was full before the end */
  #writeAll(events: readonly ChangeEvent[], outlet: ChangeOutlet): boolean {
    for (const event of events) {
      if (this.#isDone) return false
      if (outlet.isFull()) {
        // In the middle of a merged replay it lacks what was merged into the changes that it did not get.
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

  /** @returns null where the log could not be read just now: it gets everything, late, when it can be again */
  async #replayWhenAvailable() {
    try {
      const replay = await this.#replay()
      // The store may be a moment behind what was heard of it.
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
