/**
 * One reader among 1,000 that stops reading: what the others notice of it, what it costs in memory, and whether it is
 * right again once it reads.
 *
 * It asks for 28 KB of each change, so that what the kernel holds for a connection (4 MB and more) is full after a few
 * hundred of them. Two servers take turns under the same load: on one everybody reads, on the other one reader has
 * not read for a long time.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Contender, closeContenders, keepAwake, openContenders, pidsOf } from '../contenders.ts'
import { ROOM } from '../load/commands.ts'
import { residentBytesOf } from '../measure/cpu.ts'
import type { Figure, Measure } from '../measure/results.ts'
import { measureSpan, whyNoLatency } from '../measure/span.ts'
import { type Observer, openObserver, readMetric } from '../observer.ts'
import { inTurns, type Scenario } from '../scenario.ts'

const PICTURE = `https://example.com/${'p'.repeat(2000)}`
const CLIENTS = {
  subscriberCount: 999,
  driverCount: 20,
  picture: PICTURE,
  // Who reads nothing answers no pings, and would be given up after 15 s.
  settings: { PING_INTERVAL: '1h', PAGE_PING_INTERVAL: '1h' },
}
/** Documents may have 30 aliases, and nobody's screen shows a picture fourteen times. */
const FIELDS = Array.from({ length: 14 }, (_, index) => `p${index}: user { avatarUrl }`).join(' ')
/** Of 28 KB: more than any kernel holds. */
const MAX_FILL = 5000
const FILL_STEPS = 50
const MISSED_STEPS = 100
const PACED_STEPS = 30
const PACE_MS = 120
const RIGHT_WITHIN_MS = 60_000

const MEASURES: readonly Measure[] = [
  { name: 'all-read.p50', title: 'Everybody reads: one change, until half is delivered', unit: 'ms' },
  { name: 'all-read.p99', title: 'Everybody reads: until 99 % is delivered', unit: 'ms' },
  { name: 'all-read.growth', title: 'Everybody reads: memory in all rounds together', unit: 'MB' },
  { name: 'one-does-not.p50', title: 'One does not: until half is delivered', unit: 'ms', heldAgainst: 'all-read.p50' },
  { name: 'one-does-not.p99', title: 'One does not: until 99 % is delivered', unit: 'ms', heldAgainst: 'all-read.p99' },
  { name: 'one-does-not.growth', title: 'One does not: memory in all rounds together', unit: 'MB' },
  { name: 'one-does-not.right', title: 'Reads again: until it has caught up', unit: 'ms' },
]

interface Side {
  readonly name: 'all-read' | 'one-does-not'
  readonly contender: Contender
  residentBefore: number
}

export const slowReader: Scenario = {
  name: 'slow-reader',
  isOfFullForm: true,

  async run(plan) {
    const figures: Figure[] = []
    const { contenders } = await openContenders(['rollcall', 'rollcall'], CLIENTS)
    const sides = contenders.map(
      (contender, place): Side => ({ name: place === 0 ? 'all-read' : 'one-does-not', contender, residentBefore: 0 }),
    )
    const add = (measure: string, round: number, value: number, voidBecause: string | null) =>
      figures.push({ measure, server: 'rollcall', round, value, voidBecause })

    const slow = sides[1]?.contender as Contender
    /** Who is in the room by what it was told. */
    const present = new Set<string>()
    const reader = await openObserver(slow.server, { args: `(room: "${ROOM}")`, fields: FIELDS }, ({ kind, user }) => {
      if (kind === 'LEAVE') present.delete(user.id)
      else present.add(user.id)
    })
    for (const { contender } of sides) await contender.load.follow({ room: ROOM, selectionCount: 1 })
    reader.pause()
    let fillCount = 0
    while ((await behindCount(slow)) === 0) {
      if (fillCount >= MAX_FILL) throw new Error(`After ${fillCount} changes of 28 KB nobody is behind.`)
      for (const { contender } of sides) await steps(contender, FILL_STEPS)
      fillCount += FILL_STEPS
    }
    plan.say(`it is behind after ${fillCount} changes`)
    for (const side of sides) {
      await steps(side.contender, MISSED_STEPS)
      side.residentBefore = residentBytesOf(side.contender.server.pid)
    }

    await inTurns(sides, plan, async ({ name, contender }, round) => {
      await keepAwake(contender)
      const { answer, span } = await measureSpan(pidsOf(contender), () =>
        contender.load.openLoop({ field: 'room', burst: 1, stepCount: PACED_STEPS, everyMs: PACE_MS }),
      )
      const whyVoid = answer.faults[0] ?? whyNoLatency(span, { isOpen: true, latestMs: answer.latestMs })
      add(`${name}.p50`, round, answer.latencyMs.p50, whyVoid)
      add(`${name}.p99`, round, answer.latencyMs.p99, whyVoid)
    })

    for (const { name, contender, residentBefore } of sides) {
      add(`${name}.growth`, 0, (residentBytesOf(contender.server.pid) - residentBefore) / 2 ** 20, null)
    }
    const { tookMs, fault } = await readAgain(reader, slow, present)
    add('one-does-not.right', 0, tookMs, fault)
    reader.close()
    await closeContenders(contenders)
    return { measures: MEASURES, figures, notes: [`The reader was behind after ${fillCount} changes of 28 KB.`] }
  },
}

async function steps({ load, server }: Contender, stepCount: number): Promise<void> {
  const { faults } = await load.closedLoop({ field: 'room', burst: 1, stepCount })
  if (faults.length > 0) throw new Error(`${server.name}: ${faults.join(' ')}`)
}

function behindCount({ server }: Contender): Promise<number> {
  return readMetric(server, 'rollcall_subscriptions_behind')
}

/** @returns how long it took until it was right, and what was wrong where it never was */
async function readAgain(reader: Observer, contender: Contender, present: ReadonlySet<string>) {
  const startedAtMs = performance.now()
  reader.resume()
  while ((await behindCount(contender)) > 0) {
    if (performance.now() > startedAtMs + RIGHT_WITHIN_MS) return { tookMs: RIGHT_WITHIN_MS, fault: 'it stayed behind' }
    await sleep(10)
  }
  // Asked last, so what it was told before it is all there is.
  const { onlineUsers } = await reader.ask<InRoom>(`{ onlineUsers(room: "${ROOM}", first: 100) { nodes { id } } }`)
  const tookMs = performance.now() - startedAtMs
  const expected = onlineUsers.nodes.map(({ id }) => id)
  const isRight = expected.length === present.size && expected.every((id) => present.has(id))
  return { tookMs, fault: isRight ? null : `it believes ${present.size} to be there who are ${expected.length}` }
}

interface InRoom {
  readonly onlineUsers: { readonly nodes: readonly { readonly id: string }[] }
}
