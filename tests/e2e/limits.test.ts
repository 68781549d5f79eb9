/** Each limit of a caller, at its bound and one over it, over HTTP, event streams and sockets. */

import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { getIntrospectionQuery, Kind, parse, print } from 'graphql'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { SETTINGS, type SettingTexts } from '../../src/config.ts'
import { UNITS } from '../../src/server/limits/limits.ts'
import { closeTabs, openTab, post, settled } from '../support/clients.ts'
import { metricOf } from '../support/metrics.ts'
import { postgresData, redisData, startServer, type TestData, type TestServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

let data: TestData
let server: TestServer
const streams: AbortController[] = []
/** Node ends a stream whose response was collected as garbage. */
const responses: Response[] = []
const wires: Socket[] = []

/** The budgets that a server has by default: other tests have none. */
const BUDGETS = Object.fromEntries(
  (['USER_WORK_RATE', 'USER_WORK_BURST', 'ADDRESS_WORK_RATE', 'ADDRESS_WORK_BURST', 'SOCKET_FRAME_RATE'] as const).map(
    (name) => [name, SETTINGS[name].default],
  ),
)

async function start(settings: SettingTexts = {}): Promise<void> {
  server = await startServer({ ...BUDGETS, ...data.settings, ...settings })
}

beforeAll(async () => {
  data = await postgresData()
})
afterAll(() => data.drop())

afterEach(async () => {
  closeTabs()
  for (const stream of streams.splice(0)) stream.abort()
  responses.length = 0
  for (const wire of wires.splice(0)) wire.destroy()
  await server.stop()
})

const metric = (name: string) => metricOf(server, name)

const EVERYONE = 'subscription { presenceChanged { kind } }'

/** Opens an event stream, as a browser's `fetch` does. */
async function openStream(userId: string, query: string, accept = 'text/event-stream'): Promise<Response> {
  const controller = new AbortController()
  streams.push(controller)
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept, authorization: `Bearer dev:${userId}` },
    body: JSON.stringify({ query }),
    signal: controller.signal,
  })
  responses.push(response)
  return response
}

/** A socket without a client's habits: raw, and without a token until it sends one. */
async function openRaw(path = '/graphql', headers: Record<string, string> = {}): Promise<Socket> {
  const { hostname, port, host } = new URL(server.url)
  const wire = connectTcp(Number(port), hostname)
  wires.push(wire)
  await once(wire, 'connect')
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol: graphql-transport-ws',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ]
  wire.write(`${lines.join('\r\n')}\r\n\r\n`)
  return wire
}

async function statusLine(wire: Socket): Promise<string> {
  const [chunk] = (await once(wire, 'data')) as [Buffer]
  return String(chunk).split('\r\n')[0] ?? ''
}

/** One operation of alice's. @returns the code that it was refused with, empty where it was taken */
type Ask = (query: string) => Promise<string>

const askOverHttp: Ask = async (query) =>
  String((await post(server, 'dev:alice', query)).errors?.[0]?.extensions.code ?? '')

const askByStream: Ask = async (query) => {
  const response = await openStream('alice', query)
  if (response.status === 200) return ''
  return /"code":"(\w+)"/.exec(await response.text())?.[1] ?? `status ${response.status}`
}

async function openSocket(): Promise<Ask> {
  const tab = await openTab(server, 'alice')
  return async (query) => {
    if (!query.startsWith('subscription')) return String((await tab.ask(query)).errors?.[0]?.extensions.code ?? '')
    // Refused by `error` where its document or work is, and by `next` where it cannot begin.
    const refused = tab.client
      .iterate({ query })
      .next()
      .then(
        ({ value }) => value?.errors,
        (errors) => errors,
      )
      .then((errors) => String(errors?.[0]?.extensions?.code ?? ''))
    return Promise.race([refused, settled(tab).then(() => '')])
  }
}

