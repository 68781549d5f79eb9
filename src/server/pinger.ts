/**
 * Which sockets still answer: each is pinged by `PING_INTERVAL` and given up where no frame came within
 * `PONG_TIMEOUT`. All wait equally long, so queues in the order of their deadlines do, and a look costs what is due.
 */

export interface Pinged {
  /** The last proof of life, whatever frame it was. Kept by whoever reads the socket. */
  lastFrameAtMs: number
}

/** A socket that is to be pinged, or given up. */
export interface Due<Socket> {
  readonly socket: Socket
  readonly isSilent: boolean
}

export interface Pinger<Socket extends Pinged> {
  add(socket: Socket, nowMs: number): void
  remove(socket: Socket): void
  /**
   * What is to be done, each taken out as it is asked for.
   *
   * @param clock - looked at for each: others may have had their turn since the one before
   * @param wasLate - the check came late itself: what proves life may wait unread, so it judges nobody
   */
  due(clock: () => number, wasLate: boolean): Iterable<Due<Socket>>
  count(): number
  all(): Iterable<Socket>
}

export interface PingerOptions {
  readonly intervalMs: number
  readonly timeoutMs: number
}

export function createPinger<Socket extends Pinged>({ intervalMs, timeoutMs }: PingerOptions): Pinger<Socket> {
  // Each holds when its sockets were added or last pinged, oldest first.
  const fresh = new Map<Socket, number>()
  const pinged = new Map<Socket, number>()
  const answered = new Map<Socket, number>()
  let judgesFromMs = Number.NEGATIVE_INFINITY

  return {
    add: (socket, nowMs) => void fresh.set(socket, nowMs),

    remove(socket) {
      fresh.delete(socket)
      pinged.delete(socket)
      answered.delete(socket)
    },

    *due(clock, wasLate) {
      if (wasLate) judgesFromMs = clock() + timeoutMs
      for (const [socket, pingedAtMs] of pinged) {
        const nowMs = clock()
        if (nowMs < pingedAtMs + timeoutMs || nowMs < judgesFromMs) break
        pinged.delete(socket)
        if (socket.lastFrameAtMs < pingedAtMs) yield { socket, isSilent: true }
        else answered.set(socket, pingedAtMs)
      }
      for (const resting of [fresh, answered]) {
        for (const [socket, restedFromMs] of resting) {
          const nowMs = clock()
          if (nowMs < restedFromMs + intervalMs) break
          resting.delete(socket)
          pinged.set(socket, nowMs)
          yield { socket, isSilent: false }
        }
      }
    },

    count: () => fresh.size + pinged.size + answered.size,

    *all() {
      yield* fresh.keys()
      yield* pinged.keys()
      yield* answered.keys()
    },
  }
}
