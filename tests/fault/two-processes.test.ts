/**
 * Two processes on one database, without Redis: whatever stops, is cut off or dies, there are never two that say that
 * they are ready, and nobody who comes back within the grace is seen leaving.
 *
 * `FAULT_DEFAULTS=1` takes every setting as it is by default, `FAULT_ROUNDS=20` does it so often:
 * `FAULT_DEFAULTS=1 FAULT_ROUNDS=20 npx vitest run tests/fault/two-processes.test.ts` takes an hour or two.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { onlineIds } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { openPair, type Pair, type Peer } from './pair.ts'
import { failWith, sessionsOf, untilConnected, watchAll, wrongSockets } from './people.ts'
import { createPerson, type Person } from './person.ts'
import { readyTogether } from './readiness.ts'

const IS_LONG = process.env.FAULT_DEFAULTS === '1'
const ROUNDS = Number(process.env.FAULT_ROUNDS ?? 1)
/** Left out of the environment, a setting has its default. */
const DEFAULTS: SettingTexts = {
  NODE_TTL: undefined,
  NODE_RENEW: undefined,
  RECONNECT_GRACE: undefined,
  CLOSE_GRACE: undefined,
  PING_INTERVAL: undefined,
  PONG_TIMEOUT: undefined,
  SWEEP_INTERVAL: undefined,
  SESSION_TTL: undefined,
  HEARTBEAT_INTERVAL: undefined,
  LAST_ACTIVE_FLUSH: undefined,
  DRAIN_TIME: undefined,
}
const SHORT: SettingTexts = { NODE_TTL: '2s', NODE_RENEW: '500ms', RECONNECT_GRACE: '6s', DATABASE_TIME_LIMIT: '5s' }
const TTL_MS = IS_LONG ? 10_000 : 2000
/** As long as the database is away: a little longer than a hold. */
const AWAY_MS = 1.2 * TTL_MS
/** As long as a process stands still: the other one has taken over by then. */
const STOPPED_MS = 1.5 * TTL_MS
/** Until one is ready again: what is left of a hold, the wait for one that may be there still, and the start. */
const READY_MS = 2.5 * TTL_MS + 5000
/** A process takes two seconds to start, and many times that where others work as well. */
const START_MS = 120_000
const PEOPLE_COUNT = 6

const cleanups = cleanupsAfterEach()

interface Scene {
  readonly pair: Pair
  /** Who serves, and who waits. */
  roles(): readonly [serving: Peer, waiting: Peer]
}

/** What everybody's socket was closed with: null where it stayed, or ended with its process. */
type ClosedWith = 1012 | null

