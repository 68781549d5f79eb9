/** Streams of server-sent events: they end when their token runs out, and when their user is dismissed. */
import type { ExecutionResult } from 'graphql'
import type { Caller } from '../presence/access.ts'
import { inSlices } from '../slices.ts'
import { createExpiries } from './expiries.ts'

export type Results = AsyncGenerator<ExecutionResult, void, void>

export interface Streams {
  /**
   * @param signal - aborted when the client has gone, also before the stream was read for the first time
   * @returns the stream, counted for as long as it runs. Nobody reads it within `READ_WAIT_MS`: it ends
   */
  add(caller: Caller, results: Results, signal: AbortSignal): Results
  /** @param issuedUpToMs - only streams whose token is not younger; null: all of the user's */
  dismiss(userId: string, issuedUpToMs: number | null): void
  /** Who has streams here. */
  userIds(): Iterable<string>
  /** How many streams a user has open here. */
  countOf(userId: string): number
  /** Ends those whose token has run out, and those that nobody reads. */
  check(): Promise<void>
}

interface Stream {
  readonly caller: Caller
  end(): void
}

/** An answer that was refused on its way is never read. */
const READ_WAIT_MS = 10_000

export interface StreamsOptions {
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
}

export function createStreams({ monotonicMs, onError }: StreamsOptions): Streams {
  const byUser = new Map<string, Set<Stream>>()
  const expiries = createExpiries<Stream>()
  /** Streams that nobody has read yet, in the order of their coming, with the moment when their time is over. */
  const unread = new Map<Stream, number>()

  function remove(stream: Stream): void {
    expiries.remove(stream)
    unread.delete(stream)
    const ofUser = byUser.get(stream.caller.userId)
    ofUser?.delete(stream)
    if (ofUser?.size === 0) byUser.delete(stream.caller.userId)
  }

  return {
    add(caller, results, signal) {
      const stream: Stream = {
        caller,
        end() {
          remove(stream)
          // A reader that waits for the next result gets the end instead.
          results.return().catch(onError)
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

      const watched: Results = {
        [Symbol.asyncIterator]: () => watched,
        async next() {
          unread.delete(stream)
          try {
            const result = await results.next()
            if (result.done) remove(stream)
            return result
          } catch (error) {
            // Who reads does not end what has failed.
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
        if (issuedUpToMs === null || stream.caller.issuedAtMs <= issuedUpToMs) stream.end()
      }
    },

    userIds: () => byUser.keys(),
    countOf: (userId) => byUser.get(userId)?.size ?? 0,

    async check() {
      for (const [stream, untilMs] of unread) {
        if (monotonicMs() < untilMs) break
        stream.end()
      }
      await inSlices(expiries.due(Date.now()), monotonicMs, (stream) => stream.end())
    },
  }
}
