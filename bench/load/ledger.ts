/**
 * Holds what subscribers received against the changes that were made: each of them gets each change once, whole, and
 * in the order in which all others get them.
 *
 * Which of two changes that were made at once comes first is the server's to say: the first subscriber that hears of
 * one says it for all.
 */
import type { Change } from '../peers/presence.ts'

export interface MadeChange {
  readonly userId: string
  readonly kind: Change['kind']
  readonly room: string | null
  /** Filled in before the server can hear of it. */
  readonly made: { atMs: number }
}

export interface Ledger {
  /** Before it is sent. */
  made(change: MadeChange): void
  received(subscriber: number, change: Change, atMs: number): void
  /** Something is wrong that no delivery shows. */
  fault(text: string): void
  /** Resolves with true when every subscriber has every change, and with false when something is wrong. */
  settled(withinMs: number): Promise<boolean>
  isFaulty(): boolean
  /** What happened since the last call. From here on everything that still comes of it is a fault. */
  take(): {
    readonly deliveryCount: number
    readonly latenciesMs: readonly number[]
    readonly faults: readonly string[]
  }
}

type Numbered = MadeChange & { readonly position: string }

const MAX_FAULTS = 5

export function createLedger(subscriberCount: number): Ledger {
  /** Made, and not heard of by anybody yet. */
  const unheard = new Map<string, MadeChange>()
  /** In the order of the first who heard of them. */
  let order: Numbered[] = []
  let lastSeq = -1
  const receivedCounts = new Array<number>(subscriberCount).fill(0)
  let madeCount = 0
  let deliveryCount = 0
  let latenciesMs: number[] = []
  let faults: string[] = []
  let wake: (() => void) | null = null

  function fault(text: string): void {
    if (faults.length < MAX_FAULTS) faults.push(text)
    wake?.()
  }

  function isSettled(): boolean {
    return deliveryCount === madeCount * subscriberCount || faults.length > 0
  }

  /** The change that is this subscriber's next one, null where it must not be. */
  function expected(subscriber: number, change: Change): Numbered | null {
    const place = receivedCounts[subscriber] ?? 0
    const known = order[place]
    if (known !== undefined) {
      const isSame = known.position === change.position && known.userId === change.user.id && known.kind === change.kind
      return isSame ? known : null
    }
    const made = unheard.get(change.user.id)
    if (made === undefined || made.kind !== change.kind) return null
    const seq = seqOf(change.position)
    if (seq <= lastSeq) return null
    lastSeq = seq
    unheard.delete(change.user.id)
    const numbered = { ...made, position: change.position }
    order.push(numbered)
    return numbered
  }

  return {
    fault,

    made(change) {
      if (unheard.has(change.userId)) fault('A user was changed again before anybody had heard of the last change.')
      unheard.set(change.userId, change)
      madeCount += 1
    },

    received(subscriber, change, atMs) {
      if (!isWhole(change)) return fault(`A change came incomplete: ${JSON.stringify(change)}`)
      const made = expected(subscriber, change)
      if (made === null || made.room !== change.room) {
        return fault(`A change came twice, out of order or to whom it does not concern: ${JSON.stringify(change)}`)
      }
      receivedCounts[subscriber] = (receivedCounts[subscriber] ?? 0) + 1
      deliveryCount += 1
      latenciesMs.push(atMs - made.made.atMs)
      if (isSettled()) wake?.()
    },

    async settled(withinMs) {
      if (!isSettled()) {
        const timer = setTimeout(() => {
          const dueCount = madeCount * subscriberCount
          fault(`${dueCount - deliveryCount} of ${dueCount} deliveries did not come within ${withinMs} ms.`)
        }, withinMs)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        wake = null
        clearTimeout(timer)
      }
      return faults.length === 0
    },

    isFaulty: () => faults.length > 0,

    take() {
      const taken = { deliveryCount, latenciesMs, faults }
      unheard.clear()
      receivedCounts.fill(0)
      order = []
      madeCount = 0
      deliveryCount = 0
      latenciesMs = []
      faults = []
      return taken
    },
  }
}

function seqOf(position: string): number {
  return Number(position.slice(position.indexOf(':') + 1))
}

function isWhole({ kind, position, at, room, previousStatus, user }: Change): boolean {
  return (
    kind.length > 0 &&
    position.length > 0 &&
    at.length === 24 &&
    room !== undefined &&
    previousStatus.length > 0 &&
    user.id.length === 36 &&
    user.name.length > 0 &&
    typeof user.isOnline === 'boolean' &&
    user.status.length > 0 &&
    user.statusMessage !== undefined &&
    user.onlineSince !== undefined &&
    user.lastActive !== undefined
  )
}
