/**
 * A process that makes a part of the load: it holds connections, makes the changes at their moments where that is its
 * part, and keeps what its subscribers are told. The coordinating process tells it what to do, one task at a time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from './clock.ts'
import { createDeliveryRecorder, type Deliveries, type DeliveryRecorder } from './deliveries.ts'
import type { Client, Connection, Driver, Person } from './system.ts'
import { type Change, createWorkload, type Workload, type WorkloadOptions } from './workload.ts'

export interface Share {
  readonly driverUrl: string
  readonly address: string
  readonly options: WorkloadOptions
  /** The users who stay that this process connects. */
  readonly users: readonly number[]
  /** Whether it makes the changes, and holds the connections of who comes and goes. */
  readonly makesChanges: boolean
}

/** Of each change, by its number; NaN for what never came. */
export interface Moments {
  /** How late its moment was noticed: a matter of this process alone. */
  readonly lateMs: Float64Array
  /** When it was sent, after the start: late where the connection had not opened, or the coming was not acknowledged. */
  readonly sentAtMs: Float64Array
  readonly answeredAtMs: Float64Array
}

export interface Run extends Moments {
  /** How late a timer of this process was, again and again in the span. */
  readonly timerLateMs: Float64Array
}

export interface Progress {
  readonly deliveryCount: number
  readonly lastDeliveryAtMs: number
}

export interface Tasks {
  prepare(share: Share): Promise<void>
  /** Connects its users. Those who come and go are online once, so that none is new to the system later. */
  connect(): Promise<void>
  follow(): Promise<void>
  /** @returns when the time is over and what was made is answered */
  run(startAtMs: number): Promise<Run>
  progress(): Promise<Progress>
  taken(): Promise<Deliveries>
  failures(): Promise<Failures>
}

export interface Failures {
  /** Connections lost and subscriptions ended. */
  readonly lostCount: number
  /** What was asked for and not done. A lost connection takes along what it was asked. */
  readonly refusedCount: number
  /** Why, and how often. */
  readonly reasons: Readonly<Record<string, number>>
}

/** A change's connection is open by then; a server may end one that says nothing for a few seconds. */
const OPEN_AHEAD_MS = 1500
const CONNECTS_IN_FLIGHT = 24
/** Two cores take some 500 a second with all else at rest. */
const CONNECTS_A_SECOND = 300
const TIMER_MS = 10
/** Whoever is refused for a reason of their own is counted, and the reason left out. */
const MAX_REASONS = 20

let workload: Workload
let client: Client
let share: Share
let recorder: DeliveryRecorder
let lastDeliveryAtMs = 0
let lostCount = 0
let refusedCount = 0
const reasons: Record<string, number> = {}
const connections = new Map<number, Connection>()
/** When who comes has been acknowledged. */
const comings = new Map<number, Promise<void>>()

const tasks: Tasks = {
  async prepare(given) {
    share = given
    workload = createWorkload(share.options)
    const module = (await import(share.driverUrl)) as { readonly driver: Driver }
    client = module.driver.createClient(share.address)
    const expectedCount = followers().reduce((sum, one) => sum + workload.expectedOf(one).length, 0)
    // Room for as much again: what is told twice has to be seen.
    recorder = createDeliveryRecorder(2 * expectedCount + 10_000)
  },

  async connect() {
    await atPace(share.users, comeOnline)
    if (!share.makesChanges) return
    await atPace(numbers(workload.firstComer, workload.userCount), async (user) => {
      await comeOnline(user)
      if (workload.isThereAtStart(user)) return
      const connection = connections.get(user)
      await connection?.goOffline()
      connection?.close()
      connections.delete(user)
    })
  },

  async follow() {
    const userNumbers = new Map(numbers(0, workload.userCount).map((user) => [workload.userIdOf(user), user]))
    await atPace(followers(), async ({ user: subscriber, list }) => {
      await connections
        .get(subscriber)
        ?.follow(list?.map(workload.userIdOf) ?? 'everyone', ({ userId, kind, order }) => {
          lastDeliveryAtMs = monotonicMs()
          recorder.add({ subscriber, user: userNumbers.get(userId) ?? -1, kind, order, atMs: lastDeliveryAtMs })
        })
    })
  },

  async run(startAtMs) {
    const { changes, warmUpMs, totalMs } = workload
    const moments: Moments = { lateMs: columnOf(changes), sentAtMs: columnOf(changes), answeredAtMs: columnOf(changes) }
    const making = share.makesChanges
      ? changes.map((change) => makeAtItsMoment(change, startAtMs, moments).catch(refuse))
      : []
    await untilMoment(startAtMs + warmUpMs)
    const timer = watchTimer()
    await untilMoment(startAtMs + totalMs)
    const timerLateMs = timer.stop()
    await Promise.all(making)
    return { ...moments, timerLateMs }
  },

  progress: async () => ({ deliveryCount: recorder.count(), lastDeliveryAtMs }),
  taken: async () => recorder.taken(),
  failures: async () => ({ lostCount, refusedCount, reasons }),
}

