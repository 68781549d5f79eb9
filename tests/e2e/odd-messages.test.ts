import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { startServer, type TestServer } from '../support/server.ts'

const INIT = { type: 'connection_init', payload: { authorization: 'Bearer dev:alice' } }
const nested = (levels: number): string => `${'['.repeat(levels)}${']'.repeat(levels)}`

/** The server's own words, and messages that have a part of another type than the protocol says. */
const INVALID: readonly (readonly [name: string, text: string])[] = [
  ['next', '{"id":"1","type":"next","payload":{"data":null}}'],
  ['error', '{"id":"1","type":"error","payload":[{"message":"x"}]}'],
  ['connection_ack', '{"type":"connection_ack"}'],
  ['connection_ack with an id', '{"id":"1","type":"connection_ack","payload":{}}'],
  ['the types of another protocol', '{"type":"start","id":"1","payload":{"query":"{ __typename }"}}'],
  ['keep-alives of another protocol', '{"type":"ka"}'],
  ['no type', '{}'],
  ['a type that is a number', '{"type":1}'],
  ['a type that is an object', '{"type":{"toString":1}}'],
  ['a type that is __proto__', '{"type":"__proto__"}'],
  ['a text', '"ping"'],
  ['a number', '1'],
  ['null', 'null'],
  ['a list', '[]'],
  ['a list of messages', '[{"type":"ping"}]'],
  ['no JSON', 'ping'],
  ['nothing', ''],
  ['a ping whose payload is a text', '{"type":"ping","payload":"x"}'],
  ['a ping whose payload is a list', '{"type":"ping","payload":[{"toString":1}]}'],
  ['a ping that is nested deep', `{"type":"ping","payload":{"x":${nested(5000)}}}`],
  ['a pong that is nested deep', `{"type":"pong","payload":{"x":${nested(5000)}}}`],
  ['a subscribe without an id', '{"type":"subscribe","payload":{"query":"{ __typename }"}}'],
  ['a subscribe whose id is a number', '{"id":1,"type":"subscribe","payload":{"query":"{ __typename }"}}'],
  ['a subscribe whose id is empty', '{"id":"","type":"subscribe","payload":{"query":"{ __typename }"}}'],
  [
    'a subscribe whose id is long',
    `{"id":"${'x'.repeat(257)}","type":"subscribe","payload":{"query":"{ __typename }"}}`,
  ],
  ['a subscribe without a payload', '{"id":"1","type":"subscribe"}'],
  ['a subscribe whose payload is a list', '{"id":"1","type":"subscribe","payload":[]}'],
  ['a subscribe without a query', '{"id":"1","type":"subscribe","payload":{}}'],
  ['a subscribe whose query is a list', '{"id":"1","type":"subscribe","payload":{"query":["{ __typename }"]}}'],
  ['variables that are a list', '{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","variables":[]}}'],
  ['variables that are a text', '{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","variables":"{}"}}'],
  ['a name that is a number', '{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","operationName":1}}'],
  ['extensions that are a list', '{"id":"1","type":"subscribe","payload":{"query":"{ __typename }","extensions":[]}}'],
  ['a complete without an id', '{"type":"complete"}'],
  ['a complete whose id is an object', '{"id":{},"type":"complete"}'],
]

describe('a socket', () => {
  const { log, takeFaults } = createReadLog()
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({}, log)
  })
  afterEach(closeTabs)
  afterAll(() => server.stop())

  /** @returns the code that the server closed with */
  async function closedAfter(frames: readonly string[]): Promise<number> {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
    await new Promise((resolve) => socket.once('open', resolve))
    for (const frame of frames) socket.send(frame)
    return new Promise((resolve) => socket.once('close', resolve))
  }

  it.each(INVALID)('closes with 4400 after a message that the protocol does not know: %s', async (_name, text) => {
    expect(await closedAfter([text])).toBe(4400)
    expect(await closedAfter([JSON.stringify(INIT), text])).toBe(4400)
    expect(takeFaults()).toEqual([])
  })

  it('closes with 4400 after a connection_init that is nested deep', async () => {
    expect(await closedAfter([`{"type":"connection_init","payload":{"x":${nested(5000)}}}`])).toBe(4400)
    expect(takeFaults()).toEqual([])
  })

  it('refuses variables and extensions that are nested deep by name, as HTTP does', async () => {
    const query = 'query ($ids: [ID!]!) { users(ids: $ids) { id } }'
    const tab = await openTab(server, 'alice')
    const bound = 'at most 16 levels deep'
    for (const name of ['variables', 'extensions'] as const) {
      // The last of two members of one name counts. Written by hand, for a client's own JSON could not.
      const body = `{"query":${JSON.stringify(query)},"variables":{"ids":["a"]},"${name}":{"x":${nested(5000)}}}`
      const overHttp = await fetch(`${server.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: 'Bearer dev:alice' },
        body,
      })
      const search = new URLSearchParams({ query: '{ position }', [name]: `{"x":${nested(2000)}}` })
      const overGet = await fetch(`${server.url}/graphql?${search}`, { headers: { authorization: 'Bearer dev:alice' } })
      const heard = new Promise((resolve) => tab.wire().once('message', (data) => resolve(JSON.parse(String(data)))))
      tab.wire().send(`{"id":"deep","type":"subscribe","payload":${body}}`)
      const { payload } = (await heard) as { payload: unknown }
      for (const { errors } of [await overHttp.json(), await overGet.json(), { errors: payload }]) {
        expect(errors).toEqual([
          { message: `${name} must be ${bound}.`, extensions: { code: 'BAD_USER_INPUT', argument: name, bound } },
        ])
      }
      expect([overHttp.status, overGet.status]).toEqual([400, 400])
    }
    expect((await tab.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
    expect(takeFaults()).toEqual([])
  })

  it('takes variables as deep as the bound, and refuses literals that are nested deep in the document', async () => {
    const deepest = JSON.parse(`{"unknown":${nested(15)}}`) as Record<string, unknown>
    expect((await post(server, 'dev:alice', '{ viewer { user { id } } }', deepest)).data?.viewer.user.id).toBe('alice')
    const tab = await openTab(server, 'alice')
    for (const literal of [nested(400), `${'{a:'.repeat(300)}1${'}'.repeat(300)}`, nested(5000)]) {
      const query = `{ users(ids: ${literal}) { id } }`
      for (const { errors } of [await post(server, 'dev:alice', query), await tab.ask(query)]) {
        expect(['GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED']).toContain(errors?.[0]?.extensions.code)
      }
      const asDefault = `query ($ids: [ID!] = ${literal}) { users(ids: $ids) { id } }`
      for (const { errors } of [await post(server, 'dev:alice', asDefault), await tab.ask(asDefault)]) {
        expect(['GRAPHQL_PARSE_FAILED', 'GRAPHQL_VALIDATION_FAILED']).toContain(errors?.[0]?.extensions.code)
      }
    }
    expect((await tab.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
    expect(takeFaults()).toEqual([])
  })
})
