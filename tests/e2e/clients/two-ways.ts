/**
 * The orders in which a client of both ways, HTTP and a socket, may do things (rule 7). The libraries are set up as their
 * own documentation does it, without anything of ours.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createClient, type Client as SocketClient } from 'graphql-ws'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import {
  type Acknowledgement,
  closeTabs,
  noRetryWait,
  openTab,
  post,
  type SeenChange,
  settled,
} from '../../support/clients.ts'
import { postgresData, redisData, startServer, type TestData, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { until } from '../../support/wait.ts'

const CLOSE_GRACE_MS = 500
const RECONNECT_GRACE_MS = 1500
/** What a busy machine adds; far from SESSION_TTL, for which a ghost would stay. */
const SLACK_MS = 3000
const SETTINGS = {
  CLOSE_GRACE: `${CLOSE_GRACE_MS}ms`,
  RECONNECT_GRACE: `${RECONNECT_GRACE_MS}ms`,
  SESSION_TTL: '60s',
  NODE_RENEW: '1s',
  NODE_TTL: '4s',
}

export interface StockOptions {
  readonly url: string
  /** Sent with every request over HTTP. */
  readonly headers: Record<string, string>
  readonly socket: SocketClient
}

export interface Stock {
  /** Over HTTP. */
  mutate(mutation: string): Promise<any>
  /** Over the socket, which it opens. */
  subscribe(subscription: string): void
  stop(): void
}

interface App extends Stock {
  readonly socket: SocketClient
  close(): void
}

const NODES = [
  { name: 'one process', prepare: postgresData, count: 1 },
  { name: 'two nodes, one for each way', prepare: redisData, count: 2 },
] as const