function followers() {
  return workload.subscriptions.filter(({ user }) => share.users.includes(user))
}

function open(user: number): Connection {
  const person: Person = {
    userId: workload.userIdOf(user),
    node: workload.nodeOf(user),
    localAddress: workload.addressOf(user),
    onLost(reason) {
      lostCount += 1
      note(`lost, on node ${workload.nodeOf(user) + 1}: ${reason}`)
    },
  }
  const connection = client.connect(person)
  connections.set(user, connection)
  return connection
}

async function comeOnline(user: number): Promise<void> {
  const connection = open(user)
  await connection.opened
  await connection.comeOnline()
}

async function makeAtItsMoment(change: Change, startAtMs: number, moments: Moments): Promise<void> {
  const { number, kind, user, atMs } = change
  const momentMs = startAtMs + atMs
  if (kind === 'JOIN') {
    await untilMoment(momentMs - OPEN_AHEAD_MS)
    open(user)
  }
  moments.lateMs[number] = await atMoment(momentMs)
  const connection = connections.get(user)
  if (connection === undefined) throw new Error(`User ${user} has no connection.`)
  const sent = (): void => {
    moments.sentAtMs[number] = monotonicMs() - startAtMs
  }
  if (kind === 'JOIN') {
    const coming = come(connection, sent)
    comings.set(user, coming)
    await coming
  } else {
    // Who has not been acknowledged yet cannot say that they go.
    await comings.get(user)
    const acknowledged = connection.goOffline()
    sent()
    await acknowledged
    connection.close()
  }
  moments.answeredAtMs[number] = monotonicMs() - startAtMs
}

async function come(connection: Connection, sent: () => void): Promise<void> {
  await connection.opened
  const acknowledged = connection.comeOnline()
  sent()
  await acknowledged
}

function refuse(reason: unknown): void {
  refusedCount += 1
  note(`refused: ${reason instanceof Error ? reason.message : reason}`)
}

function note(reason: string): void {
  if (!(reason in reasons) && Object.keys(reasons).length === MAX_REASONS) return
  reasons[reason] = (reasons[reason] ?? 0) + 1
}

/** Some at once, and not more than so many a second. Who fails is counted, and the others go on. */
async function atPace<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const startedAtMs = monotonicMs()
  let taken = 0
  const lanes = Array.from({ length: CONNECTS_IN_FLIGHT }, async () => {
    while (taken < items.length) {
      const number = taken
      taken += 1
      await untilMoment(startedAtMs + (number * 1000) / CONNECTS_A_SECOND)
      await work(items[number] as Item).catch(refuse)
    }
  })
  await Promise.all(lanes)
}

function numbers(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index)
}

function columnOf(changes: readonly Change[]): Float64Array {
  return new Float64Array(changes.length).fill(Number.NaN)
}

function untilMoment(momentMs: number): Promise<void> {
  return sleep(Math.max(0, momentMs - monotonicMs()))
}

/** Timers count in whole milliseconds, and from when the loop last looked at the clock. @returns how late it is */
function atMoment(momentMs: number): Promise<number> {
  return new Promise((resolve) => {
    const look = (): void => {
      const leftMs = momentMs - monotonicMs()
      if (leftMs > 1) setTimeout(look, Math.floor(leftMs))
      else if (leftMs > 0) setImmediate(look)
      else resolve(-leftMs)
    }
    look()
  })
}

function watchTimer() {
  const lateMs: number[] = []
  let dueAtMs = monotonicMs() + TIMER_MS
  const timer = setInterval(() => {
    const nowMs = monotonicMs()
    // A stall makes each tick late that falls into it.
    for (let late = Math.max(0, nowMs - dueAtMs); late >= 0; late -= TIMER_MS) lateMs.push(late)
    dueAtMs = nowMs + TIMER_MS
  }, TIMER_MS)
  return {
    stop() {
      clearInterval(timer)
      return Float64Array.from(lateMs)
    },
  }
}

export interface Order {
  readonly task: keyof Tasks
  readonly argument: unknown
}

export type Answer = { readonly value: unknown } | { readonly error: string }

async function obey({ task, argument }: Order): Promise<Answer> {
  try {
    return { value: await (tasks[task] as (argument: unknown) => Promise<unknown>)(argument) }
  } catch (error) {
    return { error: error instanceof Error ? String(error.stack) : String(error) }
  }
}

process.on('message', (order: Order) => void obey(order).then((answer) => process.send?.(answer)))
// A terminal tells every process of a group: this one ends with the one that started it.
process.on('SIGINT', () => {})
process.once('disconnect', () => process.exit())
process.send?.({ value: 'ready' } satisfies Answer)
