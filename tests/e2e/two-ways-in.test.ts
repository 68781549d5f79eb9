/**
 * One person has one tab and two ways in: a socket, and requests over HTTP (rule 7). On many nodes the two lead to
 * different ones.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post, type SeenChange, settled, type Tab } from '../support/clients.ts'
import { postgresData, redisData, startServer, type TestData, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const CLOSE_GRACE_MS = 400
/** What a busy machine adds; far from SESSION_TTL, for which a ghost would stay. */
const SLACK_MS = 3000
const SETTINGS = {
  CLOSE_GRACE: `${CLOSE_GRACE_MS}ms`,
  RECONNECT_GRACE: '1500ms',
  SESSION_TTL: '60s',
  NODE_RENEW: '1s',
  NODE_TTL: '4s',
}

const NODES = [
  { name: 'on one process', prepare: postgresData, count: 1 },
  { name: 'on two nodes', prepare: redisData, count: 2 },
] as const

describe.each(NODES)('two ways in $name', ({ prepare, count }) => {
  let data: TestData
  let nodes: readonly TestServer[]
  /** Where sockets lead to, and where requests do. */
  let [near, far] = [] as unknown as [TestServer, TestServer]

  beforeAll(async () => {
    data = await prepare()
    nodes = await Promise.all(Array.from({ length: count }, () => startServer({ ...SETTINGS, ...data.settings })))
    near = nodes[0] as TestServer
    far = nodes.at(-1) as TestServer
  })
  afterEach(closeTabs)
  afterAll(async () => {
    await Promise.all(nodes.map((node) => node.stop()))
    await data.drop()
  })

  function ask(userId: string, query: string, sessionId?: string) {
    const headers: Record<string, string> = sessionId === undefined ? {} : { 'Rollcall-Session': sessionId }
    return post(far, `dev:${userId}`, query, {}, headers)
  }

  /** Somebody whom no other test knows, with the kinds of what a watcher on the other node saw of them. */
  async function watched(): Promise<{ userId: string; kinds: () => string[]; changes: SeenChange[] }> {
    const userId = `user-${randomUUID()}`
    const watcher = await openTab(far, `watcher-${randomUUID()}`, { observer: true })
    const changes = watcher.follow(`(userIds: ["${userId}"])`)
    await settled(watcher)
    return { userId, kinds: () => changes.map(({ kind }) => kind), changes }
  }

  /** Asked again where the store or the database is too slow for an answer. */
  function sessionsOf(userId: string): Promise<{ id: string; isAttached: boolean; rooms: string[] }[]> {
    return until(
      async () => (await ask(userId, '{ viewer { sessions { id isAttached rooms } } }')).data?.viewer.sessions,
    )
  }

  async function untilOnlyOn(tab: Tab, userId: string): Promise<void> {
    await until(
      async () => {
        const sessions = await sessionsOf(userId)
        return sessions.length === 1 && sessions[0]?.id === tab.sessionId && sessions[0].isAttached
      },
      { what: "the tab's own session, and no other" },
    )
  }

  async function expectGoneWith(tab: Tab, changes: readonly SeenChange[]): Promise<void> {
    const seenCount = changes.length
    const closedAtMs = performance.now()
    await tab.close()
    await until(() => changes.length > seenCount, { what: 'the LEAVE' })
    const leave = changes.at(-1)
    expect(leave?.kind).toBe('LEAVE')
    expect(Number(leave?.receivedAtMs) - closedAtMs).toBeLessThan(CLOSE_GRACE_MS + SLACK_MS)
  }

  const BEAT = 'mutation { heartbeat { session { id rooms isCurrent } viewer { isOnline sessions { id isCurrent } } } }'

  describe('a heartbeat over HTTP before the socket', () => {
    it('is taken over by the socket, and the tab that closes takes its user along', async () => {
      const { userId, kinds, changes } = await watched()
      const { data: answer } = await ask(userId, 'mutation { heartbeat(rooms: ["hall"]) { session { id } } }')
      expect(answer?.heartbeat.session).toEqual({ id: 'default' })
      const tab = await openTab(near, userId)
      expect(tab.acknowledged()).toMatchObject({ resumed: false, rooms: ['hall'] })
      await untilOnlyOn(tab, userId)
      expect((await ask(userId, BEAT)).data?.heartbeat.session).toBeNull()
      await expectGoneWith(tab, changes)
      expect(kinds()).toEqual(['JOIN', 'LEAVE'])
    })

    it("is the tab's own by the header, and the socket resumes it", async () => {
      const { userId, kinds, changes } = await watched()
      const sessionId = randomUUID()
      const { data: answer } = await ask(userId, BEAT, sessionId)
      expect(answer?.heartbeat).toEqual({
        session: { id: sessionId, rooms: [], isCurrent: true },
        viewer: { isOnline: true, sessions: [{ id: sessionId, isCurrent: true }] },
      })
      const tab = await openTab(near, userId, { sessionId })
      expect(tab.acknowledged()).toMatchObject({ resumed: true })
      await expectGoneWith(tab, changes)
      expect(kinds()).toEqual(['JOIN', 'LEAVE'])
    })
  })

  describe('goOffline and then a heartbeat over HTTP', () => {
    const GO_OFFLINE = {
      'over its socket': (tab: Tab) => tab.ask('mutation { goOffline { viewer { isOnline } } }'),
      'over HTTP by the header': (tab: Tab, userId: string) =>
        ask(userId, 'mutation { goOffline { viewer { isOnline } } }', tab.sessionId),
      'over HTTP by the argument': (tab: Tab, userId: string) =>
        ask(userId, `mutation { goOffline(sessionId: "${tab.sessionId}") { viewer { isOnline } } }`),
      everywhere: (_tab: Tab, userId: string) =>
        ask(userId, 'mutation { goOffline(everywhere: true) { viewer { isOnline } } }'),
    }
    const BEATS = {
      'without a session': undefined,
      'with the header': (tab: Tab) => tab.sessionId,
    }

    for (const [way, goOffline] of Object.entries(GO_OFFLINE)) {
      for (const [name, sessionId] of Object.entries(BEATS)) {
        it(`brings the tab's own session back on its socket: ${way}, beat ${name}`, async () => {
          const { userId, kinds, changes } = await watched()
          const tab = await openTab(near, userId)
          expect((await goOffline(tab, userId)).data?.goOffline.viewer.isOnline).toBe(false)
          await ask(userId, BEAT, sessionId?.(tab))
          await untilOnlyOn(tab, userId)
          expect(kinds()).toEqual(['JOIN', 'LEAVE', 'JOIN'])
          await expectGoneWith(tab, changes)
          expect(kinds()).toEqual(['JOIN', 'LEAVE', 'JOIN', 'LEAVE'])
        })
      }
    }

    it('brings back the newest of several tabs, and no other', async () => {
      const { userId, changes } = await watched()
      await openTab(near, userId)
      const newest = await openTab(near, userId)
      await ask(userId, 'mutation { goOffline(everywhere: true) { viewer { id } } }')
      await ask(userId, BEAT)
      await untilOnlyOn(newest, userId)
      await expectGoneWith(newest, changes)
    })

    it('hands the rooms of the heartbeat to the session', async () => {
      const { userId } = await watched()
      const tab = await openTab(near, userId)
      await tab.ask('mutation { goOffline { viewer { id } } }')
      await ask(userId, 'mutation { heartbeat(rooms: ["hall"]) { expiresAt } }')
      await untilOnlyOn(tab, userId)
      expect((await sessionsOf(userId))[0]?.rooms).toEqual(['hall'])
      // The socket speaks for it again.
      const { data: joined } = await tab.ask('mutation { joinRoom(room: "bar") { session { id rooms } } }')
      expect(joined?.joinRoom.session).toEqual({ id: tab.sessionId, rooms: ['hall', 'bar'] })
    })

    it('brings nobody back by a heartbeat without activity, whatever it names', async () => {
      const { userId, kinds } = await watched()
      const tab = await openTab(near, userId)
      await tab.ask('mutation { goOffline { viewer { id } } }')
      for (const sessionId of [undefined, tab.sessionId]) {
        const beat = 'mutation { heartbeat(active: false) { viewer { isOnline sessions { isAttached } } } }'
        const { data: answer } = await ask(userId, beat, sessionId)
        expect(answer?.heartbeat.viewer.isOnline).toBe(false)
      }
      // A message takes the same way as theirs: when it has led to something, theirs would have.
      const after = await openTab(near, `${userId}-after`)
      await after.ask('mutation { goOffline { viewer { id } } }')
      await ask(`${userId}-after`, BEAT)
      await untilOnlyOn(after, `${userId}-after`)
      expect((await sessionsOf(userId)).filter(({ isAttached }) => isAttached)).toEqual([])
      expect(kinds()).toEqual(['JOIN', 'LEAVE'])
    })

    it('leaves a tab offline whose user is there by another one', async () => {
      const { userId, kinds } = await watched()
      const left = await openTab(near, userId)
      const other = await openTab(near, userId)
      await left.ask('mutation { goOffline { viewer { id } } }')
      const { data: answer } = await ask(userId, BEAT)
      expect(answer?.heartbeat.session).toBeNull()
      await untilOnlyOn(other, userId)
      const { data: own } = await left.ask('mutation { heartbeat(active: false) { session { id } } }')
      expect(own?.heartbeat.session).toBeNull()
      await untilOnlyOn(other, userId)
      expect(kinds()).toEqual(['JOIN'])
    })
  })

  describe('the extension Rollcall-Session of an operation over a socket', () => {
    const as = (socket: Tab, sessionId: unknown, query: string) =>
      socket.ask(query, {}, { 'Rollcall-Session': sessionId })

    it('is the default of every argument and says which session is the current one, as the header does', async () => {
      const { userId, kinds } = await watched()
      const [socket, own] = [await openTab(near, userId, { observer: true }), await openTab(near, userId)]
      const [first, second] = [randomUUID(), randomUUID()]
      for (const id of [first, second, own.sessionId]) {
        const { data } = await as(socket, id, 'mutation { heartbeat { session { id isCurrent } } }')
        expect(data?.heartbeat.session).toEqual({ id, isCurrent: true })
      }
      const { data: joined } = await as(socket, first, 'mutation { joinRoom(room: "hall") { session { id rooms } } }')
      expect(joined?.joinRoom.session).toEqual({ id: first, rooms: ['hall'] })
      const { data: seen } = await as(socket, second, '{ viewer { sessions { id isCurrent } } }')
      expect(seen?.viewer.sessions).toHaveLength(3)
      expect(seen?.viewer.sessions).toContainEqual({ id: second, isCurrent: true })
      expect(seen?.viewer.sessions).toContainEqual({ id: own.sessionId, isCurrent: false })
      const { data: gone } = await as(socket, first, 'mutation { goOffline { viewer { sessions { id } } } }')
      expect(gone?.goOffline.viewer.sessions).not.toContainEqual({ id: first })
      // Of a socket that is a session itself it names another one.
      const { data: other } = await as(own, second, 'mutation { leaveRoom(room: "hall") { session { id } } }')
      expect(other?.leaveRoom.session.id).toBe(second)
      expect(kinds()).toEqual(['JOIN'])
    })

    it('is held to the form of a session id, and the operation is refused where it has another', async () => {
      const socket = await openTab(near, `user-${randomUUID()}`, { observer: true })
      for (const value of ['tab-1', '', 7, [randomUUID()], {}]) {
        const { errors } = await as(socket, value, '{ position }')
        expect(errors?.[0]?.extensions).toMatchObject({
          code: 'BAD_USER_INPUT',
          argument: 'extensions.Rollcall-Session',
        })
      }
    })
  })

  describe('the header Rollcall-Session', () => {
    it('is the default of every argument, and an argument wins', async () => {
      const { userId } = await watched()
      const [tab, other] = [await openTab(near, userId), await openTab(near, userId)]
      const asTab = (query: string) => ask(userId, query, tab.sessionId)
      const { data: joined } = await asTab('mutation { joinRoom(room: "hall") { session { id rooms isCurrent } } }')
      expect(joined?.joinRoom.session).toEqual({ id: tab.sessionId, rooms: ['hall'], isCurrent: true })
      const { data: named } = await asTab(
        `mutation { joinRoom(room: "bar", sessionId: "${other.sessionId}") { session { id rooms isCurrent } } }`,
      )
      expect(named?.joinRoom.session).toEqual({ id: other.sessionId, rooms: ['bar'], isCurrent: false })
      const { data: left } = await asTab('mutation { leaveRoom(room: "hall") { session { id rooms } } }')
      expect(left?.leaveRoom.session).toEqual({ id: tab.sessionId, rooms: [] })
      const { data: beaten } = await asTab('mutation { heartbeat(device: "phone") { session { id device } } }')
      expect(beaten?.heartbeat.session).toEqual({ id: tab.sessionId, device: 'phone' })
      const { data: gone } = await asTab('mutation { goOffline { viewer { sessions { id isCurrent } } } }')
      expect(gone?.goOffline.viewer.sessions).toEqual([{ id: other.sessionId, isCurrent: false }])
    })

    it('says which session is the current one, in queries, mutations and event streams', async () => {
      const { userId } = await watched()
      const [tab, other] = [await openTab(near, userId), await openTab(near, userId)]
      const current = [
        { id: tab.sessionId, isCurrent: true },
        { id: other.sessionId, isCurrent: false },
      ]
      const byId = (sessions: { id: string }[]) => [...sessions].sort((one, two) => (one.id < two.id ? -1 : 1))
      const { data: read } = await ask(userId, '{ viewer { sessions { id isCurrent } } }', tab.sessionId.toUpperCase())
      expect(byId(read?.viewer.sessions)).toEqual(byId(current))
      const set = 'mutation { setStatus(status: BUSY) { viewer { sessions { id isCurrent } } } }'
      expect(byId((await ask(userId, set, tab.sessionId)).data?.setStatus.viewer.sessions)).toEqual(byId(current))

      const abort = new AbortController()
      const response = await fetch(`${far.url}/graphql`, {
        method: 'POST',
        signal: abort.signal,
        headers: {
          'content-type': 'application/json',
          accept: 'text/event-stream',
          authorization: `Bearer dev:${userId}`,
          'rollcall-session': tab.sessionId,
        },
        body: JSON.stringify({ query: 'subscription { viewerChanged { sessions { id isCurrent } } }' }),
      })
      let text = ''
      const reading = (async () => {
        for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>)
          text += Buffer.from(chunk).toString()
      })().catch(() => {})
      await until(
        async () => {
          await ask(userId, `mutation { setStatus(status: BUSY, message: "${randomUUID()}") { viewer { id } } }`)
          return text.includes('viewerChanged')
        },
        { what: 'an event' },
      )
      const [, event = ''] = text.match(/^data: (\{.*\})$/m) ?? []
      expect(byId(JSON.parse(event).data.viewerChanged.sessions)).toEqual(byId(current))
      abort.abort()
      await reading
    })

    it('is held to the form of a session id, and named where it fails', async () => {
      const { userId } = await watched()
      for (const value of ['tab-1', '', randomUUID().slice(1), `${randomUUID()}, ${randomUUID()}`]) {
        for (const query of ['{ position }', 'mutation { goOffline { viewer { id } } }']) {
          const { status, errors } = await ask(userId, query, value)
          expect([status, errors?.[0]?.extensions]).toEqual([
            400,
            {
              code: 'BAD_USER_INPUT',
              argument: 'Rollcall-Session',
              bound: 'a UUID or `default`',
            },
          ])
        }
      }
    })

    it('may be sent by pages of allowed origins', async () => {
      const preflight = await fetch(`${near.url}/graphql`, {
        method: 'OPTIONS',
        headers: {
          origin: 'http://localhost:3000',
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type,rollcall-session',
        },
      })
      expect(preflight.headers.get('access-control-allow-headers')).toContain('rollcall-session')
    })

    it('means nothing to a socket, which is its own session', async () => {
      const { userId } = await watched()
      const other = await openTab(near, userId)
      const { WebSocket } = await import('ws')
      class WithHeader extends WebSocket {
        constructor(address: string, protocols?: string | string[]) {
          super(address, protocols, { headers: { 'Rollcall-Session': other.sessionId } })
        }
      }
      const tab = await openTab(near, userId, { options: { webSocketImpl: WithHeader } })
      const { data: answer } = await tab.ask('{ viewer { sessions { id isCurrent } } }')
      expect(answer?.viewer.sessions).toContainEqual({ id: tab.sessionId, isCurrent: true })
      expect(answer?.viewer.sessions).toContainEqual({ id: other.sessionId, isCurrent: false })
    })
  })

  describe('a request that names no session, of who has no `default`', () => {
    it('is told what to send', async () => {
      const { userId } = await watched()
      const tab = await openTab(near, userId)
      const observer = await openTab(near, userId, { observer: true })
      const asked = {
        'joinRoom(room: "hall") { session { id } }': [],
        'leaveRoom(room: "hall") { session { id } }': [],
        'goOffline { viewer { id } }': ['everywhere: true'],
      }
      for (const [field, alsoNamed] of Object.entries(asked)) {
        const query = `mutation { ${field} }`
        for (const { errors } of [await ask(userId, query), await observer.ask(query)]) {
          expect(errors?.[0]?.extensions).toEqual({ code: 'NOT_FOUND', argument: 'sessionId' })
          for (const name of ['`sessionId`', '`Rollcall-Session`', ...alsoNamed]) {
            expect(errors?.[0]?.message).toContain(name)
          }
        }
      }
      await untilOnlyOn(tab, userId)
    })

    it('is about `default` where there is one', async () => {
      const { userId, kinds } = await watched()
      await ask(userId, BEAT)
      const { data: joined } = await ask(userId, 'mutation { joinRoom(room: "hall") { session { id rooms } } }')
      expect(joined?.joinRoom.session).toEqual({ id: 'default', rooms: ['hall'] })
      const { data: gone } = await ask(userId, 'mutation { goOffline { viewer { isOnline sessions { id } } } }')
      expect(gone?.goOffline.viewer).toEqual({ isOnline: false, sessions: [] })
      await until(() => kinds().length === 2, { what: 'the LEAVE' })
    })

    it('may end a session that it names and that is over, and all of them, without an error', async () => {
      const { userId } = await watched()
      const named = `mutation { goOffline(sessionId: "${randomUUID()}") { viewer { isOnline } } }`
      const byHeader = 'mutation { goOffline { viewer { isOnline } } }'
      const everywhere = 'mutation { goOffline(everywhere: true) { viewer { isOnline } } }'
      for (const answer of [
        await ask(userId, named),
        await ask(userId, byHeader, randomUUID()),
        await ask(userId, everywhere),
        await ask(userId, 'mutation { goOffline(sessionId: "default") { viewer { isOnline } } }'),
      ]) {
        expect(answer.data?.goOffline.viewer).toEqual({ isOnline: false })
      }
    })
  })

  describe('the acknowledgement', () => {
    it('tells whether the session was live still, and its rooms', async () => {
      const { userId, kinds } = await watched()
      const sessionId = randomUUID()
      const first = await openTab(near, userId, { sessionId, rooms: ['hall'] })
      expect(first.acknowledged()).toEqual({ sessionId, heartbeatIntervalMs: 1000, resumed: false, rooms: ['hall'] })
      await first.ask('mutation { joinRoom(room: "bar") { session { id } } }')
      await first.close()
      const reloaded = await openTab(far, userId, { sessionId })
      expect(reloaded.acknowledged()).toMatchObject({ sessionId, resumed: true, rooms: ['hall', 'bar'] })

      await reloaded.close()
      await until(() => kinds().length === 2, { what: 'the LEAVE' })
      const late = await openTab(near, userId, { sessionId })
      expect(late.acknowledged()).toMatchObject({ sessionId, resumed: false, rooms: [] })
    })

    it('of an observer tells of no session', async () => {
      const { userId } = await watched()
      const observer = await openTab(near, userId, { observer: true })
      expect(observer.acknowledged()).toEqual({
        sessionId: null,
        heartbeatIntervalMs: 1000,
        resumed: false,
        rooms: [],
      })
    })
  })
})
