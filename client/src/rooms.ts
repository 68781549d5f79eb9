/** The rooms that this session is to be in: joined when somebody asks for them, and joined again in a new session. */
import type { Acknowledgement, Connection } from './connection.ts'
import { isPassing, type RollcallError } from './errors.ts'
import { JoinRoom, LeaveRoom } from './operations.ts'
import { retryMs } from './schedule.ts'

/** A page that is left for the next one, or loaded again, does not leave a room that the next one joins. */
const LINGER_MS = 1000

export class Rooms {
  readonly #connection: () => Connection | null
  /** How often each room is wanted. */
  readonly #wanted = new Map<string, number>()
  /** As the server knows them. */
  #joined = new Set<string>()
  /** Joining: the server has not answered yet. */
  readonly #asked = new Set<string>()
  /** On this connection, for good. */
  readonly #refused = new Set<string>()
  #leaving: ReturnType<typeof setTimeout> | undefined

  constructor(connection: () => Connection | null) {
    this.#connection = connection
  }

  /** What a session that begins again is in at once: a room that was never granted could cost it the connection. */
  get joined(): string[] {
    return [...this.#joined]
  }

  /** What a heartbeat names, which replaces the rooms of the session: those on their way are among them. */
  get joinedSoon(): string[] {
    return [...new Set([...this.#joined, ...this.#asked])]
  }

  /** @returns a function that ends it */
  want(room: string): () => void {
    this.#wanted.set(room, (this.#wanted.get(room) ?? 0) + 1)
    this.#join(room)
    let isOver = false
    return () => {
      if (isOver) return
      isOver = true
      const count = (this.#wanted.get(room) ?? 0) - 1
      if (count > 0) this.#wanted.set(room, count)
      else this.#wanted.delete(room)
      this.#leaveLater()
    }
  }

  acknowledged({ rooms }: Acknowledgement): void {
    this.#joined = new Set(rooms)
    this.#asked.clear()
    this.#refused.clear()
    for (const room of this.#wanted.keys()) this.#join(room)
    this.#leaveLater()
  }

  #join(room: string, failures = 0): void {
    const connection = this.#connection()
    const isSettled = this.#joined.has(room) || this.#asked.has(room) || this.#refused.has(room)
    if (!connection || isSettled || !this.#wanted.has(room)) return
    this.#asked.add(room)
    connection.ask(JoinRoom, { room }).then(
      () => {
        if (this.#connection() !== connection) return
        this.#asked.delete(room)
        this.#joined.add(room)
        // Nobody may want it any more.
        this.#leaveLater()
      },
      (error: RollcallError) => {
        if (this.#connection() !== connection) return
        this.#asked.delete(room)
        // The list of the room says why.
        if (!isPassing(error)) this.#refused.add(room)
        else setTimeout(() => this.#join(room, failures + 1), retryMs(failures, Math.random(), error.retryAfterMs))
      },
    )
  }

  #leaveLater(): void {
    this.#leaving ??= setTimeout(() => {
      this.#leaving = undefined
      const connection = this.#connection()
      if (!connection) return
      for (const room of [...this.#joined]) {
        if (this.#wanted.has(room)) continue
        this.#joined.delete(room)
        connection.ask(LeaveRoom, { room }).catch(() => {})
      }
    }, LINGER_MS)
  }
}
