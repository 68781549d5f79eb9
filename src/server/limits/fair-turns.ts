/**
 * Work in turns: between the starts of any two pieces everybody else has a turn of the event loop, and callers take
 * turns. Without it one socket that asks for twenty full pages makes all others wait for them.
 */

export interface FairTurns {
  /** @param caller - who asks: a user or an address */
  run<Result>(caller: string, work: () => Promise<Result>): Promise<Result>
  waitingCount(): number
}

/** @param atOnce - pieces of one caller that may be at work at a time; as many as begin where it is left out */
export function createFairTurns(atOnce = Number.POSITIVE_INFINITY): FairTurns {
  /** What waits, in the order of their callers' turns. */
  const waiting = new Map<string, (() => Promise<void>)[]>()
  const atWork = new Map<string, number>()
  let isScheduled = false

  function schedule(): void {
    if (isScheduled || nextCaller() === null) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      const caller = nextCaller()
      if (caller !== null) begin(caller)
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
    // Behind the others.
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
