/** Batches heartbeats: the first is sent at once, and those of the next `flushMs` are sent together. */
import type { Beat, BeatAnswer } from '../../presence/store.ts'

export interface BeatBatchesOptions {
  /** How long beats are gathered after a batch was sent. 0: each beat is sent at once. */
  readonly flushMs: number
  /** Most beats in one batch: a few milliseconds of work for Redis. */
  readonly most: number
  readonly send: (beats: readonly Beat[]) => Promise<readonly BeatAnswer[]>
}

interface Waiting {
  readonly beat: Beat
  readonly resolve: (answer: BeatAnswer) => void
  readonly reject: (error: unknown) => void
}

interface Batch {
  readonly waiting: Waiting[]
  readonly userIds: Set<string>
}

export function createBeatBatches({ flushMs, most, send }: BeatBatchesOptions) {
  /** In the order of sending. New beats join the last one. */
  const batches: Batch[] = []
  const sending = new Set<Promise<void>>()
  let timer: NodeJS.Timeout | null = null
  let closedFor: Error | null = null

  function flush(): void {
    timer = null
    if (batches.length === 0) return
    sendFirst()
    timer = setTimeout(flush, batches.length > 0 ? 0 : flushMs)
  }

  function sendFirst(): void {
    const { waiting } = batches.shift() as Batch
    const sent = send(waiting.map(({ beat }) => beat)).then(
      (answers) => {
        for (const [index, { resolve }] of waiting.entries()) resolve(answers[index] as BeatAnswer)
      },
      (error) => {
        for (const { reject } of waiting) reject(error)
      },
    )
    sending.add(sent)
    void sent.then(() => sending.delete(sent))
  }

  function batchWithRoom(): Batch {
    const last = batches.at(-1)
    if (last !== undefined && last.waiting.length < most) return last
    const batch = { waiting: [], userIds: new Set<string>() }
    batches.push(batch)
    return batch
  }

  return {
    beat(beat: Beat): Promise<BeatAnswer> {
      if (closedFor !== null) return Promise.reject(closedFor)
      return new Promise((resolve, reject) => {
        const { waiting, userIds } = batchWithRoom()
        waiting.push({ beat, resolve, reject })
        userIds.add(beat.userId)
        if (flushMs === 0 || timer === null) flush()
      })
    },

    /** Sends a user's beats now, so that the user's next call does not overtake them. */
    sendOf(userId: string): void {
      const last = batches.findLastIndex(({ userIds }) => userIds.has(userId))
      for (let sent = 0; sent <= last; sent += 1) sendFirst()
    },

    /**
     * Sends all gathered beats, and resolves when they are answered.
     *
     * @param reason - the error with which later beats are rejected
     */
    async close(reason: Error): Promise<void> {
      closedFor = reason
      if (timer !== null) clearTimeout(timer)
      while (batches.length > 0) sendFirst()
      await Promise.all(sending)
    },
  }
}
