/**
 * The operations of one socket, each under the id that its client gave it.
 *
 * A client may reuse an id as soon as it has ended the operation before. graphql-ws may still be running that one, and
 * tells operations apart only by id: both would count as the later one, and what was started for the first would never
 * end. So the later one begins when the first is done.
 */
import { CloseCode } from 'graphql-ws'

/** Message types that a client may send (graphql-transport-ws): only the server sends the others. */
const CLIENT_TYPES: ReadonlySet<unknown> = new Set(['connection_init', 'ping', 'pong', 'subscribe', 'complete'])

/** Longer ids have no use, and each message of the operation carries its id. */
export const MAX_ID_CHARACTERS = 256

interface Turn {
  /** Whether it is a subscription, which has no answer to wait for. */
  isStream: boolean
  /** Whether its client ended it. */
  isEnded: boolean
  /** The `subscribe` message that begins when this operation is done. */
  next: object | null
}

/** What the sockets of a server share. */
export interface OperationIdsContext<Link> {
  onError(link: Link, error: unknown): void
  close(link: Link, code: number, reason: string): void
}

/** A class, because a node has tens of thousands of them. */
export class OperationIds<Link> {
  readonly #context: OperationIdsContext<Link>
  readonly #link: Link
  readonly #take: (message: object) => Promise<void>
  readonly #turns = new Map<string, Turn>()
  #openCount = 0
  #isClosed = false
  #onceAnswered: (() => void) | null = null

  /** @param take - handles a message; resolves when the operation that it began, if any, is over */
  constructor(context: OperationIdsContext<Link>, link: Link, take: (message: object) => Promise<void>) {
    this.#context = context
    this.#link = link
    this.#take = take
  }

  /** Operations that the client has begun and not ended. */
  openCount(): number {
    return this.#openCount
  }

  /** Operations that are open or still running. */
  workCount(): number {
    return this.#turns.size
  }

  /** Marks the operation as a subscription. */
  streams(id: string): void {
    const turn = this.#turns.get(id)
    if (turn !== undefined) turn.isStream = true
    this.#tellAnswered()
  }

  /** Resolves when no query and no mutation is running. */
  answered(): Promise<void> {
    return new Promise((resolve) => {
      this.#onceAnswered = resolve
      this.#tellAnswered()
    })
  }

  /** @param message - as parsed, valid or not */
  receive(message: object): void {
    const { id, type } = message as { readonly id?: unknown; readonly type?: unknown }
    // graphql-ws fails at these types, as at a fault of the server.
    if (!CLIENT_TYPES.has(type)) this.#context.close(this.#link, CloseCode.BadRequest, 'Invalid message received')
    else if (typeof id !== 'string') this.#pass(message)
    else if (id.length > MAX_ID_CHARACTERS) {
      this.#context.close(this.#link, CloseCode.BadRequest, `id must be at most ${MAX_ID_CHARACTERS} characters.`)
    } else if (type === 'subscribe') this.#subscribe(id, message)
    else if (type === 'complete') this.#complete(id, message)
    else this.#pass(message)
  }

  /** From here on no operation begins. */
  close(): void {
    this.#isClosed = true
  }

  #subscribe(id: string, message: object): void {
    const turn = this.#turns.get(id)
    if (turn !== undefined && (!turn.isEnded || turn.next !== null)) {
      this.#context.close(this.#link, CloseCode.SubscriberAlreadyExists, `Subscriber for ${id} already exists`)
      return
    }
    this.#openCount += 1
    if (turn === undefined) this.#begin(id, message)
    else turn.next = message
  }

  #complete(id: string, message: object): void {
    const turn = this.#turns.get(id)
    if (turn !== undefined && turn.next !== null) {
      turn.next = null
      this.#openCount -= 1
      return
    }
    if (turn !== undefined) this.#end(turn)
    this.#pass(message)
  }

  #begin(id: string, message: object): void {
    const turn: Turn = { isStream: false, isEnded: false, next: null }
    this.#turns.set(id, turn)
    const done = (): void => {
      this.#turns.delete(id)
      this.#end(turn)
      if (turn.next !== null && !this.#isClosed) this.#begin(id, turn.next)
      this.#tellAnswered()
    }
    this.#take(message).then(done, (error) => {
      // `onError` may close the socket: then nothing begins.
      this.#context.onError(this.#link, error)
      done()
    })
  }

  #tellAnswered(): void {
    if (this.#onceAnswered === null) return
    for (const { isStream } of this.#turns.values()) if (!isStream) return
    this.#onceAnswered()
    this.#onceAnswered = null
  }

  #end(turn: Turn): void {
    if (!turn.isEnded) this.#openCount -= 1
    turn.isEnded = true
  }

  #pass(message: object): void {
    this.#take(message).catch((error) => this.#context.onError(this.#link, error))
  }
}
