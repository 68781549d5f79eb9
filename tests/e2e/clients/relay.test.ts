/** relay-runtime, with artifacts that relay-compiler writes from the committed schema, as https://relay.dev/docs says. */
import { randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createClient } from 'graphql-ws'
import { createOperationDescriptor, requestSubscription } from 'relay-runtime'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { closeTabs, noRetryWait, openTab, post } from '../../support/clients.ts'
import { postgresData, startServer, type TestServer } from '../../support/server.ts'
import { openTcpProxy } from '../../support/tcp-proxy.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'
import { testClientLibrary } from './clients.ts'
import { compileDocuments } from './relay/compile.ts'
import {
  codeOf,
  connectWith,
  createEnvironment,
  followOnline,
  heartbeat,
  mutate,
  type RelayClient,
  readFragment,
  readQuery,
} from './relay/online-users.ts'

const artifacts = await compileDocuments()
afterAll(() => artifacts.drop())

describe('Relay', () => {
  testClientLibrary({ connect: connectWith(artifacts), followOnline, heartbeat })
})

describe('Relay, as its documentation sets it up', () => {
  const cleanups = cleanupsAfterEach()
  afterEach(() => {
    vi.restoreAllMocks()
    closeTabs()
  })

  async function start(settings = {}): Promise<TestServer> {
    const server = await startServer(settings)
    cleanups.push(() => server.stop())
    return server
  }

  function open(
    server: Pick<TestServer, 'url' | 'wsUrl'>,
    token: () => string | Promise<string>,
  ): RelayClient & { readonly connectionCount: () => number } {
    let connectionCount = 0
    const sessionId = randomUUID()
    const socket = createClient({
      url: server.wsUrl,
      connectionParams: async () => ({ authorization: `Bearer ${await token()}`, sessionId }),
      webSocketImpl: WebSocket,
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
      retryWait: noRetryWait,
      on: {
        connected: () => {
          connectionCount += 1
        },
      },
    })
    cleanups.push(async () => socket.dispose())
    return {
      environment: createEnvironment(`${server.url}/graphql`, token, socket),
      artifacts,
      connectionCount: () => connectionCount,
    }
  }

  async function subscribe({ environment }: RelayClient, name: string, variables = {}) {
    const heard = { data: [] as any[], errors: [] as unknown[] }
    const subscription = await artifacts.request(name)
    const { dispose } = requestSubscription(environment, {
      subscription,
      variables,
      onNext: (data) => heard.data.push(data),
      onError: (error) => heard.errors.push(error),
    })
    cleanups.push(async () => dispose())
    return heard
  }

  it('compiles every document, with a moment as a text', async () => {
    const text = await readFile(join(artifacts.folder, 'documentsUser.graphql.ts'), 'utf8')
    expect(text).toContain('readonly lastActive: string | null | undefined;')
  })

  it('keeps the user as everyone sees them and the viewer as they see themselves apart in its store', async () => {
    const warnings = vi.spyOn(console, 'error')
    const server = await start()
    const client = open(server, () => 'dev:alice')
    await openTab(server, 'alice')
    await mutate(client, 'documentsVisibilityMutation', { visibility: 'NOBODY' })
    await mutate(client, 'documentsStatusMutation', { status: 'BUSY' })

    const root = await readQuery(client, 'documentsViewerQuery', {})
    const viewer = readFragment(client, await artifacts.fragment('documentsViewer'), root.viewer)
    const truth = { isOnline: true, status: 'BUSY', visibility: 'NOBODY' }
    expect(viewer).toMatchObject({ ...truth, user: { id: 'alice', isOnline: false, status: 'OFFLINE' } })
    // Relay says so where one id has two types.
    expect(warnings.mock.calls).toEqual([])
  })

  it('shows what a mutation or another tab changed of the viewer wherever the viewer is shown', async () => {
    const server = await start()
    const client = open(server, () => 'dev:alice')
    const tab = await openTab(server, 'alice')
    const query = await artifacts.request('documentsViewerQuery')
    const retained = client.environment.retain(createOperationDescriptor(query, {}))
    cleanups.push(async () => retained.dispose())
    const { viewer } = await readQuery(client, 'documentsViewerQuery', {})
    const fragment = await artifacts.fragment('documentsViewer')
    const shown = () => readFragment(client, fragment, viewer).status
    expect(shown()).toBe('ONLINE')
    await mutate(client, 'documentsStatusMutation', { status: 'BUSY' })
    expect(shown()).toBe('BUSY')

    await subscribe(client, 'documentsViewerSubscription')
    const choices = ['AWAY', 'BUSY']
    await until(
      async () => {
        await tab.ask(`mutation { setStatus(status: ${choices[0]}) { viewer { status } } }`)
        choices.reverse()
        return shown() === 'AWAY'
      },
      { everyMs: 50, what: 'a status that the tab chose' },
    )
  })

  it('keeps the times of a session apart that started several times', async () => {
    const server = await start()
    const client = open(server, () => 'dev:alice')
    const tab = await openTab(server, 'alice')
    await tab.ask('mutation { goOffline { viewer { isOnline } } }')
    await tab.ask('mutation { heartbeat { session { id } } }')
    const fragment = await artifacts.fragment('documentsHistory')
    const ends = await until(
      async () => {
        const { viewer } = await readQuery(client, 'documentsHistoryQuery', {})
        const { edges } = readFragment(client, fragment, viewer).history
        return edges.length === 2 ? edges.map(({ node }: any) => [node.sessionId, node.endedAt]) : null
      },
      { everyMs: 50, what: 'both times in the database' },
    )
    expect(ends).toEqual([
      [tab.sessionId, null],
      [tab.sessionId, expect.any(String)],
    ])
  })

  it('reads a user again by the id of a fragment', async () => {
    const server = await start()
    const client = open(server, () => 'dev:alice')
    const bob = await openTab(server, 'bob')
    const { node } = await readQuery(client, 'documentsUserRefetchQuery', { id: 'bob' })
    const fragment = await artifacts.fragment('documentsUser')
    expect(readFragment(client, fragment, node)).toMatchObject({ id: 'bob', status: 'ONLINE' })
    await bob.ask('mutation { setStatus(status: BUSY) { viewer { status } } }')
    await readQuery(client, 'documentsUserRefetchQuery', { id: 'bob' })
    expect(readFragment(client, fragment, node)).toMatchObject({ id: 'bob', status: 'BUSY' })
    expect((await readQuery(client, 'documentsUserRefetchQuery', { id: 'nobody' })).node).toBeNull()
  })

  it('throws the code of a query that is refused', async () => {
    const server = await start({ JWT_SECRET: SECRET })
    const token = await sign({ sub: 'carol', presence: { everyone: false } })
    const client = open(server, () => token)
    const refusal = await readQuery(client, 'documentsOnlineUsersQuery', {}).catch((error: unknown) => error)
    expect(codeOf(refusal)).toBe('FORBIDDEN')
    // Of a field that may be null Relay shows the null and no error, where the document has no `@throwOnFieldError`.
    expect((await readQuery(client, 'documentsUserRefetchQuery', { id: 'bob' })).node).toBeNull()
  })

  it('hears at `onError` that a subscription cannot begin', async () => {
    const [server, other] = [await start(), await start()]
    const client = open(server, () => 'dev:alice')
    const { data } = await post(other, 'dev:alice', '{ position }')
    const expired = await subscribe(client, 'documentsChangedSubscription', { after: data?.position })
    await until(() => expired.errors.length > 0, { what: 'the error' })
    expect(expired.errors.map(codeOf)).toEqual(['POSITION_EXPIRED'])
    const refused = await subscribe(client, 'documentsChangedSubscription', { room: 'x'.repeat(129) })
    await until(() => refused.errors.length > 0, { what: 'the refusal' })
    expect(refused.errors.map(codeOf)).toEqual(['BAD_USER_INPUT'])
    expect([expired.data, refused.data]).toEqual([[], []])
  })

  it('follows the list through a deploy', async () => {
    const data = await postgresData()
    cleanups.push(() => data.drop())
    const first = await startServer({ ...data.settings, RECONNECT_GRACE: '10s' })
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(first.url).port) })
    cleanups.push(() => proxy.close())
    const connected = connectWith(artifacts)({
      url: `http://127.0.0.1:${proxy.port}/graphql`,
      token: () => 'dev:alice',
      sessionId: randomUUID(),
      webSocketImpl: WebSocket,
    })
    cleanups.push(async () => connected.close())
    const seen = { ids: [] as string[], failures: [] as unknown[] }
    const stop = followOnline(
      connected.client,
      null,
      (users) => {
        seen.ids = users.map(({ id }) => id).sort()
      },
      (error) => seen.failures.push(error),
    )
    cleanups.push(async () => stop())
    await until(() => seen.ids.length === 1, { what: 'the first list' })

    await first.stop()
    const second = await start({ ...data.settings, RECONNECT_GRACE: '10s' })
    proxy.retarget(Number(new URL(second.url).port))
    await openTab(second, 'bob')
    await until(() => seen.ids.join() === 'alice,bob', { what: 'bob in the list', withinMs: 20_000 })
    expect(seen.failures).toEqual([])
  })
})
