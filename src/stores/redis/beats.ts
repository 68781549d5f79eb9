/** Batches heartbeats: the first is sent at once, and those of the next `flushMs` are sent together. */
import type { Beat, BeatAnswer } from '../../presence/store.ts'

export interface BeatBatchesOptions {
  /** How long beats are gathered after a batch was sent. 0: each beat is sent at once. */
  readonly flushMs: number
  /** Most beats in one batch: a few milliseconds of work for Redis. */
  readonly most: number
  readonly send: (beats: readonly Beat[]) => Promise<readonly BeatAnswer[]>
}

/** Heartbeats that go together. They share one promise of all answers. */
interface Batch {
  readonly beats: Beat[]
  readonly answers: Promise<readonly BeatAnswer[]>
  readonly resolve: (answers: Promise<readonly BeatAnswer[]>) => void
}

export function createBeatBatches({ flushMs, most, send }: BeatBatchesOptions) {
  /** In the order of sending. New beats join the last one. */
  const batches: Batch[] = []
  const sending = new Set<Promise<unknown>>()
  let timer: NodeJS.Timeout | null = null
  let closedFor: Error | null = null

  function flush(): void {
    timer = null
    if (batches.length === 0) return
    sendFirst()
    timer = setTimeout(flush, batches.length > 0 ? 0 : flushMs)
  }

  function sendFirst(): void {
    const { beats, answers, resolve } = batches.shift() as Batch
    resolve(send(beats))
    sending.add(answers)
    const done = (): void => void sending.delete(answers)
    answers.then(done, done)
  }

  function batchWithRoom(): Batch {
    const last = batches.at(-1)
    if (last !== undefined && last.beats.length < most) return last
    let resolve: Batch['resolve'] = () => {}
    const answers = new Promise<readonly BeatAnswer[]>((settle) => {
      resolve = settle
    })
    const batch = { beats: [], answers, resolve }
    batches.push(batch)
    return batch
  }

  return {
    beat(beat: Beat): Promise<BeatAnswer> {
      if (closedFor !== null) return Promise.reject(closedFor)
      const { beats, answers } = batchWithRoom()
      const place = beats.push(beat) - 1
      if (flushMs === 0 || timer === null) flush()
      return answers.then((all) => all[place] as BeatAnswer)
    },

    /** Sends a user's beats now, so that the user's next call does not overtake them. */
    sendOf(userId: string): void {
      if (batches.length === 0) return
      const last = batches.findLastIndex(({ beats }) => beats.some((beat) => beat.userId === userId))
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
      await Promise.allSettled(sending)
    },
  }
}
