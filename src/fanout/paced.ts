/**
 * A stream of the latest state, at most one word in so long: what happens in between is one word, and a reader that
 * does not read holds nothing up.
 */

export interface Paced<Event> extends AsyncIterableIterator<Event> {
  return(): Promise<IteratorResult<Event>>
  throw(error: unknown): Promise<IteratorResult<Event>>
  /** Something changed. @returns false where it was too soon for a word: nudge again later */
  nudge(nowMs: number): boolean
  end(): void
}

/** @param read - the state, at the moment when the reader takes it */
export function createPaced<Event>(read: () => Promise<Event>, paceMs: number, onEnd: () => void): Paced<Event> {
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
            return { value: await read(), done: false }
          } catch (error) {
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