const PAGE = '{ onlineUsers(first: 1000) { nodes { id name status } } }'

function watch(from: number, count: number): string {
  const ids = Array.from({ length: count }, (_, index) => `"user-${from + index}"`)
  return `subscription { presenceChanged(userIds: [${ids}]) { kind } }`
}

describe.each([
  ['queries over HTTP', async () => askOverHttp, PAGE],
  ['event streams', async () => askByStream, watch(0, 900)],
  ['queries over a socket', openSocket, PAGE],
  ['subscriptions over a socket', openSocket, watch(0, 900)],
])('%s', (_name, open, query) => {
  it('take the work of their user up to its bound, and are refused beyond it', async () => {
    await start({ USER_WORK_BURST: '40000', USER_WORK_RATE: '100' })
    const ask = await open()
    const codes: string[] = []
    while (codes.at(-1) !== 'RATE_LIMITED' && codes.length < 20) codes.push(await ask(query))
    expect(codes.length).toBeGreaterThan(2)
    expect(codes).toEqual([...codes.slice(1).map(() => ''), 'RATE_LIMITED'])
    // Nobody else is in their way.
    expect((await post(server, 'dev:bob', '{ position }')).errors).toBeUndefined()
  })
})

describe.each([
  ['event streams', async () => askByStream],
  ['subscriptions over a socket', openSocket],
])('%s of a user', (_name, open) => {
  it('are as many as their bound, and no more', async () => {
    await start({ SUBSCRIPTIONS_PER_USER: '3' })
    const ask = await open()
    expect([await ask(EVERYONE), await ask(EVERYONE), await ask(EVERYONE)]).toEqual(['', '', ''])
    expect(await ask(EVERYONE)).toBe('RATE_LIMITED')
  })

  it('watch as many ids as their bound, and no more', async () => {
    await start({ WATCHED_IDS_PER_USER: '1000' })
    const ask = await open()
    expect([await ask(watch(0, 600)), await ask(watch(600, 400))]).toEqual(['', ''])
    expect(await ask(watch(1000, 1))).toBe('RATE_LIMITED')
  })
})

