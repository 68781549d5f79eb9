/** Gathers heartbeats: the first goes at once, and those that come while it is young go together. */
import type { Beat, BeatAnswer } from '../../presence/store.ts'

export interface BeatBatchesOptions {
  /** How long beats are gathered after a batch went. 0: each goes at once. */
  readonly flushMs: number
  /** Beats of one batch: a few milliseconds of Redis. */
  readonly most: number
  readonly send: (beats: readonly Beat[]) => Promise<readonly BeatAnswer[]>
}

interface Waiting {
  readonly beat: Beat
  readonly resolve: (answer: BeatAnswer) => void
  readonly reject: (error: unknown) => void
}

export function createBeatBatches({ flushMs, most, send }: BeatBatchesOptions) {
  const waiting: Waiting[] = []
  let timer: NodeJS.Timeout | null = null

  function flush(): void {
    timer = null
    if (waiting.length === 0) return
    const batch = waiting.splice(0, most)
    timer = setTimeout(flush, waiting.length > 0 ? 0 : flushMs)
    send(batch.map(({ beat }) => beat)).then(
      (answers) => {
        for (const [index, { resolve }] of batch.entries()) resolve(answers[index] as BeatAnswer)
      },
      (error) => {
        for (const { reject } of batch) reject(error)
      },
    )
  }

  return {
    beat(beat: Beat): Promise<BeatAnswer> {
      return new Promise((resolve, reject) => {
        waiting.push({ beat, resolve, reject })
        if (flushMs === 0 || timer === null) flush()
      })
    },

    /** @param reason - what beats hear that did not go yet */
    close(reason: Error): void {
      if (timer !== null) clearTimeout(timer)
      for (const { reject } of waiting.splice(0)) reject(reason)
    },
  }
}
