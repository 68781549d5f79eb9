/**
 * Operations of one session that are sent together, without waiting for answers: they take effect in the order in
 * which they arrive. Each pair comes while a heartbeat of somebody else is less than BEAT_FLUSH old, so that on Redis
 * the next heartbeats are gathered.
 *
 * `ORDER_RUNS=200 npx vitest run tests/e2e/order.test.ts` runs each pair 200 times.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { isDeepStrictEqual } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { SettingTexts } from '../../src/config.ts'
import { type Answer, closeTabs, openTab, post, type Tab } from '../support/clients.ts'
import { postTogether } from '../support/pipeline.ts'
import { postgresData, redisData, startServer, type TestData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const RUNS = Number(process.env.ORDER_RUNS ?? '5')
/** Pairs under way at once: a heartbeat of one is the other user's heartbeat of the others. */
const AT_ONCE = 5

/** Nothing ends by itself while the test looks, and a busy machine takes nobody from anywhere. */
const CALM: SettingTexts = {
  SESSION_TTL: '600s',
  CLOSE_GRACE: '600s',
  RECONNECT_GRACE: '600s',
  PING_INTERVAL: '30s',
  PONG_TIMEOUT: '30s',
  CONNECTION_INIT_TIME: '30s',
  NODE_RENEW: '1500ms',
  NODE_TTL: '60s',
}
vi.setConfig({ testTimeout: 60_000 + 1000 * RUNS })

const STORES: readonly { readonly name: string; readonly prepare: () => Promise<TestData>; readonly flush: string }[] =
  [
    { name: 'memory', prepare: postgresData, flush: '20ms' },
    { name: 'Redis, BEAT_FLUSH=20ms', prepare: redisData, flush: '20ms' },
    { name: 'Redis, BEAT_FLUSH=0ms', prepare: redisData, flush: '0ms' },
  ]

/** What is so afterwards: the rooms of the session, null where it is over. */
interface Pair {
  readonly operations: readonly string[]
  readonly rooms: readonly string[] | null
  /** Whether the session is over when they are sent. */
  readonly isOver?: boolean
}

const BEAT = 'mutation { heartbeat { session { rooms } } }'
const OFFLINE = 'mutation { goOffline { viewer { isOnline } } }'
const EVERYWHERE = 'mutation { goOffline(everywhere: true) { viewer { isOnline } } }'
const beatIn = (...rooms: readonly string[]): string =>
  `mutation { heartbeat(rooms: ${JSON.stringify(rooms)}) { session { rooms } } }`
const join = (room: string): string => `mutation { joinRoom(room: "${room}") { session { rooms } } }`
const leave = (room: string): string => `mutation { leaveRoom(room: "${room}") { session { rooms } } }`
/** The same, asked by another form of document. */
const asFragment = (mutation: string): string =>
  mutation.replace('mutation', 'mutation { ...Asked } fragment Asked on Mutation')

const PAIRS: readonly Pair[] = [
  { operations: [BEAT, OFFLINE], rooms: null },
  { operations: [BEAT, EVERYWHERE], rooms: null },
  { operations: [BEAT, BEAT, OFFLINE], rooms: null },
  { operations: [beatIn('a'), join('b')], rooms: ['a', 'b'] },
  { operations: [join('b'), beatIn('a')], rooms: ['a'] },
  { operations: [beatIn('a'), leave('a')], rooms: [] },
  { operations: [asFragment(beatIn('a')), join('b')], rooms: ['a', 'b'] },
  { operations: [asFragment(BEAT), OFFLINE], rooms: null },
  { operations: [join('a'), leave('a')], rooms: [] },
  { operations: [join('a'), leave('a'), join('a')], rooms: ['a'] },
  { operations: [beatIn('a'), beatIn('b')], rooms: ['b'] },
  { operations: [OFFLINE, BEAT], rooms: [] },
  { operations: [OFFLINE, beatIn('a'), join('b')], rooms: ['a', 'b'] },
  { operations: [beatIn('a'), OFFLINE, beatIn('b')], rooms: ['b'] },
  { operations: [BEAT, OFFLINE], rooms: null, isOver: true },
  { operations: [BEAT, BEAT, OFFLINE], rooms: null, isOver: true },
  { operations: [beatIn('a'), join('b')], rooms: ['a', 'b'], isOver: true },
  { operations: [beatIn('a'), beatIn('b'), leave('b')], rooms: [], isOver: true },
]

