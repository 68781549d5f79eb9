/** Sockets whose connection answers while their page does not, and the other way round. */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { closeTabs, openTab, post, type SeenChange, settled, type Tab } from '../support/clients.ts'
import { metricOf } from '../support/metrics.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** As the servers here have them, in ms. */
const PAGE_PING_INTERVAL_MS = 1000
const PAGE_PONG_TIMEOUT_MS = 2000
const PONG_TIMEOUT_MS = 1000
/** A check of the sockets and a slot of the pinger. */
const LOOK_MS = 300
/** What a busy machine adds: a bound from above is no bound on the machine. */
const SLACK_MS = 1500

interface Message {
  readonly type: string
  readonly payload?: { readonly nonce?: string }
}

/** What a client does with a `ping` of the protocol. */
type Answers = 'nothing' | 'the payload' | 'no payload'

/** A client whose WebSocket answers pings of RFC 6455 by itself, as a browser's does, whatever its page does. */
interface Page {
  readonly sessionId: string
  readonly pings: Message[]
  /** Pings of RFC 6455. */
  readonly connectionPings: unknown[]
  readonly closed: number[]
  /** When it sent its last message. */
  lastMessageAtMs(): number
  send(message: object): void
  /** Resolves when the operation is complete. */
  ask(query: string): Promise<void>
  close(code?: number): void
}

const sockets: WebSocket[] = []

async function openPage(
  server: TestServer,
  userId: string,
  answers: Answers,
  sessionId: string = randomUUID(),
): Promise<Page> {
  const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
  sockets.push(socket)
  const page = { sessionId, pings: [] as Message[], connectionPings: [] as unknown[], closed: [] as number[] }
  const complete = new Set<string>()
  let isAcknowledged = false
  let lastMessageAtMs = 0
  function send(message: object): void {
    lastMessageAtMs = performance.now()
    socket.send(JSON.stringify(message))
  }
  socket.on('message', (data) => {
    const message = JSON.parse(String(data)) as Message & { readonly id?: string }
    if (message.type === 'connection_ack') isAcknowledged = true
    if (message.type === 'complete') complete.add(String(message.id))
    if (message.type !== 'ping') return
    page.pings.push(message)
    if (answers === 'the payload') send({ type: 'pong', payload: message.payload })
    if (answers === 'no payload') send({ type: 'pong' })
  })
  socket.on('ping', (data) => page.connectionPings.push(data))
  socket.on('close', (code) => page.closed.push(code))
  await new Promise((resolve) => socket.once('open', resolve))
  send({ type: 'connection_init', payload: { authorization: `Bearer dev:${userId}`, sessionId } })
  await until(() => isAcknowledged, { what: 'the acknowledgement' })
  return {
    ...page,
    lastMessageAtMs: () => lastMessageAtMs,
    send,
    close: (code) => socket.close(code),
    async ask(query) {
      const id = randomUUID()
      send({ id, type: 'subscribe', payload: { query } })
      await until(() => complete.has(id), { what: `the answer to ${query}` })
    },
  }
}

/** Somebody whom no other test knows, and what others see of them. */
async function watched(server: TestServer): Promise<{ userId: string; changes: SeenChange[] }> {
  const userId = `user-${randomUUID()}`
  const watcher = await openTab(server, `watcher-${randomUUID()}`, { observer: true })
  const changes = watcher.follow(`(userIds: ["${userId}"])`)
  await settled(watcher)
  return { userId, changes }
}

const kinds = (changes: readonly SeenChange[]) => changes.map(({ kind }) => kind)

function endAll(): void {
  closeTabs()
  for (const socket of sockets.splice(0)) socket.terminate()
}

