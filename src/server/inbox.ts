/**
 * Messages from a socket, taken a few per turn of the event loop: hundreds may arrive at once, and other work has its
 * turn in between.
 */

/** About 0.3 ms of ordinary operations. */
const MESSAGES_A_TURN = 10
/** A watch list of 1,000 ids is 40 KB and takes a millisecond. */
const BYTES_A_TURN = 8 * 1024
/** A socket is not read while more than this waits: it sends faster than its messages are taken. */
const MAX_WAITING_BYTES = 256 * 1024

let turn = 0
let isTurnCounted = false

/** A number that differs in each turn of the event loop. */
function currentTurn(): number {
  if (!isTurnCounted) {
    isTurnCounted = true
    setImmediate(() => {
      isTurnCounted = false
      turn += 1
    })
  }
  return turn
}

interface Sized {
  readonly bytes: number
}

export interface InboxWire {
  /** Stops reading from the network. */
  pause(): void
  resume(): void
  /** Runs the work in a later turn of the event loop, when this socket's user has their turn. */
  inTurn(work: () => void): void
}

/** A class, because a node has tens of thousands of them. */
export class Inbox<Message extends Sized> {
  readonly #take: (message: Message) => void
  readonly #wire: InboxWire
  #turn = -1
  #takenCount = 0
  #takenBytes = 0
  #waiting: Message[] | null = null
  #waitingBytes = 0
  #isPaused = false
  #onceEmpty: (() => void) | null = null

  constructor(take: (message: Message) => void, wire: InboxWire) {
    this.#take = take
    this.#wire = wire
  }

  /** Takes the message now, or after those that wait. A long message always waits: a user may have many sockets. */
  receive(message: Message): void {
    if (this.#waiting === null) {
      const now = currentTurn()
      if (now !== this.#turn) this.#beginTurn(now)
      if (this.#hasRoom() && message.bytes <= BYTES_A_TURN) {
        this.#takeOne(message)
        return
      }
      this.#waiting = []
      this.#wire.inTurn(() => this.#takeSome())
    }
    this.#waiting.push(message)
    this.#waitingBytes += message.bytes
    if (this.#isPaused || this.#waitingBytes <= MAX_WAITING_BYTES) return
    this.#isPaused = true
    this.#wire.pause()
  }

  /** Resolves when no message waits. */
  emptied(): Promise<void> {
    if (this.#waiting === null) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onceEmpty = resolve
    })
  }

  /** Drops the waiting messages. */
  close(): void {
    this.#letGo()
  }

  #beginTurn(turn: number): void {
    this.#turn = turn
    this.#takenCount = 0
    this.#takenBytes = 0
  }

  #hasRoom(): boolean {
    return this.#takenCount < MESSAGES_A_TURN && this.#takenBytes < BYTES_A_TURN
  }

  #takeOne(message: Message): void {
    this.#takenCount += 1
    this.#takenBytes += message.bytes
    this.#take(message)
  }

  #takeSome(): void {
    this.#beginTurn(currentTurn())
    let count = 0
    try {
      // A message may close the socket: then no more are taken.
      while (this.#waiting !== null && count < this.#waiting.length && this.#hasRoom()) {
        const message = this.#waiting[count] as Message
        count += 1
        this.#waitingBytes -= message.bytes
        this.#takeOne(message)
      }
    } finally {
      this.#goOn(count)
    }
  }

  #goOn(takenCount: number): void {
    if (this.#waiting === null) return
    if (takenCount < this.#waiting.length) {
      this.#waiting.splice(0, takenCount)
      this.#wire.inTurn(() => this.#takeSome())
      return
    }
    this.#letGo()
    if (!this.#isPaused) return
    this.#isPaused = false
    this.#wire.resume()
  }

  #letGo(): void {
    this.#waiting = null
    this.#onceEmpty?.()
    this.#onceEmpty = null
  }
}
