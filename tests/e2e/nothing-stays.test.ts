/** Each way in, refused, given up or ended in each way: afterwards the server has what it had before. */
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { openTab, post } from '../support/clients.ts'
import { embeddedData, startServer, type TestData, type TestServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

let data: TestData
let server: TestServer
let inRooms: string
beforeAll(async () => {
  // A real Postgres has as many connections as were once needed at the same time: they would be counted.
  data = await embeddedData()
  server = await startServer({
    ...data.settings,
    JWT_SECRET: SECRET,
    CONNECTION_INIT_TIME: '300ms',
    BODY_TIME: '300ms',
  })
  inRooms = await sign({ sub: 'guest', presence: { rooms: ['lobby'], everyone: false } })
  // The first requests begin what the server has for good.
  await post(server, 'dev:alice', '{ position }')
  const tab = await openTab(server, 'alice')
  await tab.close()
  await until(async () => (await standing()).sockets === 0, { what: 'no socket' })
})
afterAll(async () => {
  await server.stop()
  await data.drop()
})

interface Standing {
  readonly subscriptions: number
  readonly sockets: number
  readonly timers: number
  readonly connections: number
}

async function standing(): Promise<Standing> {
  // A connection of its own, that does not stay.
  const response = await fetch(`${server.url}/metrics`, { headers: { connection: 'close' } })
  const page = await response.text()
  const metric = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(page)?.[1])
  const resources = process.getActiveResourcesInfo()
  return {
    subscriptions: metric('rollcall_subscriptions'),
    sockets: metric('rollcall_sockets'),
    timers: resources.filter((name) => name === 'Timeout').length,
    connections: resources.filter((name) => name === 'TCPSocketWrap').length,
  }
}

/** The server is in this process: its timers and its connections are counted with the test's own. */
async function leavesNothing(visit: () => Promise<unknown>): Promise<void> {
  const before = await standing()
  for (let count = 0; count < 5; count += 1) await visit()
  let after = before
  await until(
    async () => {
      after = await standing()
      return (
        after.subscriptions === before.subscriptions &&
        after.sockets === before.sockets &&
        after.timers <= before.timers &&
        after.connections <= before.connections
      )
    },
    { what: 'the standing of before' },
  ).catch(() => expect(after).toEqual(before))
}

interface Request {
  readonly query?: string
  readonly variables?: Record<string, unknown>
  readonly operationName?: string
  readonly token?: string | null
  readonly accept?: string
  readonly method?: string
  readonly headers?: Record<string, string>
}

const FOLLOW = 'subscription { presenceChanged { kind } }'
const STREAM = 'text/event-stream'

function request(asked: Request, signal?: AbortSignal): Promise<Response> {
  const { query = FOLLOW, variables, operationName, token = 'dev:alice', accept = STREAM, method = 'POST' } = asked
  const headers = {
    'content-type': 'application/json',
    connection: 'close',
    accept,
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
    ...asked.headers,
  }
  const isPost = method === 'POST' || method === 'PATCH'
  const url = isPost ? `${server.url}/graphql` : `${server.url}/graphql?query=${encodeURIComponent(query)}`
  const body = isPost ? JSON.stringify({ query, variables, operationName }) : null
  return fetch(url, { method, headers, body, signal: signal ?? null })
}

/** Requests that are refused, by the way in which they are. */
const REFUSED: readonly (readonly [string, Request])[] = [
  ['an accept that is no event stream', { accept: 'application/json' }],
  ['an accept of Apollo Client', { accept: 'application/graphql-response+json,application/json;q=0.9' }],
  ['an accept that nothing fits', { accept: 'image/png' }],
  ['an accept that is no media type', { accept: ',;=' }],
  ['no token', { token: null }],
  ['a token that does not hold', { token: 'no.token.atall' }],
  ['a document that is no GraphQL', { query: 'subscription {' }],
  ['a document that is not valid', { query: 'subscription { nobody }' }],
  ['no such operation', { operationName: 'Other' }],
  [
    'variables of a wrong type',
    { query: 'subscription ($room: ID) { presenceChanged(room: $room) { kind } }', variables: { room: {} } },
  ],
  ['a room that is too long', { query: `subscription { presenceChanged(room: "${'x'.repeat(200)}") { kind } }` }],
  ['a position that is none', { query: 'subscription { presenceChanged(after: "x") { kind } }' }],
  ['a position of another log', { query: 'subscription { presenceChanged(after: "0000000000000000:1") { kind } }' }],
  ['HEAD', { method: 'HEAD' }],
  ['PATCH', { method: 'PATCH' }],
  ['a body of another type', { headers: { 'content-type': 'text/plain' } }],
]

