/**
 * A node dies (kill -9): who comes back elsewhere is not seen to leave, who does not is seen to leave once, and of
 * whoever has a tab elsewhere nothing is seen.
 *
 * `FAULT_SESSIONS=3000 npx vitest run tests/fault/dead-node.test.ts` is the long form.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import {
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
import type { Watcher } from './watcher.ts'
import { type Node, openWorld } from './world.ts'

const SESSIONS = Number(process.env.FAULT_SESSIONS ?? '300')
/** Of each ten sessions two are tabs of one user, on two nodes. */
const BATCH_OPENED = 50
/** Many clients on few cores need the times of production. */
const IS_LARGE = SESSIONS > 1000
const settings: SettingTexts = IS_LARGE
  ? {
      NODE_TTL: '10s',
      NODE_RENEW: '3s',
      RECONNECT_GRACE: '15s',
      SWEEP_INTERVAL: '1s',
      PING_INTERVAL: '5s',
      PONG_TIMEOUT: '10s',
    }
  : {}
const [TTL_MS, GRACE_MS, SWEEP_MS] = IS_LARGE ? [10_000, 15_000, 1000] : [2000, 1500, 50]
/** NODE_TTL and RECONNECT_GRACE, two sweeps, and what all the rest may take. */
const LEAVE_MS = TTL_MS + GRACE_MS + 2 * SWEEP_MS + 2000

const cleanups = cleanupsAfterEach()

/** What becomes of those on the node that dies. `closes`: just before. */
const FATES = ['returns', 'returns', 'returns', 'is gone', 'closes'] as const

interface Tab {
  readonly person: Person
  readonly home: Node
  readonly fate: (typeof FATES)[number] | 'stays'
  readonly hasOther: boolean
  readonly isInRoom: boolean
}