describe('the work of a user', () => {
  // Room for one settings write, and hardly anything comes back.
  const SMALL = { USER_WORK_BURST: '3500', USER_WORK_RATE: '100' }
  const WRITE = 'mutation { setStatus(status: BUSY) { viewer { id } } }'

  it('is refused over HTTP with 429, Retry-After and retryAfterMs, and others go on', async () => {
    await start(SMALL)
    expect((await post(server, 'dev:alice', WRITE)).errors).toBeUndefined()
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: 'Bearer dev:alice' },
      body: JSON.stringify({ query: WRITE }),
    })
    expect(response.status).toBe(429)
    const { errors } = (await response.json()) as { errors: { extensions: Record<string, unknown> }[] }
    const { code, retryAfterMs } = (errors[0]?.extensions ?? {}) as { code?: string; retryAfterMs?: number }
    expect(code).toBe('RATE_LIMITED')
    expect(retryAfterMs).toBeGreaterThan(0)
    expect(response.headers.get('retry-after')).toBe(String(Math.ceil(Number(retryAfterMs) / 1000)))
    expect((await post(server, 'dev:bob', WRITE)).errors).toBeUndefined()
  })

  it('is the same work over a socket, and the socket stays', async () => {
    await start(SMALL)
    const tab = await openTab(server, 'alice')
    expect((await tab.ask(WRITE)).errors).toBeUndefined()
    expect((await tab.ask(WRITE)).errors?.[0]?.extensions).toMatchObject({
      code: 'RATE_LIMITED',
      retryAfterMs: expect.any(Number),
    })
    // Over HTTP it is the same budget.
    expect((await post(server, 'dev:alice', WRITE)).errors?.[0]?.extensions.code).toBe('RATE_LIMITED')
    expect((await tab.ask('{ position }')).errors).toBeUndefined()
    expect(tab.wire().readyState).toBe(WebSocket.OPEN)
  })

  it('comes back with time', async () => {
    await start({ USER_WORK_BURST: '3500', USER_WORK_RATE: '1000' })
    await post(server, 'dev:alice', WRITE)
    expect((await post(server, 'dev:alice', WRITE)).errors?.[0]?.extensions.code).toBe('RATE_LIMITED')
    await until(async () => (await post(server, 'dev:alice', WRITE)).errors === undefined, { what: 'the next write' })
  })

  it('bounds how often a document may write, whatever its aliases', async () => {
    await start()
    const writes = Array.from({ length: 11 }, (_, index) => `w${index}: setStatus(status: BUSY) { viewer { id } }`)
    const { errors } = await post(server, 'dev:alice', `mutation { ${writes.join(' ')} }`)
    expect(errors?.[0]?.extensions.code).toBe('GRAPHQL_VALIDATION_FAILED')
  })

  it('counts new connections', async () => {
    await start({ USER_WORK_BURST: String(2 * UNITS.connection), USER_WORK_RATE: '100' })
    const tabs = [await openTab(server, 'alice'), await openTab(server, 'alice')]
    await expect(openTab(server, 'alice')).rejects.toMatchObject({
      code: 1013,
      reason: expect.stringMatching(/^RATE_LIMITED: .*\. Retry after [1-9]\d* ms\.$/),
    })
    await openTab(server, 'bob')
    for (const tab of tabs) expect(tab.wire().readyState).toBe(WebSocket.OPEN)
  })

  it('does not bound the programs of the operator', async () => {
    await start({ ...SMALL, JWT_SECRET: SECRET })
    const token = await sign({ sub: 'shop', presence: { role: 'service' } })
    for (let count = 0; count < 5; count += 1) {
      expect((await post(server, token, WRITE)).errors).toBeUndefined()
    }
  })
})

describe('the frames of a socket', () => {
  /** Until it is closed. Fifty at a time: `ws` ends a socket by itself that has more pings waiting for their pongs. */
  async function flood(wire: WebSocket, send: (wire: WebSocket) => void): Promise<unknown[]> {
    const closed = once(wire, 'close')
    let sentCount = 0
    let answerCount = 0
    const countAnswer = () => {
      answerCount += 1
    }
    for (const answer of ['pong', 'message']) wire.on(answer, countAnswer)
    while (wire.readyState === WebSocket.OPEN) {
      for (let count = 0; count < 50; count += 1) send(wire)
      sentCount += 50
      await until(() => answerCount >= sentCount || wire.readyState !== WebSocket.OPEN, { what: 'the answers' })
    }
    return closed
  }

  it.each([
    ['messages', (wire: WebSocket) => wire.send('{"type":"ping"}')],
    ['pings', (wire: WebSocket) => wire.ping()],
  ])('are bounded: too many %s close it with 1013, and cost its user', async (_what, send) => {
    await start({ USER_WORK_BURST: String(2 * UNITS.flood), USER_WORK_RATE: '100', SOCKET_FRAME_RATE: '50' })
    const tab = await openTab(server, 'alice', { retryAttempts: 0 })
    const [code, reason] = await flood(tab.wire(), send)
    const words = 'RATE_LIMITED: A socket may send 50 messages and pings a second.'
    expect([code, String(reason).replace(/ Retry after [1-9]\d* ms\.$/, '')]).toEqual([1013, words])
    await flood((await openTab(server, 'alice')).wire(), send)
    await expect(openTab(server, 'alice')).rejects.toMatchObject({ code: 1013 })
  })
})

