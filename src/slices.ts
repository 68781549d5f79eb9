/** Work for very many, done in slices of time: between two of them others have their turn. */
import { setImmediate as othersHadTheirTurn } from 'node:timers/promises'

/** Others should wait 10 ms at the most, and a collection of garbage may fall into any slice. */
const SLICE_MS = 4

/** Begins a slice. @returns whether it has lasted long enough */
export function startSlice(monotonicMs: () => number, sliceMs = SLICE_MS): () => boolean {
  const endsAtMs = monotonicMs() + sliceMs
  return () => monotonicMs() >= endsAtMs
}

/**
 * @param items - each is asked for in the slice in which it is worked on: what others did before it counts
 * @param work - where it wakes others up, a promise that lets them take their next step, so that the slice has it in it
 */
export async function inSlices<Item>(
  items: Iterable<Item>,
  monotonicMs: () => number,
  work: (item: Item) => void | Promise<void>,
): Promise<void> {
  let isOver = startSlice(monotonicMs)
  for (const item of items) {
    const done = work(item)
    if (done !== undefined) await done
    if (!isOver()) continue
    await othersHadTheirTurn()
    isOver = startSlice(monotonicMs)
  }
}

/** The same for work that brings its own slices. */
export async function untilDone(slice: () => Promise<{ readonly hasMore: boolean }>): Promise<void> {
  for (;;) {
    const { hasMore } = await slice()
    if (!hasMore) return
    await othersHadTheirTurn()
  }
}