describe('a page', () => {
  let server: TestServer

  beforeAll(async () => {
    server = await startServer({
      PAGE_PING_INTERVAL: `${PAGE_PING_INTERVAL_MS}ms`,
      PAGE_PONG_TIMEOUT: `${PAGE_PONG_TIMEOUT_MS}ms`,
      PONG_TIMEOUT: `${PONG_TIMEOUT_MS}ms`,
    })
  })
  afterEach(endAll)
  afterAll(() => server.stop())

  interface SeenSession {
    readonly id: string
    readonly isAttached: boolean
    readonly rooms: readonly string[]
  }

  async function sessionsOf(userId: string): Promise<readonly SeenSession[]> {
    const { data } = await post(server, `dev:${userId}`, '{ viewer { sessions { id isAttached rooms } } }')
    return data?.viewer.sessions
  }

  it('that is gone while its browser answers is offline an interval and a timeout after its last message', async () => {
    const { userId, changes } = await watched(server)
    const page = await openPage(server, userId, 'nothing')
    await until(() => kinds(changes).includes('LEAVE'), { what: 'the LEAVE' })
    expect(kinds(changes)).toEqual(['JOIN', 'LEAVE'])
    const tookMs = Number(changes[1]?.receivedAtMs) - page.lastMessageAtMs()
    const sumMs = PAGE_PING_INTERVAL_MS + PAGE_PONG_TIMEOUT_MS
    expect(tookMs).toBeGreaterThanOrEqual(sumMs - 5)
    expect(tookMs).toBeLessThan(sumMs + 2 * LOOK_MS + SLACK_MS)
    await until(() => page.closed.length > 0, { what: 'the end of its socket' })
    expect(page.closed).toEqual([1006])
    expect(page.pings).toEqual([{ type: 'ping' }])
    expect(page.connectionPings.length).toBeGreaterThanOrEqual(1)
    expect(await sessionsOf(userId)).toEqual([])
  })

  it.each(['the payload', 'no payload'] as const)('that answers with %s stays', async (answers) => {
    const { userId, changes } = await watched(server)
    const page = await openPage(server, userId, answers)
    await until(() => page.pings.length >= 4, { what: 'four pings' })
    expect(kinds(changes)).toEqual(['JOIN'])
    expect(page.closed).toEqual([])
  })

  it('with a stock client that is quiet for long stays', async () => {
    const { userId, changes } = await watched(server)
    const tab = await openTab(server, userId)
    let pingCount = 0
    tab.client.on('ping', (isReceived) => {
      if (isReceived) pingCount += 1
    })
    await until(() => pingCount >= 4, { what: 'four pings' })
    expect(kinds(changes)).toEqual(['JOIN'])
    expect(tab.wire().readyState).toBe(WebSocket.OPEN)
  })

  it('that does not answer, and speaks before the timeout ends, stays', async () => {
    const page = await openPage(server, `user-${randomUUID()}`, 'nothing')
    for (let times = 1; times <= 2; times += 1) {
      await until(() => page.pings.length === times, { what: 'the ping' })
      await page.ask('{ __typename }')
    }
    expect(page.closed).toEqual([])
  })

  it('that is gone gets no ping before it is acknowledged', async () => {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
    sockets.push(socket)
    const heard: string[] = []
    socket.on('message', (data) => heard.push(String(data)))
    const code = await new Promise((resolve) => socket.once('close', resolve))
    expect([code, heard]).toEqual([4408, []])
  })

  it('that is duplicated is a session of its own, though its client leaves the payload out', async () => {
    for (const answers of ['the payload', 'no payload'] as const) {
      const { userId, changes } = await watched(server)
      const first = await openPage(server, userId, answers)
      await first.ask('mutation { joinRoom(room: "hall") { session { id } } }')
      const second = await openPage(server, userId, answers, first.sessionId)
      const sessions = await until(
        async () => {
          const found = await sessionsOf(userId)
          return found.length === 2 && found.every(({ isAttached }) => isAttached) && found
        },
        { what: 'its own session' },
      )
      expect(sessions.map(({ id }) => id)).toContain(first.sessionId)
      expect(sessions.map(({ rooms }) => rooms)).toEqual([['hall'], ['hall']])
      await until(() => second.pings.length >= 2, { what: 'more pings' })
      expect([first.closed, second.closed]).toEqual([[], []])
      expect(kinds(changes)).toEqual(['JOIN'])
    }
  })

  it('that was replaced and does not answer is closed, and nothing that it said counts', async () => {
    const { userId, changes } = await watched(server)
    const gone = await openPage(server, userId, 'nothing')
    const newest = await openPage(server, userId, 'the payload', gone.sessionId)
    gone.send({ id: 'late', type: 'subscribe', payload: { query: 'mutation { goOffline { viewer { id } } }' } })
    const replacedAtMs = performance.now()
    await until(() => gone.closed.length > 0, { what: 'the end of the replaced socket' })
    expect(performance.now() - replacedAtMs).toBeLessThan(PONG_TIMEOUT_MS + LOOK_MS + SLACK_MS)
    expect(gone.closed).toEqual([1006])
    expect(gone.pings[0]?.payload?.nonce).toEqual(expect.any(String))
    expect(await sessionsOf(userId)).toMatchObject([{ id: newest.sessionId, isAttached: true }])
    expect(kinds(changes)).toEqual(['JOIN'])
  })

  it('that is left six times by links leaves one session', async () => {
    const { userId, changes } = await watched(server)
    const sessionId = randomUUID()
    const left: Page[] = []
    for (let times = 0; times < 6; times += 1) left.push(await openPage(server, userId, 'nothing', sessionId))
    await openPage(server, userId, 'the payload', sessionId)
    await until(() => left.every(({ closed }) => closed.length > 0), { what: 'the end of the six' })
    expect(await sessionsOf(userId)).toMatchObject([{ id: sessionId, isAttached: true }])
    expect(kinds(changes)).toEqual(['JOIN'])
  })
})

