/** A stream of changes for a reader that asks for one event after the other. */
import type { ChangeEvent, ChangeOutlet, ChangeStream } from '../presence/feed.ts'

export interface Reader {
  next(): Promise<IteratorResult<ChangeEvent>>
  /** The oldest event that may not be written yet: it waits, or was taken and the next was not asked for. */
  unwrittenSeq(): number | null
}

/** @param waitingMost - how many events may wait: they are shared, eight bytes each */
export function createReader(stream: ChangeStream, waitingMost: number): Reader {
  const waiting: ChangeEvent[] = []
  let inHand: ChangeEvent | null = null
  let wake: (() => void) | null = null
  let resumeStream: (() => void) | null = null
  let isOver = false
  let failure: unknown = null

  function wakeReader(): void {
    wake?.()
    wake = null
  }

  const outlet: ChangeOutlet = {
    isFull: () => waiting.length >= waitingMost,
    write(event) {
      waiting.push(event)
      wakeReader()
    },
    onceDrained(resume) {
      resumeStream = resume
    },
  }
  stream
    .flowInto(outlet)
    .catch((error) => {
      failure = error
    })
    .finally(() => {
      isOver = true
      wakeReader()
    })

  return {
    async next() {
      inHand = null
      for (;;) {
        if (failure !== null) {
          const error = failure
          failure = null
          throw error
        }
        if (isOver) return { value: undefined, done: true }
        const event = waiting.shift()
        if (event !== undefined) {
          inHand = event
          return { value: event, done: false }
        }
        const resume = resumeStream
        resumeStream = null
        // The stream may write at once.
        resume?.()
        if (waiting.length > 0) continue
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },

    unwrittenSeq: () => (inHand ?? waiting[0])?.position.seq ?? null,
  }
}