describe.each(STORES)('on $name', ({ prepare, flush }) => {
  let data: TestData
  let server: TestServer

  beforeAll(async () => {
    data = await prepare()
    server = await startServer({ ...data.settings, ...CALM, BEAT_FLUSH: flush })
  })
  afterEach(closeTabs)
  afterAll(async () => {
    await server.stop()
    await data.drop()
  })

  /** @returns what the user's own view says of the session, and of the whole */
  async function truth(userId: string, sessionId: string): Promise<Truth> {
    const query = '{ viewer { isOnline sessions { id rooms } } }'
    const { data: answer } = await post(server, `dev:${userId}`, query)
    const session = answer?.viewer.sessions.find(({ id }: { id: string }) => id === sessionId)
    return { isOnline: answer?.viewer.isOnline, rooms: session?.rooms.toSorted() ?? null }
  }

  function expectAnswered(answers: readonly Answer[]): void {
    expect(answers.filter(({ errors }) => errors !== undefined)).toEqual([])
  }

  /** Runs it `RUNS` times. @returns what was so after each run */
  async function results<Result>(run: () => Promise<Result>): Promise<Result[]> {
    const found: Result[] = []
    for (let done = 0; done < RUNS; done += AT_ONCE) {
      found.push(...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, RUNS - done) }, run))))
    }
    return found
  }

  async function beatOfAnother(other: Tab): Promise<void> {
    await other.ask('mutation { heartbeat { expiresAt } }')
  }

  it('a heartbeat, and then the socket closes: it counts', async () => {
    const other = await openTab(server, randomUUID())
    const found = await results(async () => {
      const userId = randomUUID()
      const socket = await openSocket(userId)
      await beatOfAnother(other)
      const { lastActive } = await lastSessionOf(userId)
      await untilAfter(lastActive)
      // Nobody waits for answers: the socket closes right behind the operations.
      for (const query of [beatIn('a'), join('b')]) send(socket, { type: 'subscribe', id: query, payload: { query } })
      socket.close(1000)
      await until(async () => !(await lastSessionOf(userId)).isAttached, { what: 'the end of the socket' })
      const after = await lastSessionOf(userId)
      return { isOnline: after.lastActive > lastActive, rooms: after.rooms }
    })
    expectAll(found, { isOnline: true, rooms: ['a', 'b'] })
  })

  /** Without a client, which would come back. */
  async function openSocket(userId: string): Promise<WebSocket> {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
    await once(socket, 'open')
    send(socket, { type: 'connection_init', payload: { authorization: `Bearer dev:${userId}` } })
    await once(socket, 'message')
    return socket
  }

  function send(socket: WebSocket, message: object): void {
    socket.send(JSON.stringify(message))
  }

  async function lastSessionOf(userId: string) {
    const { data: answer } = await post(
      server,
      `dev:${userId}`,
      '{ viewer { sessions { rooms lastActive isAttached } } }',
    )
    return answer?.viewer.sessions.at(-1)
  }

  /** Moments are told in milliseconds. */
  function untilAfter(moment: string): Promise<unknown> {
    return until(() => Date.now() > Date.parse(moment) + 2, { everyMs: 1 })
  }

  describe.each(PAIRS.map((pair) => [nameOf(pair), pair] as const))('%s', (_name, { operations, rooms, isOver }) => {
    const expected = { isOnline: rooms !== null, rooms }

    it('over a socket', async () => {
      const other = await openTab(server, randomUUID())
      const found = await results(async () => {
        const userId = randomUUID()
        const tab = await openTab(server, userId)
        if (isOver === true) await tab.ask(OFFLINE)
        await beatOfAnother(other)
        expectAnswered(await Promise.all(operations.map((operation) => tab.ask(operation))))
        return truth(userId, tab.sessionId)
      })
      expectAll(found, expected)
    })

    it('over HTTP', async () => {
      const other = await openTab(server, randomUUID())
      const found = await results(async () => {
        const userId = randomUUID()
        const token = `dev:${userId}`
        await post(server, token, BEAT)
        if (isOver === true) await post(server, token, OFFLINE)
        await beatOfAnother(other)
        expectAnswered(await postTogether(server, token, operations))
        return truth(userId, 'default')
      })
      expectAll(found, expected)
    })
  })
})

function nameOf({ operations, isOver }: Pair): string {
  const fields = operations.map((operation) =>
    operation
      .replace(/^mutation \{ (\.\.\.Asked \} fragment Asked on Mutation \{ )?/, (_head, fragment) =>
        fragment === undefined ? '' : 'as a fragment: ',
      )
      .replace(/ \{.*/, ''),
  )
  return `${fields.join(', ')}${isOver === true ? ', the session being over' : ''}`
}

interface Truth {
  readonly isOnline: boolean
  readonly rooms: readonly string[] | null
}

function expectAll(found: readonly Truth[], expected: Truth): void {
  const wrong = found.filter((one) => !isDeepStrictEqual(one, expected))
  expect(wrong, `${wrong.length} of ${found.length} are wrong`).toEqual([])
}
