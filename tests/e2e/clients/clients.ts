/** What the tests of the client libraries share: one promise for all of them, said once. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { ListedUser } from '../../../examples/operations.ts'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { postgresData, startServer, type TestData, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

/** Ends a lost tab soon, and leaves a reload and a retry enough time on a busy machine. */
const SETTINGS = {
  CLOSE_GRACE: '1s',
  RECONNECT_GRACE: '2s',
  SWEEP_INTERVAL: '50ms',
  HEARTBEAT_INTERVAL: '5s',
  // A ghost over HTTP would outlive the test.
  SESSION_TTL: '60s',
  JWT_SECRET: SECRET,
  // The least: what a client saw first is soon forgotten.
  CHANGE_LOG_COUNT: '100',
}

interface Connected<Client> {
  readonly client: Client
  close(): void
}

export interface ClientLibrary<Client> {
  connect(options: { url: string; token: () => string; sessionId: string; webSocketImpl: unknown }): Connected<Client>
  followOnline(
    client: Client,
    room: string | null,
    show: (users: readonly ListedUser[]) => void,
    fail: (error: unknown) => void,
  ): () => void
  /** Where the app has to send it. */
  heartbeat?(client: Client): Promise<{ session: { id: string } | null; viewer: { status: string } }>
}

const LISTED = 'id name status statusMessage onlineSince'