/** So often that no stall of a busy machine makes it quiet for an interval. */
const SPEAKS_EVERY_MS = 200

describe('a client that speaks by itself', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ PAGE_PING_INTERVAL: '4s' })
  })
  afterEach(endAll)
  afterAll(() => server.stop())

  it('is never asked, whatever it says', async () => {
    const says: readonly ((page: Page) => unknown)[] = [
      (page) => page.ask('mutation { heartbeat(active: false) { expiresAt } }'),
      (page) => page.send({ type: 'ping' }),
      (page) => page.send({ type: 'pong' }),
    ]
    const pages = await Promise.all(says.map(() => openPage(server, `user-${randomUUID()}`, 'nothing')))
    const quiet = await openPage(server, `user-${randomUUID()}`, 'the payload')
    let isAsked = false
    const speaking = Promise.all(
      pages.map(async (page, index) => {
        while (!isAsked) {
          await says[index]?.(page)
          const quietFromMs = performance.now()
          await until(() => isAsked || performance.now() > quietFromMs + SPEAKS_EVERY_MS)
        }
      }),
    )
    await until(() => quiet.pings.length >= 2, { withinMs: 30_000, what: 'two pings of a quiet one' })
    isAsked = true
    await speaking
    expect(pages.map(({ pings, closed }) => [pings, closed])).toEqual(says.map(() => [[], []]))
  })
})

describe('a close by the client', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ CLOSE_GRACE: '200ms', RECONNECT_GRACE: '2500ms' })
  })
  afterEach(endAll)
  afterAll(() => server.stop())

  it.each([
    [1000, 200],
    [1001, 200],
    [undefined, 200],
    [4499, 2500],
    [4408, 2500],
    [3000, 2500],
  ])('with %s leaves the session %i ms', async (code, graceMs) => {
    const { userId, changes } = await watched(server)
    const page = await openPage(server, userId, 'nothing')
    const closedAtMs = performance.now()
    page.close(code)
    await until(() => changes.length === 2, { what: 'the LEAVE' })
    const tookMs = Number(changes[1]?.receivedAtMs) - closedAtMs
    expect(tookMs).toBeGreaterThanOrEqual(graceMs - 5)
    expect(tookMs).toBeLessThan(graceMs + SLACK_MS)
  })
})