describe('the tokens of an address', () => {
  const FEW = { ADDRESS_WORK_BURST: String(4 * UNITS.badToken), ADDRESS_WORK_RATE: '100' }

  it('are looked at no more where too many did not hold, over HTTP, event streams and sockets alike', async () => {
    await start({ ...FEW, JWT_SECRET: SECRET })
    for (let count = 0; count < 5; count += 1) {
      expect(await post(server, 'no.token.atall', '{ position }')).toMatchObject({ status: 401 })
    }
    expect(await post(server, 'dev:alice', '{ position }')).toMatchObject({
      status: 429,
      errors: [{ extensions: { code: 'RATE_LIMITED', retryAfterMs: expect.any(Number) } }],
    })
    const stream = await openStream('alice', EVERYONE)
    expect({ status: stream.status, body: await stream.text() }).toMatchObject({
      status: 429,
      body: expect.stringContaining('"code":"RATE_LIMITED"'),
    })
    const askedAtMs = performance.now()
    const wire = await openRaw()
    expect(await statusLine(wire)).toBe('HTTP/1.1 429 Too Many Requests')
    // One that comes back at once is slowed down.
    expect(performance.now() - askedAtMs).toBeGreaterThan(450)
  })

  it('are those of the client that a trusted proxy names', async () => {
    await start({ ...FEW, JWT_SECRET: SECRET, TRUSTED_PROXIES: '127.0.0.0/8' })
    const from = (address: string) => ({ 'x-forwarded-for': address })
    for (let count = 0; count < 5; count += 1) {
      await post(server, 'no.token.atall', '{ position }', {}, from('192.0.2.1'))
    }
    expect(await post(server, 'dev:alice', '{ position }', {}, from('192.0.2.1'))).toMatchObject({ status: 429 })
    expect(await post(server, 'dev:alice', '{ position }', {}, from('192.0.2.2'))).toMatchObject({ status: 200 })
    expect(await statusLine(await openRaw('/graphql', from('192.0.2.1')))).toBe('HTTP/1.1 429 Too Many Requests')
    expect(await statusLine(await openRaw('/graphql', from('192.0.2.2')))).toBe('HTTP/1.1 101 Switching Protocols')
  })

  it('are not counted where they come through a proxy that is not named: one stranger would keep out all', async () => {
    await start({ ...FEW, JWT_SECRET: SECRET })
    const headers = { 'x-forwarded-for': '192.0.2.1' }
    for (let count = 0; count < 10; count += 1) {
      expect(await post(server, 'no.token.atall', '{ position }', {}, headers)).toMatchObject({ status: 401 })
    }
    expect(await post(server, 'dev:alice', '{ position }', {}, headers)).toMatchObject({ status: 200 })
  })

  it.each(['sub', 'app.id'])(
    "that have run out are counted as their user's, and keep out nobody else: by %s",
    async (path) => {
      await start({
        ...FEW,
        JWT_SECRET: SECRET,
        JWT_SUBJECT_CLAIM: path,
        USER_WORK_BURST: '1000',
        USER_WORK_RATE: '100',
      })
      // An issuer's own subject may be the same for all users of an app.
      const claimsOf = (userId: string) => ({ sub: 'app', [path]: userId })
      const expired = await sign(claimsOf('alice'), '-1h')
      for (let count = 0; count < 10; count += 1) {
        expect(await post(server, expired, '{ position }')).toMatchObject({ status: 401 })
      }
      expect(await post(server, await sign(claimsOf('bob')), '{ position }')).toMatchObject({ status: 200 })
      expect(await post(server, await sign(claimsOf('alice')), '{ position }')).toMatchObject({ status: 429 })
    },
  )
})

describe('the sockets and event streams of a user', () => {
  it('are bounded together', async () => {
    await start({ SOCKETS_PER_USER: '3' })
    const tab = await openTab(server, 'alice')
    await openTab(server, 'alice')
    expect((await openStream('alice', EVERYONE)).status).toBe(200)
    const refused = await openStream('alice', EVERYONE)
    expect(await refused.text()).toContain('"code":"RATE_LIMITED"')
    await expect(openTab(server, 'alice')).rejects.toMatchObject({ code: 1013 })
    expect((await openStream('bob', EVERYONE)).status).toBe(200)
    // One that ends makes room.
    await tab.close()
    await until(
      async () => (await openStream('alice', EVERYONE)).headers.get('content-type')?.startsWith('text/event-stream'),
      {
        what: 'room for another',
      },
    )
  })
})

