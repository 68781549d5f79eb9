/**
 * Dear operations, one after the other: a user has one at work at a time, and between any two of them everybody else
 * has a turn of the event loop. Without it one socket that asks for twenty full pages makes all others wait for them.
 */

export interface FairTurns {
  /** @param user - who asks: users take turns */
  run<Result>(user: string, work: () => Promise<Result>): Promise<Result>
  waitingCount(): number
}

export function createFairTurns(): FairTurns {
  /** What waits, in the order of their users' turns. */
  const waiting = new Map<string, (() => Promise<void>)[]>()
  const atWork = new Set<string>()
  let isScheduled = false

  function schedule(): void {
    if (isScheduled || nextUser() === null) return
    isScheduled = true
    setImmediate(() => {
      isScheduled = false
      const user = nextUser()
      if (user !== null) begin(user)
      schedule()
    })
  }

  function nextUser(): string | null {
    for (const user of waiting.keys()) if (!atWork.has(user)) return user
    return null
  }

  function begin(user: string): void {
    const turns = waiting.get(user) ?? []
    const next = turns.shift()
    // Behind the others.
    waiting.delete(user)
    if (turns.length > 0) waiting.set(user, turns)
    if (next === undefined) return
    atWork.add(user)
    void next().finally(() => {
      atWork.delete(user)
      schedule()
    })
  }

  return {
    run(user, work) {
      return new Promise((resolve, reject) => {
        const turn = () => work().then(resolve, reject)
        const ofUser = waiting.get(user)
        if (ofUser === undefined) waiting.set(user, [turn])
        else ofUser.push(turn)
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