/** A change of this is 28 KB. */
const PICTURE = `https://example.com/${'p'.repeat(2000)}`
const FIELDS = Array.from({ length: 14 }, (_, index) => `p${index}: user { avatarUrl }`).join(' ')
/** Thirty changes, 840 KB: what kernels take for a socket is full before the first ping. */
const MOVES = `mutation { ${Array.from({ length: 30 }, (_, index) => `m${index}: ${index % 2 === 0 ? 'joinRoom' : 'leaveRoom'}(room: "hall") { session { id } }`).join(' ')} }`
/**
 * The kernel takes 4 MB for a socket, and more of it when a third has been read: every 3 s. An answer is 8 s late.
 */
const READ_BYTES_A_SECOND = 500_000
const BEHIND_PING_INTERVAL_MS = 1000
const BEHIND_PONG_TIMEOUT_MS = 6000
const SECRET = 'a-secret-of-32-bytes-for-the-tests!'

describe('a client that is behind', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({
      JWT_SECRET: SECRET,
      PING_INTERVAL: `${BEHIND_PING_INTERVAL_MS}ms`,
      PONG_TIMEOUT: `${BEHIND_PONG_TIMEOUT_MS}ms`,
      PAGE_PING_INTERVAL: `${BEHIND_PING_INTERVAL_MS}ms`,
      PAGE_PONG_TIMEOUT: `${BEHIND_PONG_TIMEOUT_MS}ms`,
    })
  })
  afterEach(endAll)
  afterAll(() => server.stop())

  async function openTabOf(userId: string, observer: boolean): Promise<Tab> {
    const token = await new SignJWT({ picture: PICTURE, presence: { rooms: ['**'] } })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(userId)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(SECRET))
    return openTab(server, userId, { token, observer })
  }

  const metric = (name: string) => metricOf(server, name)

  /** One who follows 28 KB a change, while another makes changes until `over`. */
  async function follow(userId: string): Promise<{ follower: Tab; over: () => Promise<void> }> {
    const [follower, mover] = [await openTabOf(userId, true), await openTabOf('mover', false)]
    follower.client.subscribe(
      { query: `subscription { presenceChanged(room: "hall") { position ${FIELDS} } }` },
      { next() {}, error() {}, complete() {} },
    )
    await settled(follower)
    let isOver = false
    const moving = (async () => {
      while (!isOver) expect((await mover.ask(MOVES)).errors).toBeUndefined()
    })()
    return {
      follower,
      async over() {
        isOver = true
        await moving
      },
    }
  }

  it('is given up where it reads nothing', async () => {
    const { follower, over } = await follow('deaf')
    follower.fallSilent()
    // What the kernels take for it looks like reading, until they are full.
    await until(async () => (await metric('rollcall_sockets')) === 1, { withinMs: 30_000, what: 'its end' })
    await over()
  })

  it('stays while it reads, however late its answers come', async () => {
    const { follower, over } = await follow('slow')
    follower.fallSilent()
    await until(async () => (await metric('rollcall_subscriptions_behind')) === 1, { what: 'that it is behind' })
    const raw = (follower.wire() as unknown as { readonly _socket: Socket })._socket
    let mayReadBytes = 0
    let readAtMs = performance.now()
    raw.on('data', (chunk) => {
      mayReadBytes -= chunk.length
      if (mayReadBytes <= 0) raw.pause()
    })
    const reading = setInterval(() => {
      mayReadBytes += (READ_BYTES_A_SECOND * (performance.now() - readAtMs)) / 1000
      readAtMs = performance.now()
      if (mayReadBytes > 0) raw.resume()
    }, 50)
    follower.wire().resume()
    let longestMs = 0
    let answeredAtMs = performance.now()
    follower.client.on('ping', () => {
      longestMs = Math.max(longestMs, performance.now() - answeredAtMs)
      answeredAtMs = performance.now()
    })
    // It has been without an answer for longer than an interval and a timeout, and was not given up.
    await until(
      async () => {
        expect(await metric('rollcall_sockets')).toBe(2)
        return longestMs > BEHIND_PING_INTERVAL_MS + BEHIND_PONG_TIMEOUT_MS + LOOK_MS
      },
      { withinMs: 60_000, everyMs: 200, what: 'a late answer' },
    )
    clearInterval(reading)
    await over()
  })
})