export function testClientLibrary<Client>({ connect, followOnline, heartbeat }: ClientLibrary<Client>): void {
  let data: TestData
  let server: TestServer
  /** Between the client under test and the server: its sockets can be cut. */
  let proxy: TcpProxy
  const opened = new Set<{ close(): void }>()

  beforeEach(async () => {
    data = await postgresData()
    server = await startServer({ ...SETTINGS, ...data.settings })
    proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  })

  afterEach(async () => {
    vi.restoreAllMocks()
    for (const { close } of opened) close()
    opened.clear()
    closeTabs()
    await proxy.close()
    await server.stop()
    await data.drop()
  })

  function open(
    userId: string,
    sessionId: string = randomUUID(),
    token = () => `dev:${userId}`,
  ): Connected<Client> & { close(): void } {
    const connected = connect({
      url: `http://127.0.0.1:${proxy.port}/graphql`,
      token,
      sessionId,
      webSocketImpl: WebSocket,
    })
    const close = () => {
      opened.delete(entry)
      connected.close()
    }
    const entry = { close }
    opened.add(entry)
    return { client: connected.client, close }
  }

  function follow(client: Client, room: string | null = null) {
    const seen = { users: [] as ListedUser[], failures: [] as unknown[] }
    const stop = followOnline(
      client,
      room,
      (users) => {
        seen.users = users.map(plain).sort((one, other) => (one.id < other.id ? -1 : 1))
      },
      (error) => seen.failures.push(error),
    )
    opened.add({ close: stop })
    return seen
  }

  async function listed(): Promise<ListedUser[]> {
    const { data } = await post(server, 'dev:bob', `{ onlineUsers(first: 500) { nodes { ${LISTED} } } }`)
    return data?.onlineUsers.nodes
  }

  it('shows who is online, and each change of it', async () => {
    const alice = open('alice')
    const seen = follow(alice.client)
    await until(() => seen.users.length === 1, { what: 'alice in her own list' })

    const bob = await openTab(server, 'bob')
    await until(() => seen.users.length === 2, { what: 'bob in the list' })
    await bob.ask('mutation { setStatus(status: BUSY, message: "Lunch") { viewer { id } } }')
    await until(() => seen.users[1]?.statusMessage === 'Lunch', { what: "bob's message" })
    expect(seen.users).toEqual(await listed())

    await bob.ask('mutation { goOffline { viewer { id } } }')
    await until(() => seen.users.length === 1, { what: 'a list without bob' })
    expect(seen.failures).toEqual([])
  })

  it('reads a list of several pages', { timeout: 180_000 }, async () => {
    const count = 501
    for (let index = 0; index < count; index += 1) {
      await post(server, `dev:user-${index}`, 'mutation { heartbeat { expiresAt } }')
    }
    const seen = follow(open('alice').client)
    await until(() => seen.users.length === count + 1, { what: 'all pages' })
  })

  it('misses nothing that happened while it had no connection, and does not read the list again', async () => {
    const bob = await openTab(server, 'bob')
    await openTab(server, 'user-1')
    const alice = open('alice')
    const fetches = vi.spyOn(globalThis, 'fetch')
    const seen = follow(alice.client)
    await until(() => seen.users.length === 3, { what: 'the first list' })
    // More than the log keeps: the position that the list began with is forgotten.
    for (let index = 0; index < 120; index += 1) {
      await bob.ask(`mutation { setStatus(status: AUTOMATIC, message: "${index}") { viewer { id } } }`)
    }
    await until(() => seen.users.find(({ id }) => id === 'bob')?.statusMessage === '119', { what: 'the last message' })

    proxy.refuse()
    await bob.ask('mutation { setStatus(status: AWAY, message: "Out") { viewer { id } } }')
    await post(server, 'dev:user-1', 'mutation { goOffline(everywhere: true) { viewer { id } } }')
    await openTab(server, 'user-2')
    expect(seen.users.map(({ id }) => id)).toEqual(['alice', 'bob', 'user-1'])
    proxy.mend()

    await until(() => seen.users.some(({ id }) => id === 'user-2'), { what: 'what was missed', withinMs: 20_000 })
    await until(async () => JSON.stringify(seen.users) === JSON.stringify(await listed()), {
      what: "the server's list",
    })
    expect(seen.users.map(({ id }) => id)).toEqual(['alice', 'bob', 'user-2'])
    expect(fetches.mock.calls.filter(([, init]) => String(init?.body).includes('OnlineUsers'))).toHaveLength(1)
    expect(seen.failures).toEqual([])
  })

  it('reads the list again where it was away for longer than the server remembers', async () => {
    const bob = await openTab(server, 'bob')
    const seen = follow(open('alice').client)
    await until(() => seen.users.length === 2, { what: 'the first list' })
    proxy.refuse()
    for (let index = 0; index < 120; index += 1) {
      await bob.ask(`mutation { setStatus(status: AUTOMATIC, message: "${index}") { viewer { id } } }`)
    }
    proxy.mend()

    await until(() => seen.users.find(({ id }) => id === 'bob')?.statusMessage === '119', { withinMs: 20_000 })
    await until(async () => JSON.stringify(seen.users) === JSON.stringify(await listed()), {
      what: "the server's list",
    })
    expect(seen.failures).toEqual([])
  })

  it('goes on with a fresh token when its token has run out', { timeout: 60_000 }, async () => {
    const runsOutAtMs = Date.now() + 2000
    const tokens = { first: await sign({ sub: 'alice' }, '2s'), fresh: await sign({ sub: 'alice' }) }
    let renewalCount = 0
    function token(): string {
      if (Date.now() < runsOutAtMs) return tokens.first
      renewalCount += 1
      return tokens.fresh
    }
    const seen = follow(open('alice', undefined, token).client)
    await until(() => seen.users.length === 1, { what: 'alice in her own list' })
    await until(() => renewalCount > 0, { what: 'another connection' })
    await openTab(server, 'bob')
    await until(() => seen.users.length === 2, { what: 'bob in the list', withinMs: 20_000 })
    expect([seen.users, seen.failures]).toEqual([await listed(), []])
  })

  it('replaces a connection that is dead without an end', { timeout: 60_000 }, async () => {
    const bob = await openTab(server, 'bob')
    const seen = follow(open('alice').client)
    await until(() => seen.users.length === 2, { what: 'the first list' })
    const before = proxy.connectionCount()
    proxy.fallSilent()
    await bob.ask('mutation { setStatus(status: BUSY, message: "Meanwhile") { viewer { id } } }')
    await until(() => proxy.connectionCount() > before, { what: 'a new connection', withinMs: 30_000 })
    proxy.mend()
    await until(() => seen.users.find(({ id }) => id === 'bob')?.statusMessage === 'Meanwhile', { withinMs: 20_000 })
    expect(seen.failures).toEqual([])
  })

  it('says what trying again does not help against', async () => {
    const alice = open('alice')
    const seen = follow(alice.client, 'x'.repeat(129))
    await until(() => seen.failures.length > 0, { what: 'the refusal' })
    expect(String(seen.failures[0])).toContain('room')
  })

  it('is gone when its tab closes', async () => {
    const alice = open('alice')
    const seen = follow(alice.client)
    await until(() => seen.users.length === 1, { what: 'the list' })
    alice.close()
    await isGone('alice')
  })

  if (heartbeat) {
    it('leaves no ghost by a heartbeat over HTTP when the tab closes', async () => {
      const alice = open('alice')
      const seen = follow(alice.client)
      await until(() => seen.users.length === 1, { what: 'the list' })

      const beat = await heartbeat(alice.client)
      expect(beat.viewer.status).toBe('ONLINE')
      expect(beat.session).toBeNull()

      alice.close()
      await isGone('alice')
    })

    it('leaves no ghost by a heartbeat over HTTP in the middle of a reload', async () => {
      const sessionId = randomUUID()
      const before = open('alice', sessionId)
      const seen = follow(before.client)
      await until(() => seen.users.length === 1, { what: 'the list' })
      before.close()
      await until(async () => !(await sessions('alice'))[0]?.isAttached, { what: 'the end of the socket' })

      const after = open('alice', sessionId)
      expect((await heartbeat(after.client)).session).toBeNull()
      follow(after.client)
      await until(async () => (await sessions('alice'))[0]?.isAttached, { what: 'the socket after the reload' })
      expect((await sessions('alice')).map(({ id }) => id)).toEqual([sessionId])

      after.close()
      await until(async () => !(await sessions('alice'))[0]?.isAttached, { what: 'the end of that socket' })
      // A last word that comes after the page is gone keeps nobody.
      await heartbeat(after.client)
      await isGone('alice')
    })
  }

  async function sessions(userId: string): Promise<{ id: string; isAttached: boolean }[]> {
    const { data } = await post(server, `dev:${userId}`, '{ viewer { sessions { id isAttached } } }')
    return data?.viewer.sessions
  }

  async function isGone(userId: string): Promise<void> {
    await until(
      async () => {
        const { data } = await post(server, 'dev:bob', 'query ($id: ID!) { user(id: $id) { isOnline } }', {
          id: userId,
        })
        return data?.user.isOnline === false
      },
      { what: `${userId} offline`, withinMs: 5000 },
    )
    expect(await sessions(userId)).toEqual([])
  }
}

/** Without what a library adds, as `__typename`. */
function plain({ id, name, status, statusMessage, onlineSince }: ListedUser): ListedUser {
  return { id, name, status, statusMessage, onlineSince }
}