describe('sockets that have not said who they are', () => {
  it('wait for their turn where there are too many of an address, and are let in later', async () => {
    await start({ HANDSHAKES_PER_ADDRESS: '2', CONNECTION_INIT_TIME: '500ms' })
    const silent = [await openRaw(), await openRaw()]
    let closedCount = 0
    for (const wire of silent) {
      expect(await statusLine(wire)).toBe('HTTP/1.1 101 Switching Protocols')
      // What comes next is the close frame of 4408.
      wire.once('data', () => {
        closedCount += 1
      })
    }
    await openTab(server, 'alice')
    expect(closedCount).toBeGreaterThan(0)
  })

  it('are gone soon after their time, also where they never answer the close', async () => {
    await start({ CONNECTION_INIT_TIME: '500ms' })
    const wire = await openRaw()
    const startedAtMs = performance.now()
    // A raw socket answers no close frame.
    await Promise.all([once(wire, 'close'), wire.resume()])
    expect(performance.now() - startedAtMs).toBeLessThan(5000)
    await until(async () => (await metric('rollcall_sockets')) === 0, { what: 'no socket' })
  })

  it('of a process are refused with 503 over its bound, and of an address with 429', async () => {
    await start({ SOCKETS_PER_PROCESS: '3', SOCKETS_PER_ADDRESS: '2' })
    await openTab(server, 'alice')
    await openTab(server, 'bob')
    expect(await statusLine(await openRaw())).toBe('HTTP/1.1 429 Too Many Requests')
    await server.stop()
    await start({ SOCKETS_PER_PROCESS: '2' })
    await openTab(server, 'alice')
    await openTab(server, 'bob')
    expect(await statusLine(await openRaw())).toBe('HTTP/1.1 503 Service Unavailable')
  })
})

describe('a body that comes too slowly', () => {
  it('is answered 408, and its connection closed', async () => {
    await start({ BODY_TIME: '300ms' })
    const { hostname, port, host } = new URL(server.url)
    const wire = connectTcp(Number(port), hostname)
    wires.push(wire)
    const heard: string[] = []
    wire.on('data', (chunk) => heard.push(String(chunk)))
    wire.write(
      `POST /graphql HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nAuthorization: Bearer dev:alice\r\nContent-Length: 100\r\n\r\n{`,
    )
    await until(() => heard.join('').includes('"argument":"body"'), { what: 'the answer' })
    expect(heard.join('')).toMatch(/^HTTP\/1\.1 408 /)
    await until(() => wire.destroyed, { what: 'the end of the connection' })
  })
})

describe('a message', () => {
  it('may come in a few fragments, and in no more', async () => {
    await start()
    const tab = await openTab(server, 'alice')
    const wire = tab.wire()
    const closed = once(wire, 'close')
    const text = JSON.stringify({ type: 'ping', payload: { text: 'x'.repeat(100) } })
    for (let at = 0; at < text.length; at += 20) wire.send(text.slice(at, at + 20), { fin: at + 20 >= text.length })
    await settled(tab)
    for (let count = 0; count < 20; count += 1) wire.send('x', { fin: false })
    const [code] = (await closed) as [number]
    expect(code).toBe(1008)
  })
})

