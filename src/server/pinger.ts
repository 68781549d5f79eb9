/**
 * Finds the sockets that no longer answer. A socket that gave no proof for an interval is pinged; if it then gives none
 * within a timeout, it is silent.
 *
 * Sockets wait in time slots for their next look, so a check costs only the sockets whose slot has come. A proof costs
 * nothing here: a socket that gave one since its last look is looked at again an interval after that proof.
 */

/** How late a look may be, in addition to the lateness of the check itself. */
const SLOT_MS = 50

/** What has been sent to a socket. */
export interface Outgoing {
  /**
   * How far the client has read, if what is sent now waits behind what it has not read. Null if it leaves this process
   * at once.
   */
  mark(): number | null
  /** Whether the client has read more since that mark. */
  hasAdvanced(mark: number | null): boolean
}

/** A socket to ping or to give up. */
export interface Due<Socket> {
  readonly socket: Socket
  readonly isSilent: boolean
}

export interface Pinger<Socket> {
  /** Its first ping comes an interval after its last proof. */
  add(socket: Socket): void
  remove(socket: Socket): void
  /**
   * The sockets to ping or to give up now. A silent one is removed.
   *
   * @param clock - read again for each socket: other work may have run since the one before
   * @param wasLate - the check itself ran late, so proofs may wait unread: no socket is given up for one timeout
   */
  due(clock: () => number, wasLate: boolean): Iterable<Due<Socket>>
  count(): number
  all(): Iterable<Socket>
}

export interface PingerOptions<Socket> {
  readonly intervalMs: number
  readonly timeoutMs: number
  /** The time of the socket's last proof, by the clock that `due` is given. */
  readonly provedAtMs: (socket: Socket) => number
  readonly outgoingOf: (socket: Socket) => Outgoing
}

interface Look {
  slot: number
  /** Null if no ping is unanswered. */
  pingedAtMs: number | null
  /** When the timeout of that ping ends. */
  silentAtMs: number
  mark: number | null
}

export function createPinger<Socket>(options: PingerOptions<Socket>): Pinger<Socket> {
  const { intervalMs, timeoutMs, provedAtMs, outgoingOf } = options
  const looks = new Map<Socket, Look>()
  const slots = new Map<number, Set<Socket>>()
  let nextSlot: number | null = null
  let givesUpFromMs = Number.NEGATIVE_INFINITY

  function plan(socket: Socket, look: Look, atMs: number): void {
    look.slot = Math.max(Math.ceil(atMs / SLOT_MS), nextSlot ?? Number.NEGATIVE_INFINITY)
    nextSlot ??= look.slot
    const sockets = slots.get(look.slot)
    if (sockets === undefined) slots.set(look.slot, new Set([socket]))
    else sockets.add(socket)
  }

  function remove(socket: Socket): void {
    const look = looks.get(socket)
    if (look === undefined) return
    looks.delete(socket)
    slots.get(look.slot)?.delete(socket)
  }

  /** Plans the next look. @returns what to do now, null if the socket gave a proof or has time left */
  function lookAt(socket: Socket, look: Look, nowMs: number): Due<Socket> | null {
    const lastProofMs = provedAtMs(socket)
    if (look.pingedAtMs !== null && lastProofMs < look.pingedAtMs) return lookAtPinged(socket, look, nowMs)
    look.pingedAtMs = null
    if (nowMs < lastProofMs + intervalMs) {
      plan(socket, look, lastProofMs + intervalMs)
      return null
    }
    look.pingedAtMs = nowMs
    wait(socket, look, nowMs + timeoutMs, nowMs)
    return { socket, isSilent: false }
  }

  function lookAtPinged(socket: Socket, look: Look, nowMs: number): Due<Socket> | null {
    const silentAtMs = Math.max(look.silentAtMs, givesUpFromMs)
    const outgoing = outgoingOf(socket)
    if (nowMs < silentAtMs) {
      look.mark ??= outgoing.mark()
      wait(socket, look, silentAtMs, nowMs)
    } else if (outgoing.hasAdvanced(look.mark)) {
      // The ping waits behind data that the client is reading: the timeout begins again.
      look.mark = outgoing.mark()
      wait(socket, look, nowMs + timeoutMs, nowMs)
    } else {
      remove(socket)
      return { socket, isSilent: true }
    }
    return null
  }

  /** Plans a look an interval from now at the latest: the next ping may count from a proof that comes until then. */
  function wait(socket: Socket, look: Look, silentAtMs: number, nowMs: number): void {
    look.silentAtMs = silentAtMs
    plan(socket, look, Math.min(silentAtMs, nowMs + intervalMs))
  }

  return {
    add(socket) {
      const look: Look = { slot: 0, pingedAtMs: null, silentAtMs: 0, mark: null }
      looks.set(socket, look)
      plan(socket, look, provedAtMs(socket) + intervalMs)
    },

    remove,

    *due(clock, wasLate) {
      // Sockets that come due while other work runs are left to the next check, which knows whether it is late.
      const untilMs = clock()
      if (wasLate) givesUpFromMs = untilMs + timeoutMs
      if (nextSlot === null) return
      for (; nextSlot * SLOT_MS <= untilMs; nextSlot += 1) {
        for (const socket of slots.get(nextSlot) ?? []) {
          slots.get(nextSlot)?.delete(socket)
          const look = looks.get(socket)
          const due = look === undefined ? null : lookAt(socket, look, clock())
          if (look === undefined || due === null) continue
          yield due
          // The mark counts from here: the ping is sent.
          if (!due.isSilent) look.mark = outgoingOf(socket).mark()
        }
        slots.delete(nextSlot)
      }
    },

    count: () => looks.size,
    all: () => looks.keys(),
  }
}
