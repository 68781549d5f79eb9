/**
 * One node is cut off from Redis alone, for longer than a lease and a grace: from outside it cannot be told from a dead
 * one, so its users are seen to leave, and only they. It knows that it cannot know, and all is right when it is back.
 *
 * `FAULT_AWAY_MS=60000 npx vitest run tests/fault/alone.test.ts` is the long form.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { until } from '../support/wait.ts'
import {
  askOverHttp,
  describeWorld,
  failWith,
  isOfRoom,
  ROOM,
  sessionsOf,
  untilConnected,
  untilRight,
  watchAll,
  wrongSockets,
} from './people.ts'
import { createPerson, type Person } from './person.ts'
import { type Node, openWorld } from './world.ts'

const TTL_MS = 2000
const GRACE_MS = 1500
const AWAY_MS = Number(process.env.FAULT_AWAY_MS ?? TTL_MS + GRACE_MS + 2000)
/** Two sweeps, and what all the rest may take. */
const LEAVE_MS = TTL_MS + GRACE_MS + 2 * 50 + 2000
const RETURN_MS = 5000
const COUNT = 6

const cleanups = cleanupsAfterEach()

it('a node that is cut off alone is seen as dead, says that it cannot know, and is right again when it is back', {
  timeout: AWAY_MS + 60_000,
}, async () => {
  const world = await openWorld()
  cleanups.push(world.close)
  const { nodes } = world
  const [alone, second, third] = nodes as [Node, Node, Node]
  const people: Person[] = []
  cleanups.push(() => Promise.all(people.map((person) => person.close())))
  const inRoom = new Set<Person>()

  function open(id: string, node: Node, isInRoom: boolean): Person {
    const person = createPerson({ id, rooms: () => (isInRoom ? [ROOM] : []), at: () => node.wsUrl() })
    people.push(person)
    if (isInRoom) inRoom.add(person)
    return person
  }
  const onlyThere: Person[] = []
  const tabThere: Person[] = []
  for (let index = 0; index < COUNT; index += 1) {
    onlyThere.push(open(`alone-${index}`, alone, index % 2 === 0))
    tabThere.push(open(`on-two-${index}`, alone, index % 2 === 0))
    open(`on-two-${index}`, second, false)
    open(`other-${index}`, third, index % 2 === 0)
  }
  await untilConnected(people)

  let isAway = false
  const truth = (isRoom: boolean) => {
    const hidden = isAway ? [...onlyThere, ...tabThere] : []
    const there = people.filter((person) => !hidden.includes(person) && (!isRoom || inRoom.has(person)))
    return [...new Set(there.map(({ id }) => `${id} ONLINE`))].sort()
  }
  const watchers = watchAll(nodes)
  cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
  const fromOutside = watchers.filter(({ name }) => !name.endsWith('-0'))
  const report = () => describeWorld({ nodes, watchers, people, truth })
  await untilRight(watchers, truth, 10_000).catch(failWith(report))
  const startCounts = new Map(watchers.map((watcher) => [watcher, watcher.changes.length]))
  const since = new Map(people.map((person) => [person, person.connectedSinceMs()]))

  alone.wire.refuse()
  const cutAtMs = performance.now()
  isAway = true
  const answers: unknown[] = []
  while (performance.now() < cutAtMs + AWAY_MS) {
    for (const query of ['{ onlineUsers { totalCount } }', 'mutation { heartbeat { expiresAt } }']) {
      const answer = await askOverHttp(alone, 'alone-0', query)
      answers.push(answer?.errors?.[0]?.extensions ?? answer)
    }
    await sleep(AWAY_MS / 20)
  }
  await untilRight(fromOutside, truth, Math.max(0, cutAtMs + LEAVE_MS - performance.now())).catch(failWith(report))
  for (const answer of answers) expect(answer).toMatchObject({ code: 'UNAVAILABLE', part: 'store' })

  alone.wire.mend()
  const backAtMs = performance.now()
  isAway = false
  await untilRight(watchers, truth, RETURN_MS).catch(failWith(report))
  const rightMs = performance.now() - backAtMs
  await until(async () => (await fetch(`${alone.url()}/readyz`)).status === 200, { what: 'readiness' })

  for (const person of people) expect([person.id, person.connectedSinceMs()]).toEqual([person.id, since.get(person)])
  const inTheirRoom = (isRoom: boolean, from: readonly Person[]) =>
    from.filter((person) => !isRoom || inRoom.has(person)).map(({ id }) => id)
  for (const watcher of watchers) {
    expect([watcher.name, watcher.problems, watcher.expiredCount()]).toEqual([watcher.name, [], 0])
    if (!fromOutside.includes(watcher)) continue
    const told = watcher.changes.slice(startCounts.get(watcher))
    const isRoom = isOfRoom(watcher)
    // In the room, those too whose tab in it was there.
    const gone = inTheirRoom(isRoom, isRoom ? [...onlyThere, ...tabThere] : onlyThere).sort()
    const leaves = told.filter(({ kind }) => kind === 'LEAVE')
    expect(leaves.map(({ userId }) => userId).sort(), report()).toEqual(gone)
    expect(
      told
        .filter(({ kind }) => kind === 'JOIN')
        .map(({ userId }) => userId)
        .sort(),
      report(),
    ).toEqual(gone)
    expect(told.length).toBe(2 * gone.length)
    for (const { userId, atMs } of leaves) {
      const afterMs = atMs - cutAtMs
      expect(afterMs, `${watcher.name} saw ${userId} leave`).toBeGreaterThan(TTL_MS)
      expect(afterMs, `${watcher.name} saw ${userId} leave`).toBeLessThan(LEAVE_MS)
    }
  }
  const roomsOf = (person: Person) => (inRoom.has(person) ? [ROOM] : [])
  // A node that has just come back may lose its Redis once more where the machine is slow.
  await until(async () => (await wrongSockets(people, roomsOf)).length === 0, { withinMs: 15_000 }).catch(() => {})
  expect(await wrongSockets(people, roomsOf), report()).toEqual([])
  for (const { id, sessionId } of onlyThere) {
    expect(await sessionsOf(second, id)).toMatchObject([{ id: sessionId, isAttached: true }])
  }
  process.stdout.write(
    `away for ${AWAY_MS} ms, ${answers.length} answers UNAVAILABLE; right ${Math.round(rightMs)} ms after its return\n`,
  )
})
