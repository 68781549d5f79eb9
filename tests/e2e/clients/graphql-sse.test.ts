/**
 * graphql-sse as its documentation sets it up, in both of its modes: https://the-guild.dev/graphql/sse
 *
 * deploy.test.ts has it through a deploy.
 */
import { createClient } from 'graphql-sse'
import { afterEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { metricOf } from '../../support/metrics.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

interface Heard {
  readonly changes: { readonly kind: string; readonly position: string; readonly userId: string }[]
  readonly errors: string[]
  isComplete: boolean
  /** Requests of the client. */
  requestCount: number
  /** Those that ask for the subscription: a retry is one more. */
  askedCount: number
}

const closers: (() => unknown)[] = []
afterEach(async () => {
  closeTabs()
  for (const close of closers.splice(0).reverse()) await close()
})

const MODES = [
  { mode: 'distinct connections', singleConnection: false },
  { mode: 'a single connection', singleConnection: true },
] as const

/** @param tokenOf - asked at each request, as `headers` is documented */
type FollowOptions = [server: Pick<TestServer, 'url'>, tokenOf: () => string | Promise<string>, args?: string]

function followBy(singleConnection: boolean, ...[server, tokenOf, args = '']: FollowOptions): Heard {
  const heard: Heard = { changes: [], errors: [], isComplete: false, requestCount: 0, askedCount: 0 }
  const client = createClient<boolean>({
    singleConnection,
    url: `${server.url}/graphql`,
    headers: async () => ({ authorization: `Bearer ${await tokenOf()}` }),
    fetchFn: (...request: Parameters<typeof fetch>) => {
      heard.requestCount += 1
      if (request[1]?.method === 'POST') heard.askedCount += 1
      return fetch(...request)
    },
  })
  closers.push(() => client.dispose())
  client.subscribe<{ presenceChanged: { kind: string; position: string; user: { id: string } } }>(
    { query: `subscription { presenceChanged${args} { kind position user { id } } }` },
    {
      next({ data, errors = [] }) {
        heard.errors.push(...errors.map(({ extensions }) => String(extensions?.code)))
        if (!data) return
        const { kind, position, user } = data.presenceChanged
        heard.changes.push({ kind, position, userId: user.id })
      },
      error: (error) => heard.errors.push(String(error)),
      complete() {
        heard.isComplete = true
      },
    },
  )
  return heard
}

const streamCount = (server: Pick<TestServer, 'url'>) => metricOf(server, 'rollcall_subscriptions')

async function untilFollowing(server: Pick<TestServer, 'url'>): Promise<void> {
  await until(async () => (await streamCount(server).catch(() => 0)) === 1, { what: 'the stream', withinMs: 20_000 })
}

describe.each(MODES)('graphql-sse with $mode', ({ singleConnection }) => {
  const follow = (...options: FollowOptions) => followBy(singleConnection, ...options)

  async function start(settings: Parameters<typeof startServer>[0] = {}): Promise<TestServer> {
    const server = await startServer(settings)
    closers.push(() => server.stop())
    return server
  }

  it('follows', async () => {
    const server = await start()
    const heard = follow(server, () => 'dev:alice')
    await untilFollowing(server)
    await openTab(server, 'bob')
    await until(() => heard.changes.some(({ kind, userId }) => kind === 'JOIN' && userId === 'bob'), { what: 'bob' })
    expect([heard.errors, heard.askedCount]).toEqual([[], 1])
  })

  it.each([
    { why: 'a position that the log does not reach', args: '(after: "0123456789abcdef:1")', code: 'POSITION_EXPIRED' },
    { why: 'an argument out of its bounds', args: `(room: "${'x'.repeat(129)}")`, code: 'BAD_USER_INPUT' },
    { why: 'a room that the token does not open', args: '(room: "cellar")', code: 'FORBIDDEN' },
    { why: 'a document that is not valid', args: '(rooms: "hall")', code: 'GRAPHQL_VALIDATION_FAILED' },
    { why: 'a document that is no GraphQL', args: '(', code: 'GRAPHQL_PARSE_FAILED' },
  ])('is told at once, and once, of $why', async ({ args, code }) => {
    const server = await start({ JWT_SECRET: SECRET })
    const token = await sign({ sub: 'alice', presence: { rooms: ['hall'], everyone: true } })
    const heard = follow(server, () => token, args)
    await until(() => heard.isComplete, { what: 'the end' })
    expect([heard.errors, heard.askedCount]).toEqual([[code], 1])
  })

  it('comes back with a fresh token when its token has run out', async () => {
    const server = await start({ JWT_SECRET: SECRET })
    const tokens = [await sign({ sub: 'alice' }, '2s'), await sign({ sub: 'alice' })]
    const heard = follow(server, () => tokens.shift() ?? '')
    await until(() => heard.askedCount === 2, { what: 'the second request', withinMs: 20_000 })
    await untilFollowing(server)
    await openTab(server, 'bob', { token: await sign({ sub: 'bob' }) })
    await until(() => heard.changes.some(({ userId }) => userId === 'bob'), { what: 'bob' })
    expect([heard.errors, heard.isComplete]).toEqual([[], false])
  })

  it('comes back when its user is disconnected and has a new token, and not by the old one', async () => {
    const server = await start({ JWT_SECRET: SECRET })
    const service = await sign({ sub: 'app', presence: { role: 'service' } })
    let token = await sign({ sub: 'alice' })
    await post(server, token, 'mutation { heartbeat { nextHeartbeatInMs } }')
    const heard = follow(server, () => token)
    await untilFollowing(server)
    const before = heard.requestCount
    const { errors } = await post(server, service, 'mutation { disconnectUser(userId: "alice") { userId } }')
    expect(errors).toBeUndefined()
    await until(() => heard.requestCount > before, { what: 'the second request', withinMs: 20_000 })
    expect(await streamCount(server)).toBe(0)
    // Moments in tokens are whole seconds.
    token = await sign({ sub: 'alice' }, '1h', new Date(Date.now() + 1000))
    await untilFollowing(server)
    expect([heard.errors, heard.isComplete]).toEqual([[], false])
  })
})

describe('the single connection of graphql-sse', () => {
  let server: TestServer
  const headers = (token: string, stream?: string) => ({
    authorization: `Bearer ${token}`,
    'content-type': 'application/json',
    ...(stream === undefined ? {} : { 'x-graphql-event-stream-token': stream }),
  })
  const ask = (method: string, token: string, stream?: string, body?: object, search = '') =>
    fetch(`${server.url}/graphql${search}`, {
      method,
      headers: { ...headers(token, stream), accept: 'text/event-stream' },
      body: body === undefined ? null : JSON.stringify(body),
    })
  const reserve = async (token: string) => (await ask('PUT', token)).text()
  const codeOf = async (response: Response) => [response.status, (await response.json()).errors[0].extensions.code]

  async function start(settings: Parameters<typeof startServer>[0] = {}): Promise<void> {
    server = await startServer(settings)
    closers.push(() => server.stop())
  }

  it('brings the results of several operations, ends one of them, and leaves nothing behind', async () => {
    await start()
    const client = createClient({
      singleConnection: true,
      url: `${server.url}/graphql`,
      headers: { authorization: 'Bearer dev:alice' },
    })
    closers.push(() => client.dispose())
    const [changes, counts, answers]: [string[], number[], unknown[]] = [[], [], []]
    const end = () => {}
    const stopChanges = client.subscribe<{ presenceChanged: { user: { id: string } } }>(
      { query: 'subscription { presenceChanged { user { id } } }' },
      { next: ({ data }) => void changes.push(String(data?.presenceChanged.user.id)), error: end, complete: end },
    )
    client.subscribe<{ onlineCountChanged: { count: number } }>(
      { query: 'subscription { onlineCountChanged { count } }' },
      { next: ({ data }) => void counts.push(Number(data?.onlineCountChanged.count)), error: end, complete: end },
    )
    await until(async () => counts.length === 1 && (await streamCount(server)) === 2, { what: 'both subscriptions' })
    await new Promise<void>((resolve) =>
      client.subscribe(
        { query: 'query ($id: ID!) { user(id: $id) { id } }', variables: { id: 'alice' } },
        { next: (result) => void answers.push(result), error: end, complete: resolve },
      ),
    )
    expect(answers).toEqual([{ data: { user: null } }])
    await openTab(server, 'bob')
    await until(() => changes.length === 1 && counts.length === 2, { what: 'the change and the count' })
    expect([changes, counts]).toEqual([['bob'], [0, 1]])
    stopChanges()
    await until(async () => (await streamCount(server)) === 1, { what: 'the end of one' })
    client.dispose()
    await until(async () => (await streamCount(server)) === 0, { what: 'the end of all' })
  })

  it('is for its own user, and connected once', async () => {
    await start()
    const stream = await reserve('dev:alice')
    expect(await codeOf(await ask('GET', 'dev:bob', stream))).toEqual([404, 'NOT_FOUND'])
    expect(await codeOf(await ask('GET', 'dev:alice', 'no-such-stream'))).toEqual([404, 'NOT_FOUND'])
    const body = { query: '{ position }', extensions: { operationId: '1' } }
    expect(await codeOf(await ask('POST', 'dev:bob', stream, body))).toEqual([404, 'NOT_FOUND'])
    const open = await ask('GET', 'dev:alice', stream)
    expect([open.status, open.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    expect(await codeOf(await ask('GET', 'dev:alice', stream))).toEqual([400, 'BAD_REQUEST'])
    expect((await fetch(`${server.url}/graphql`, { method: 'PUT' })).status).toBe(401)
    await open.body?.cancel()
  })

  it.each([
    ['no id', { query: '{ position }' }, 'extensions.operationId'],
    ['an id that is no text', { query: '{ position }', extensions: { operationId: 1 } }, 'extensions.operationId'],
    ['a long id', { query: '{ position }', extensions: { operationId: 'x'.repeat(257) } }, 'extensions.operationId'],
  ])('refuses an operation with %s', async (_name, body, argument) => {
    await start()
    const stream = await reserve('dev:alice')
    const response = await ask('POST', 'dev:alice', stream, body)
    expect([response.status, (await response.json()).errors[0].extensions.argument]).toEqual([400, argument])
  })

  it('bounds its operations, and streams of a user with their sockets', async () => {
    await start({ SUBSCRIPTIONS_PER_SOCKET: '1', SOCKETS_PER_USER: '2' })
    const stream = await reserve('dev:alice')
    const follow = (operationId: string) =>
      ask('POST', 'dev:alice', stream, {
        query: 'subscription { presenceChanged { kind } }',
        extensions: { operationId },
      })
    expect((await follow('1')).status).toBe(202)
    expect(await codeOf(await follow('2'))).toEqual([429, 'RATE_LIMITED'])
    expect((await ask('DELETE', 'dev:alice', stream, undefined, '?operationId=1')).status).toBe(200)
    expect((await follow('2')).status).toBe(202)
    await reserve('dev:alice')
    expect(await codeOf(await ask('PUT', 'dev:alice'))).toEqual([429, 'RATE_LIMITED'])
  })

  it('is dropped with its operations where nobody connects', { timeout: 60_000 }, async () => {
    await start()
    const stream = await reserve('dev:alice')
    const extensions = { operationId: '1' }
    const query = 'subscription { presenceChanged { kind } }'
    expect((await ask('POST', 'dev:alice', stream, { query, extensions })).status).toBe(202)
    expect(await streamCount(server)).toBe(1)
    await until(async () => (await streamCount(server)) === 0, { what: 'the end', withinMs: 20_000 })
    expect(await codeOf(await ask('GET', 'dev:alice', stream))).toEqual([404, 'NOT_FOUND'])
  })
})
