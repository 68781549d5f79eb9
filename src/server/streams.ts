/** Streams of server-sent events: they end when their token runs out, and when their user is dismissed. */
import type { ExecutionResult } from 'graphql'
import type { Caller } from '../presence/access.ts'
import { inSlices } from '../slices.ts'
import { createExpiries } from './expiries.ts'

type Results = AsyncGenerator<ExecutionResult, void, void>

export interface Streams {
  /** @returns the stream, kept in mind for as long as it runs */
  add(caller: Caller, results: Results): Results
  /** @param issuedUpToMs - only streams whose token is not younger; null: all of the user's */
  dismiss(userId: string, issuedUpToMs: number | null): void
  /** Who has streams here. */
  userIds(): Iterable<string>
  /** Ends those whose token has run out. */
  check(): Promise<void>
}

interface Stream {
  readonly caller: Caller
  end(): void
}

export interface StreamsOptions {
  readonly monotonicMs: () => number
  readonly onError: (error: unknown) => void
}

export function createStreams({ monotonicMs, onError }: StreamsOptions): Streams {
  const byUser = new Map<string, Set<Stream>>()
  const expiries = createExpiries<Stream>()

  function remove(stream: Stream): void {
    expiries.remove(stream)
    const ofUser = byUser.get(stream.caller.userId)
    ofUser?.delete(stream)
    if (ofUser?.size === 0) byUser.delete(stream.caller.userId)
  }

  return {
    add(caller, results) {
      const stream: Stream = {
        caller,
        end() {
          remove(stream)
          // Whoever waits for the next result gets the end instead.
          results.return().catch(onError)
        },
      }
      const ofUser = byUser.get(caller.userId)
      if (ofUser === undefined) byUser.set(caller.userId, new Set([stream]))
      else ofUser.add(stream)
      if (caller.expiresAtMs !== null) expiries.add(stream, caller.expiresAtMs)

      const watched: Results = {
        [Symbol.asyncIterator]: () => watched,
        async next() {
          const result = await results.next()
          if (result.done) remove(stream)
          return result
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

    check: () => inSlices(expiries.due(Date.now()), monotonicMs, (stream) => stream.end()),
  }
}
