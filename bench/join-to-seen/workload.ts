/**
 * Who is there, who comes and goes and when, who follows whom, and so what each subscriber has to be told.
 *
 * Pure, and made from a seed: every process makes the same one for itself. It knows no system.
 */
import { createHash } from 'node:crypto'
import { createRandom } from '../../tests/fault/random.ts'

export interface WorkloadOptions {
  /** Who is connected all the time, each with a connection of their own. The subscribers are among them. */
  readonly userCount: number
  /** Somebody comes or goes so often, beside them. */
  readonly changesASecond: number
  /** How long is measured. */
  readonly seconds: number
  readonly nodeCount: number
  /** Subscribers of everyone. */
  readonly everyoneCount: number
  /** Subscribers of a list of users each. */
  readonly listCount: number
  readonly listSize: number
}

export const DEFAULT_OPTIONS: WorkloadOptions = {
  userCount: 10_000,
  changesASecond: 50,
  seconds: 30,
  nodeCount: 3,
  everyoneCount: 200,
  listCount: 800,
  listSize: 50,
}

/** The same load before the span: what is measured begins with caches filled and code compiled. */
export const WARM_UP_SECONDS = 5
/** Who came stays so long. Each user comes once and goes once, so that no change can be taken for another. */
const STAY_SECONDS = 4
const SEED = 1
/** Of 127.0.0.0/8: each address has a port range of its own. */
const LOOPBACK_ADDRESSES = 250

export const KINDS = ['JOIN', 'LEAVE'] as const
export type Kind = (typeof KINDS)[number]

export interface Change {
  /** Its place in `changes`. */
  readonly number: number
  readonly kind: Kind
  readonly user: number
  /** When it is made, after the start. */
  readonly atMs: number
  /** False in the warm-up, whose deliveries are checked and not timed. */
  readonly isMeasured: boolean
}

export interface Subscription {
  /** The user whose connection it is; its own number too. */
  readonly user: number
  /** Null: everyone. */
  readonly list: readonly number[] | null
}

export interface Workload {
  readonly options: WorkloadOptions
  /** Users from this number on come and go; those below stay. */
  readonly firstComer: number
  /** All users, who come and go too. */
  readonly userCount: number
  /** By time. */
  readonly changes: readonly Change[]
  readonly subscriptions: readonly Subscription[]
  readonly warmUpMs: number
  /** The warm-up and the span. */
  readonly totalMs: number
  userIdOf(user: number): string
  nodeOf(user: number): number
  addressOf(user: number): string
  /** Whether somebody who comes and goes is there already when it starts. */
  isThereAtStart(user: number): boolean
  /** @returns null where they do not, within the run */
  changeOf(user: number, kind: Kind): Change | null
  /** What the subscriber has to be told. */
  expectedOf(subscription: Subscription): readonly Change[]
}

/** @throws Error the options contradict each other */
export function createWorkload(options: WorkloadOptions): Workload {
  const { userCount: stayingCount, changesASecond, seconds, nodeCount, everyoneCount, listCount, listSize } = options
  for (const [name, value] of Object.entries(options)) {
    if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not ${value}.`)
  }
  for (const name of ['userCount', 'changesASecond', 'seconds', 'nodeCount'] as const) {
    if (options[name] < 1) throw new Error(`${name} must be at least 1.`)
  }
  const subscriberCount = everyoneCount + listCount
  if (subscriberCount < 1) throw new Error('Somebody has to subscribe: everyoneCount or listCount must be more.')
  if (subscriberCount > stayingCount) {
    throw new Error(`userCount must be at least everyoneCount and listCount together, ${subscriberCount}.`)
  }
  const random = createRandom(SEED)
  const changeCount = (WARM_UP_SECONDS + seconds) * changesASecond
  // Who goes before the first of those who came does.
  const thereAtStartCount = Math.ceil((STAY_SECONDS * changesASecond) / 2)
  const userCount = stayingCount + thereAtStartCount + Math.ceil(changeCount / 2)
  if (listCount > 0 && (listSize < 1 || listSize > userCount)) {
    throw new Error(`listSize must be 1 to ${userCount}, as many users as there are.`)
  }

  const joins = new Map<number, Change>()
  const leaves = new Map<number, Change>()
  const changes = Array.from({ length: changeCount }, (_, number): Change => {
    const kind = number % 2 === 0 ? 'JOIN' : 'LEAVE'
    const turn = Math.floor(number / 2)
    const user = stayingCount + (kind === 'JOIN' ? thereAtStartCount + turn : turn)
    // Anywhere in its slot: a timer of the system that beats in time with the schedule would hide or show all of them.
    const atMs = ((number + random.next()) * 1000) / changesASecond
    const change = { number, kind, user, atMs, isMeasured: number >= WARM_UP_SECONDS * changesASecond } as const
    ;(kind === 'JOIN' ? joins : leaves).set(user, change)
    return change
  })

  const subscriptions = Array.from({ length: subscriberCount }, (_, user): Subscription => {
    if (user < everyoneCount) return { user, list: null }
    const list = new Set<number>()
    while (list.size < listSize) list.add(Math.floor(random.next() * userCount))
    return { user, list: [...list] }
  })

  function changeOf(user: number, kind: Kind): Change | null {
    return (kind === 'JOIN' ? joins : leaves).get(user) ?? null
  }

  return {
    options,
    firstComer: stayingCount,
    userCount,
    changes,
    subscriptions,
    warmUpMs: WARM_UP_SECONDS * 1000,
    totalMs: (WARM_UP_SECONDS + seconds) * 1000,
    userIdOf,
    nodeOf: (user) => user % nodeCount,
    addressOf: (user) => `127.0.0.${2 + (user % LOOPBACK_ADDRESSES)}`,
    isThereAtStart: (user) => user >= stayingCount && user < stayingCount + thereAtStartCount,
    changeOf,
    expectedOf({ list }) {
      if (list === null) return changes
      return list
        .flatMap((user) => [changeOf(user, 'JOIN'), changeOf(user, 'LEAVE')])
        .filter((change) => change !== null)
    },
  }
}

/** Digits without an order or a common beginning, as real ids have: a UUID of version 4. */
function userIdOf(user: number): string {
  const digits = createHash('sha256').update(`${SEED} ${user}`).digest('hex')
  return [
    digits.slice(0, 8),
    digits.slice(8, 12),
    `4${digits.slice(13, 16)}`,
    `a${digits.slice(17, 20)}`,
    digits.slice(20, 32),
  ].join('-')
}
