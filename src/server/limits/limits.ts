/**
 * What one caller may cause, counted at one place for HTTP, event streams and sockets: work, in units of about one
 * microsecond of this process.
 *
 * Who shows a valid token pays as that user. Everything else is paid by the address that it comes from.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../../config.ts'
import { rateLimited } from '../../presence/errors.ts'
import type { TakenWork } from '../../presence/store.ts'
import type { Origin } from './addresses.ts'
import { Bucket, type Budgets, createBudgets, type Rate } from './budgets.ts'
import { createFairTurns, type FairTurns } from './fair-turns.ts'

/** What costs the same whatever was asked. The rest is the complexity of the document (src/schema). */
export const UNITS = {
  /** Reading a request, finding its document and writing its answer. */
  operation: 30,
  /** A request over HTTP, beside the operation in it. */
  request: 300,
  /** Parsing and validating a document that nobody has asked before. */
  document: 200,
  documentByte: 2,
  /** A connection, its upgrade and its end, before anybody has said who they are. It is given back with a valid token. */
  handshake: 400,
  /** A socket: its token, its session and the records of it. */
  connection: 500,
  /** A token that does not hold, with its signature checked. */
  badToken: 250,
  /** A frame of a socket, whatever is in it. */
  frame: 10,
  frameByte: 1 / 64,
  /** What a socket has cost that sends more frames than it may. */
  flood: 50_000,
} as const

/** Seconds of `SOCKET_FRAME_RATE` that a socket may send at once. */
const FRAME_BURST_SECONDS = 4

/** A client that ends a subscription and begins the next may find the first one counted still. */
const RETRY_AFTER_MS = 1000

/** No longer than a client waits at least before it asks again: `Retry-After` has whole seconds. */
const MAX_REFUSAL_DELAY_MS = 1000
/** Refusals that are delayed at a time, of all callers. Each is a request and a timer. */
const MAX_DELAYED = 500

/** Who pays for a request. */
export interface Payer {
  /** Null without a valid token. */
  readonly userId: string | null
  readonly address: string
  /** The operator's own programs (tokens with the role `service`) pay nothing, and who cannot be told from others. */
  readonly isFree: boolean
}

export interface Limits {
  /** Short pieces of work: messages, requests, upgrades. */
  readonly turns: FairTurns
  /** Dear queries: a caller has one at work at a time. */
  readonly dearTurns: FairTurns
  /**
   * Takes the work that is asked for.
   *
   * @throws PresenceError `RATE_LIMITED` with `retryAfterMs`; then nothing was taken
   */
  charge(payer: Payer, units: number): void
  /**
   * Takes work that was done already: the payer may owe it.
   *
   * @returns false where they owe nearly a whole budget: they were refused for long, and go on
   */
  spend(payer: Payer, units: number): boolean
  /** Gives back what was charged for nothing. */
  refund(payer: Payer, units: number): void
  /**
   * Counts a subscription in.
   *
   * @returns counts it out again, once however often it is called
   * @throws PresenceError `RATE_LIMITED`
   */
  openSubscription(payer: Payer): () => void
  /**
   * Resolves when a refusal may be answered: a client that asks again at once is slowed down by it. Each waits a time of
   * its own, so that the refused do not come back together.
   */
  refusalDelay(): Promise<void>
  /** Of one socket. */
  frames(): Bucket
  /** Has all processes count together: see `Budgets`. */
  share(exchange: (taken: readonly TakenWork[]) => Promise<readonly number[]>): Promise<void>
  /** Drops what is as good as new: to be called now and then. */
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
    dearTurns: createFairTurns({ monotonicMs, atOnce: 1 }),

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

/** By which name a payer takes turns. */
export function callerOf({ userId, address }: Payer): string {
  return userId === null ? `address:${address}` : `user:${userId}`
}

/** Who pays for what is asked before a token is known. */
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
