/**
 * A node stands still for longer than its lease (SIGSTOP) and goes on as if nothing had been, while a part of its users
 * went elsewhere: it takes no session from where it is now, and leaves neither a ghost nor a double.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { until } from '../support/wait.ts'
import {
  askOverSocket,
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
const STOPPED_MS = 2 * TTL_MS
const SETTLE_MS = 10_000
/** In each group. */
const COUNT = 6

const cleanups = cleanupsAfterEach()

it.each([
  { grace: 'longer', graceMs: 4000 },
  { grace: 'shorter', graceMs: 1500 },
])(
  'a node stopped for twice its lease, with a grace $grace than that, takes no session from where it is now',
  {
    timeout: 90_000,
  },
  async ({ graceMs }) => {
    const world = await openWorld({ settings: { RECONNECT_GRACE: `${graceMs}ms` } })
    cleanups.push(world.close)
    const { nodes } = world
    const [stopped, second, third] = nodes as [Node, Node, Node]
    const elsewhere = [second, third]
    const opened: Person[] = []
    cleanups.push(() => Promise.all(opened.map((person) => person.close())))
    /** Where they go when they have lost their connection, and the rooms that they are in. */
    const places = new Map<Person, { node: Node; rooms: readonly string[] }>()
    const roomsOf = (person: Person) => placeOf(person).rooms

    function open(id: string, node: Node, isInRoom: boolean, sessionId?: string): Person {
      const place = { node, rooms: isInRoom ? [ROOM] : [] }
      const person = createPerson({
        id,
        ...(sessionId === undefined ? {} : { sessionId }),
        rooms: () => place.rooms,
        at: () => place.node.wsUrl(),
      })
      places.set(person, place)
      opened.push(person)
      return person
    }
    const group = (name: string, node: Node) =>
      Array.from({ length: COUNT }, (_, index) => open(`${name}-${index}`, node, index % 2 === 0))

    const staying = group('staying', stopped)
    const moving = group('moving', stopped)
    const silent = group('silent', stopped)
    const leaving = group('leaving', stopped)
    const onTwo = group('on-two', stopped)
    const others = [
      ...onTwo.map(({ id }, index) => open(id, elsewhere[index % 2] as Node, false)),
      ...group('other', third),
    ]
    await untilConnected(opened)

    let online: readonly Person[] = opened
    const truth = (isRoom: boolean) => {
      const there = online.filter((person) => !isRoom || roomsOf(person).includes(ROOM))
      return [...new Set(there.map(({ id }) => `${id} ONLINE`))].sort()
    }
    const watchers = watchAll(nodes)
    cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
    // First of all: one that is stopped closes nothing.
    cleanups.push(async () => void stopped.process().child.kill('SIGCONT'))
    const report = () => describeWorld({ nodes, watchers, people: online, truth })
    await untilRight(watchers, truth, 10_000).catch(failWith(report))
    const startCounts = watchers.map(({ changes }) => changes.length)

    stopped.process().child.kill('SIGSTOP')
    const isOver = sleep(STOPPED_MS)
    await sleep(300)
    for (const person of leaving) {
      person.giveUp()
      person.reset()
    }
    for (const [index, person] of moving.entries()) {
      placeOf(person).node = elsewhere[index % 2] as Node
      person.reset()
    }
    // Their old connections look open to the node that stands still, and to nobody else.
    const returned = silent.map((person, index) => {
      person.giveUp()
      person.fallSilent()
      return open(person.id, elsewhere[index % 2] as Node, index % 2 === 0, person.sessionId)
    })
    await untilConnected([...returned, ...moving], STOPPED_MS).catch(failWith(report))
    // What the node that stands still knows of their rooms is old by now.
    for (const person of [...moving, ...returned].filter((_, index) => index % 3 === 0)) {
      const isIn = roomsOf(person).includes(ROOM)
      placeOf(person).rooms = isIn ? [] : [ROOM]
      expect(
        await askOverSocket(person, `mutation { ${isIn ? 'leave' : 'join'}Room(room: "${ROOM}") { session { id } } }`),
      ).toMatchObject({ data: {} })
    }
    await isOver
    const isSeenToLeave = graceMs < STOPPED_MS
    if (isSeenToLeave) {
      await until(() => seen('LEAVE', 2).length === COUNT * 2, { what: 'the LEAVE of who was on it' }).catch(
        failWith(report),
      )
    }
    stopped.process().child.kill('SIGCONT')
    online = opened.filter((person) => !leaving.includes(person) && !silent.includes(person))
    await untilRight(watchers, truth, graceMs + SETTLE_MS).catch(failWith(report))
    // Until the old connections are given up, and whatever they might still do is done.
    await sleep(graceMs + 2500)

    const sorted = (people: readonly Person[]) => people.map(({ id }) => id).sort()
    for (const [index, watcher] of watchers.entries()) {
      expect([watcher.name, watcher.problems, watcher.expiredCount()]).toEqual([watcher.name, [], 0])
      if (isOfRoom(watcher)) continue
      const left = isSeenToLeave ? sorted(staying) : []
      if (index > 0) {
        expect(seen('LEAVE', index), report()).toEqual(sorted([...leaving, ...(isSeenToLeave ? staying : [])]))
        expect(seen('JOIN', index), report()).toEqual(left)
        expect(seen('UPDATE', index), report()).toEqual([])
        continue
      }
      // The stopped node's own watcher comes back with a position, and those who left come back at the same time: it
      // sees each of them leave and join, or their state, or nothing.
      const joined = seen('JOIN', index)
      expect(seen('LEAVE', index), report()).toEqual([...joined, ...sorted(leaving)].sort())
      expect(
        [...joined, ...seen('UPDATE', index)].filter((id) => !left.includes(id)),
        report(),
      ).toEqual([])
    }
    await untilRight(watchers, truth, 1000).catch(failWith(report))
    expect(await wrongSockets(online, roomsOf), report()).toEqual([])
    for (const id of new Set(sorted(online))) {
      const own = online.filter((person) => person.id === id)
      const expected = own.map((person) => ({ id: person.sessionId, isAttached: true, rooms: roomsOf(person) }))
      for (const node of nodes) {
        const sessions = await sessionsOf(node, id)
        expect(typeof sessions === 'string' ? sessions : byId(sessions), `sessions of ${id}`).toEqual(byId(expected))
      }
    }
    for (const { id } of leaving) expect(await sessionsOf(second, id)).toEqual([])
    expect(others.every((person) => person.log.length === 1)).toBe(true)

    function placeOf(person: Person) {
      const place = places.get(person)
      if (place === undefined) throw new Error(`${person.id} has no place.`)
      return place
    }

    function seen(kind: string, watcherIndex: number): readonly string[] {
      const told = watchers[watcherIndex]?.changes.slice(startCounts[watcherIndex]) ?? []
      return told
        .filter((change) => change.kind === kind)
        .map(({ userId }) => userId)
        .sort()
    }
  },
)

function byId<Item extends { readonly id: string }>(items: readonly Item[]): readonly Item[] {
  return [...items].sort((one, other) => (one.id < other.id ? -1 : 1))
}
