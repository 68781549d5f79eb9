/**
 * Sockets between their upgrade and their acknowledgement, when their user is unknown: a limited number at once per
 * address and per process. Others wait for their turn, so that a crowd that comes back after a restart is let in bit by
 * bit and not refused.
 */

export interface HandshakeBounds {
  /** Handshakes in progress at once. */
  readonly perAddress: number
  readonly perNode: number
  /** How long a socket may wait for its turn. */
  readonly waitMs: number
}

/** Ten sockets may wait for each one in progress. A waiting socket is a bare connection: about 3 KB. */
const WAITING_FOR_EACH = 10

export interface Handshakes {
  /**
   * Calls `begin` now or when there is room, with a function to call once when the handshake is over; or calls
   * `refuse`, if too many wait or its wait is over.
   *
   * @returns a waiter if it waits: `leave` takes it out of the line when its client has gone
   */
  enter(address: string, begin: (leave: () => void) => void, refuse: () => void): Waiter | null
  /** Refuses sockets whose wait is over. Call it often. */
  check(): void
  count(): number
  waitingCount(): number
  /** Refuses all that wait, and all that come later. */
  close(): void
}

export interface Waiter {
  leave(): void
}

interface Waiting {
  readonly begin: (leave: () => void) => void
  readonly refuse: () => void
  readonly untilMs: number
}

interface Door {
  count: number
  readonly waiting: Set<Waiting>
}

export function createHandshakes(bounds: HandshakeBounds, monotonicMs: () => number): Handshakes {
  const doors = new Map<string, Door>()
  /** Addresses with a waiting socket that may begin when there is room, in turns. */
  const inLine = new Set<string>()
  let count = 0
  let waitingCount = 0
  let isAdmitting = false
  let isClosed = false

  function doorOf(address: string): Door {
    let door = doors.get(address)
    if (door === undefined) {
      door = { count: 0, waiting: new Set() }
      doors.set(address, door)
    }
    return door
  }

  function begin(address: string, door: Door, start: (leave: () => void) => void): void {
    door.count += 1
    count += 1
    let isOver = false
    start(() => {
      if (isOver) return
      isOver = true
      door.count -= 1
      count -= 1
      lineUp(address, door)
      admit()
    })
  }

  function lineUp(address: string, door: Door): void {
    if (door.waiting.size > 0 && door.count < bounds.perAddress) inLine.add(address)
    else inLine.delete(address)
    if (door.waiting.size === 0 && door.count === 0) doors.delete(address)
  }

  function admit(): void {
    // A handshake that is over at once admits the next: in a loop, because there may be thousands.
    if (isAdmitting || isClosed) return
    isAdmitting = true
    try {
      for (const address of inLine) {
        if (count >= bounds.perNode) return
        inLine.delete(address)
        const door = doorOf(address)
        const [next] = door.waiting
        if (next === undefined) continue
        drop(door, next)
        begin(address, door, next.begin)
        // The address goes behind the others.
        lineUp(address, door)
      }
    } finally {
      isAdmitting = false
    }
  }

  function drop(door: Door, one: Waiting): void {
    if (door.waiting.delete(one)) waitingCount -= 1
  }

  return {
    enter(address, start, refuse) {
      const door = doorOf(address)
      if (!isClosed && count < bounds.perNode && door.count < bounds.perAddress) {
        begin(address, door, start)
        return null
      }
      const isCrowded =
        isClosed ||
        door.waiting.size >= WAITING_FOR_EACH * bounds.perAddress ||
        waitingCount >= WAITING_FOR_EACH * bounds.perNode
      if (isCrowded) {
        lineUp(address, door)
        refuse()
        return null
      }
      const one: Waiting = { begin: start, refuse, untilMs: monotonicMs() + bounds.waitMs }
      door.waiting.add(one)
      waitingCount += 1
      lineUp(address, door)
      return {
        leave() {
          drop(door, one)
          lineUp(address, door)
        },
      }
    },

    check() {
      const nowMs = monotonicMs()
      for (const [address, door] of doors) {
        for (const one of door.waiting) {
          // They are in order of arrival.
          if (nowMs < one.untilMs) break
          drop(door, one)
          one.refuse()
        }
        lineUp(address, door)
      }
      admit()
    },

    count: () => count,
    waitingCount: () => waitingCount,

    close() {
      isClosed = true
      for (const door of doors.values()) {
        for (const one of door.waiting) {
          drop(door, one)
          one.refuse()
        }
      }
    },
  }
}
