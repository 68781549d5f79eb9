/** Lets time pass by a manual clock, with what the processes around a store do meanwhile. */
import type { PresenceStore, SweepAnswer } from '../../src/presence/store.ts'
import type { PresenceTiming } from '../../src/presence/timing.ts'
import { type Meanwhile, renewNode } from './presence-store/harness.ts'

export async function passBySweeps(
  store: PresenceStore,
  timing: PresenceTiming,
  ms: number,
  moveOn: (ms: number) => Promise<void> | void,
  { renewing = [], returning = [], isStalled = false }: Meanwhile = {},
): Promise<void> {
  if (isStalled) return moveOn(ms)
  for (let leftMs = ms; leftMs > 0; leftMs -= timing.sweepIntervalMs) {
    await moveOn(Math.min(leftMs, timing.sweepIntervalMs))
    for (const nodeId of renewing) await renewNode(store, nodeId, returning.includes(nodeId))
    await doAll((limit) => store.sweep(limit))
    await doAll((limit) => store.reapNodes(limit))
  }
}

async function doAll(step: (limit: number) => Promise<SweepAnswer>): Promise<void> {
  for (let hasMore = true; hasMore; ) hasMore = (await step(1000)).hasMore
}
