/**
 * Streams of server-sent events: a stream ends when its token expires, when its user is dismissed, and when the process
 * stops.
 *
 * Such a stream is cut off. `complete` would say that there is nothing more to come, and no client would come back with
 * a fresh token, or to the next process.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { ExecutionResult } from 'graphql'
import type { Caller } from '../presence/access.ts'
import { inSlices } from '../slices.ts'
import { createExpiries } from './expiries.ts'

export type ItemStream<Item> = AsyncGenerator<Item, void, void>
export type Results = ItemStream<ExecutionResult>

export interface Streams {
  /** @returns the stream, counted while it runs. It ends if nobody reads it within `READ_WAIT_MS` */
  add<Item>(caller: Caller, results: ItemStream<Item>, connection: StreamConnection): ItemStream<Item>
  /** @param issuedUpToMs - only streams whose token is not younger; null: all of the user's */
  dismiss(userId: string, issuedUpToMs: number | null): void
  /** Users with streams on this node. */
  userIds(): Iterable<string>
  /** How many streams a user has open on this node. */
  countOf(userId: string): number
  /** Ends streams whose token has expired, and streams that nobody reads. */
  check(): Promise<void>
  /** Cuts off all streams, one after the other. @param overMs - so that clients do not all come back at once */
  close(overMs: number): Promise<void>
}

export interface StreamConnection {
  /** Aborted when the client has gone, perhaps before the stream is first read. */
  readonly signal: AbortSignal
  cut(): void
}

interface Stream {
  readonly caller: Caller
  /** Nobody reads it: its connection may carry other answers by now. */
  end(): void
  /** Ends it and its connection. */
  cutOff(): void
}

/** An answer that is refused on its way is never read. */
const READ_WAIT_MS = 10_000

export interface StreamsOptions {
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
}

export function createStreams({ monotonicMs, onError }: StreamsOptions): Streams {
  const byUser = new Map<string, Set<Stream>>()
  const expiries = createExpiries<Stream>()
  /** Streams that nobody has read yet, in order of arrival, each with the time when it ends. */
  const unread = new Map<Stream, number>()

  function remove(stream: Stream): void {
    expiries.remove(stream)
    unread.delete(stream)
    const ofUser = byUser.get(stream.caller.userId)
    ofUser?.delete(stream)
    if (ofUser?.size === 0) byUser.delete(stream.caller.userId)
  }

  return {
    add<Item>(caller: Caller, results: ItemStream<Item>, { signal, cut }: StreamConnection) {
      const stream: Stream = {
        caller,
        end() {
          remove(stream)
          // A reader that waits for the next result gets the end instead.
          results.return().catch(onError)
        },
        cutOff() {
          cut()
          stream.end()
        },
      }
      const ofUser = byUser.get(caller.userId)
      if (ofUser === undefined) byUser.set(caller.userId, new Set([stream]))
      else ofUser.add(stream)
      if (caller.expiresAtMs !== null) expiries.add(stream, caller.expiresAtMs)
      unread.set(stream, monotonicMs() + READ_WAIT_MS)
      const leave = () => stream.end()
      signal.addEventListener('abort', leave, { once: true })
      if (signal.aborted) leave()

      const watched: ItemStream<Item> = {
        [Symbol.asyncIterator]: () => watched,
        async next() {
          unread.delete(stream)
          try {
            const result = await results.next()
            if (result.done) remove(stream)
            return result
          } catch (error) {
            // A reader does not end a stream that has failed.
            remove(stream)
            throw error
          }
        },
        return() {
          remove(stream)
          return results.return()
        },
        throw(error) {
          remove(stream)
          return results.throw(error)
        },
      }
      return watched
    },

    dismiss(userId, issuedUpToMs) {
      for (const stream of [...(byUser.get(userId) ?? [])]) {
        if (issuedUpToMs === null || stream.caller.issuedAtMs <= issuedUpToMs) stream.cutOff()
      }
    },

    userIds: () => byUser.keys(),
    countOf: (userId) => byUser.get(userId)?.size ?? 0,

    async check() {
      for (const [stream, untilMs] of unread) {
        if (monotonicMs() < untilMs) break
        stream.end()
      }
      await inSlices(expiries.due(Date.now()), monotonicMs, (stream) => stream.cutOff())
    },

    async close(overMs) {
      const open = [...byUser.values()].flatMap((ofUser) => [...ofUser])
      await Promise.all(
        open.map(async (stream, index) => {
          if (overMs > 0) await sleep((overMs * index) / open.length)
          // It may have ended by itself, and its connection carry something else.
          if (byUser.get(stream.caller.userId)?.has(stream)) stream.cutOff()
        }),
      )
      // More may have opened since.
      for (const ofUser of [...byUser.values()]) for (const stream of [...ofUser]) stream.cutOff()
    },
  }
}