describe('the ids that a user watches', () => {
  const list = (from: number) =>
    `subscription { presenceChanged(userIds: ${JSON.stringify(Array.from({ length: 400 }, (_, index) => `u${from + index}`))}) { kind } }`

  it('are bounded over all their sockets and event streams', async () => {
    await start({ WATCHED_IDS_PER_USER: '1000' })
    const tab = await openTab(server, 'alice')
    const other = await openTab(server, 'alice')
    const first = tab.client.iterate({ query: list(0) })
    void first.next().catch(() => {})
    await settled(tab)
    expect((await openStream('alice', list(400))).status).toBe(200)
    expect((await other.ask(list(800))).errors?.[0]?.extensions.code).toBe('RATE_LIMITED')
    expect(await (await openStream('alice', list(800))).text()).toContain('"code":"RATE_LIMITED"')
    // A list that ends makes room.
    await first.return?.()
    await settled(tab)
    expect((await openStream('alice', list(800))).headers.get('content-type')).toMatch(/^text\/event-stream/)
  })
})

describe('reading the schema', () => {
  const WHOLE = getIntrospectionQuery()
  const production = { NODE_ENV: 'production', JWT_SECRET: SECRET } as const

  it('needs a token in production, over HTTP and sockets, and none in development', async () => {
    await start(production)
    expect((await post(server, null, WHOLE)).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await post(server, null, '{ a: __type(name: "User") { name } }')).errors?.[0]?.extensions.code).toBe(
      'UNAUTHENTICATED',
    )
    expect((await post(server, null, '{ __typename }')).data).toEqual({ __typename: 'Query' })
    const token = await sign({ sub: 'alice' })
    expect((await post(server, token, WHOLE)).data?.__schema.queryType.name).toBe('Query')
    const tab = await openTab(server, 'alice', { token })
    expect((await tab.ask(WHOLE)).data?.__schema.queryType.name).toBe('Query')
    await server.stop()
    await start()
    expect((await post(server, null, WHOLE)).data?.__schema.queryType.name).toBe('Query')
  })

  it('may be open to anyone, or to nobody', async () => {
    await start({ ...production, INTROSPECTION: 'anyone' })
    expect((await post(server, null, WHOLE)).data?.__schema.queryType.name).toBe('Query')
    await server.stop()
    await start({ INTROSPECTION: 'nobody' })
    expect((await post(server, 'dev:alice', WHOLE)).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
  })

  it('is bounded to twice the usual query, and costs who asks', async () => {
    await start({ ADDRESS_WORK_BURST: '30000', ADDRESS_WORK_RATE: '100' })
    const [operation, ...fragments] = parse(WHOLE).definitions
    if (operation?.kind !== Kind.OPERATION_DEFINITION) throw new Error('There is no operation.')
    const [field] = operation.selectionSet.selections
    if (field?.kind !== Kind.FIELD || field.selectionSet === undefined) throw new Error('There is no field.')
    const thrice = `{ a: __schema { ...S } b: __schema { ...S } c: __schema { ...S } }
      fragment S on __Schema ${print(field.selectionSet)} ${fragments.map(print).join(' ')}`
    expect((await post(server, 'dev:alice', thrice)).errors?.[0]).toMatchObject({
      message: expect.stringContaining('twice the usual introspection query'),
      extensions: { code: 'BAD_USER_INPUT', argument: 'query' },
    })
    expect((await post(server, null, WHOLE)).errors).toBeUndefined()
    expect((await post(server, null, WHOLE)).errors?.[0]?.extensions.code).toBe('RATE_LIMITED')
    expect((await post(server, 'dev:alice', WHOLE)).errors).toBeUndefined()
  })
})

describe('an expensive mutation', () => {
  it('is not overtaken by what its client asks after it', async () => {
    await start({ USER_WORK_BURST: '10000000' })
    const tab = await openTab(server, 'otto')
    const rooms = Array.from({ length: 100 }, (_, index) => `room-${index}`)
    const beat = tab.ask('mutation ($rooms: [ID!]) { heartbeat(rooms: $rooms) { session { id } } }', { rooms })
    const left = tab.ask('mutation { goOffline { viewer { isOnline } } }')
    expect((await beat).data?.heartbeat.session).not.toBeNull()
    expect((await left).data?.goOffline.viewer.isOnline).toBe(false)
    expect((await tab.ask('{ viewer { isOnline } }')).data?.viewer.isOnline).toBe(false)
  })
})

