/**
 * What it costs Rollcall that subscribers of the same change ask for different things, in a closed loop of single
 * changes to 1,000 subscribers: one selection for all of them, ten different ones, and 1,000 different watch lists.
 *
 * Watch lists do not hear of rooms, so there a user goes offline and comes back; the same change to subscribers of
 * everyone is what they are held against. A second session without a socket keeps that user in the live state, so that
 * no change waits for the database. The lists have 50 users each and hold all drivers: every change is everybody's.
 */
import { type Contender, closeContenders, keepAwake, openContenders, pidsOf } from '../contenders.ts'
import { type LoopArgs, ROOM } from '../load/commands.ts'
import type { Load } from '../load/load.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { measureSpan, RECORDS_WITHIN_MS, whyNoCpuTime } from '../measure/span.ts'
import { inTurns, type Scenario } from '../scenario.ts'

const CLIENTS = { subscriberCount: 1000, driverCount: 1 }
/** Even, so that the driver is after each turn where they were before. */
const SHORT_STEPS = 6
const FULL_STEPS = 60
const WARM_UP_STEPS = 2
const LIST_LENGTH = 50

interface Variant {
  readonly measure: string
  readonly field: LoopArgs['field']
  begin(load: Load): Promise<void>
}

const VARIANTS: readonly Variant[] = [
  { measure: 'room.1', field: 'room', begin: (load) => load.follow({ room: ROOM, selectionCount: 1 }) },
  { measure: 'room.10', field: 'room', begin: (load) => load.follow({ room: ROOM, selectionCount: 10 }) },
  { measure: 'everyone.1', field: 'presence', begin: (load) => load.follow({ room: null, selectionCount: 1 }) },
  { measure: 'lists.1000', field: 'presence', begin: (load) => load.watch({ listLength: LIST_LENGTH }) },
]

const MEASURES: readonly Measure[] = [
  { name: 'room.1', title: 'A room, one selection', unit: 'µs' },
  { name: 'room.10', title: 'A room, ten selections: to one', unit: 'µs', heldAgainst: 'room.1' },
  { name: 'everyone.1', title: 'Everyone, one selection', unit: 'µs' },
  { name: 'lists.1000', title: '1,000 watch lists of 50: to everyone', unit: 'µs', heldAgainst: 'everyone.1' },
]

export const selections: Scenario = {
  name: 'selections',

  async run(plan) {
    const { contenders } = await openContenders(['rollcall'], CLIENTS)
    const contender = contenders[0] as Contender
    for (const variant of VARIANTS) await takeTurn(contender, variant, WARM_UP_STEPS)
    const figures: Figure[] = []
    await inTurns(VARIANTS, plan, async (variant, round) => {
      const { answer, span } = await takeTurn(contender, variant, plan.isFull ? FULL_STEPS : SHORT_STEPS)
      figures.push({
        measure: variant.measure,
        server: contender.server.name,
        round,
        value: (1000 * span.serverCpuMs) / answer.deliveryCount,
        voidBecause: answer.faults[0] ?? whyNoCpuTime(span),
        span,
      })
    })
    await closeContenders(contenders)
    return { measures: MEASURES, figures }
  },
}

async function takeTurn(contender: Contender, { measure, field, begin }: Variant, stepCount: number) {
  await keepAwake(contender)
  const { load } = contender
  await begin(load)
  const { faults } = await load.closedLoop({ field, burst: 1, stepCount: WARM_UP_STEPS })
  if (faults.length > 0) throw new Error(`${measure}: ${faults.join(' ')}`)
  const measured = await measureSpan(pidsOf(contender), () => load.closedLoop({ field, burst: 1, stepCount }), {
    tailMs: RECORDS_WITHIN_MS,
  })
  await load.unfollow()
  return measured
}
