/**
 * Random faults under random traffic, from a seed: after each of them every subscriber's picture is the truth, and no
 * change came out of order, came twice, or told of somebody who never left.
 *
 * `FAULT_MINUTES=10 FAULT_SEED=7 npx vitest run tests/fault/random-faults.test.ts` is the long form.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { afterAll, expect, it } from 'vitest'
import { FAULTS } from './faults.ts'
import {
  askOverHttp,
  createPeople,
  describeWorld,
  failWith,
  type Member,
  untilConnected,
  untilRight,
  watchAll,
} from './people.ts'
import { createProgram } from './program.ts'
import { createRandom } from './random.ts'
import { openWorld, type World } from './world.ts'

const MINUTES = Number(process.env.FAULT_MINUTES ?? '1')
const SEED = Number(process.env.FAULT_SEED ?? 16)
const ONLY = process.env.FAULT_ONLY?.split(',')
const PEOPLE = 40
/** Without sockets, by heartbeats alone, several within SESSION_TTL. */
const PROGRAMS = 3
const BEAT_MS = 400
/** Two of NODE_RENEW and 5 s, and before it whatever may still have to run out: calm, lease, grace. */
const REPAIR_MS = 20_000

let world: World | undefined
afterAll(async () => world?.close())

it(`stays right under random faults, seed ${SEED}`, { timeout: (MINUTES + 2) * 60_000 }, async () => {
  const random = createRandom(SEED)
  // Nobody falls away by time alone: the long form outlasts AWAY_AFTER.
  const opened = await openWorld({ settings: { AWAY_AFTER: '1h', IDLE_TIMEOUT: '2h' } })
  world = opened
  const { nodes } = opened
  const people = createPeople({ nodes, random })
  const { members } = people
  const anyone = (): Member => random.pick([...members.values()])

  async function traffic(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      const chance = random.next()
      if (chance < 0.25) people.enter()
      else if (chance < 0.45) await (members.size < PEOPLE / 2 ? null : people.leave(anyone()))
      else if (chance < 0.6) anyone().person.reset()
      else if (chance < 0.8) void people.changeStatus(anyone())
      else void askOverHttp(people.anyNode(), anyone().person.id, 'mutation { heartbeat { expiresAt } }')
      await sleep(random.between(20, 120))
    }
  }

  for (let count = 0; count < PEOPLE; count += 1) people.enter()
  const programs = Array.from({ length: PROGRAMS }, (_, index) =>
    createProgram(`program-${index}`, () => ({ url: people.anyNode().url() }), BEAT_MS),
  )
  const truth = (isOfRoom: boolean): readonly string[] =>
    isOfRoom ? people.truth(true) : [...people.truth(false), ...programs.map(({ id }) => `${id} ONLINE`)].sort()
  const watchers = watchAll(nodes)

  const endsAtMs = performance.now() + MINUTES * 60_000
  const told: string[] = []
  for (let round = 0; performance.now() < endsAtMs; round += 1) {
    const name = random.pick(ONLY ?? Object.keys(FAULTS))
    const make = FAULTS[name]
    if (make === undefined) throw new Error(`There is no fault ${name}.`)
    const seenCounts = watchers.map(({ changes }) => changes.length)
    const startedAtMs = performance.now()
    await untilConnected(everybody(), REPAIR_MS)
    const before = [...members.values()].map(({ person }) => ({
      person,
      since: person.connectedSinceMs(),
      url: person.wsUrl(),
    }))

    const going = traffic(performance.now() + 3000)
    await sleep(random.between(0, 500))
    const urls = new Map(nodes.map((node) => [node, node.wsUrl()]))
    const fault = await make(opened, random)
    await going
    told.push(`round ${round}: ${fault.name}`)

    await people.settle(REPAIR_MS).catch(failWith(report))
    // A change after the repair has to arrive as well.
    people.enter()
    await untilRight(watchers, truth, REPAIR_MS).catch(failWith(report))
    const kept = before.filter(
      ({ person, since, url }) =>
        members.has(person.id) &&
        person.connectedSinceMs() === since &&
        !fault.isolated.some((node) => urls.get(node) === url),
    )
    // A program can reach some node, unless a node hangs that it asks.
    const beating = fault.isolated.length === 0 ? programs : []
    const keptIds = new Set([...kept.map(({ person }) => person.id), ...beating.map(({ id }) => id)])
    const falseLeaves = watchers.flatMap(({ name, changes }, index) =>
      changes
        .slice(seenCounts[index])
        .filter(({ kind, userId }) => kind === 'LEAVE' && keptIds.has(userId))
        .map(
          ({ userId, position, atMs }) =>
            `${name} saw ${userId} leave at ${position}, ${Math.round(performance.timeOrigin + atMs)}`,
        ),
    )
    expect(falseLeaves, falseLeaves.length === 0 ? '' : await reportWithRows()).toEqual([])
    expect(
      watchers.flatMap(({ problems }) => problems),
      report(),
    ).toEqual([])
    told.push(`  right after ${Math.round(performance.now() - startedAtMs)} ms, ${kept.length} kept their sockets`)
  }
  process.stdout.write(`${told.join('\n')}\n`)
  for (const watcher of watchers) await watcher.stop()
  await Promise.all(programs.map((program) => program.stop()))
  await people.close()

  function everybody() {
    return [...members.values()].map(({ person }) => person)
  }

  async function reportWithRows(): Promise<string> {
    const sql = postgres(opened.databaseUrl, { max: 1 })
    const rows = await sql`
      select * from rollcall.presence_sessions where ended_at > now() - interval '1 minute' order by ended_at`
    await sql.end()
    return [report(), ...programs.flatMap(({ beats }) => beats), ...rows.map((row) => JSON.stringify(row))].join('\n')
  }

  function report(): string {
    const where = everybody().map((person) => `${person.id} at ${person.wsUrl()}`)
    const described = describeWorld({ nodes, watchers, people: everybody(), truth })
    return [`seed ${SEED}`, ...told.slice(-6), described, where.join(', ')].join('\n')
  }
})
