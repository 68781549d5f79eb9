/**
 * As many connections on one Rollcall as the machine's descriptors allow: held for a minute with nothing but pings,
 * and then a tenth of them cut at once.
 *
 * Each is signed in, from one of a hundred addresses, and a session. Measured is what the process needs to hold them,
 * how long its event loop stood still at the longest, and how long it takes until everybody who was cut off, and
 * nobody else, is seen as offline: of that 15 s are RECONNECT_GRACE.
 */
import { spawnSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { startLoad } from '../load/load.ts'
import { cpuMsOf, residentBytesOf } from '../measure/cpu.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { openObserver, readMetric } from '../observer.ts'
import type { Scenario } from '../scenario.ts'
import { SECRET, startServer } from '../servers.ts'

/** What a process needs beside its connections. */
const DESCRIPTORS_SPARED = 500
/** The generators' share of two cores, too: each holds half. */
const GENERATOR_COUNT = 2
const MAX_CONNECTIONS = 50_000
const HELD_MS = 60_000
/** So that the last ones' first ping has come. */
const SETTLE_MS = 15_000
const RIGHT_WITHIN_MS = 60_000
const QUIET_MS = 5000
const STALL = 'nodejs_eventloop_lag_max_seconds'

const MEASURES: readonly Measure[] = [
  { name: 'connections.count', title: 'Connections held', unit: 'connections' },
  { name: 'connections.cpu', title: 'Processor time while they idle', unit: '% of a core' },
  { name: 'connections.memory', title: 'Resident memory of each, garbage included', unit: 'KB' },
  { name: 'connections.stall', title: 'Longest stall of the event loop while they idle', unit: 'ms' },
  { name: 'cut.stall', title: 'A tenth is cut at once: longest stall', unit: 'ms' },
  { name: 'cut.right', title: 'A tenth is cut at once: until all is right', unit: 'ms' },
]

export const connections: Scenario = {
  name: 'connections',
  isOfFullForm: true,

  async run(plan) {
    const figures: Figure[] = []
    const add = (measure: string, value: number, voidBecause: string | null = null) =>
      figures.push({ measure, server: 'rollcall', round: 0, value, voidBecause })
    const perGenerator = Math.floor(Math.min(MAX_CONNECTIONS, descriptorLimit() - DESCRIPTORS_SPARED) / GENERATOR_COUNT)
    const count = perGenerator * GENERATOR_COUNT

    const server = await startServer('rollcall')
    const before = residentBytesOf(server.pid)
    const loads = Array.from({ length: GENERATOR_COUNT }, () => startLoad())
    await Promise.all(
      loads.map(({ open }, place) =>
        open({
          url: server.url,
          pid: server.pid,
          dialect: server.dialect,
          secret: SECRET,
          subscriberCount: perGenerator,
          driverCount: 0,
          firstAddress: 2 + place * 50,
        }),
      ),
    )
    plan.say(`${count} are connected`)
    await sleep(SETTLE_MS)
    await readMetric(server, STALL)
    const fromMs = cpuMsOf(server.pid)
    await sleep(HELD_MS)
    // Before anything else is read: each look begins the longest stall anew.
    add('connections.stall', 1000 * (await readMetric(server, STALL)))
    const heldCount = await readMetric(server, 'rollcall_sockets')
    add('connections.count', heldCount, heldCount === count ? null : `${count - heldCount} of them were lost`)
    add('connections.cpu', (100 * (cpuMsOf(server.pid) - fromMs)) / HELD_MS)
    add('connections.memory', (residentBytesOf(server.pid) - before) / count / 1024)

    const left = new Map<string, number>()
    const observer = await openObserver(server, { args: '', fields: '' }, ({ kind, user }) => {
      left.set(`${kind} ${user.id}`, (left.get(`${kind} ${user.id}`) ?? 0) + 1)
    })
    await observer.ask('{ position }')
    const cutCount = Math.floor(count / 10)
    await readMetric(server, STALL)
    const cutAtMs = performance.now()
    // By one of them: all at work at once, they would leave the server no core.
    await loads[0]?.cut({ count: cutCount })
    const stalls: number[] = []
    let rightAtMs: number | null = null
    while (performance.now() < cutAtMs + RIGHT_WITHIN_MS) {
      await sleep(100)
      stalls.push(await readMetric(server, STALL))
      if (rightAtMs === null && left.size >= cutCount) rightAtMs = performance.now()
      if (rightAtMs !== null && performance.now() > rightAtMs + QUIET_MS) break
    }
    const { onlineCount } = await observer.ask<{ readonly onlineCount: number }>('{ onlineCount }')
    const isRight =
      left.size === cutCount &&
      [...left].every(([change, times]) => change.startsWith('LEAVE') && times === 1) &&
      onlineCount === count - cutCount
    const fault = isRight
      ? null
      : `${left.size} changes of ${cutCount}, and ${onlineCount} online of ${count - cutCount}`
    add('cut.stall', 1000 * Math.max(...stalls), fault)
    add('cut.right', (rightAtMs ?? performance.now()) - cutAtMs, fault)

    observer.close()
    await Promise.all([...loads.map((load) => load.stop()), server.stop()])
    return { measures: MEASURES, figures, notes: [`Descriptors of a process: ${descriptorLimit()} at most.`] }
  },
}

/** Node raises its own limit to the hard one. */
function descriptorLimit(): number {
  return Number(spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).stdout.trim()) || MAX_CONNECTIONS
}
