/**
 * A throttled stream of the latest value: at most one item per `paceMs`. Changes in between become one item, and a
 * reader that does not read holds nothing up.
 */

import { isUnavailable } from '../presence/errors.ts'

export interface Paced<Event> extends AsyncIterableIterator<Event> {
  return(): Promise<IteratorResult<Event>>
  throw(error: unknown): Promise<IteratorResult<Event>>
  /** Reports a change. @returns false if it is too soon for an item: nudge again later */
  nudge(nowMs: number): boolean
  end(): void
}

export interface PacedOptions<Event> {
  /** Reads the state at the moment when the reader takes it. */
  readonly read: () => Promise<Event>
  readonly paceMs: number
  /** Called when the state cannot be read just now: nudge again later. */
  readonly onDelay: () => void
  readonly onEnd: () => void
}

export function createPaced<Event>({ read, paceMs, onDelay, onEnd }: PacedOptions<Event>): Paced<Event> {
  let hasSpoken = false
  let lastAtMs = Number.NEGATIVE_INFINITY
  let isPending = false
  let isOver = false
  let wake: (() => void) | null = null
  const done = { value: undefined, done: true } as const

  function wakeReader(): void {
    wake?.()
    wake = null
  }

  function end(): void {
    if (isOver) return
    isOver = true
    onEnd()
    wakeReader()
  }

  return {
    [Symbol.asyncIterator]() {
      return this
    },

    async next() {
      while (!isOver) {
        if (isPending) {
          isPending = false
          try {
            const value = await read()
            hasSpoken = true
            return { value, done: false }
          } catch (error) {
            if (hasSpoken && isUnavailable(error)) {
              onDelay()
              continue
            }
            end()
            throw error
          }
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
      return done
    },

    async return() {
      end()
      return done
    },

    async throw(error) {
      end()
      throw error
    },

    nudge(nowMs) {
      if (isPending) return true
      if (nowMs - lastAtMs < paceMs) return false
      lastAtMs = nowMs
      isPending = true
      wakeReader()
      return true
    },

    end,
  }
}
