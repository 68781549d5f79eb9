/**
 * What a socket has sent, taken a few messages a turn of the event loop: hundreds may come in one piece, and others have
 * their turn in between.
 */

/** Some 0.3 ms of ordinary operations. */
const MESSAGES_A_TURN = 10

let turn = 0
let isTurnCounted = false

/** A number that is another one in each turn. */
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

/** A class, because a node has tens of thousands of them. */
export class Inbox<Message> {
  readonly #take: (message: Message) => void
  #turn = -1
  #takenCount = 0
  #waiting: Message[] | null = null

  constructor(take: (message: Message) => void) {
    this.#take = take
  }

  /** Takes the message now, or behind those that wait. */
  receive(message: Message): void {
    if (this.#waiting !== null) {
      this.#waiting.push(message)
      return
    }
    const now = currentTurn()
    if (now !== this.#turn) this.#takenCount = 0
    this.#turn = now
    this.#takenCount += 1
    if (this.#takenCount <= MESSAGES_A_TURN) {
      this.#take(message)
      return
    }
    this.#waiting = [message]
    setImmediate(() => this.#takeSome())
  }

  /** Lets go of what waits. */
  close(): void {
    this.#waiting = null
  }

  #takeSome(): void {
    const taken = this.#waiting?.splice(0, MESSAGES_A_TURN) ?? []
    // A message may close the socket: then nothing is taken after it.
    for (const message of taken) if (this.#waiting !== null) this.#take(message)
    if (this.#waiting === null) return
    if (this.#waiting.length === 0) this.#waiting = null
    else setImmediate(() => this.#takeSome())
  }
}
