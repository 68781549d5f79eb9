/**
 * Work in turns: each turn of the event loop starts a slice of the waiting pieces, callers take turns, and then all
 * other work runs. Otherwise one socket that asks for twenty full pages would make all others wait.
 */
import { startSlice } from '../../slices.ts'

/** How much a slice may add to the time that others wait. */
const SLICE_MS = 1

export interface FairTurns {
  /** @param caller - as `callerOf` names it */
  run<Result>(caller: string, work: () => Promise<Result>): Promise<Result>
  waitingCount(): number
}

export interface FairTurnsOptions {
  readonly monotonicMs: () => number
  /** Pieces of one caller that may run at once; unlimited if left out. */
  readonly atOnce?: number
}

export function createFairTurns({ monotonicMs, atOnce = Number.POSITIVE_INFINITY }: FairTurnsOptions): FairTurns {
  /** Waiting pieces, in the order of their callers' turns. */
  const waiting = new Map<string, (() => Promise<void>)[]>()
  const atWork = new Map<string, number>()
  let isScheduled = false

  function schedule(): void {
    if (isScheduled || nextCaller() === null) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      const isSliceOver = startSlice(monotonicMs, SLICE_MS)
      for (let caller = nextCaller(); caller !== null; caller = nextCaller()) {
        begin(caller)
        if (isSliceOver()) break
      }
      schedule()
    })
  }

  function nextCaller(): string | null {
    for (const caller of waiting.keys()) if ((atWork.get(caller) ?? 0) < atOnce) return caller
    return null
  }

  function begin(caller: string): void {
    const turns = waiting.get(caller) ?? []
    const next = turns.shift()
    // The caller goes behind the others.
    waiting.delete(caller)
    if (turns.length > 0) waiting.set(caller, turns)
    if (next === undefined) return
    atWork.set(caller, (atWork.get(caller) ?? 0) + 1)
    void next().finally(() => {
      const left = (atWork.get(caller) ?? 0) - 1
      if (left > 0) atWork.set(caller, left)
      else atWork.delete(caller)
      schedule()
    })
  }

  return {
    run(caller, work) {
      return new Promise((resolve, reject) => {
        const turn = () => work().then(resolve, reject)
        const ofCaller = waiting.get(caller)
        if (ofCaller === undefined) waiting.set(caller, [turn])
        else ofCaller.push(turn)
        schedule()
      })
    },

    waitingCount() {
      let count = 0
      for (const turns of waiting.values()) count += turns.length
      return count
    },
  }
}