/** Each ends with all that was broken mended. */
const FAULTS: Readonly<Record<string, (scene: Scene) => Promise<ClosedWith>>> = {
  async 'the one that serves stands still for longer than NODE_TTL'({ roles }) {
    const [serving, waiting] = roles()
    serving.stop()
    const isOver = sleep(STOPPED_MS)
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    await isOver
    serving.goOn()
    await until(() => serving.readiness.reason().includes('Another process'), {
      withinMs: READY_MS,
      what: 'the word of the one that stood still',
    })
    return 1012
  },

  async 'the one that serves stands still for less than NODE_TTL'({ roles }) {
    const [serving, waiting] = roles()
    serving.stop()
    await sleep(TTL_MS / 4)
    serving.goOn()
    await until(() => serving.readiness.isReady(), { withinMs: READY_MS })
    expect(waiting.readiness.isReady()).toBe(false)
    return null
  },

  async 'the one that waits stands still for longer than NODE_TTL'({ roles }) {
    const [serving, waiting] = roles()
    waiting.stop()
    await sleep(STOPPED_MS)
    waiting.goOn()
    await sleep(TTL_MS / 2)
    expect([serving.readiness.isReady(), waiting.readiness.isReady()]).toEqual([true, false])
    return null
  },

  async 'Postgres refuses both for longer than NODE_TTL'({ pair, roles }) {
    return await postgresAway(pair, roles, 'refuse')
  },

  async 'Postgres is silent to both for longer than NODE_TTL'({ pair, roles }) {
    return await postgresAway(pair, roles, 'fallSilent')
  },

  async 'Postgres takes what it is asked and its answers are lost for longer than NODE_TTL'({ pair, roles }) {
    return await postgresAway(pair, roles, 'loseAnswers')
  },

  async 'the one that serves is cut off from Postgres alone'({ roles }) {
    const [serving, waiting] = roles()
    serving.wire.refuse()
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    await sleep(TTL_MS / 2)
    serving.wire.mend()
    return 1012
  },

  async 'the one that serves hears nothing of Postgres alone'({ roles }) {
    const [serving, waiting] = roles()
    serving.wire.fallSilent()
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    await sleep(TTL_MS / 2)
    serving.wire.mend()
    return 1012
  },

  async 'the one that serves stands still, and finds Postgres away when it goes on'({ roles }) {
    const [serving, waiting] = roles()
    serving.stop()
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    serving.wire.refuse()
    serving.goOn()
    await sleep(TTL_MS)
    expect([serving.readiness.isReady(), waiting.readiness.isReady()]).toEqual([false, true])
    serving.wire.mend()
    return 1012
  },

  async 'the one that serves is killed'({ roles }) {
    const [serving, waiting] = roles()
    await serving.end('SIGKILL')
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    await serving.restart()
    return null
  },

  async 'the one that serves stops'({ roles }) {
    const [serving, waiting] = roles()
    expect(await serving.end('SIGTERM')).toBe(0)
    await until(() => waiting.readiness.isReady(), { withinMs: READY_MS, what: 'the other one to take over' })
    await serving.restart()
    return 1012
  },

  async 'both are killed and started again'({ pair }) {
    for (const peer of pair.peers) await peer.end('SIGKILL')
    await Promise.all(pair.peers.map((peer) => peer.restart()))
    return null
  },

  async 'both stop and are started again'({ pair }) {
    expect(await Promise.all(pair.peers.map((peer) => peer.end('SIGTERM')))).toEqual([0, 0])
    await Promise.all(pair.peers.map((peer) => peer.restart()))
    return 1012
  },
}

async function postgresAway(
  { peers }: Pair,
  roles: Scene['roles'],
  how: 'refuse' | 'fallSilent' | 'loseAnswers',
): Promise<ClosedWith> {
  const [serving] = roles()
  for (const { wire } of peers) wire[how]()
  await sleep(AWAY_MS)
  for (const { wire } of peers) wire.mend()
  // Who served asks again before the other one believes that nobody is there.
  await until(() => serving.readiness.isReady(), { withinMs: READY_MS, what: 'the one that served to serve again' })
  return 1012
}

