/**
 * Broadcast: a user enters or leaves a room that 1,000 others follow, who are sessions and not in it themselves.
 *
 * Measured is the processor time of a delivery, of one change alone and of ten that the server finds waiting at once,
 * in a closed loop: the next change is made when everybody has parsed the last one. And the time from a change until
 * it is parsed: of single changes in an open loop that is slow enough for every server, of bursts in the closed one,
 * where each begins with nothing before it that it could queue behind. The clients' own time is in it, and stated.
 * Not measured are the network, for all of it stays on this machine, and what the processes of Redis and Postgres do
 * for Rollcall where it does not embed them.
 */
import { type Contender, closeContenders, keepAwake, openContenders, pidsOf } from '../contenders.ts'
import { type LoopAnswer, ROOM } from '../load/commands.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { measureSpan, RECORDS_WITHIN_MS, type Span, whyNoCpuTime, whyNoLatency } from '../measure/span.ts'
import { inTurns, type Scenario } from '../scenario.ts'
import { SERVERS, type ServerName } from '../servers.ts'

const CLIENTS = { subscriberCount: 1000, driverCount: 20 }
const BURST = 10
/** Steps of one turn. */
const SHORT = { singles: 6, pacedSingles: 3, bursts: 1 }
const FULL = { singles: 60, pacedSingles: 30, bursts: 6 }
/** So that code is compiled and memory is at its size before the first round, and caches are warm before each turn. */
const WARM_UP = { singles: 10, bursts: 1 }
const TURN_WARM_UP = { singles: 1, bursts: 0 }

/** Where each of 1,000 subscribers has an execution of their own, a change takes 60 ms. */
const PACE_MS = 120

const MEASURES: readonly Measure[] = [
  { name: 'single.cpu', title: 'One change, processor time a delivery', unit: 'µs' },
  { name: 'single.p50', title: 'One change, until half is delivered', unit: 'ms' },
  { name: 'single.p99', title: 'One change, until 99 % is delivered', unit: 'ms' },
  { name: 'single.clients', title: 'One change, the clients’ processor time', unit: 'ms', heldAgainst: null },
  { name: 'burst.cpu', title: 'Ten changes at once, processor time a delivery', unit: 'µs' },
  { name: 'burst.p50', title: 'Ten changes at once, until half is delivered', unit: 'ms' },
  { name: 'burst.p99', title: 'Ten changes at once, until 99 % is delivered', unit: 'ms' },
  { name: 'burst.clients', title: 'Ten changes at once, the clients’ processor time', unit: 'ms', heldAgainst: null },
]

export const broadcast: Scenario = {
  name: 'broadcast',

  async run(plan) {
    const sizes = plan.isFull ? FULL : SHORT
    const { contenders, notes } = await openContenders(Object.keys(SERVERS) as ServerName[], CLIENTS)
    for (const contender of contenders) {
      await contender.load.follow({ room: ROOM, selectionCount: 1 })
      await warmUp(contender, WARM_UP)
    }
    const figures: Figure[] = []
    const bytes = new Map<ServerName, number>()
    await inTurns(contenders, plan, async (contender, round) => {
      const { name } = contender.server
      await keepAwake(contender)
      await warmUp(contender, TURN_WARM_UP)
      const taken = [
        ...(await closedSingles(contender, sizes)),
        ...(await pacedSingles(contender, sizes)),
        ...(await closedBursts(contender, sizes)),
      ]
      for (const { bytes: size, ...figure } of taken) {
        bytes.set(name, size)
        figures.push({ ...figure, server: name, round })
      }
    })
    await closeContenders(contenders)
    const texts = [...bytes].map(([name, count]) => `${SERVERS[name].title} ${count}`)
    notes.push(
      'Ten changes at once: the server is held still until all ten wait for it, which is the best case of gathering.',
      `In each round ${sizes.singles} single changes for processor time, ${sizes.pacedSingles} for latency, and ${sizes.bursts} × ten at once.`,
      'Processor time is that of the server’s process; Redis and Postgres beside “Rollcall on Redis” are not in it.',
      `Bytes of the message that brings a change: ${texts.join('; ')}.`,
    )
    return { measures: MEASURES, figures, notes }
  },
}

async function closedSingles(contender: Contender, { singles }: typeof SHORT) {
  const { answer, span } = await measureSpan(
    pidsOf(contender),
    () => contender.load.closedLoop({ field: 'room', burst: 1, stepCount: singles }),
    { tailMs: RECORDS_WITHIN_MS },
  )
  return [cpuOf('single', answer, span)]
}

async function pacedSingles(contender: Contender, { pacedSingles: stepCount }: typeof SHORT) {
  const { answer, span } = await measureSpan(pidsOf(contender), () =>
    contender.load.openLoop({ field: 'room', burst: 1, stepCount, everyMs: PACE_MS }),
  )
  return latenciesOf('single', answer, span, stepCount, whyNoLatency(span, { latestMs: answer.latestMs, isOpen: true }))
}

async function closedBursts(contender: Contender, { bursts: stepCount }: typeof SHORT) {
  const { answer, span } = await measureSpan(
    pidsOf(contender),
    () => contender.load.closedLoop({ field: 'room', burst: BURST, stepCount }),
    { tailMs: RECORDS_WITHIN_MS },
  )
  return [cpuOf('burst', answer, span), ...latenciesOf('burst', answer, span, stepCount, whyNoLatency(span))]
}

type Kind = 'single' | 'burst'

function cpuOf(kind: Kind, { faults, bytes, deliveryCount }: LoopAnswer, span: Span) {
  const value = (1000 * span.serverCpuMs) / deliveryCount
  return { measure: `${kind}.cpu`, value, bytes, span, voidBecause: faults[0] ?? whyNoCpuTime(span) }
}

function latenciesOf(kind: Kind, answer: LoopAnswer, span: Span, stepCount: number, whyVoid: string | null) {
  const { faults, bytes, latencyMs } = answer
  const common = { bytes, span, voidBecause: faults[0] ?? whyVoid }
  return [
    { measure: `${kind}.p50`, value: latencyMs.p50, ...common },
    { measure: `${kind}.p99`, value: latencyMs.p99, ...common },
    { measure: `${kind}.clients`, value: span.generatorCpuMs / stepCount, ...common },
  ]
}

async function warmUp({ server, load }: Contender, { singles, bursts }: typeof WARM_UP): Promise<void> {
  const answers = [
    await load.closedLoop({ field: 'room', stepCount: singles, burst: 1 }),
    await load.closedLoop({ field: 'room', stepCount: bursts, burst: BURST }),
  ]
  for (const { faults } of answers) if (faults.length > 0) throw new Error(`${server.name}: ${faults.join(' ')}`)
}
