/**
 * One subscription to the change log, as an async iterator.
 *
 * While its reader keeps up it gets each event as it comes. A reader that does not is *behind*: nothing is kept for
 * it but its place, and when it reads again it is replayed from the log, merged to one change a user.
 */
import { type Change, type ChangeFilter, mergedChanges } from '../presence/changes.ts'
import { isUnavailable, positionExpired } from '../presence/errors.ts'
import type { ChangeEvent } from '../presence/feed.ts'
import type { LogEntry } from '../presence/model.ts'
import type { Position } from '../presence/position.ts'
import type { ChangeLog } from '../presence/store.ts'

/** Entries that one replay merges before it hands out what it found. */
const REPLAY_CHUNK = 5000

export interface Subscription extends AsyncIterableIterator<ChangeEvent> {
  return(): Promise<IteratorResult<ChangeEvent>>
  throw(error: unknown): Promise<IteratorResult<ChangeEvent>>
  /** Reads what is between its start and now, so that a start that expired fails at once. */
  prepare(): Promise<void>
  offer(event: ChangeEvent): void
  /** Everything up to it that the filter lets through has been taken, and the one before the last was written. */
  writtenSeq(): number
  fail(error: Error): void
  end(): void
}

export interface SubscriptionOptions {
  readonly filter: ChangeFilter
  readonly startSeq: number
  /** How many events may wait before the reader is behind. */
  readonly waitingMost: number
  readonly head: () => Position
  readonly read: ChangeLog['read']
  readonly eventOf: (change: Change) => ChangeEvent
  /** Resolves a little later. */
  readonly untilTick: () => Promise<void>
  readonly onEnd: () => void
}

export function createSubscription({
  filter,
  startSeq,
  waitingMost,
  head,
  read,
  eventOf,
  untilTick,
  onEnd,
}: SubscriptionOptions): Subscription {
  let waiting: ChangeEvent[] = []
  /** From where the log has to be read; null while events come as they happen. */
  let behindFromSeq: number | null = startSeq === head().seq ? null : startSeq
  /** What it has taken in: the log may be read ahead of what the hub has heard. */
  let takenSeq = startSeq
  /** Until it has caught up for the first time, its reader may know later states from a page (see mergedChanges). */
  let mayHaveSeenLater = behindFromSeq !== null
  /** The last entry that the last replay merged: up to it, what waits are changes merged from many entries. */
  let mergedUpToSeq = -1
  /** The event that the reader took last, and may not have written yet. */
  let inHandSeq: number | null = null
  let wake: (() => void) | null = null
  let failure: Error | null = null
  let isOver = false

  function wakeReader(): void {
    wake?.()
    wake = null
  }

  function end(): void {
    if (isOver) return
    isOver = true
    waiting = []
    onEnd()
    wakeReader()
  }

  /** Reads one chunk of the log behind the reader's place. */
  async function replay(): Promise<void> {
    if (behindFromSeq === null) return
    const entries: LogEntry[] = []
    let position: Position = { epoch: head().epoch, seq: behindFromSeq }
    while (entries.length < REPLAY_CHUNK) {
      const answer = await read(position, REPLAY_CHUNK - entries.length)
      if (answer === 'expired') throw positionExpired()
      if (answer.entries.length === 0) break
      entries.push(...answer.entries)
      position = answer.position
    }
    waiting = mergedChanges(entries, filter, { mayHaveSeenLater }).map(eventOf)
    // From here on events come as they happen, unless something came that was not read.
    behindFromSeq = position.seq >= head().seq ? null : position.seq
    mergedUpToSeq = position.seq
    takenSeq = Math.max(takenSeq, position.seq)
    if (behindFromSeq === null) mayHaveSeenLater = false
  }

  const done = { value: undefined, done: true } as const

  return {
    [Symbol.asyncIterator]() {
      return this
    },

    prepare: replay,

    async next() {
      inHandSeq = null
      for (;;) {
        if (failure !== null) {
          const error = failure
          failure = null
          end()
          throw error
        }
        if (isOver) return done
        const event = waiting.shift()
        if (event !== undefined) {
          inHandSeq = event.position.seq
          return { value: event, done: false }
        }
        if (behindFromSeq !== null) {
          try {
            await replay()
          } catch (error) {
            if (isUnavailable(error)) {
              // It gets everything, late, when the log can be read again.
              await untilTick()
              continue
            }
            end()
            throw error
          }
          continue
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },

    async return() {
      end()
      return done
    },

    async throw(error) {
      end()
      throw error
    },

    offer(event) {
      // Behind, it is in the log; over, nobody reads.
      if (behindFromSeq !== null || isOver || event.position.seq <= takenSeq) return
      if (waiting.length >= waitingMost) {
        const nextSeq = waiting[0]?.position.seq ?? event.position.seq
        behindFromSeq = nextSeq - 1
        // In the middle of a merged replay it lacks what was merged into the changes that it did not take.
        if (nextSeq <= mergedUpToSeq) mayHaveSeenLater = true
        waiting = []
        return
      }
      takenSeq = event.position.seq
      waiting.push(event)
      wakeReader()
    },

    writtenSeq() {
      if (inHandSeq !== null) return inHandSeq - 1
      if (waiting[0] !== undefined) return waiting[0].position.seq - 1
      return behindFromSeq ?? head().seq
    },

    fail(error) {
      failure = error
      wakeReader()
    },

    end,
  }
}
