/**
 * Redis is away, or comes back without its data, while people come and go: whoever keeps a socket, or goes on beating,
 * is never seen to leave, nobody reads a half-empty list, and soon after all is right.
 *
 * `FAULT_AWAY_MS=60000 npx vitest run tests/fault/redis-away.test.ts` is the long form.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import type { CloseEvent } from 'ws'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { command } from '../support/redis-process.ts'
import { until } from '../support/wait.ts'
import {
  askOverHttp,
  createPeople,
  describeWorld,
  failWith,
  type People,
  untilConnected,
  untilRight,
  watchAll,
} from './people.ts'
import { createRandom } from './random.ts'
import type { Watcher } from './watcher.ts'
import { type Node, openWorld, type World } from './world.ts'

const AWAY_MS = Number(process.env.FAULT_AWAY_MS ?? '6000')
const STAYING = 12
/** Two of NODE_RENEW, and five seconds. */
const REPAIR_MS = 2 * 300 + 5000
/** A command that hangs is noticed after REDIS_TIME_LIMIT, on the connection of leases after NODE_RENEW. */
const NOTICE_MS = 3000

const cleanups = cleanupsAfterEach()
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

interface Story {
  /** Whether the log was lost, or may have been. */
  readonly isLogLost: boolean
  /** Breaks it, looks on while it is broken, and mends it. */
  readonly happen: (world: World, lookOn: () => Promise<void>) => Promise<void>
}

const STORIES: Readonly<Record<string, Story>> = {
  'FLUSHALL takes everything': {
    isLogLost: true,
    happen: async ({ redis }) => void (await command(redis, 'FLUSHALL')),
  },
  'Redis is killed and comes back empty': {
    isLogLost: true,
    async happen({ redis }, lookOn) {
      await redis.kill()
      await lookOn()
      await redis.restart()
    },
  },
  'Redis is stopped for a while': {
    isLogLost: false,
    async happen({ redis }, lookOn) {
      redis.pause()
      await Promise.all([lookOn(), sleep(AWAY_MS)]).finally(() => redis.resume())
    },
  },
  'the links of all nodes are cut for a while': {
    isLogLost: false,
    async happen({ nodes }, lookOn) {
      for (const { wire } of nodes) wire.refuse()
      await Promise.all([lookOn(), sleep(AWAY_MS)])
      for (const { wire } of nodes) wire.mend()
    },
  },
}

it.for(Object.entries(STORIES))(
  '%s, and nobody who keeps a socket is seen to leave',
  { timeout: AWAY_MS + 60_000 },
  async ([, { isLogLost, happen }]) => {
    const { world, people, watchers, staying, stays, truth, report } = await openStreet()
    const since = new Map(staying.map((person) => [person, person.connectedSinceMs()]))
    const stopChurn = people.churn({ stays, least: STAYING / 2, most: 2 * STAYING })
    const reader = readLists(world.nodes, stays)
    await sleep(300)

    await happen(world, () => lookOn(world.nodes, [...stays]))
    const mendedAtMs = performance.now()
    const leftMs = () => Math.max(0, mendedAtMs + REPAIR_MS - performance.now())
    await sleep(500)
    await stopChurn()
    await people.settle(leftMs()).catch(failWith(report))
    // What changes after the repair has to arrive as well.
    const late = people.enter()
    await people.changeStatus(staying[0] ? memberOf(people, staying[0].id) : late)
    await people.changeRoom(memberOf(people, String(staying[1]?.id)))
    await untilRight(watchers, truth, leftMs()).catch(failWith(report))
    const rightAfterMs = performance.now() - mendedAtMs
    await reader.stop()

    process.stdout.write(
      `right ${Math.round(rightAfterMs)} ms after the repair; lists: ${reader.fullCount()} full, ` +
        `${reader.unavailableCount()} UNAVAILABLE; told to read anew: ${watchers.map((one) => one.expiredCount()).join()}\n`,
    )
    expect(reader.problems, report()).toEqual([])
    expect(leavesOf(watchers, stays), report()).toEqual([])
    expect(
      watchers.flatMap(({ problems }) => problems),
      report(),
    ).toEqual([])
    // Once: told twice, it would have read a state that was not whole.
    for (const { name, expiredCount } of watchers) expect([name, expiredCount()]).toEqual([name, isLogLost ? 1 : 0])
    for (const person of staying) expect([person.id, person.connectedSinceMs()]).toEqual([person.id, since.get(person)])
  },
)

it('a node that is cut off for less than its lease tells its subscribers every change, late', async () => {
  const { world, people, watchers, stays, truth, report } = await openStreet()
  const [cutOff] = world.nodes as [Node]
  // A watcher's list may be right while it is still replayed what happened before its page: those changes do not count.
  const startSeq = seqOf((await askOverHttp(world.nodes[1] as Node, 'onlooker', '{ position }'))?.data?.position)
  const errorCounts = watchers.map(({ errors }) => errors.length)
  const stopChurn = people.churn({ stays, least: STAYING / 2, most: 2 * STAYING })

  for (const cutMs of [300, 1000, 1200]) {
    cutOff.wire.refuse()
    await sleep(cutMs)
    cutOff.wire.mend()
    await sleep(700)
  }
  await stopChurn()
  await people.settle(REPAIR_MS).catch(failWith(report))
  await untilRight(watchers, truth, REPAIR_MS).catch(failWith(report))

  for (const [index, { name, expiredCount, errors, problems }] of watchers.entries()) {
    expect({ name, expired: expiredCount(), errors: errors.slice(errorCounts[index]), problems }, report()).toEqual({
      name,
      expired: 0,
      errors: [],
      problems: [],
    })
  }
  // Each change, and not only where they all led to.
  const told = watchers.map(({ changes }) =>
    changes
      .filter(({ position }) => seqOf(position) > startSeq)
      .map(({ kind, userId, position }) => `${position} ${kind} ${userId}`),
  )
  expect(told[0]?.length).toBeGreaterThan(10)
  for (let index = 2; index < told.length; index += 1) expect(told[index % 2], report()).toEqual(told[index])
  expect(leavesOf(watchers, stays), report()).toEqual([])
})

