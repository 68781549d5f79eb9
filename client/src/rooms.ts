/** The rooms that this session is to be in: joined when somebody asks for them, and joined again in a new session. */
import type { Acknowledgement, Connection } from './connection.ts'
import { JoinRoom, LeaveRoom } from './operations.ts'

/** A page that is left for the next one, or loaded again, does not leave a room that the next one joins. */
const LINGER_MS = 1000

export class Rooms {
  readonly #connection: () => Connection | null
  /** How often each room is wanted. */
  readonly #wanted = new Map<string, number>()
  /** As the server knows them. */
  #joined = new Set<string>()
  readonly #asked = new Set<string>()
  #leaving: ReturnType<typeof setTimeout> | undefined

  constructor(connection: () => Connection | null) {
    this.#connection = connection
  }

  /** What a session that begins anew is in at once: what was never granted could cost it the connection. */
  get granted(): string[] {
    return [...this.#wanted.keys()].filter((room) => this.#joined.has(room))
  }

  /** What a heartbeat may name, which puts its list in the place of all: those on their way are among them. */
  get asked(): string[] {
    return [...this.#wanted.keys()].filter((room) => this.#joined.has(room) || this.#asked.has(room))
  }

  /** @returns a function that ends it */
  want(room: string): () => void {
    this.#wanted.set(room, (this.#wanted.get(room) ?? 0) + 1)
    this.#join()
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
    this.#join()
    this.#leaveLater()
  }

  #join(): void {
    const connection = this.#connection()
    if (!connection) return
    for (const room of this.#wanted.keys()) {
      if (this.#joined.has(room) || this.#asked.has(room)) continue
      this.#asked.add(room)
      connection.ask(JoinRoom, { room }).then(
        () => {
          if (this.#connection() === connection) this.#joined.add(room)
        },
        // It is tried again with the next connection; who asks for the list of the room is told why.
        () => {},
      )
    }
  }

  #leaveLater(): void {
    this.#leaving ??= setTimeout(() => {
      this.#leaving = undefined
      const connection = this.#connection()
      if (!connection) return
      for (const room of [...this.#joined]) {
        if (this.#wanted.has(room)) continue
        this.#joined.delete(room)
        this.#asked.delete(room)
        connection.ask(LeaveRoom, { room }).catch(() => {})
      }
    }, LINGER_MS)
  }
}