describe('over HTTP nothing stays', () => {
  it.each(REFUSED)('of a subscription that is refused: %s', async (_how, asked) => {
    await leavesNothing(async () => {
      const response = await request(asked)
      await response.text()
      expect(response.status).not.toBe(500)
    })
  })

  it('of a subscription that its token does not allow', async () => {
    await leavesNothing(async () => {
      expect(await (await request({ token: inRooms })).text()).toContain('"code":"FORBIDDEN"')
    })
  })

  it('of an event stream whose client leaves', async () => {
    await leavesNothing(async () => {
      const controller = new AbortController()
      expect((await request({}, controller.signal)).status).toBe(200)
      controller.abort()
    })
  })

  it('of an event stream over GET whose client leaves', async () => {
    await leavesNothing(async () => {
      const controller = new AbortController()
      expect((await request({ method: 'GET' }, controller.signal)).status).toBe(200)
      controller.abort()
    })
  })

  it('of a client that leaves before it is answered', async () => {
    await leavesNothing(async () => {
      const controller = new AbortController()
      const answer = request({}, controller.signal).then(
        (response) => response.body?.cancel(),
        () => {},
      )
      controller.abort()
      await answer
    })
  })

  it('of queries and mutations', async () => {
    await leavesNothing(async () => {
      await (await request({ query: '{ position }', accept: '*/*' })).text()
      await (await request({ query: 'mutation { setStatus(status: BUSY) { viewer { id } } }', accept: '*/*' })).text()
    })
  })
})

async function open(init: object | null = { type: 'connection_init', payload: { authorization: 'dev:alice' } }) {
  const wire = new WebSocket(server.wsUrl, 'graphql-transport-ws')
  await once(wire, 'open')
  if (init !== null) {
    wire.send(JSON.stringify(init))
    await Promise.race([once(wire, 'message'), once(wire, 'close')])
  }
  return wire
}

async function closed(wire: WebSocket): Promise<void> {
  if (wire.readyState !== WebSocket.CLOSED) await once(wire, 'close')
}

const subscribe = (query: string, id = '1') => JSON.stringify({ id, type: 'subscribe', payload: { query } })

describe('over a socket nothing stays', () => {
  it.each([
    ['a client that never says who it is', null],
    ['a token that does not hold', { type: 'connection_init', payload: { authorization: 'no.token.atall' } }],
    ['no token', { type: 'connection_init' }],
    ['parameters that are wrong', { type: 'connection_init', payload: { authorization: 'dev:a', rooms: 'lobby' } }],
    ['a message before its time', { id: '1', type: 'subscribe', payload: { query: FOLLOW } }],
    ['a message that is none', { type: 'hello' }],
  ])('of %s', async (_how, init) => {
    await leavesNothing(async () => closed(await open(init)))
  })

  it.each(
    REFUSED.filter(
      ([, asked]) =>
        asked.query !== undefined && asked.variables === undefined && !asked.query.includes('positionAdvanced'),
    ),
  )('of a subscription that is refused: %s', async (_how, { query = '' }) => {
    await leavesNothing(async () => {
      const wire = await open()
      wire.send(subscribe(query))
      await once(wire, 'message')
      wire.close()
      await closed(wire)
    })
  })

  it.each([
    ['completes it', (wire: WebSocket) => wire.send('{"id":"1","type":"complete"}')],
    ['closes', () => {}],
    ['resets the connection', (wire: WebSocket) => wire.terminate()],
    ['uses its id twice', (wire: WebSocket) => wire.send(subscribe(FOLLOW))],
    ['sends a frame that is too long', (wire: WebSocket) => wire.send('x'.repeat(70_000))],
    ['sends what is no message', (wire: WebSocket) => wire.send('hello')],
    ['sends bytes', (wire: WebSocket) => wire.send(Buffer.from('{}'))],
  ])('of a subscription whose client %s', async (_how, end) => {
    await leavesNothing(async () => {
      const wire = await open()
      wire.on('error', () => {})
      wire.send(subscribe(FOLLOW))
      end(wire)
      if (wire.readyState === WebSocket.OPEN) wire.close()
      await closed(wire)
    })
  })

  it('of a socket whose client leaves while it is let in', async () => {
    await leavesNothing(async () => {
      const wire = new WebSocket(server.wsUrl, 'graphql-transport-ws')
      await once(wire, 'open')
      wire.send(JSON.stringify({ type: 'connection_init', payload: { authorization: 'dev:alice' } }))
      wire.terminate()
      await closed(wire)
    })
  })
})
