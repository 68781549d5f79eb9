/**
 * Runs the operations of each user on this node in the order in which they came, even if one takes several steps, such
 * as a heartbeat that finds no session and starts it. A `goOffline` that came later must not end the session between
 * the two steps.
 *
 * A user has a queue while one of their operations is under way, and while they have a socket on this node: creating
 * and dropping a queue for each heartbeat would cost more than the rest of the ordering.
 */

/**
 * Returned instead of a result: the operation has to wait for something that must not hold up the user's other
 * operations. It then runs again, before all operations that came after it.
 */
export class Postponed {
  /** Calls either `resume`, which runs the operation again, or `fail`, exactly once. */
  readonly wait: (resume: () => void, fail: (error: Error) => void) => void

  constructor(wait: Postponed['wait']) {
    this.wait = wait
  }
}

type Run<Result> = () => Promise<Result | Postponed>

/** A sender of heartbeats. It has methods instead of closures, because heartbeats are a node's most frequent work. */
export interface BeatSender<Beat, Answer, Result> {
  /** The heartbeat's only step in most cases; null if the heartbeat takes more steps. */
  tryBeat(beat: Beat): Promise<Answer> | null
  /** @returns null if the heartbeat takes more than that step */
  resultOf(answer: Answer): Result | null
  /** Runs all steps of the heartbeat. */
  beat(beat: Beat): Promise<Result | Postponed>
}

interface Waiting {
  /** Numbers the operations in the order in which they came. */
  readonly number: number
  /** The sender, if the operation is a heartbeat; null for an operation that runs alone. */
  readonly beatOf: object | null
  readonly start: () => void
}

interface Queue {
  /** The number of the user's sockets that are open on this node. */
  socketCount: number
  /** The number of operations that run now: several heartbeats of one sender, or one operation alone. */
  runningCount: number
  /** The sender whose heartbeats run now. */
  beatsOf: object | null
  /** In the order in which the operations came. */
  readonly waiting: Waiting[]
}

export class OperationQueues {
  readonly #queues = new Map<string, Queue>()
  #operationCount = 0

  /** Runs an operation after all operations of its user that came before, and before all that come later. */
  run<Result>(userId: string, operation: Run<Result>): Promise<Result> {
    this.#operationCount += 1
    return this.#runInOrder(userId, this.#operationCount, operation)
  }

  /**
   * Runs a heartbeat like any operation, but concurrently with other heartbeats of the same sender, so that heartbeats
   * sent together share a batch.
   */
  runBeat<Beat, Answer, Result>(userId: string, sender: BeatSender<Beat, Answer, Result>, beat: Beat): Promise<Result> {
    this.#operationCount += 1
    const number = this.#operationCount
    const queue = this.#queueOf(userId)
    if (queue.runningCount === 0 || (queue.beatsOf === sender && queue.waiting.length === 0)) {
      return this.#runBeside(userId, queue, sender, number, beat)
    }
    return new Promise((resolve, reject) => {
      const start = (): void => void this.#runBeside(userId, queue, sender, number, beat).then(resolve, reject)
      queue.waiting.push({ number, beatOf: sender, start })
    })
  }

  /** The user has one more socket on this node. */
  socketOpened(userId: string): void {
    this.#queueOf(userId).socketCount += 1
  }

  /** Must be called once for each `socketOpened`. */
  socketClosed(userId: string): void {
    const queue = this.#queueOf(userId)
    queue.socketCount -= 1
    this.#dropIfUnused(userId, queue)
  }

  /** Whether no operation is under way. */
  isIdle(): boolean {
    for (const { runningCount } of this.#queues.values()) if (runningCount > 0) return false
    return true
  }

  /** The number of users who have a queue. */
  size(): number {
    return this.#queues.size
  }

  #queueOf(userId: string): Queue {
    let queue = this.#queues.get(userId)
    if (queue === undefined) {
      queue = { socketCount: 0, runningCount: 0, beatsOf: null, waiting: [] }
      this.#queues.set(userId, queue)
    }
    return queue
  }

  #runInOrder<Result>(userId: string, number: number, operation: Run<Result>): Promise<Result> {
    const queue = this.#queueOf(userId)
    if (queue.runningCount === 0) return this.#runAlone(userId, queue, number, operation)
    return new Promise((resolve, reject) => {
      const start = (): void => void this.#runAlone(userId, queue, number, operation).then(resolve, reject)
      const before = queue.waiting.findLastIndex((waiting) => waiting.number < number)
      queue.waiting.splice(before + 1, 0, { number, beatOf: null, start })
    })
  }

  async #runAlone<Result>(userId: string, queue: Queue, number: number, operation: Run<Result>): Promise<Result> {
    this.#begins(queue, null)
    let later: Promise<Result>
    try {
      const result = await operation()
      if (!(result instanceof Postponed)) return result
      later = this.#runAfter(result, userId, number, operation)
    } finally {
      this.#done(userId, queue)
    }
    return later
  }

  async #runBeside<Beat, Answer, Result>(
    userId: string,
    queue: Queue,
    sender: BeatSender<Beat, Answer, Result>,
    number: number,
    beat: Beat,
  ): Promise<Result> {
    this.#begins(queue, sender)
    let later: Promise<Result>
    try {
      const tried = sender.tryBeat(beat)
      const result = tried === null ? null : sender.resultOf(await tried)
      if (result !== null) return result
      later = this.#runInOrder(userId, number, () => sender.beat(beat))
    } finally {
      this.#done(userId, queue)
    }
    return later
  }

  #runAfter<Result>(postponed: Postponed, userId: string, number: number, operation: Run<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      postponed.wait(() => this.#runInOrder(userId, number, operation).then(resolve, reject), reject)
    })
  }

  #begins(queue: Queue, beatsOf: object | null): void {
    queue.runningCount += 1
    queue.beatsOf = beatsOf
  }

  #dropIfUnused(userId: string, { socketCount, runningCount, waiting }: Queue): void {
    if (socketCount === 0 && runningCount === 0 && waiting.length === 0) this.#queues.delete(userId)
  }

  #done(userId: string, queue: Queue): void {
    queue.runningCount -= 1
    if (queue.runningCount > 0) return
    const next = queue.waiting.shift()
    if (next === undefined) {
      queue.beatsOf = null
      this.#dropIfUnused(userId, queue)
      return
    }
    next.start()
    // The first heartbeat may be followed by its other steps, which run alone.
    while (next.beatOf !== null && queue.beatsOf === next.beatOf && queue.waiting[0]?.beatOf === next.beatOf) {
      queue.waiting.shift()?.start()
    }
  }
}
