/**
 * Random faults under random traffic, from a seed: after each of them every subscriber's picture is the truth, and no
 * change came out of order, came twice, or told of somebody who never left.
 *
 * `FAULT_MINUTES=10 FAULT_SEED=7 npx vitest run tests/fault/random-faults.test.ts` is the long form.
 */
import { setTimeout as pass } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { type Answer, post } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { FAULTS } from './faults.ts'
import { createPerson, type Person } from './person.ts'
import { createRandom } from './random.ts'
import { type Watcher, watch } from './watcher.ts'
import { type Node, openWorld, type World } from './world.ts'

const MINUTES = Number(process.env.FAULT_MINUTES ?? '1')
const SEED = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000)
const ONLY = process.env.FAULT_ONLY?.split(',')
const PEOPLE = 40
const ROOM = 'hall'
/** Two of NODE_RENEW and 5 s, and before it whatever may still have to run out: calm, lease, grace. */
const REPAIR_MS = 20_000

interface Member {
  readonly person: Person
  readonly inRoom: boolean
  status: 'ONLINE' | 'BUSY'
  isStatusCertain: boolean
}

let world: World | undefined
afterAll(async () => world?.close())

it(`stays right under random faults, seed ${SEED}`, { timeout: (MINUTES + 2) * 60_000 }, async () => {
  const random = createRandom(SEED)
  const opened = await openWorld()
  world = opened
  const { nodes } = opened
  const members = new Map<string, Member>()
  let bornCount = 0

  const anyNode = (): Node => random.pick(nodes.filter((node) => node.isAlive()))

  function enter(): void {
    bornCount += 1
    const inRoom = random.next() < 0.5
    const person = createPerson({
      id: `user-${bornCount}`,
      ...(inRoom ? { rooms: [ROOM] } : {}),
      at: () => anyNode().wsUrl(),
    })
    members.set(person.id, { person, inRoom, status: 'ONLINE', isStatusCertain: true })
  }

  async function leave(): Promise<void> {
    if (members.size < PEOPLE / 2) return
    const { person } = random.pick([...members.values()])
    members.delete(person.id)
    await person.close()
  }

  async function choose(member: Member): Promise<void> {
    const status = member.status === 'BUSY' ? 'AUTOMATIC' : 'BUSY'
    member.isStatusCertain = false
    const answer = await ask(anyNode(), member, `mutation { setStatus(status: ${status}) { viewer { status } } }`)
    if (answer?.data?.setStatus) {
      member.status = status === 'BUSY' ? 'BUSY' : 'ONLINE'
      member.isStatusCertain = true
    }
  }

  function ask(node: Node, { person }: Member, query: string): Promise<Answer | null> {
    return post({ url: node.url() }, `dev:${person.id}`, query).catch(() => null)
  }

  async function traffic(untilMs: number): Promise<void> {
    while (performance.now() < untilMs) {
      const chance = random.next()
      if (chance < 0.25) enter()
      else if (chance < 0.45) await leave()
      else if (chance < 0.6) random.pick([...members.values()]).person.reset()
      else if (chance < 0.8) void choose(random.pick([...members.values()]))
      else void ask(anyNode(), random.pick([...members.values()]), 'mutation { heartbeat { expiresAt } }')
      await pass(random.between(20, 120))
    }
  }

  /** What failed in between is said again, until it is certain. */
  async function settleStatuses(): Promise<void> {
    for (const member of members.values()) {
      while (!member.isStatusCertain) {
        await choose(member)
        if (!member.isStatusCertain) await pass(200)
      }
    }
  }

  function truth(room: boolean): string {
    return [...members.values()]
      .filter(({ inRoom }) => inRoom || !room)
      .map(({ person, status }) => `${person.id} ${status}`)
      .sort()
      .join('\n')
  }

  const pictureOf = ({ picture }: Watcher): string =>
    [...picture()]
      .map(([id, status]) => `${id} ${status}`)
      .sort()
      .join('\n')

  for (let count = 0; count < PEOPLE; count += 1) enter()
  const watchers = nodes.flatMap((node, index) => {
    const at = () => ({ url: node.url(), wsUrl: node.wsUrl() })
    return [watch(`everyone-${index}`, at), watch(`room-${index}`, at, ROOM)]
  })
  const isRight = (one: Watcher): boolean => pictureOf(one) === truth(one.name.startsWith('room'))

  const endsAtMs = performance.now() + MINUTES * 60_000
  const told: string[] = []
  for (let round = 0; performance.now() < endsAtMs; round += 1) {
    const name = random.pick(ONLY ?? Object.keys(FAULTS))
    const make = FAULTS[name]
    if (make === undefined) throw new Error(`There is no fault ${name}.`)
    const seenCounts = watchers.map(({ changes }) => changes.length)
    const startedAtMs = performance.now()
    await until(() => [...members.values()].every(({ person }) => person.isConnected()), {
      withinMs: REPAIR_MS,
      what: 'everybody connected',
    })
    const before = [...members.values()].map(({ person }) => ({
      person,
      since: person.connectedSinceMs(),
      url: person.wsUrl(),
    }))

    const going = traffic(performance.now() + 3000)
    await pass(random.between(0, 500))
    const urls = new Map(nodes.map((node) => [node, node.wsUrl()]))
    const fault = await make(opened, random)
    await going
    told.push(`round ${round}: ${fault.name}`)

    await settleStatuses()
    // A change after the repair has to arrive as well.
    enter()
    try {
      await until(() => watchers.every(isRight), { withinMs: REPAIR_MS, what: 'every picture to be the truth' })
    } catch (error) {
      throw new Error(report(), { cause: error })
    }
    const kept = before.filter(
      ({ person, since, url }) =>
        members.has(person.id) &&
        person.connectedSinceMs() === since &&
        !fault.isolated.some((node) => urls.get(node) === url),
    )
    const keptIds = new Set(kept.map(({ person }) => person.id))
    const falseLeaves = watchers.flatMap(({ name, changes }, index) =>
      changes
        .slice(seenCounts[index])
        .filter(({ kind, userId }) => kind === 'LEAVE' && keptIds.has(userId))
        .map(({ userId, position }) => `${name} saw ${userId} leave at ${position}`),
    )
    expect(falseLeaves, report()).toEqual([])
    expect(
      watchers.flatMap(({ problems }) => problems),
      report(),
    ).toEqual([])
    told.push(`  right after ${Math.round(performance.now() - startedAtMs)} ms, ${kept.length} kept their sockets`)
  }
  process.stdout.write(`${told.join('\n')}\n`)
  for (const watcher of watchers) await watcher.stop()
  await Promise.all([...members.values()].map(({ person }) => person.close()))

  function report(): string {
    const wrong = watchers
      .filter((one) => !isRight(one))
      .map((one) => {
        const [is, should] = [pictureOf(one).split('\n'), truth(one.name.startsWith('room')).split('\n')]
        return [
          `${one.name}: missing ${should.filter((line) => !is.includes(line)).join(', ')}`,
          `  too many ${is.filter((line) => !should.includes(line)).join(', ')}`,
          `  last errors ${one.errors.slice(-5).join(' | ')}`,
        ].join('\n')
      })
    const away = [...members.values()]
      .filter(({ person }) => !person.isConnected())
      .map(({ person }) => `${person.id} is not connected: ${person.log.at(-1)?.why}`)
    const said = nodes.flatMap(({ lines, wsUrl }) =>
      lines
        .slice(-8)
        .map(({ msg, time, error }) => `${wsUrl()} ${time} ${msg} ${JSON.stringify(error)?.slice(0, 300) ?? ''}`),
    )
    const where = [...members.values()].map(({ person }) => `${person.id} at ${person.wsUrl()}`)
    return [`seed ${SEED}`, ...told.slice(-6), ...wrong, ...away, ...said, where.join(', ')].join('\n')
  }
})
