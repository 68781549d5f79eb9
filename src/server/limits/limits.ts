/**
 * How much work one caller may cause, counted in one place for HTTP, event streams and sockets, in units of about one
 * microsecond of this process.
 *
 * A caller with a valid token pays as that user. The address pays for everything else.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../../config.ts'
import { rateLimited } from '../../presence/errors.ts'
import type { TakenWork } from '../../presence/store.ts'
import type { Origin } from './addresses.ts'
import { Bucket, type Budgets, createBudgets, type Rate } from './budgets.ts'
import { createFairTurns, type FairTurns } from './fair-turns.ts'

/** Fixed costs. The rest is the complexity of the document (src/schema). */
export const UNITS = {
  /** Reading a request, finding its document and writing its answer. */
  operation: 30,
  /** A request over HTTP, in addition to its operation. */
  request: 300,
  /** Parsing and validating a document that is not cached. */
  document: 200,
  documentByte: 2,
  /** A connection, its upgrade and its end, before its user is known. It is refunded for a valid token. */
  handshake: 400,
  /** A socket: its token, its session and its records. */
  connection: 500,
  /** An invalid token, including the check of its signature. */
  badToken: 250,
  /** A frame of a socket, whatever it contains. */
  frame: 10,
  frameByte: 1 / 64,
  /** The cost of a socket that sends more frames than it may. */
  flood: 50_000,
} as const

/** Seconds of `SOCKET_FRAME_RATE` that a socket may send at once. */
const FRAME_BURST_SECONDS = 4

/** A client may begin a subscription while the one that it has just ended still counts. */
const RETRY_AFTER_MS = 1000

/** At most the shortest time that a client waits before it retries: `Retry-After` has whole seconds. */
const MAX_REFUSAL_DELAY_MS = 1000
/** Refusals delayed at once, of all callers. Each is a request and a timer. */
const MAX_DELAYED = 2000

/**
 * @param openCount - sockets and event streams that the user has open on this process
 * @throws PresenceError `RATE_LIMITED`: another one would be one too many
 */
export function requireFreeConnection(
  openCount: number,
  { SOCKETS_PER_USER, HEARTBEAT_INTERVAL }: Pick<Config, 'SOCKETS_PER_USER' | 'HEARTBEAT_INTERVAL'>,
): void {
  if (openCount < SOCKETS_PER_USER) return
  throw rateLimited(`A user may have ${SOCKETS_PER_USER} sockets and event streams open at once.`, HEARTBEAT_INTERVAL)
}

/** The one who pays for a request: a user or an address. */
export interface Payer {
  /** Null without a valid token. */
  readonly userId: string | null
  readonly address: string
  /** The operator's own programs (tokens with the role `service`) and shared addresses pay nothing. */
  readonly isFree: boolean
}

export interface Limits {
  /** Short pieces of work: messages, requests, upgrades. */
  readonly turns: FairTurns
  /** Expensive queries: each caller runs one at a time. */
  readonly expensiveTurns: FairTurns
  /**
   * Charges for work before it is done.
   *
   * @throws PresenceError `RATE_LIMITED` with `retryAfterMs`; then nothing was charged
   */
  charge(payer: Payer, units: number): void
  /**
   * Charges for work that is already done: the payer may owe it.
   *
   * @returns false if the payer owes nearly a whole budget: it was refused for long and does not stop
   */
  spend(payer: Payer, units: number): boolean
  /** Gives back units that were charged for nothing. */
  refund(payer: Payer, units: number): void
  /**
   * Counts a new subscription.
   *
   * @returns a function that removes it from the count; only its first call has an effect
   * @throws PresenceError `RATE_LIMITED`
   */
  openSubscription(payer: Payer): () => void
  /**
   * Resolves when a refusal may be answered: this slows down a client that retries at once. Each refusal waits a random
   * time, so that the refused do not come back together.
   */
  refusalDelay(): Promise<void>
  /** The frame budget of one socket. */
  frames(): Bucket
  /** Makes all processes count together: see `Budgets`. */
  share(exchange: (taken: readonly TakenWork[]) => Promise<readonly number[]>): Promise<void>
  /** Drops full budgets. Call it now and then. */
  forget(): void
}