describe.each(Array.from({ length: ROUNDS }, (_, index) => index + 1))(
  'two processes on one database, round %i',
  () => {
    it.each(Object.keys(FAULTS))(
      'where %s: never two are ready, and nobody is seen leaving',
      { timeout: 10 * READY_MS + 3 * START_MS },
      async (name) => {
        const pair = await openPair(IS_LONG ? DEFAULTS : SHORT)
        const { peers } = pair
        cleanups.push(async () => {
          try {
            // Whatever else was not so.
            const together = readyTogether(peers[0].readiness.proofs, peers[1].readiness.proofs, TTL_MS / 2)
            expect(together, `Two were ready:\n${describePair(pair, [])}`).toEqual([])
            for (const { readiness } of peers) expect(readiness.answerCount()).toBeGreaterThan(20)
          } finally {
            await pair.close()
          }
        })
        // First of all: one that stands still closes nothing.
        cleanups.push(async () => void peers.map((peer) => peer.process().child.kill('SIGCONT')))
        const servers = () => peers.filter(({ readiness }) => readiness.isReady())
        /** Who was ready last: a single answer that comes late on a slow machine says nothing else. */
        const serving = (): Peer => (lastReadyMs(peers[1]) > lastReadyMs(peers[0]) ? peers[1] : peers[0])
        const roles = (): readonly [Peer, Peer] =>
          serving() === peers[0] ? [peers[0], peers[1]] : [peers[1], peers[0]]
        await until(() => peers[1].readiness.reason().includes('Another process'), {
          withinMs: START_MS,
          what: 'the word of the second process',
        }).catch(failWith(() => describePair(pair, [])))

        // A load balancer leads them to who says that it is ready.
        const people = Array.from({ length: PEOPLE_COUNT }, (_, index) =>
          createPerson({ id: `person-${index}`, rooms: () => [], at: () => serving().wsUrl() }),
        )
        cleanups.push(() => Promise.all(people.map((person) => person.close())))
        const watchers = watchAll([
          {
            ...peers[0],
            isAlive: () => servers().length > 0,
            url: () => serving().url(),
            wsUrl: () => serving().wsUrl(),
          },
        ])
        cleanups.push(() => Promise.all(watchers.map((watcher) => watcher.stop())))
        await untilConnected(people)
        const ids = people.map(({ id }) => id).sort()
        const before = await starts(pair.databaseUrl, PEOPLE_COUNT)

        const closedWith = await FAULTS[name]?.({ pair, roles })

        const report = () => describePair(pair, people)
        await until(() => servers().length === 1, { withinMs: READY_MS, what: 'one to be ready' }).catch(
          failWith(report),
        )
        if (closedWith !== null) {
          await until(() => people.every(({ log }) => log.some(({ why }) => why.includes(String(closedWith)))), {
            withinMs: READY_MS,
            what: `the end of every socket with ${closedWith}`,
          }).catch(failWith(report))
        }
        await untilConnected(people).catch(failWith(report))

        // One list, and all agree on it: the API, the sockets, and the columns.
        await until(() => watchers[0] !== undefined && [...watchers[0].picture().keys()].sort().join() === ids.join(), {
          withinMs: READY_MS,
          what: 'the picture of a watcher',
        }).catch(failWith(report))
        expect((await onlineIds({ url: serving().url() }, 'dev:reader')).sort()).toEqual(ids)
        expect(await wrongSockets(people, () => []), report()).toEqual([])
        for (const { id, sessionId } of people) {
          expect(await sessionsOf(serving(), id)).toEqual([{ id: sessionId, isAttached: true, rooms: [] }])
        }
        await until(async () => (await onlineInDatabase(pair.databaseUrl)).join() === ids.join(), {
          withinMs: READY_MS,
          what: 'the columns',
        }).catch(failWith(report))
        // Who left, or was seen to leave, would have another start by now.
        expect(await starts(pair.databaseUrl, PEOPLE_COUNT), report()).toEqual(before)
        expect(watchers.flatMap(({ changes }) => changes.filter(({ kind }) => kind === 'LEAVE'))).toEqual([])
        expect(watchers.flatMap(({ problems }) => problems)).toEqual([])
        for (const { lines } of peers) expect(lines.filter(({ level }) => Number(level) >= 50)).toEqual([])
      },
    )
  },
)

function lastReadyMs({ readiness }: Peer): number {
  return readiness.proofs.at(-1)?.toMs ?? Number.NEGATIVE_INFINITY
}

/** Every session that there ever was, with its end: by the time of the call, once all have come. */
async function starts(databaseUrl: string, count: number): Promise<readonly object[]> {
  const sql = postgres(databaseUrl, { max: 1 })
  try {
    return await until(
      async () => {
        const rows = await sql`
          select session.id, session.user_id, session.ended_at, users.online_since
          from rollcall.presence_sessions as session join rollcall.users on users.id = session.user_id
          order by session.user_id, session.started_at`
        const isWhole = rows.length >= count && rows.every((row) => row.online_since !== null)
        return isWhole && rows.map((row) => ({ ...row }))
      },
      { withinMs: READY_MS, what: 'the records of every session' },
    )
  } finally {
    await sql.end()
  }
}

async function onlineInDatabase(databaseUrl: string): Promise<readonly string[]> {
  const sql = postgres(databaseUrl, { max: 1 })
  try {
    return (await sql`select id from rollcall.users where is_online order by id`).map(({ id }) => String(id))
  } finally {
    await sql.end()
  }
}

function describePair({ peers }: Pair, people: readonly Person[]): string {
  return [
    ...peers.map(({ name, url, readiness, lines }) =>
      [
        `${name} at ${url()}: ${readiness.isReady() ? 'ready' : readiness.reason().trim()}, ${readiness.answerCount()} answers`,
        ...lines.slice(-12).map(({ time, msg, reason }) => `  ${time} ${msg} ${reason ?? ''}`),
      ].join('\n'),
    ),
    ...people.map(
      ({ id, log }) => `${id}: ${log.map(({ what, atMs, why }) => `${what} ${Math.round(atMs)} ${why}`).join('; ')}`,
    ),
  ].join('\n')
}
