/** The memory store under a manual clock. */
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import { passBySweeps } from './manual-time.ts'
import type { Harness, OpenRequest } from './presence-store/harness.ts'

const START_MS = Date.UTC(2026, 0, 1)

interface MemoryOptions {
  /** How many records wait, where it is not as many as the store keeps by itself. */
  readonly recordsKept?: number
  readonly recordBytes?: number
  /** What slices of work are measured by, where it is not the process's own. */
  readonly monotonicMs?: () => number
}

export async function openMemory({ timing }: OpenRequest, options: MemoryOptions = {}): Promise<Harness> {
  let steadyMs = 0
  let wallMs = START_MS
  const store = createMemoryStore({ timing, clock: () => ({ steadyMs, wallMs }), ...options })
  return {
    store,
    pass(ms, meanwhile) {
      const moveOn = (stepMs: number): void => {
        steadyMs += stepMs
        wallMs += stepMs
      }
      return passBySweeps(store, timing, ms, moveOn, meanwhile)
    },
    async step(ms) {
      wallMs += ms
    },
    close: () => store.close(),
  }
}