export function createLimits(
  config: Pick<
    Config,
    | 'USER_WORK_RATE'
    | 'USER_WORK_BURST'
    | 'ADDRESS_WORK_RATE'
    | 'ADDRESS_WORK_BURST'
    | 'SOCKET_FRAME_RATE'
    | 'SUBSCRIPTIONS_PER_USER'
  >,
  monotonicMs: () => number,
): Limits {
  const users = createBudgets({ burst: config.USER_WORK_BURST, perSecond: config.USER_WORK_RATE }, monotonicMs)
  const addresses = createBudgets(
    { burst: config.ADDRESS_WORK_BURST, perSecond: config.ADDRESS_WORK_RATE },
    monotonicMs,
  )

  const subscriptionCounts = new Map<string, number>()
  let delayedCount = 0
  const frameRate: Rate = {
    burst: FRAME_BURST_SECONDS * config.SOCKET_FRAME_RATE * UNITS.frame,
    perSecond: config.SOCKET_FRAME_RATE * UNITS.frame,
  }

  function accountOf({ userId, address }: Payer): { readonly budgets: Budgets; readonly key: string } {
    return userId === null ? { budgets: addresses, key: address } : { budgets: users, key: userId }
  }

  return {
    turns: createFairTurns({ monotonicMs }),
    expensiveTurns: createFairTurns({ monotonicMs, atOnce: 1 }),

    charge(payer, units) {
      if (payer.isFree) return
      const { budgets, key } = accountOf(payer)
      const waitMs = budgets.take(key, units)
      if (waitMs === 0) return
      throw rateLimited(
        payer.userId === null
          ? 'Too much was asked from this address without a valid token.'
          : 'This user asked for more work than they may cause at once.',
        waitMs,
      )
    },

    spend(payer, units) {
      if (payer.isFree) return true
      const { budgets, key } = accountOf(payer)
      return budgets.spend(key, units)
    },

    refund(payer, units) {
      if (payer.isFree) return
      const { budgets, key } = accountOf(payer)
      budgets.give(key, units)
    },

    openSubscription({ userId, isFree }) {
      if (userId === null || isFree) return () => {}
      const count = (subscriptionCounts.get(userId) ?? 0) + 1
      if (count > config.SUBSCRIPTIONS_PER_USER) {
        throw rateLimited(
          `A user may have ${config.SUBSCRIPTIONS_PER_USER} subscriptions open at once.`,
          RETRY_AFTER_MS,
        )
      }
      subscriptionCounts.set(userId, count)
      let isOpen = true
      return () => {
        if (!isOpen) return
        isOpen = false
        const left = (subscriptionCounts.get(userId) ?? 0) - 1
        if (left > 0) subscriptionCounts.set(userId, left)
        else subscriptionCounts.delete(userId)
      }
    },

    async refusalDelay() {
      if (delayedCount >= MAX_DELAYED) return
      delayedCount += 1
      await sleep(MAX_REFUSAL_DELAY_MS * (0.5 + Math.random() / 2), undefined, { ref: false })
      delayedCount -= 1
    },

    frames: () => new Bucket(frameRate),

    async share(exchange) {
      const named = (kind: string) => (taken: readonly TakenWork[]) =>
        exchange(taken.map((one) => ({ ...one, key: `${kind}:${one.key}` })))
      await Promise.all([users.share(named('user')), addresses.share(named('address'))])
    },

    forget() {
      users.forgetFull()
      addresses.forgetFull()
    },
  }
}

/** The name under which a payer takes turns. */
export function callerOf({ userId, address }: Payer): string {
  return userId === null ? `address:${address}` : `user:${userId}`
}

/** The payer for requests whose token is not known yet. */
export function addressPayer({ address, isShared }: Origin): Payer {
  return { userId: null, address, isFree: isShared }
}

/** @param caller - null without a token */
export function payerOf(
  caller: { readonly userId: string; readonly role: 'member' | 'service' } | null,
  origin: Origin,
): Payer {
  if (caller === null) return addressPayer(origin)
  return { userId: caller.userId, address: origin.address, isFree: caller.role === 'service' }
}
