/**
 * The process that makes the load: all clients of one server live here, and do what the bench tells it by IPC.
 *
 * A process of its own, so that its processor time is told apart from the server's, and is known.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { quantileOf } from '../measure/spread.ts'
import { signToken } from '../peers/tokens.ts'
import {
  type DialectName,
  type LoadCommands,
  type LoopAnswer,
  type LoopArgs,
  type OpenArgs,
  type Request,
  type Response,
  ROOM,
} from './commands.ts'
import { type Connection, connect } from './connection.ts'
import type { Dialect } from './dialect.ts'
import { bareWs } from './dialects/bare-ws.ts'
import { graphql } from './dialects/graphql.ts'
import { socketIo } from './dialects/socket-io.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { arriveTogether } from './together.ts'

const DIALECTS: Record<DialectName, Dialect> = { graphql, socketIo, bareWs }
/**
 * Clients that come, or ask for something, at once: so few that Rollcall's embedded database gives the row of each
 * within the second that it has, also where this machine is busy. Else a user is let in first, and seen later.
 */
const AT_ONCE = 25
/** Addresses of this machine from which clients come: each has 28,000 ports, and a server may count by address. */
const ADDRESS_COUNT = 50
/** A change that is not everywhere by then is lost. */
const LOST_AFTER_MS = 10_000
const SETTLE_AFTER_FAULT_MS = 3000

interface Driver {
  readonly connection: Connection
  /** A second session, without a socket: it keeps the user in the live state while they are offline. */
  readonly passiveSessionId: string
  isInRoom: boolean
  isOnline: boolean
}

let opened: OpenArgs
let ledger: Ledger
let subscribers: Connection[] = []
let drivers: Driver[] = []
/** Somebody of whom every watch list has to hear. */
const beaconId = randomUUID()
/** Of the last message that brought a change. */
let bytes = 0

const commands: LoadCommands = {
  async open(args) {
    opened = args
    ledger = createLedger(args.subscriberCount)
    subscribers = await inBatches(numbers(args.subscriberCount), (number) => connectOne(randomUUID(), number, number))
    drivers = await inBatches(numbers(args.driverCount), async (number) => ({
      connection: await connectOne(randomUUID(), args.subscriberCount + number, null),
      passiveSessionId: randomUUID(),
      isInRoom: false,
      isOnline: true,
    }))
  },

  async follow({ room, selectionCount }) {
    await inBatches(subscribers, (subscriber, number) =>
      subscriber.ask({ kind: 'follow', room, selection: number % selectionCount }),
    )
  },

  async watch({ listLength }) {
    const inAllLists = [beaconId, ...drivers.map(({ connection }) => connection.userId)]
    const userIds = subscribers.map(({ userId }) => userId)
    const around = [...userIds, ...userIds]
    await inBatches(subscribers, (subscriber, number) => {
      const others = around.slice(number + 1, number + 1 + listLength - inAllLists.length)
      return subscriber.ask({ kind: 'watch', userIds: [...inAllLists, ...others] })
    })
  },

  async unfollow() {
    await inBatches(subscribers, (subscriber) => subscriber.ask({ kind: 'unfollow' }))
  },

  async beatAll() {
    const everybody = [...subscribers, ...drivers.map(({ connection }) => connection)]
    await inBatches(everybody, (connection) => connection.ask({ kind: 'heartbeat' }))
  },

  async closedLoop(args) {
    for (let step = 0; step < args.stepCount; step += 1) {
      const answered = makeStep(args, step)
      const isWell = await ledger.settled(LOST_AFTER_MS)
      if (!isWell) break
      await inTime(answered)
    }
    return answerOf(0)
  },

  async openLoop(args) {
    const startAtMs = performance.now()
    let latestMs = 0
    const answers: Promise<unknown>[] = []
    for (let step = 0; step < args.stepCount; step += 1) {
      const dueAtMs = startAtMs + step * args.everyMs
      await sleep(Math.max(0, dueAtMs - performance.now()))
      latestMs = Math.max(latestMs, performance.now() - dueAtMs)
      answers.push(makeStep(args, step, dueAtMs))
    }
    const isWell = await ledger.settled(LOST_AFTER_MS)
    if (isWell) await inTime(Promise.all(answers))
    return answerOf(latestMs)
  },

  async heartbeats({ forMs, inFlight }) {
    const untilMs = performance.now() + forMs
    let roundTripCount = 0
    const lanes = drivers.slice(0, inFlight).map(async ({ connection }) => {
      while (performance.now() < untilMs) {
        await connection.ask({ kind: 'heartbeat' })
        roundTripCount += 1
      }
    })
    await inTime(Promise.all(lanes))
    return { roundTripCount, faults: ledger.take().faults }
  },

  async cut({ count }) {
    for (const subscriber of subscribers.splice(0, count)) subscriber.end()
  },

  async lightBeacon() {
    ledger.made({ userId: beaconId, kind: 'JOIN', room: null, made: { atMs: performance.now() } })
    await connectOne(beaconId, subscribers.length, null)
    await ledger.settled(LOST_AFTER_MS)
    return { faults: ledger.take().faults }
  },
}

