/**
 * Which sockets still answer: each is pinged by `PING_INTERVAL` and given up where no frame came within
 * `PONG_TIMEOUT`. All wait equally long, so queues in the order of their deadlines do, and a check costs what is due.
 */

export interface Pinged {
  /** The last proof of life, whatever frame it was. Kept by whoever reads the socket. */
  lastFrameAtMs: number
}

export interface Pinger<Socket extends Pinged> {
  add(socket: Socket, nowMs: number): void
  remove(socket: Socket): void
  /** @param wasLate - the check came late itself: what proves life may wait unread, so it judges nobody */
  check(nowMs: number, wasLate: boolean): void
  count(): number
  all(): Iterable<Socket>
}

export interface PingerOptions<Socket> {
  readonly intervalMs: number
  readonly timeoutMs: number
  readonly ping: (socket: Socket) => void
  readonly giveUp: (socket: Socket) => void
}

export function createPinger<Socket extends Pinged>({
  intervalMs,
  timeoutMs,
  ping,
  giveUp,
}: PingerOptions<Socket>): Pinger<Socket> {
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

    check(nowMs, wasLate) {
      if (wasLate) judgesFromMs = nowMs + timeoutMs
      for (const [socket, pingedAtMs] of pinged) {
        if (nowMs < pingedAtMs + timeoutMs || nowMs < judgesFromMs) break
        pinged.delete(socket)
        if (socket.lastFrameAtMs < pingedAtMs) giveUp(socket)
        else answered.set(socket, pingedAtMs)
      }
      for (const resting of [fresh, answered]) {
        for (const [socket, restedFromMs] of resting) {
          if (nowMs < restedFromMs + intervalMs) break
          resting.delete(socket)
          pinged.set(socket, nowMs)
          ping(socket)
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
