/**
 * What was told, held against what had to be told.
 *
 * Pure. Each user comes at most once and goes at most once, so each delivery is of exactly one change.
 */
import { type Deliveries, kindOf } from './deliveries.ts'
import { type Change, KINDS, type Kind, type Subscription, type Workload } from './workload.ts'

export interface Exactness {
  readonly expectedCount: number
  readonly receivedCount: number
  readonly missingCount: number
  readonly doubledCount: number
  /** After something with a higher number, or with the number of another change. */
  readonly outOfOrderCount: number
  /** A user's coming, told after their going. With numbers these are among those above. */
  readonly outOfOrderOfUserCount: number
  /** Of somebody outside the list, of no change of the workload, or before its moment. */
  readonly notAskedForCount: number
  /** The first mistakes, a sentence each. */
  readonly examples: readonly string[]
}

/** Times from the scheduled moment until the subscriber had parsed it. */
export interface Group {
  readonly kind: Kind
  /** Whether the subscriber hangs on the node where the change was made. */
  readonly isSameNode: boolean
  readonly isOfList: boolean
  readonly timesMs: number[]
}

export interface Checked {
  readonly exactness: Exactness
  readonly groups: readonly Group[]
  /** Deliveries of the span. */
  readonly measuredCount: number
  /** When the last of them was parsed, after the start. */
  readonly lastAtMs: number
}

const MAX_EXAMPLES = 10

/** What a change is to the subscriber in hand. */
const NOT_ASKED_FOR = 0
const EXPECTED = 1
const TOLD = 2

export function check(workload: Workload, batches: readonly Deliveries[], startAtMs: number): Checked {
  const { changes, subscriptions, nodeOf, userIdOf } = workload
  const groups: Group[] = KINDS.flatMap((kind) =>
    [true, false].flatMap((isSameNode) =>
      [false, true].map((isOfList) => ({ kind, isSameNode, isOfList, timesMs: [] })),
    ),
  )
  const groupOf = ({ kind, user }: Change, subscription: Subscription): Group =>
    groups[
      (kind === 'JOIN' ? 0 : 4) +
        (nodeOf(user) === nodeOf(subscription.user) ? 0 : 2) +
        (subscription.list === null ? 0 : 1)
    ] as Group

  const examples: string[] = []
  const counts = {
    expected: 0,
    received: 0,
    missing: 0,
    doubled: 0,
    outOfOrder: 0,
    outOfOrderOfUser: 0,
    notAskedFor: 0,
  }
  let measuredCount = 0
  let lastAtMs = 0

  function note(
    mistake: 'missing' | 'doubled' | 'outOfOrder' | 'outOfOrderOfUser' | 'notAskedFor',
    describe: () => string,
  ): void {
    counts[mistake] += 1
    if (examples.length < MAX_EXAMPLES) examples.push(describe())
  }

  // Between two subscribers all is NOT_ASKED_FOR.
  const states = new Uint8Array(changes.length)

  function checkOne(subscription: Subscription, told: Iterable<Told>): void {
    const expected = workload.expectedOf(subscription)
    counts.expected += expected.length
    for (const { number } of expected) states[number] = EXPECTED
    const name = `subscriber ${subscription.user} (${subscription.list === null ? 'everyone' : 'a list'})`
    let lastOrder = Number.NEGATIVE_INFINITY

    for (const { user, kind, order, atMs } of told) {
      counts.received += 1
      const change = kind === 'OTHER' ? null : workload.changeOf(user, kind)
      const what = () => `${name} was told ${kind} of ${user < 0 ? 'a stranger' : userIdOf(user)}`
      if (change === null || states[change.number] === NOT_ASKED_FOR || atMs < startAtMs + change.atMs) {
        note('notAskedFor', () => `${what()} and had not asked for it, or it had not happened.`)
        continue
      }
      if (states[change.number] === TOLD) {
        note('doubled', () => `${what()} twice.`)
        continue
      }
      states[change.number] = TOLD
      if (order <= lastOrder)
        note('outOfOrder', () => `${what()} with number ${order}, after ${lastOrder} or another of that number.`)
      else if (!Number.isNaN(order)) lastOrder = order
      const leave = kind === 'JOIN' ? workload.changeOf(user, 'LEAVE') : null
      if (leave !== null && states[leave.number] === TOLD)
        note('outOfOrderOfUser', () => `${what()} after their LEAVE.`)
      if (!change.isMeasured) continue
      measuredCount += 1
      lastAtMs = Math.max(lastAtMs, atMs - startAtMs)
      groupOf(change, subscription).timesMs.push(atMs - startAtMs - change.atMs)
    }

    for (const { number, kind, user } of expected) {
      if (states[number] === EXPECTED) note('missing', () => `${name} was never told ${kind} of ${userIdOf(user)}.`)
      states[number] = NOT_ASKED_FOR
    }
  }

  const toldTo = sortOut(batches, subscriptions.length)
  for (const [number, subscription] of subscriptions.entries()) checkOne(subscription, toldTo(number))

  return {
    exactness: {
      expectedCount: counts.expected,
      receivedCount: counts.received + batches.reduce((sum, { unkeptCount }) => sum + unkeptCount, 0),
      missingCount: counts.missing,
      doubledCount: counts.doubled,
      outOfOrderCount: counts.outOfOrder,
      outOfOrderOfUserCount: counts.outOfOrderOfUser,
      notAskedForCount: counts.notAskedFor,
      examples,
    },
    groups,
    measuredCount,
    lastAtMs,
  }
}

export function isExact(exactness: Exactness): boolean {
  const { missingCount, doubledCount, outOfOrderCount, outOfOrderOfUserCount, notAskedForCount } = exactness
  return missingCount + doubledCount + outOfOrderCount + outOfOrderOfUserCount + notAskedForCount === 0
}

interface Told {
  readonly user: number
  readonly kind: 'JOIN' | 'LEAVE' | 'OTHER'
  readonly order: number
  readonly atMs: number
}

/** @returns what each subscriber was told, in order: each is of one process, and so of one batch */
function sortOut(batches: readonly Deliveries[], subscriberCount: number): (subscriber: number) => Iterable<Told> {
  const rows = Array.from({ length: subscriberCount }, (): { batch: Deliveries; row: number }[] => [])
  for (const batch of batches) {
    for (const [row, subscriber] of batch.subscribers.entries()) rows[subscriber]?.push({ batch, row })
  }
  return function* (subscriber) {
    for (const { batch, row } of rows[subscriber] ?? []) {
      yield {
        user: Number(batch.users[row]),
        kind: kindOf(Number(batch.kindCodes[row])),
        order: Number(batch.orders[row]),
        atMs: Number(batch.atMs[row]),
      }
    }
  }
}