/** @param position - `epoch:seq` */
function seqOf(position: unknown): number {
  return Number(String(position).split(':')[1])
}

/** Three nodes, people who stay, and watchers who see them. */
async function openStreet() {
  const world = await openWorld()
  cleanups.push(world.close)
  const { nodes } = world
  const people = createPeople({ nodes, random: createRandom(Date.now()) })
  cleanups.push(people.close)
  const staying = Array.from({ length: STAYING }, (_, index) => {
    const node = nodes[index % nodes.length] as Node
    return people.enter({ id: `staying-${index}`, at: () => node }).person
  })
  const beating = beatOverHttp(nodes)
  cleanups.push(beating.stop)
  const watchers = watchAll(nodes)
  cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
  await untilConnected(staying)
  const truth = (isRoom: boolean) =>
    [...people.truth(isRoom), ...(isRoom ? [] : beating.userIds.map((id) => `${id} ONLINE`))].sort()
  const report = () =>
    describeWorld({
      nodes,
      watchers,
      people: [...people.members.values()].map(({ person }) => person),
      truth,
    })
  await untilRight(watchers, truth, 10_000).catch(failWith(report))
  const stays = new Set([...staying.map(({ id }) => id), ...beating.userIds])
  return { world, people, watchers, staying, stays, truth, report }
}

/** One heartbeat and the next: with the longest cut, and the reconnect after it, they take less than SESSION_TTL. */
const BEAT_EVERY_MS = 100

/** Somebody a node without a socket: a heartbeat goes on whatever becomes of the one before. */
function beatOverHttp(nodes: readonly Node[]) {
  let isOver = false
  const userIds = nodes.map((_, index) => `beating-${index}`)
  const beating = nodes.map(async (node, index) => {
    const sessionId = randomUUID()
    while (!isOver) {
      await askOverHttp(node, `beating-${index}`, `mutation { heartbeat(sessionId: "${sessionId}") { expiresAt } }`)
      await sleep(BEAT_EVERY_MS)
    }
  })
  return {
    userIds,
    async stop() {
      isOver = true
      await Promise.all(beating)
    },
  }
}

/** While Redis is away, every node says so. */
async function lookOn(nodes: readonly Node[], userIds: readonly string[]): Promise<void> {
  await Promise.all(
    nodes.map(async (node, index) => {
      const userId = String(userIds[index])
      await until(async () => (await readiness(node)).status === 503, { withinMs: NOTICE_MS, what: '503 of /readyz' })
      expect((await readiness(node)).text).toMatch(/Redis/)
      const unavailable = expect.objectContaining({ code: 'UNAVAILABLE', part: 'store' })
      // For a user whose socket is there, no session of HTTP's own is left.
      for (const query of ['{ onlineUsers { totalCount } }', 'mutation { heartbeat { expiresAt } }']) {
        const answer = await askOverHttp(node, userId, query)
        expect(answer?.errors?.map(({ extensions }) => extensions)).toEqual([unavailable])
      }
      const refused = await openTab({ wsUrl: node.wsUrl() }, userId, { observer: true }).then(
        () => 'It was taken.',
        (event: CloseEvent) => event.code,
      )
      expect(refused).toBe(1013)
    }),
  )
}

async function readiness(node: Node): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`${node.url()}/readyz`)
  return { status: response.status, text: await response.text() }
}

/** Reads the list of every node again and again, and keeps what was neither whole nor UNAVAILABLE. */
function readLists(nodes: readonly Node[], atLeast: ReadonlySet<string>) {
  const problems: string[] = []
  let fullCount = 0
  let unavailableCount = 0
  let isOver = false
  const reading = nodes.map(async (node) => {
    while (!isOver) {
      const answer = await askOverHttp(node, 'reader', '{ onlineUsers(first: 1000) { nodes { id } } }')
      const users = answer?.data?.onlineUsers?.nodes as { id: string }[] | undefined
      if (users !== undefined && answer?.errors === undefined) {
        fullCount += 1
        const ids = new Set(users.map(({ id }) => id))
        const missing = [...atLeast].filter((id) => !ids.has(id))
        if (missing.length > 0) problems.push(`${node.url()} left out ${missing.join()}`)
      } else if (answer?.errors?.every(({ extensions }) => extensions.code === 'UNAVAILABLE')) unavailableCount += 1
      else problems.push(`${node.url()} answered ${JSON.stringify(answer)}`)
      await sleep(40)
    }
  })
  return {
    problems,
    fullCount: () => fullCount,
    unavailableCount: () => unavailableCount,
    async stop() {
      isOver = true
      await Promise.all(reading)
    },
  }
}

/** In the room, whoever leaves it is a LEAVE: of those only who sees everyone is asked. */
function leavesOf(watchers: readonly Watcher[], ids: ReadonlySet<string>): readonly string[] {
  return watchers
    .filter(({ name }) => name.startsWith('everyone'))
    .flatMap(({ name, changes }) =>
      changes
        .filter(({ kind, userId }) => kind === 'LEAVE' && ids.has(userId))
        .map(({ userId, position }) => `${name} saw ${userId} leave at ${position}`),
    )
}

function memberOf(people: People, id: string) {
  const member = people.members.get(id)
  if (member === undefined) throw new Error(`${id} is not there.`)
  return member
}
