/** The memory store under a manual clock. */
import type { SweepAnswer } from '../../src/presence/store.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import type { Harness, OpenRequest } from './presence-store/harness.ts'

const START_MS = Date.UTC(2026, 0, 1)

interface MemoryOptions {
  /** How many records wait, where it is not as many as the store keeps by itself. */
  readonly recordsKept?: number
}

export async function openMemory({ timing }: OpenRequest, options: MemoryOptions = {}): Promise<Harness> {
  let nowMs = START_MS
  const store = createMemoryStore({ timing, clock: () => nowMs, ...options })
  return {
    store,
    async pass(ms, { renewing = [], isStalled = false } = {}) {
      if (isStalled) {
        nowMs += ms
        return
      }
      for (let leftMs = ms; leftMs > 0; leftMs -= timing.sweepIntervalMs) {
        nowMs += Math.min(leftMs, timing.sweepIntervalMs)
        for (const nodeId of renewing) await store.renewNode({ nodeId, seenLossCount: 0 })
        await doAll((limit) => store.sweep(limit))
        await doAll((limit) => store.reapNodes(limit))
      }
    },
    close: () => store.close(),
  }
}

async function doAll(step: (limit: number) => Promise<SweepAnswer>): Promise<void> {
  for (let hasMore = true; hasMore; ) hasMore = (await step(1000)).hasMore
}
