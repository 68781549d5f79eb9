/**
 * Activity that waits at its node (ACTIVITY_LAG), in real processes: nobody who is active is called away, whatever
 * they do in between, and a node that is killed loses the activity of the lag and no more.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { until } from '../support/wait.ts'
import { askOverHttp, askOverSocket, describeWorld, failWith, untilConnected, untilRight, watchAll } from './people.ts'
import { createPerson, type Person } from './person.ts'
import { type Node, openWorld } from './world.ts'

const NODE_TTL_MS = 2000
const AWAY_AFTER_MS = 8000
/** A third of AWAY_AFTER. */
const LAG_MS = AWAY_AFTER_MS / 3
const SETTINGS = { AWAY_AFTER: `${AWAY_AFTER_MS}ms`, IDLE_TIMEOUT: '20s', ACTIVITY_LAG: '1h' }
const PEOPLE = 24
/** What a busy machine may be late. */
const LATE_MS = 1500
const BEAT = 'mutation { heartbeat { nextHeartbeatInMs } }'

const cleanups = cleanupsAfterEach()

/** People on each node who send heartbeats, each at an interval of their own. */
async function openStreet() {
  const world = await openWorld({ settings: SETTINGS })
  cleanups.push(world.close)
  const { nodes } = world
  const people = Array.from({ length: PEOPLE }, (_, index) => {
    const home = nodes[index % nodes.length] as Node
    return createPerson({ id: `person-${index}`, at: () => home.wsUrl() })
  })
  cleanups.push(() => Promise.all(people.map((person) => person.close())))
  await untilConnected(people)
  const activeAtMs = new Map<string, number>()
  let isOver = false
  const beating = people.map(async (person, index) => {
    while (!isOver) {
      const askedAtMs = Date.now()
      const answer = await askOverSocket(person, BEAT).catch(() => null)
      if (answer !== null && answer.errors === undefined) activeAtMs.set(person.id, askedAtMs)
      await sleep(100 + 70 * index)
    }
  })
  const stop = async (): Promise<void> => {
    isOver = true
    await Promise.all(beating)
  }
  cleanups.push(stop)
  return { world, nodes, people, activeAtMs, stop }
}

it('nobody who is active is called away, also not who opens tabs, changes rooms or looks at themselves', {
  timeout: 120_000,
}, async () => {
  const { nodes, people, stop } = await openStreet()
  const watchers = watchAll(nodes)
  cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
  const truth = (isRoom: boolean) => (isRoom ? [] : people.map(({ id }) => `${id} ONLINE`).sort())
  const report = () => describeWorld({ nodes, watchers, people, truth })
  await untilRight(watchers, truth, 20_000).catch(failWith(report))
  const startCounts = new Map(watchers.map((watcher) => [watcher, watcher.changes.length]))

  const untilMs = performance.now() + 2.5 * AWAY_AFTER_MS
  for (let turn = 0; performance.now() < untilMs; turn += 1) {
    const person = people[turn % PEOPLE] as Person
    const other = nodes[turn % nodes.length] as Node
    const query = [
      '{ viewer { user { lastActive } } }',
      'mutation { joinRoom(room: "quiet") { session { id } } }',
      'mutation { leaveRoom(room: "quiet") { session { id } } }',
    ][turn % 3]
    await askOverSocket(person, String(query))
    await askOverHttp(other, person.id, '{ viewer { status } }')
    await sleep(50)
  }
  for (const watcher of watchers) {
    const told = watcher.changes.slice(startCounts.get(watcher)).map(({ kind, userId }) => `${kind} ${userId}`)
    expect(told, report()).toEqual([])
  }

  // Who stops is away in time.
  await stop()
  await untilRight(
    watchers,
    (isRoom) => (isRoom ? [] : people.map(({ id }) => `${id} AWAY`).sort()),
    AWAY_AFTER_MS + LATE_MS,
  ).catch(failWith(report))
})

it('a look at oneself tells of the heartbeat just before, and so does the row after a close', {
  timeout: 60_000,
}, async () => {
  const { world, people, stop } = await openStreet()
  await stop()
  const person = people[0] as Person
  for (let count = 0; count < 20; count += 1) {
    const beforeMs = Date.now()
    await askOverSocket(person, BEAT)
    const answer = await askOverSocket(person, '{ viewer { user { lastActive } sessions { lastActive } } }')
    // Redis dates it, on the same machine; its age is a whole number of milliseconds.
    expect(Date.parse(answer?.data?.viewer.user.lastActive)).toBeGreaterThanOrEqual(beforeMs - 2)
    expect(Date.parse(answer?.data?.viewer.sessions[0].lastActive)).toBeGreaterThanOrEqual(beforeMs - 2)
  }
  const beforeMs = Date.now()
  await askOverSocket(person, BEAT)
  await person.close()
  const sql = postgres(world.databaseUrl, { max: 1 })
  cleanups.push(() => sql.end())
  await until(
    async () => {
      const rows = await sql`select last_active, ended_at from rollcall.presence_sessions
        where client_session_id = ${person.sessionId}`
      return rows[0]?.ended_at !== null && Number(rows[0]?.last_active) >= beforeMs - 2
    },
    { withinMs: 10_000, what: 'the row with the last activity' },
  )
})

it('a node that is killed loses the activity of the lag, and no more', { timeout: 120_000 }, async () => {
  const { world, nodes, people, activeAtMs } = await openStreet()
  await sleep(2 * LAG_MS)
  const [dying] = nodes as [Node]
  const killedAtMs = Date.now()
  const lastActive = new Map(activeAtMs)
  await dying.kill()
  const there = people.filter((_, index) => index % nodes.length === 0)
  for (const person of there) person.giveUp()
  const sql = postgres(world.databaseUrl, { max: 1 })
  cleanups.push(() => sql.end())
  for (const { id, sessionId } of there) {
    const row = await until(
      async () => {
        const [found] = await sql`select last_active, ended_at from rollcall.presence_sessions
          where client_session_id = ${sessionId}`
        return found?.ended_at == null ? null : found
      },
      { withinMs: NODE_TTL_MS + 20_000, what: `the end of the session of ${id}` },
    )
    const lostMs = Math.max(0, Number(lastActive.get(id)) - Number(row?.last_active))
    expect(lostMs, `${id}, killed at ${killedAtMs}`).toBeLessThan(LAG_MS + LATE_MS)
  }
})
