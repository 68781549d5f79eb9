/**
 * Memory of a connection that is idle: signed in, and watching 50 of the other users.
 *
 * Measured is by how much a server grows, after its garbage is collected, from the first thousand such connections to
 * the last one: resident memory as the kernel has it, and what V8 still holds. The kernel's own buffers are not in it.
 * Pages come back to the kernel late or not at all: the short form has too few connections for resident memory to say
 * anything, and tells what V8 holds alone. That every list is in effect is seen afterwards: one more user comes, and
 * everybody has to hear of it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Load, startLoad } from '../load/load.ts'
import { residentBytesOf } from '../measure/cpu.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { inTurns, type Scenario } from '../scenario.ts'
import { SECRET, SERVERS, type Server, type ServerName, startServer } from '../servers.ts'

const SHORT_COUNT = 2000
const FULL_COUNT = 10_000
/** Before the first look: code is compiled, and what a server has once, its database too, has grown. */
const COUNT_BEFORE = 1000
/** Each takes half a minute of the short form's three. */
const SHORT_ROUNDS = 1
const LIST_LENGTH = 50

/** Memory goes back to the kernel some time after it was collected. */
const COLLECT_EVERY_MS = 200
const COLLECTIONS_LEAST = 3
const MAX_COLLECTIONS = 15
/** Between two collections. */
const STABLE_WITHIN = 0.005

const MEASURES: readonly Measure[] = [
  { name: 'memory.resident', title: 'An idle connection that watches 50 users, resident memory', unit: 'KB' },
  { name: 'memory.heap', title: 'An idle connection that watches 50 users, what V8 holds', unit: 'KB' },
]

/** Without those that keep the same of a connection as another one. */
const LEFT_OUT: ReadonlySet<ServerName> = new Set(['rollcall-redis', 'socket-io-gathered'])

export const memory: Scenario = {
  name: 'memory',

  async run(plan) {
    const names = (Object.keys(SERVERS) as ServerName[]).filter((name) => !LEFT_OUT.has(name))
    const count = plan.isFull ? FULL_COUNT : SHORT_COUNT
    const roundCount = plan.isFull ? plan.roundCount : SHORT_ROUNDS
    const figures: Figure[] = []
    await inTurns(names, { ...plan, roundCount }, async (name, round) => {
      const { resident, heap, fault } = await measure(name, count)
      const place = { server: name, round, voidBecause: fault }
      if (plan.isFull) figures.push({ ...place, measure: 'memory.resident', value: resident / 1024 })
      figures.push({ ...place, measure: 'memory.heap', value: heap / 1024 })
    })
    const notes = [
      `Memory is that of connections ${COUNT_BEFORE} to ${count}. What V8 holds is its main thread’s: Rollcall’s embedded database is in resident memory alone.`,
    ]
    return { measures: MEASURES, figures, notes }
  },
}

/** @returns bytes a connection */
async function measure(name: ServerName, count: number) {
  const server = await startServer(name, { hasDoor: true })
  const first = await openWatchers(server, COUNT_BEFORE)
  const before = await memoryOf(server)
  const others = await openWatchers(server, count - COUNT_BEFORE)
  const after = await memoryOf(server)
  const faults = [...(await first.lightBeacon()).faults, ...(await others.lightBeacon()).faults]
  await Promise.all([first.stop(), others.stop(), server.stop()])
  return {
    resident: (after.resident - before.resident) / (count - COUNT_BEFORE),
    heap: (after.heap - before.heap) / (count - COUNT_BEFORE),
    fault: faults[0] ?? null,
  }
}

async function openWatchers({ url, pid, dialect }: Server, count: number): Promise<Load> {
  const load = startLoad()
  await load.open({ url, pid, dialect, secret: SECRET, subscriberCount: count, driverCount: 0 })
  // All are there before anybody watches: else each would hear of whoever comes after.
  await load.watch({ listLength: LIST_LENGTH })
  return load
}

/** Once it does not shrink any more. */
async function memoryOf(server: Server): Promise<{ readonly resident: number; readonly heap: number }> {
  let resident = Number.POSITIVE_INFINITY
  for (let collections = 1; ; collections += 1) {
    const { heapUsed, external } = await server.collect()
    await sleep(COLLECT_EVERY_MS)
    const now = residentBytesOf(server.pid)
    const isStable = collections >= COLLECTIONS_LEAST && resident - now < STABLE_WITHIN * now
    if (isStable || collections === MAX_COLLECTIONS) {
      return { resident: now, heap: heapUsed + external }
    }
    resident = now
  }
}
