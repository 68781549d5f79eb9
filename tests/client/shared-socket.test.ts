/** Tabs of one browser that share a socket: a channel for each is the port of the worker, and the server is a real one. */
import { randomUUID } from 'node:crypto'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import type { Socket } from '../../client/src/connection.ts'
import { execute } from '../../client/src/execute.ts'
import type { Presence, PresenceOptions } from '../../client/src/index.ts'
import { sharedSocket } from '../../client/src/shared/index.ts'
import { Tabs } from '../../client/src/worker/tabs.ts'
import { openTab, post } from '../support/clients.ts'
import { startServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'
import { presenceOf, read, serverForTests, untilLive } from './kit.ts'

const SETTINGS = { SESSION_TTL: '3s', HEARTBEAT_INTERVAL: '2s', CLOSE_GRACE: '500ms', RECONNECT_GRACE: '2s' }

const ports: MessagePort[] = []
afterEach(() => {
  for (const port of ports.splice(0)) port.close()
})

interface FakeBrowser {
  readonly worker: () => SharedWorker
  /** What the newest tab sends is lost from now on, as of a tab that crashed. */
  crashNewest(): void
  /** Ends the worker, and with it its sockets. The next tab that asks for it has another one. */
  crashWorker(): void
  readonly socketCount: () => number
}

function openBrowser({ tickMs = 200 }: { tickMs?: number } = {}): FakeBrowser {
  const sockets: WebSocket[] = []
  const portsOfWorker: MessagePort[] = []
  let worker = {}
  function startWorker(): Tabs {
    const self = {}
    worker = self
    return new Tabs((url, protocol) => {
      if (worker !== self) throw new Error('This worker is dead.')
      const socket = new WebSocket(url, protocol)
      sockets.push(socket)
      return socket as unknown as Socket
    }, tickMs)
  }
  let tabs = startWorker()
  return {
    worker() {
      const { port1, port2 } = new MessageChannel()
      ports.push(port1, port2)
      portsOfWorker.push(port2)
      tabs.connect(port2)
      return { port: port1, onerror: null } as unknown as SharedWorker
    },
    crashNewest() {
      const [port] = ports.slice(-2)
      if (port) port.onmessage = null
      port?.close()
    },
    crashWorker() {
      for (const port of portsOfWorker.splice(0)) port.onmessage = null
      tabs = startWorker()
      for (const socket of sockets) socket.terminate()
    },
    socketCount: () => sockets.filter(({ readyState }) => readyState === 1).length,
  }
}

describe('tabs that share a socket', () => {
  const at = serverForTests(SETTINGS)
  const open = (browser: FakeBrowser, userId: string, options: Partial<PresenceOptions> = {}): Presence =>
    presenceOf(at.near, userId, { socket: sharedSocket(browser.worker), sessionId: randomUUID(), ...options })

  async function sessionsOf(userId: string): Promise<string[]> {
    const { data } = await post(at.server, `dev:${userId}`, '{ viewer { sessions { id } } }')
    return data?.viewer.sessions.map(({ id }: { id: string }) => id).sort()
  }
  const isOpen = ({ link }: Presence) => link.getSnapshot().state === 'open'
  async function untilOpen(...presences: readonly Presence[]): Promise<void> {
    await until(() => presences.every(isOpen), { what: 'open links' })
  }
  const idsOf = (...presences: readonly Presence[]) => presences.map(({ sessionId }) => String(sessionId)).sort()

  /** What others see of a user from now on. */
  async function seenOf(userId: string): Promise<() => string[]> {
    const watcher = await openTab(at.server, `watcher-${randomUUID()}`, { observer: true })
    const changes = watcher.follow(`(userIds: ["${userId}"])`)
    await watcher.ask('{ position }')
    return () => changes.map(({ kind }) => kind)
  }

  it('are sessions of their own on one socket, for longer than a session lives by itself', async () => {
    const browser = openBrowser()
    const before = at.wire.connectionCount()
    const presences = [1, 2, 3].map(() => open(browser, 'anna'))
    await untilOpen(...presences)
    expect(await sessionsOf('anna')).toEqual(idsOf(...presences))
    const me = presences.map((presence) => read(presence.me))
    await until(() => me.every((one) => one.now().state === 'live' && one.now().viewer?.sessions.length === 3))
    expect(me.map((one) => one.now().viewer?.sessions.find(({ isCurrent }) => isCurrent)?.id)).toEqual(
      presences.map(({ sessionId }) => sessionId),
    )
    const seen = await seenOf('anna')
    const startMs = performance.now()
    await until(() => performance.now() - startMs > 5000)
    expect(await sessionsOf('anna')).toEqual(idsOf(...presences))
    expect(seen()).toEqual([])
    expect([at.wire.connectionCount() - before, browser.socketCount()]).toEqual([1, 1])
  })

  it('go one by one: a tab that is closed ends its session alone, and a reload shows nothing', async () => {
    const browser = openBrowser()
    const [first, second, third] = [open(browser, 'bea'), open(browser, 'bea'), open(browser, 'bea')]
    first.joinRoom('hall')
    await untilOpen(first, second, third)
    const inHall = read(third.onlineUsers({ room: 'hall' }))
    await until(() => inHall.now().ids.includes('bea'))
    const seen = await seenOf('bea')
    const sessionId = String(first.sessionId)
    const startOf = async (id: string): Promise<string> => {
      const { data } = await post(at.server, 'dev:bea', '{ viewer { sessions { id startedAt } } }')
      return data?.viewer.sessions.find((session: { id: string }) => session.id === id)?.startedAt
    }
    const startedAt = await startOf(sessionId)
    first.close()
    const again = open(browser, 'bea', { sessionId })
    again.joinRoom('hall')
    await untilOpen(again)
    expect(await startOf(sessionId)).toBe(startedAt)
    second.close()
    await until(async () => (await sessionsOf('bea')).length === 2, { what: 'the end of one' })
    expect(await sessionsOf('bea')).toEqual(idsOf(again, third))
    expect(inHall.said.filter(({ state, ids }) => state === 'live' && !ids.includes('bea')).length).toBeLessThan(2)
    again.close()
    await until(async () => (await sessionsOf('bea')).length === 1, { what: 'the end of another' })
    expect(await sessionsOf('bea')).toEqual(idsOf(third))
    expect(seen()).toEqual([])
    third.close()
    await until(() => seen().length === 1, { what: 'the LEAVE' })
    expect(seen()).toEqual(['LEAVE'])
    await until(() => browser.socketCount() === 0, { what: 'the end of the socket' })
  })

  it('share with nobody who has another token', async () => {
    const browser = openBrowser()
    const strict = await startServer({ ...SETTINGS, JWT_SECRET: SECRET })
    try {
      const claims = { sub: 'cleo', presence: { rooms: ['team:1'] } }
      const tokens = [
        await sign(claims),
        await sign(claims, '2h', new Date(Date.now() - 60_000)),
        await sign({ ...claims, presence: { rooms: ['team:2'] } }),
        await sign({ ...claims, sub: 'carl' }),
      ]
      const presences = tokens.map((token) =>
        presenceOf(strict, '', { token, socket: sharedSocket(browser.worker), sessionId: randomUUID() }),
      )
      await untilOpen(...presences)
      // The first two tokens differ in when they were issued.
      expect(browser.socketCount()).toBe(3)
      const other = presenceOf(strict, '', {
        token: String(tokens[0]),
        socket: sharedSocket(browser.worker, { user: 'somebody else' }),
        sessionId: randomUUID(),
      })
      await untilOpen(other)
      expect(browser.socketCount()).toBe(4)
    } finally {
      await strict.stop()
    }
  })

  it('come back together by one attempt at a time, and say alike when the next one is', async () => {
    const browser = openBrowser()
    const presences = Array.from({ length: 5 }, () => open(browser, 'dora'))
    await untilOpen(...presences)
    const lists = presences.map((presence) => read(presence.onlineUsers()))
    await until(() => lists.every((list) => list.now().state === 'live'))
    const seen = await seenOf('dora')
    const before = at.wire.connectionCount()
    at.wire.refuse()
    await until(() => presences.every(({ link }) => link.getSnapshot().state === 'waiting'))
    const retriesAtMs = presences.map(({ link }) => link.getSnapshot().retryAt?.getTime() ?? 0)
    expect(Math.max(...retriesAtMs) - Math.min(...retriesAtMs)).toBeLessThan(200)
    expect(lists.every((list) => list.now().state === 'stale')).toBe(true)
    at.wire.mend()
    presences[2]?.retryNow()
    await untilOpen(...presences)
    await until(() => lists.every((list) => list.now().state === 'live'))
    expect(at.wire.connectionCount() - before).toBeLessThanOrEqual(2)
    expect(browser.socketCount()).toBe(1)
    expect(await sessionsOf('dora')).toEqual(idsOf(...presences))
    expect(seen()).toEqual([])
  })

  it('come back together when the person asks one of them to', async () => {
    const browser = openBrowser()
    const presences = [1, 2, 3].map(() => open(browser, 'doris'))
    await untilOpen(...presences)
    at.wire.refuse()
    const waits = () => presences.map(({ link }) => link.getSnapshot().retryInMs ?? 0)
    await until(() => waits().every((ms) => ms > 4000), { what: 'a long wait', withinMs: 50_000 })
    at.wire.mend()
    presences[1]?.retryNow()
    await until(() => presences.every(isOpen), { what: 'open links', withinMs: 2500 })
  })

  it('are told of a black network, and right again after it', async () => {
    const browser = openBrowser()
    const presences = [open(browser, 'emma'), open(browser, 'emma')]
    const lists = presences.map((presence) => read(presence.onlineUsers()))
    await Promise.all(presences.map((presence) => untilLive(presence.onlineUsers())))
    at.wire.fallSilent()
    await until(() => lists.every((list) => list.now().state === 'stale'), { withinMs: 15_000 })
    at.wire.leaveSilent()
    await until(() => lists.every((list) => list.now().state === 'live'), { withinMs: 15_000 })
    expect(browser.socketCount()).toBe(1)
  })

  it('are two sessions where one was duplicated, and the copy knows which one it is', async () => {
    const browser = openBrowser()
    const sessionId = randomUUID()
    const first = open(browser, 'fay', { sessionId })
    await untilOpen(first)
    const copy = open(browser, 'fay', { sessionId })
    await untilOpen(copy)
    expect(first.sessionId).toBe(sessionId)
    expect(copy.sessionId).not.toBe(sessionId)
    expect(await sessionsOf('fay')).toEqual(idsOf(first, copy))
  })

  it('go offline, come back and sign out each for itself', async () => {
    const browser = openBrowser()
    const [first, second] = [open(browser, 'gina'), open(browser, 'gina')]
    await untilOpen(first, second)
    const both = idsOf(first, second)
    await second.goOffline()
    // A heartbeat that keeps the session of the second alive would bring it back.
    const startMs = performance.now()
    await until(() => performance.now() - startMs > 2000)
    expect(await sessionsOf('gina')).toEqual(idsOf(first))
    const states = read(second.link)
    await second.comeBack()
    expect(await sessionsOf('gina')).toEqual(both)
    await first.signOut()
    expect(await sessionsOf('gina')).toEqual(idsOf(second))
    const backAtMs = performance.now()
    await until(() => performance.now() - backAtMs > 1500)
    expect(states.said.map(({ state }) => state)).toEqual(['open'])
    await second.setStatus('BUSY')
  })

  it('speak for their own session in operations of the app', async () => {
    const browser = openBrowser()
    const [first, second] = [open(browser, 'hedi'), open(browser, 'hedi')]
    await untilOpen(first, second)
    for (const presence of [first, second]) {
      const query = 'mutation { joinRoom(room: "hall") { session { id isCurrent } } }'
      const result = await new Promise((resolve, reject) => {
        execute(presence, { kind: 'mutation', query }, { next: resolve, error: reject, complete() {} })
      })
      expect(result).toEqual({ data: { joinRoom: { session: { id: presence.sessionId, isCurrent: true } } } })
    }
  })

  it('end with a tab that crashed: it answers nothing any more', async () => {
    const browser = openBrowser({ tickMs: 100 })
    const stays = open(browser, 'ida')
    await untilOpen(stays)
    const crashes = open(browser, 'ida')
    await untilOpen(crashes)
    expect(await sessionsOf('ida')).toEqual(idsOf(stays, crashes))
    browser.crashNewest()
    await until(async () => (await sessionsOf('ida')).length === 1, { what: 'the end of the session' })
    expect(await sessionsOf('ida')).toEqual(idsOf(stays))
  })

  it('have a token fetched by one of them, and by another where that one has none', async () => {
    const browser = openBrowser()
    const asked: string[] = []
    const isGone = { first: false }
    const first = open(browser, 'jana', {
      token: async () => {
        asked.push('first')
        if (isGone.first) throw new Error('The sign-in of this tab is over.')
        return 'dev:jana'
      },
    })
    await untilOpen(first)
    const second = open(browser, 'jana', {
      token: async () => {
        asked.push('second')
        return 'dev:jana'
      },
    })
    await untilOpen(second)
    expect(asked).toEqual(['first', 'second'])
    isGone.first = true
    at.wire.cut()
    await until(() => !isOpen(first) && !isOpen(second))
    await untilOpen(first, second)
    // One token is enough for both.
    expect([['second'], ['first', 'second']]).toContainEqual(asked.slice(2))
    expect(browser.socketCount()).toBe(1)
  })

  it('fail together where the server refuses their token for good, and a new one helps all of them', async () => {
    const browser = openBrowser()
    const state = { token: 'nonsense' }
    const presences = [1, 2].map(() => open(browser, '', { token: () => state.token }))
    await until(() => presences.every(({ link }) => link.getSnapshot().state === 'failed'))
    expect(presences[0]?.link.getSnapshot().error).toMatchObject({ code: 'UNAUTHENTICATED' })
    state.token = 'dev:karl'
    for (const presence of presences) presence.retryNow()
    await untilOpen(...presences)
    expect(await sessionsOf('karl')).toEqual(idsOf(...presences))
  })

  it('have another worker where theirs has died, and others see nothing of it', async () => {
    const browser = openBrowser()
    const presences = [open(browser, 'mona'), open(browser, 'mona')]
    const lists = presences.map((presence) => read(presence.onlineUsers()))
    await until(() => lists.every((list) => list.now().state === 'live'))
    const ids = idsOf(...presences)
    browser.crashWorker()
    await until(() => lists.every((list) => list.now().state === 'stale'), { what: 'stale lists', withinMs: 15_000 })
    await until(() => lists.every((list) => list.now().state === 'live'), { what: 'live lists', withinMs: 15_000 })
    expect([await sessionsOf('mona'), idsOf(...presences)]).toEqual([ids, ids])
    expect(browser.socketCount()).toBe(1)
  })

  it.each([
    [
      'is none',
      () => {
        throw new ReferenceError('SharedWorker is not defined')
      },
    ],
    [
      'cannot be loaded',
      () => {
        const { port1, port2 } = new MessageChannel()
        ports.push(port1, port2)
        const worker = { port: port1, onerror: null as (() => void) | null }
        setTimeout(() => worker.onerror?.(), 50)
        return worker as unknown as SharedWorker
      },
    ],
    [
      'answers nothing',
      () => {
        const { port1, port2 } = new MessageChannel()
        ports.push(port1, port2)
        return { port: port1, onerror: null } as unknown as SharedWorker
      },
    ],
  ])('have a socket each where the worker %s', async (_what, worker) => {
    const before = at.wire.connectionCount()
    const presences = [1, 2].map(() => presenceOf(at.near, 'lena', { socket: sharedSocket(worker) }))
    // A browser has 10 s to start a worker.
    await until(() => presences.every(isOpen), { what: 'open links', withinMs: 20_000 })
    expect(at.wire.connectionCount() - before).toBe(2)
  })
})