it(`one of three nodes with ${SESSIONS} sessions dies, and only who does not come back is seen to leave`, {
  timeout: 240_000,
}, async () => {
  const world = await openWorld({ settings })
  cleanups.push(world.close)
  const { nodes } = world
  const [dying, ...others] = nodes as [Node, Node, Node]
  const tabs: Tab[] = []
  cleanups.push(() => Promise.all(tabs.map(({ person }) => person.close())))

  function open(userId: string, home: Node, hasOther: boolean): void {
    const count = tabs.length
    const isInRoom = count % 3 === 0
    const person = createPerson({
      id: userId,
      rooms: () => (isInRoom ? [ROOM] : []),
      at: () => (home.isAlive() ? home : (others[count % 2] as Node)).wsUrl(),
    })
    const fate = home === dying ? (FATES[Math.floor(count / 3) % FATES.length] as Tab['fate']) : 'stays'
    tabs.push({ person, home, fate, hasOther, isInRoom })
  }

  for (let user = 0; tabs.length < SESSIONS; user += 1) {
    const home = nodes[user % 3] as Node
    const isOnTwo = user % 10 === 0
    open(`user-${user}`, home, isOnTwo)
    // The one of two that may die is the first or the second.
    if (isOnTwo) open(`user-${user}`, nodes[(user + 1) % 3] as Node, true)
    if (tabs.length % BATCH_OPENED < 2) await untilConnected(tabs.map(({ person }) => person))
  }
  await untilConnected(tabs.map(({ person }) => person))

  /** Who is there in the end. */
  const staysOnline = tabs.filter(({ fate, hasOther }) => hasOther || fate === 'stays' || fate === 'returns')
  const present = (isAfter: boolean) => (isRoom: boolean) => {
    const there = tabs.filter(({ fate }) => !isAfter || fate === 'stays' || fate === 'returns')
    const ids = new Set(there.filter(({ isInRoom }) => isInRoom || !isRoom).map(({ person }) => person.id))
    return [...ids].map((id) => `${id} ONLINE`).sort()
  }
  const watchers = watchAll(nodes)
  cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
  let isAfter = false
  const truth = (isRoom: boolean) => present(isAfter)(isRoom)
  const report = () => describeWorld({ nodes, watchers, people: staysOnline.map(({ person }) => person), truth })
  await untilRight(watchers, truth, 20_000).catch(failWith(report))
  const startCounts = new Map(watchers.map((watcher) => [watcher, watcher.changes.length]))

  const leaving = tabs.filter(({ fate }) => fate === 'is gone' || fate === 'closes')
  const leavers = new Set(leaving.filter(({ hasOther }) => !hasOther).map(({ person }) => person.id))
  for (const { person, fate } of leaving) if (fate === 'is gone') person.giveUp()
  await Promise.all(leaving.map(({ person, fate }) => (fate === 'closes' ? person.close() : null)))
  const killedAtMs = performance.now()
  await dying.kill()
  isAfter = true

  const returning = tabs.filter(({ fate }) => fate === 'returns').map(({ person }) => person)
  await untilConnected(returning, TTL_MS + GRACE_MS).catch(failWith(report))
  const backMs = performance.now() - killedAtMs
  const leftMs = () => Math.max(0, killedAtMs + LEAVE_MS - performance.now())
  await untilRight(watchers, truth, leftMs()).catch(failWith(report))
  const rightMs = performance.now() - killedAtMs
  // Nor later: until then whatever would still have left has done so.
  await sleep(leftMs() + GRACE_MS)

  for (const watcher of watchers) {
    const told = watcher.changes.slice(startCounts.get(watcher))
    const leaves = told.filter(({ kind }) => kind === 'LEAVE')
    expect(idsOf(leaves), report()).toEqual(leaversSeenBy(watcher, tabs, leavers))
    for (const { userId, atMs } of leaves) {
      expect(atMs - killedAtMs, `${watcher.name} saw ${userId} leave`).toBeLessThan(LEAVE_MS)
    }
    // Of everybody else nothing at all.
    expect(idsOf(told.filter(({ kind }) => kind !== 'LEAVE')), report()).toEqual([])
    expect([watcher.name, watcher.problems, watcher.expiredCount()]).toEqual([watcher.name, [], 0])
  }
  const isInRoom = new Map(tabs.map((tab) => [tab.person, tab.isInRoom]))
  const openTabs = tabs.filter(({ fate }) => fate === 'stays' || fate === 'returns').map(({ person }) => person)
  expect(await wrongSockets(openTabs, (person) => (isInRoom.get(person) ? [ROOM] : [])), report()).toEqual([])
  for (const person of returning.slice(0, 100)) {
    const own = await sessionsOf(others[0], person.id)
    const expected = openTabs.filter(({ id }) => id === person.id).map(({ sessionId }) => sessionId)
    expect(
      typeof own === 'string'
        ? own
        : own
            .filter(({ isAttached }) => isAttached)
            .map(({ id }) => id)
            .sort(),
    ).toEqual(expected.sort())
  }
  process.stdout.write(
    `${tabs.length} sessions, ${returning.length} came back by ${Math.round(backMs)} ms, ${leavers.size} left by ` +
      `${Math.round(rightMs)} ms after the kill, of ${LEAVE_MS}\n`,
  )
})

function idsOf(changes: readonly { readonly userId: string }[]): readonly string[] {
  return changes.map(({ userId }) => userId).sort()
}

/** In the room, who loses the tab that was in it leaves it, another tab or not. */
function leaversSeenBy(watcher: Watcher, tabs: readonly Tab[], leavers: ReadonlySet<string>): readonly string[] {
  if (!isOfRoom(watcher)) return [...leavers].sort()
  const remaining = tabs.filter(({ fate, isInRoom }) => isInRoom && (fate === 'stays' || fate === 'returns'))
  const stillIn = new Set(remaining.map(({ person }) => person.id))
  const gone = tabs.filter(({ fate, isInRoom }) => isInRoom && (fate === 'is gone' || fate === 'closes'))
  return [...new Set(gone.map(({ person }) => person.id))].filter((id) => !stillIn.has(id)).sort()
}
