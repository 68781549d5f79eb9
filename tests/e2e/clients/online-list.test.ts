/** What the demo page is made of, without its page: the list that has no gap, and the tab's own presence. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { createActivityBeats } from '../../../web/page/activity.ts'
import { type Freshness, followOnlineList, type ListChange } from '../../../web/page/online-list.ts'
import type { OnlineUser, OwnViewer } from '../../../web/page/operations.ts'
import { type Connection, createOwnPresence } from '../../../web/page/own-presence.ts'
import type { SocketClient } from '../../../web/page/requests.ts'
import { closeTabs, openTab, post, recordingSocket, type Tab } from '../../support/clients.ts'
import { postgresData, startServer, type TestData, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { until } from '../../support/wait.ts'

const SETTINGS = {
  // Users by heartbeats alone stay for the whole of a test.
  SESSION_TTL: '60s',
  CLOSE_GRACE: '1s',
  RECONNECT_GRACE: '5s',
  SWEEP_INTERVAL: '50ms',
  PING_INTERVAL: '10s',
  PONG_TIMEOUT: '5s',
  // The least: an old position is soon forgotten.
  CHANGE_LOG_COUNT: '100',
}
const MORE_THAN_THE_LOG_KEEPS = 120

let data: TestData
let server: TestServer
let proxy: TcpProxy
const opened = new Set<() => void>()

beforeEach(async () => {
  data = await postgresData()
  server = await startServer({ ...SETTINGS, ...data.settings })
  proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
})

afterEach(async () => {
  for (const close of opened) close()
  opened.clear()
  closeTabs()
  await proxy.close()
  await server.stop()
  await data.drop()
})

interface OpenOptions {
  readonly room?: string | null
  readonly hasLeft?: boolean
  readonly webSocketImpl?: unknown
}

function open(userId: string, { room = null, hasLeft = false, webSocketImpl = WebSocket }: OpenOptions = {}) {
  const seen = { connection: null as Connection | null, viewer: null as OwnViewer | null, hasLeft }
  const own = createOwnPresence({
    url: `ws://127.0.0.1:${proxy.port}/graphql`,
    token: `dev:${userId}`,
    sessionId: randomUUID(),
    device: 'Test',
    room,
    hasLeft,
    isVisible: () => true,
    webSocketImpl,
    onConnection: (connection) => {
      seen.connection = connection
    },
    onViewer: (viewer) => {
      seen.viewer = viewer
    },
    onLeft: (value) => {
      seen.hasLeft = value
    },
  })
  opened.add(own.close)
  return { own, seen }
}

function follow(
  client: SocketClient,
  options: { room?: string | null; pageSize?: number; staleAfterMs?: number } = {},
) {
  const asked: string[] = []
  const words: unknown[] = []
  const seen = {
    users: [] as OnlineUser[],
    freshness: null as Freshness | null,
    changes: [] as ListChange[],
    asked,
    words,
  }
  const counting: SocketClient = {
    ...client,
    subscribe(payload, sink) {
      asked.push(payload.query.match(/\w+ \w+/)?.[0] ?? '')
      const isWatch = payload.query.includes('positionAdvanced')
      return client.subscribe<Record<string, unknown>>(payload, {
        ...sink,
        next(result) {
          if (isWatch) words.push(result.data)
          sink.next(result as Parameters<typeof sink.next>[0])
        },
      })
    },
  }
  const list = followOnlineList({
    client: counting,
    room: null,
    ...options,
    onUpdate(users, freshness) {
      seen.users = [...users.values()].sort((one, other) => (one.id < other.id ? -1 : 1))
      seen.freshness = freshness
    },
    onChange: (change) => seen.changes.push(change),
  })
  opened.add(list.stop)
  return { list, seen }
}

function readCount(asked: readonly string[]): number {
  return asked.filter((operation) => operation === 'query OnlineUsers').length
}

async function chatter(tab: Tab): Promise<void> {
  for (let index = 0; index < MORE_THAN_THE_LOG_KEEPS; index += 1) {
    await tab.ask(`mutation { setStatus(status: AUTOMATIC, message: "${index}") { viewer { id } } }`)
  }
}

async function listed(): Promise<OnlineUser[]> {
  const answer = await post(
    server,
    'dev:bob',
    '{ onlineUsers(first: 500) { nodes { id name status statusMessage onlineSince } } }',
  )
  return answer.data?.onlineUsers.nodes
}

async function isOnline(userId: string): Promise<boolean> {
  const { data } = await post(server, 'dev:bob', 'query ($id: ID!) { user(id: $id) { isOnline } }', { id: userId })
  return data?.user.isOnline
}

describe('the list of who is online', () => {
  it('reads page by page, and applies what happened on the way', async () => {
    for (let index = 0; index < 20; index += 1) {
      await post(server, `dev:user-${index}`, 'mutation { heartbeat { expiresAt } }')
    }
    const { seen } = follow(open('alice').own.client, { pageSize: 3 })
    const bob = await openTab(server, 'bob')
    await bob.ask('mutation { setStatus(status: BUSY, message: "Here") { viewer { id } } }')
    await until(() => seen.freshness?.kind === 'live')
    await until(() => seen.users.some(({ statusMessage }) => statusMessage === 'Here'))
    expect(seen.users).toEqual(await listed())
    expect(seen.users).toHaveLength(22)
  })

  it('tells each change with what was shown before it', async () => {
    const bob = await openTab(server, 'bob')
    const { seen } = follow(open('alice').own.client)
    await until(() => seen.freshness?.kind === 'live' && seen.users.length === 2)
    await bob.ask('mutation { setStatus(status: AWAY, message: null) { viewer { id } } }')
    await bob.ask('mutation { goOffline { viewer { id } } }')
    await until(() => seen.changes.some(({ kind }) => kind === 'LEAVE'))
    const ofBob = seen.changes.filter(({ user }) => user.id === 'bob')
    expect(ofBob.map(({ kind, user, previous }) => [kind, previous?.status, user.status])).toEqual([
      ['UPDATE', 'ONLINE', 'AWAY'],
      ['LEAVE', 'AWAY', 'OFFLINE'],
    ])
  })

  it('says that it is stale while the connection is lost, and goes on without reading again', async () => {
    const bob = await openTab(server, 'bob')
    const { seen } = follow(open('alice').own.client)
    await until(() => seen.freshness?.kind === 'live' && seen.users.length === 2)
    await chatter(bob)
    await until(() => seen.users[1]?.statusMessage === String(MORE_THAN_THE_LOG_KEEPS - 1))

    proxy.refuse()
    await until(() => seen.freshness?.kind === 'stale')
    await bob.ask('mutation { setStatus(status: BUSY, message: "Meanwhile") { viewer { id } } }')
    proxy.mend()
    await until(() => seen.freshness?.kind === 'live' && seen.users[1]?.statusMessage === 'Meanwhile')
    expect(readCount(seen.asked)).toBe(1)
  })

  it('keeps the place of a quiet room', { timeout: 40_000 }, async () => {
    const bob = await openTab(server, 'bob')
    const { seen } = follow(open('alice', { room: 'lobby' }).own.client, { room: 'lobby' })
    await until(() => seen.freshness?.kind === 'live' && seen.users.length === 1)
    await chatter(bob)
    // Its word comes every 10 s: the next one covers what was said elsewhere.
    const wordCount = seen.words.length
    await until(() => seen.words.length > wordCount, { what: 'the next word', withinMs: 20_000 })

    proxy.cut()
    await until(() => seen.freshness?.kind === 'stale')
    await bob.ask('mutation { joinRoom(room: "lobby") { session { id } } }')
    await until(() => seen.freshness?.kind === 'live' && seen.users.length === 2)
    expect(readCount(seen.asked)).toBe(1)
  })

  it('reads again where its position is no longer known', async () => {
    const bob = await openTab(server, 'bob')
    const { seen } = follow(open('alice').own.client)
    await until(() => seen.freshness?.kind === 'live' && seen.users.length === 2)
    proxy.refuse()
    await chatter(bob)
    proxy.mend()
    await until(() => seen.users[1]?.statusMessage === String(MORE_THAN_THE_LOG_KEEPS - 1))
    await until(() => seen.freshness?.kind === 'live')
    expect(readCount(seen.asked)).toBe(2)
    expect(seen.users).toEqual(await listed())
  })

  it('replaces a socket of which no word comes', async () => {
    const { seen } = follow(open('alice').own.client, { staleAfterMs: 1000 })
    await until(() => seen.freshness?.kind === 'live')
    const before = proxy.connectionCount()
    proxy.fallSilent()
    await until(() => seen.freshness?.kind === 'stale')
    await until(() => proxy.connectionCount() > before, { what: 'a new connection' })
  })

  it('is stale where the connection is lost between reading it and following it', async () => {
    const { own } = open('alice')
    // Not even a first word on the position comes through.
    const withoutWords: SocketClient = {
      ...own.client,
      subscribe: (payload, sink) =>
        payload.query.includes('positionAdvanced')
          ? own.client.subscribe(payload, { ...sink, next() {} })
          : own.client.subscribe(payload, sink),
    }
    const startedAtMs = Date.now()
    const { seen } = follow(withoutWords)
    await until(() => seen.users.length === 1, { what: 'the list' })
    expect(seen.freshness).toEqual({ kind: 'reading' })
    proxy.refuse()
    const stale = await until(() => (seen.freshness?.kind === 'stale' ? seen.freshness : null), { what: 'stale' })
    expect(stale.asOfMs).toBeGreaterThanOrEqual(startedAtMs)
  })

  it('asks again for a page of which no answer comes', async () => {
    const { own, seen: tab } = open('alice')
    await until(() => tab.connection?.kind === 'open')
    proxy.loseAnswers()
    const { seen } = follow(own.client, { staleAfterMs: 1000 })
    const before = proxy.connectionCount()
    await until(() => proxy.connectionCount() > before, { what: 'a new connection' })
    proxy.mend()
    await until(() => seen.users.length === 1, { what: 'the list', withinMs: 20_000 })
  })

  it('says what it may not see', async () => {
    const { seen } = follow(open('alice').own.client, { room: 'x'.repeat(200) })
    const failed = await until(() => (seen.freshness?.kind === 'failed' ? seen.freshness : null))
    expect(failed.error.code).toBe('BAD_USER_INPUT')
  })

  it('says nothing after it was stopped', async () => {
    const { own } = open('alice')
    const { list, seen } = follow(own.client)
    await until(() => seen.freshness?.kind === 'live')
    list.stop()
    const bob = await openTab(server, 'bob')
    await bob.ask('{ position }')
    await own.chooseStatus('BUSY', null)
    expect(seen.users.map(({ id }) => id)).toEqual(['alice'])
  })
})

describe("the tab's own presence", () => {
  it('leaves, and comes back into its room', async () => {
    const { own, seen } = open('alice', { room: 'lobby' })
    await until(() => seen.viewer?.isOnline)
    await own.leave()
    expect(seen.viewer?.isOnline).toBe(false)
    expect(seen.hasLeft).toBe(true)
    await own.comeBack()
    await until(() => seen.viewer?.isOnline)
    const rooms = await post(server, 'dev:alice', '{ viewer { sessions { rooms } } }')
    expect(rooms.data?.viewer.sessions).toEqual([{ rooms: ['lobby'] }])
  })

  it('stays away after a reload until it comes back', async () => {
    const { own, seen } = open('alice', { hasLeft: true })
    await until(() => seen.viewer !== null)
    expect(seen.viewer?.isOnline).toBe(false)
    own.activity.noticed()
    await own.comeBack()
    await until(() => seen.viewer?.isOnline)
    expect(seen.viewer?.sessions).toEqual([{ id: expect.any(String), device: 'Test', isCurrent: true }])
  })

  it('does not send again what was never answered', async () => {
    const { sent, webSocketImpl } = recordingSocket()
    const { own, seen } = open('alice', { webSocketImpl })
    await until(() => seen.viewer?.isOnline)
    proxy.loseAnswers()
    const left = own.leave()
    left.catch(() => {})
    // It took effect: only the answer is lost.
    await until(async () => !(await isOnline('alice')), { what: 'the end of the session' })
    proxy.mend()
    await expect(left).rejects.toMatchObject({ code: 'CLOSED' })
    await until(() => seen.connection?.kind === 'open', { what: 'the next connection' })
    await until(() => seen.viewer?.isOnline, { what: 'the person on the page' })
    expect(seen.hasLeft).toBe(false)
    expect(await isOnline('alice')).toBe(true)
    expect(sent.filter((text) => text.includes('mutation GoOffline'))).toHaveLength(1)
  })

  it('closes as the person wishes when its page goes, and goes on when it comes back', async () => {
    const { own, seen } = open('alice', { room: 'lobby' })
    const { seen: list } = follow(own.client)
    await until(() => list.freshness?.kind === 'live' && list.users.length === 1)
    const before = proxy.connectionCount()
    own.pause()
    const bob = await openTab(server, 'bob')
    // CLOSE_GRACE and not RECONNECT_GRACE; and no new connection until the page is back.
    await until(async () => !(await isOnline('alice')), { what: 'the end of the session', withinMs: 3000 })
    expect(proxy.connectionCount()).toBe(before)
    await bob.ask('mutation { setStatus(status: BUSY, message: "Meanwhile") { viewer { id } } }')
    expect(list.freshness?.kind).toBe('stale')

    own.resume()
    await until(() => list.freshness?.kind === 'live' && list.users[1]?.statusMessage === 'Meanwhile')
    await until(() => seen.viewer?.isOnline)
    expect(readCount(list.asked)).toBe(1)
    expect(list.users).toEqual(await listed())
    const rooms = await post(server, 'dev:alice', '{ viewer { sessions { rooms } } }')
    expect(rooms.data?.viewer.sessions).toEqual([{ rooms: ['lobby'] }])
  })

  it('says why it is refused, and does not try again', async () => {
    const { seen } = open('')
    const refused = await until(() => (seen.connection?.kind === 'refused' ? seen.connection : null))
    expect(refused.reason).toContain('UNAUTHENTICATED')
    expect(proxy.connectionCount()).toBe(1)
  })
})

describe('activity', () => {
  function watch(intervalMs: number, answers: readonly boolean[] = []) {
    const beats: number[] = []
    const startedAtMs = performance.now()
    const activity = createActivityBeats({
      intervalMs: () => intervalMs,
      beat: async () => {
        beats.push(performance.now() - startedAtMs)
        return answers[beats.length - 1] ?? true
      },
    })
    return { activity, beats }
  }

  it('is told at once the first time', async () => {
    const { activity, beats } = watch(60_000)
    activity.connected()
    activity.noticed()
    await until(() => beats.length === 1)
  })

  it('is told at most once an interval', async () => {
    const { activity, beats } = watch(300)
    activity.connected()
    activity.noticed()
    activity.noticed()
    await until(() => beats.length === 1)
    activity.noticed()
    await until(() => beats.length === 2)
    // Timers may be a millisecond early.
    expect(Number(beats[1]) - Number(beats[0])).toBeGreaterThanOrEqual(295)
    activity.disconnected()
  })

  it('waits an interval where the start of the session was activity', async () => {
    const { activity, beats } = watch(300)
    activity.told()
    activity.connected()
    activity.noticed()
    await until(() => beats.length === 1)
    expect(beats[0]).toBeGreaterThanOrEqual(295)
    activity.disconnected()
  })

  it('is told at once where the server takes the person for idle', async () => {
    const { activity, beats } = watch(60_000)
    activity.told()
    activity.connected()
    activity.noticed()
    activity.expired()
    await until(() => beats.length === 1)
    expect(activity.isPending()).toBe(false)
    activity.disconnected()
  })

  it('waits for a connection, and is told again where its answer was lost', async () => {
    const { activity, beats } = watch(60_000, [false, true])
    activity.noticed()
    activity.connected()
    await until(() => beats.length === 1)
    activity.disconnected()
    expect(activity.isPending()).toBe(true)
    activity.connected()
    await until(() => beats.length === 2)
    expect(activity.isPending()).toBe(false)
  })
})
