/**
 * Heartbeats over sockets: the processor time of a round trip, with one in flight and with 50, in a closed loop.
 *
 * Each is answered with what a client needs to know to send the next one. Rollcall counts it in its live state and
 * writes it to the database later; the peers keep the time in memory, and that is all they do.
 */
import { closeContenders, keepAwake, openContenders, pidsOf } from '../contenders.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { measureSpan, whyNoCpuTime } from '../measure/span.ts'
import { inTurns, type Scenario } from '../scenario.ts'
import { SERVERS, type ServerName } from '../servers.ts'

const CLIENTS = { subscriberCount: 0, driverCount: 50 }
const SHORT_MS = 150
const FULL_MS = 2000
const WARM_UP_MS = 500

const WAYS = [
  { measure: 'heartbeat.50', inFlight: 50 },
  { measure: 'heartbeat.1', inFlight: 1 },
] as const

/** With Redis each waits 20 ms for its batch: of one alone there is nothing to see but a process that idles. */
const WITHOUT_LONE: ReadonlySet<ServerName> = new Set(['rollcall-redis'])

const MEASURES: readonly Measure[] = [
  { name: 'heartbeat.50', title: 'Heartbeats, 50 in flight, processor time a round trip', unit: 'µs' },
  { name: 'heartbeat.1', title: 'Heartbeats, one in flight, processor time a round trip', unit: 'µs' },
]

export const heartbeat: Scenario = {
  name: 'heartbeat',

  async run(plan) {
    // Gathered or not, Socket.IO writes one message an answer.
    const names = (Object.keys(SERVERS) as ServerName[]).filter((name) => name !== 'socket-io-gathered')
    const { contenders, notes } = await openContenders(names, CLIENTS)
    for (const { load } of contenders) await load.heartbeats({ forMs: WARM_UP_MS, inFlight: 50 })
    const figures: Figure[] = []
    await inTurns(contenders, plan, async (contender, round) => {
      const { name } = contender.server
      await keepAwake(contender)
      for (const { measure, inFlight } of WAYS) {
        if (inFlight === 1 && WITHOUT_LONE.has(name)) continue
        const { answer, span } = await measureSpan(pidsOf(contender), () =>
          contender.load.heartbeats({ forMs: plan.isFull ? FULL_MS : SHORT_MS, inFlight }),
        )
        const value = (1000 * span.serverCpuMs) / answer.roundTripCount
        figures.push({
          measure,
          server: name,
          round,
          value,
          voidBecause: answer.faults[0] ?? whyNoCpuTime(span),
          span,
        })
      }
    })
    await closeContenders(contenders)
    return { measures: MEASURES, figures, notes }
  },
}