describe('expensive operations', () => {
  it('of one socket do not make others wait for all of them', async () => {
    await start({ USER_WORK_BURST: '10000000' })
    const alice = await openTab(server, 'alice')
    const bob = await openTab(server, 'bob')
    // As expensive as a full page, with an answer so short that all twenty fit into one read.
    const page = 'query { onlineUsers(first: 1000) { totalCount nodes @include(if: false) { id name status } } }'
    expect((await alice.ask(page)).data).toEqual({ onlineUsers: { totalCount: 2 } })
    let pageCount = 0
    alice.wire().on('message', (data) => {
      if (String(data).includes('"complete"')) pageCount += 1
    })
    // Corked, so that they come to the server in one piece.
    const { _socket: raw } = alice.wire() as unknown as { _socket: Socket }
    raw.cork()
    for (let id = 0; id < 20; id += 1) {
      alice.wire().send(JSON.stringify({ id: `page ${id}`, type: 'subscribe', payload: { query: page } }))
    }
    raw.uncork()
    // It comes to the server behind all of them.
    await bob.ask('mutation { heartbeat { nextHeartbeatInMs } }')
    expect(pageCount).toBeLessThan(10)
    await until(() => pageCount === 20, { what: 'all pages' })
  })
})

describe('two processes on one Redis', () => {
  it('bound the work of a user together', async () => {
    const shared = await redisData()
    const settings = { ...shared.settings, USER_WORK_BURST: '10000', USER_WORK_RATE: '100' }
    await start(settings)
    const other = await startServer(settings)
    try {
      const write = 'mutation { setStatus(status: BUSY) { viewer { id } } }'
      for (let count = 0; count < 4; count += 1) {
        expect((await post(server, 'dev:alice', write)).errors).toBeUndefined()
      }
      // What it has taken itself is worth a message too, and with it comes what was taken there.
      expect((await post(other, 'dev:alice', write)).errors).toBeUndefined()
      await until(
        async () => (await post(other, 'dev:alice', '{ position }')).errors?.[0]?.extensions.code === 'RATE_LIMITED',
        { what: 'the word of the other process' },
      )
      expect((await post(other, 'dev:bob', write)).errors).toBeUndefined()
    } finally {
      await other.stop()
      await server.stop()
      await shared.drop()
    }
  })
})

describe('with the defaults', () => {
  const PAGE = '{ onlineUsers(first: 1000) { nodes { id name status isOnline lastActive onlineSince statusMessage } } }'

  it('fifty tabs of one user come back at once, each reads a page of 1,000 users and follows, and none is refused', async () => {
    await start()
    const tabs = await Promise.all(Array.from({ length: 50 }, () => openTab(server, 'alice')))
    const refused: unknown[] = []
    await Promise.all(
      tabs.map(async (tab) => {
        tab.client.subscribe(
          { query: 'subscription { presenceChanged { kind user { id status } } }' },
          {
            next: ({ errors }) => void (errors && refused.push(errors)),
            error: (error) => refused.push(error),
            complete() {},
          },
        )
        tab.client.subscribe(
          { query: 'subscription { viewerChanged { id isOnline } }' },
          {
            next: ({ errors }) => void (errors && refused.push(errors)),
            error: (error) => refused.push(error),
            complete() {},
          },
        )
        const { errors } = await tab.ask(PAGE)
        if (errors !== undefined) refused.push(errors)
        const beat = await tab.ask('mutation { heartbeat { nextHeartbeatInMs } }')
        if (beat.errors !== undefined) refused.push(beat.errors)
      }),
    )
    expect(refused).toEqual([])
  })
})