/** @param subscriber - its number; null for whoever follows nobody */
async function connectOne(userId: string, place: number, subscriber: number | null): Promise<Connection> {
  const credentials = {
    userId,
    sessionId: randomUUID(),
    token: await signToken(
      {
        id: userId,
        name: `Name of ${userId.slice(0, 8)}`,
        ...(subscriber === null && opened.picture !== undefined ? { picture: opened.picture } : {}),
      },
      opened.secret,
    ),
  }
  return connect({
    url: opened.url,
    dialect: DIALECTS[opened.dialect],
    credentials,
    localAddress: `127.0.0.${(opened.firstAddress ?? 2) + (place % ADDRESS_COUNT)}`,
    onChange(change, size) {
      if (subscriber === null) return ledger.fault('Somebody heard of a change who follows nobody.')
      bytes = size
      ledger.received(subscriber, change, performance.now())
    },
    onFault: (fault) => ledger.fault(fault),
  })
}

/** As clients come: not all at once. */
async function inBatches<One, Made>(
  all: readonly One[],
  work: (one: One, number: number) => Promise<Made>,
): Promise<Made[]> {
  const made: Made[] = []
  while (made.length < all.length) {
    const from = made.length
    const batch = all.slice(from, from + AT_ONCE)
    made.push(...(await Promise.all(batch.map((one, place) => work(one, from + place)))))
  }
  return made
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, number) => number)
}

/**
 * Makes the changes of one step, each by another driver.
 *
 * @param atMs - since when they are waited for: by the plan, where there is one
 * @returns when all of them are answered
 */
function makeStep({ field, burst }: LoopArgs, step: number, atMs = performance.now()): Promise<unknown> {
  const chosen = Array.from({ length: burst }, (_, place) => drivers[(step * burst + place) % drivers.length] as Driver)
  const made = { atMs }
  const change = () => Promise.all(chosen.map((driver) => (field === 'room' ? move : appear)(driver, made)))
  return burst === 1 ? change() : arriveTogether(opened.pid, made, change)
}

/** Into the room, or out of it. */
function move(driver: Driver, made: { atMs: number }): Promise<void> {
  driver.isInRoom = !driver.isInRoom
  const { userId } = driver.connection
  ledger.made({ userId, kind: driver.isInRoom ? 'JOIN' : 'LEAVE', room: ROOM, made })
  return driver.connection.ask({ kind: driver.isInRoom ? 'join' : 'leave', room: ROOM })
}

/** Online, or offline: where the other session did not keep them, their row would be read from the database first. */
async function appear(driver: Driver, made: { atMs: number }): Promise<void> {
  const { connection, passiveSessionId } = driver
  driver.isOnline = !driver.isOnline
  ledger.made({ userId: connection.userId, kind: driver.isOnline ? 'JOIN' : 'LEAVE', room: null, made })
  if (driver.isOnline) return connection.ask({ kind: 'heartbeat' })
  driver.isInRoom = false
  await Promise.all([connection.ask({ kind: 'goOffline' }), connection.ask({ kind: 'heartbeat', passiveSessionId })])
}

async function inTime(work: Promise<unknown>): Promise<void> {
  const limit = new AbortController()
  await Promise.race([
    work,
    sleep(LOST_AFTER_MS, null, { signal: limit.signal }).then(
      () => ledger.fault(`What was asked was not answered within ${LOST_AFTER_MS} ms.`),
      () => {},
    ),
  ])
  limit.abort()
}

async function answerOf(latestMs: number): Promise<LoopAnswer> {
  // What is still on its way belongs to what went wrong here, and not to what is measured next.
  if (ledger.isFaulty()) await sleep(SETTLE_AFTER_FAULT_MS)
  const { deliveryCount, latenciesMs, faults } = ledger.take()
  const latencyMs = { p50: quantileOf(latenciesMs, 0.5), p99: quantileOf(latenciesMs, 0.99) }
  return { deliveryCount, latencyMs, bytes, latestMs, faults }
}

process.on('message', async ({ name, args }: Request) => {
  const command = commands[name] as (args: unknown) => Promise<unknown>
  const response: Response = await command(args).then(
    (answer) => ({ answer }),
    (error: Error) => ({ error: String(error.stack) }),
  )
  process.send?.(response)
})
// Without the bench nobody needs the load.
process.on('disconnect', () => process.exit())