export function testTwoWays(open: (options: StockOptions) => Stock): void {
  describe.each(NODES)('with $name', ({ prepare, count }) => {
    let data: TestData
    let nodes: readonly TestServer[]
    let proxy: TcpProxy
    const opened = new Set<App>()

    beforeAll(async () => {
      data = await prepare()
      nodes = await Promise.all(Array.from({ length: count }, () => startServer({ ...SETTINGS, ...data.settings })))
      proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(String(nodes[0]?.url)).port) })
    })
    afterEach(() => {
      for (const app of opened) app.close()
      opened.clear()
      closeTabs()
    })
    afterAll(async () => {
      await proxy.close()
      await Promise.all(nodes.map((node) => node.stop()))
      await data.drop()
    })

    function far(): TestServer {
      return nodes.at(-1) as TestServer
    }

    /** An app as a new user, with a watcher who sees only them. */
    async function start({ isNamed = false, onConnected = (_: Acknowledgement, _app: App): void => {} } = {}) {
      const userId = `user-${randomUUID()}`
      const watcher = await openTab(far(), `watcher-${randomUUID()}`, { observer: true })
      const changes = watcher.follow(`(userIds: ["${userId}"])`)
      await settled(watcher)
      const sessionId = randomUUID()
      const acknowledgements: Acknowledgement[] = []
      const authorization = `Bearer dev:${userId}`
      const socket = createClient({
        url: `ws://127.0.0.1:${proxy.port}/graphql`,
        connectionParams: { authorization, sessionId },
        webSocketImpl: WebSocket,
        retryAttempts: Number.POSITIVE_INFINITY,
        shouldRetry: () => true,
        retryWait: noRetryWait,
        on: {
          connected(_socket, payload) {
            const acknowledgement = payload as unknown as Acknowledgement
            acknowledgements.push(acknowledgement)
            onConnected(acknowledgement, app)
          },
        },
      })
      const stock = open({
        url: `${far().url}/graphql`,
        headers: { authorization, ...(isNamed ? { 'Rollcall-Session': sessionId } : {}) },
        socket,
      })
      const app: App = {
        ...stock,
        socket,
        close() {
          stock.stop()
          Promise.resolve(socket.dispose()).catch(() => {})
        },
      }
      opened.add(app)

      /** Asked again where the store or the database is too slow for an answer. */
      function sessions(): Promise<{ id: string; isAttached: boolean; rooms: string[] }[]> {
        return until(async () => {
          const answer = await post(far(), `dev:${userId}`, '{ viewer { sessions { id isAttached rooms } } }')
          return answer.data?.viewer.sessions
        })
      }

      return {
        app,
        sessionId,
        acknowledgements,
        changes,
        kinds: () => changes.map(({ kind }) => kind),
        sessions,
        untilOnlyOnSocket: () =>
          until(
            async () => {
              const [session, ...others] = await sessions()
              return others.length === 0 && session?.id === sessionId && session.isAttached && session
            },
            { what: "the tab's own session on its socket, and no other" },
          ),
        async expectGoneByClose(): Promise<void> {
          const closedAtMs = performance.now()
          app.close()
          const leave = await until(() => changes.find((change) => isLeaveAfter(change, closedAtMs)), {
            what: 'the LEAVE',
            withinMs: 30_000,
          })
          expect(leave.receivedAtMs - closedAtMs).toBeLessThan(CLOSE_GRACE_MS + SLACK_MS)
          expect(await sessions()).toEqual([])
        },
      }
    }

    for (const isNamed of [false, true]) {
      const how = isNamed ? 'that names its session in the header' : 'without a session'

      it(`a heartbeat over HTTP ${how}, the socket 200 ms later, and the end of the tab`, async () => {
        const { app, kinds, untilOnlyOnSocket, expectGoneByClose } = await start({ isNamed })
        await app.mutate('mutation { heartbeat { expiresAt } }')
        await sleep(200)
        app.subscribe('subscription { viewerChanged { status } }')
        await untilOnlyOnSocket()
        await app.mutate('mutation { heartbeat { expiresAt } }')
        await expectGoneByClose()
        expect(kinds()).toEqual(['JOIN', 'LEAVE'])
      })

      it(`a heartbeat over HTTP ${how} and the socket at once, and the end of the tab`, async () => {
        const { app, kinds, untilOnlyOnSocket, expectGoneByClose } = await start({ isNamed })
        app.subscribe('subscription { viewerChanged { status } }')
        await app.mutate('mutation { heartbeat { expiresAt } }')
        await untilOnlyOnSocket()
        await expectGoneByClose()
        expect(kinds()).toEqual(['JOIN', 'LEAVE'])
      })
    }

    const LEAVING = {
      'over HTTP, by the header': {
        isNamed: true,
        leave: (app: App) => app.mutate('mutation { goOffline { viewer { isOnline } } }'),
      },
      'over HTTP, everywhere': {
        isNamed: false,
        leave: (app: App) => app.mutate('mutation { goOffline(everywhere: true) { viewer { isOnline } } }'),
      },
      'over the socket': {
        isNamed: false,
        leave: (app: App) => overSocket(app.socket, 'mutation { goOffline { viewer { isOnline } } }'),
      },
    }
    for (const [way, { isNamed, leave }] of Object.entries(LEAVING)) {
      it(`goOffline ${way}, a heartbeat over HTTP, and the end of the tab`, async () => {
        const { app, kinds, untilOnlyOnSocket, expectGoneByClose } = await start({ isNamed })
        app.subscribe('subscription { viewerChanged { status } }')
        await untilOnlyOnSocket()
        expect((await leave(app)).goOffline.viewer.isOnline).toBe(false)
        await app.mutate('mutation { heartbeat { expiresAt } }')
        await untilOnlyOnSocket()
        await expectGoneByClose()
        expect(kinds()).toEqual(['JOIN', 'LEAVE', 'JOIN', 'LEAVE'])
      })
    }

    it('goOffline over HTTP that names no session says what to send', async () => {
      const { app, untilOnlyOnSocket } = await start()
      app.subscribe('subscription { viewerChanged { status } }')
      await untilOnlyOnSocket()
      await expect(app.mutate('mutation { goOffline { viewer { isOnline } } }')).rejects.toThrow('Rollcall-Session')
    })

    it('rooms by joinRoom, away for longer than the grace, and the client joins again', async () => {
      const joined = new Set<string>()
      async function join(app: App, room: string): Promise<void> {
        joined.add(room)
        await app.mutate(`mutation { joinRoom(room: "${room}") { session { id } } }`)
      }
      const { app, acknowledgements, sessions, untilOnlyOnSocket, kinds } = await start({
        isNamed: true,
        // All that an app has to do.
        onConnected({ rooms }, app) {
          for (const room of joined) if (!rooms.includes(room)) void join(app, room)
        },
      })
      app.subscribe('subscription { viewerChanged { status } }')
      await untilOnlyOnSocket()
      await join(app, 'hall')
      expect((await sessions())[0]?.rooms).toEqual(['hall'])

      // For less than the grace: nothing is lost.
      proxy.cut()
      await until(() => acknowledgements.length === 2, { what: 'the second connection' })
      expect(acknowledgements[1]).toMatchObject({ resumed: true, rooms: ['hall'] })

      proxy.refuse()
      await until(() => kinds().length === 2, { what: 'the LEAVE', withinMs: 20_000 })
      proxy.mend()
      await until(() => acknowledgements.length === 3, { what: 'the third connection', withinMs: 30_000 })
      expect(acknowledgements[2]).toMatchObject({ resumed: false, rooms: [] })
      await until(async () => (await sessions())[0]?.rooms.includes('hall'), { what: 'the room' })
      expect(kinds()).toEqual(['JOIN', 'LEAVE', 'JOIN'])
    })
  })
}

function isLeaveAfter({ kind, receivedAtMs }: SeenChange, atMs: number): boolean {
  return kind === 'LEAVE' && receivedAtMs >= atMs
}

function overSocket(socket: SocketClient, query: string): Promise<any> {
  return new Promise((resolve, reject) => {
    let data: unknown
    socket.subscribe(
      { query },
      {
        next: (result) => {
          data = result.data
        },
        error: reject,
        complete: () => resolve(data),
      },
    )
  })
}
