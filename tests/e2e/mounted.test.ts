/** Rollcall in a server that is there already: its requests, whatever has read their bodies, and its sockets. */
import express from 'express'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { Rollcall } from '../../src/app.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { FRAMEWORKS, type Mounted, mounted } from '../support/mounted.ts'
import { startRollcall } from '../support/server.ts'
import { until } from '../support/wait.ts'

const JSON_TYPE = { 'content-type': 'application/json' }

/** What is wrong with each is said alike, whether Rollcall read it or a body parser did. */
const BODIES: readonly (readonly [name: string, body: string])[] = [
  ['a query', '{"query":"{ __typename }"}'],
  [
    'an operation with variables',
    '{"query":"query ($ids: [ID!]!) { users(ids: $ids) { id } }","variables":{"ids":["nobody"]}}',
  ],
  ['a list', '[{"query":"{ __typename }"}]'],
  ['an empty object', '{}'],
  ['an operation name that is no text', '{"query":"{ __typename }","operationName":1}'],
  ['a query that is no text', '{"query":{}}'],
  ['variables that are no object', '{"query":"{ __typename }","variables":"x"}'],
  ['variables that are nested deeply', `{"query":"{ __typename }","variables":{"a":${nested(20)}}}`],
  ['variables that are nested beyond any stack', `{"query":"{ __typename }","variables":{"a":${nested(25_000)}}}`],
  ['a member that is not known', '{"query":"{ __typename }","no":1}'],
  ['a body that is too long', `{"query":"{ __typename }","extensions":{"a":"${'x'.repeat(70_000)}"}}`],
  ['a body that is too long in bytes', `{"query":"{ __typename }","extensions":{"a":"${'ä'.repeat(40_000)}"}}`],
]

function nested(levels: number): string {
  return '['.repeat(levels) + ']'.repeat(levels)
}

let rollcall: Rollcall
let drop: () => Promise<void>
const { log, lines } = createReadLog()
let plain: Mounted

beforeAll(async () => {
  ;({ rollcall, drop } = await startRollcall({}, log))
  plain = await mounted(rollcall, (request, response) => void rollcall.handle(request, response))
})
afterEach(closeTabs)
afterAll(async () => {
  await plain.stop()
  await rollcall.close()
  await drop()
})

async function answerTo(server: Mounted, init: RequestInit, path = '/graphql'): Promise<unknown> {
  const response = await fetch(`${server.url}${path}`, { method: 'POST', ...init })
  return [response.status, response.headers.get('content-type'), await response.text()]
}

describe.each(FRAMEWORKS)('mounted in $name', ({ name, start }) => {
  let server: Mounted
  beforeAll(async () => {
    server = await start(rollcall)
  })
  afterAll(() => server.stop())

  it('answers a mutation and a query', async () => {
    const token = `dev:${name.replaceAll(' ', '-')}`
    const query = 'query ($first: Int) { onlineUsers(first: $first) { totalCount } viewer { isOnline } }'
    // A busy database may keep the first one waiting.
    await until(async () => (await post(server, token, 'mutation { heartbeat { expiresAt } }')).errors === undefined)
    const { status, data } = await until(async () => {
      const answer = await post(server, token, query, { first: 1 })
      return answer.errors?.[0]?.extensions.code === 'UNAVAILABLE' ? null : answer
    })
    expect([status, data?.viewer]).toEqual([200, { isOnline: true }])
  })

  it.each(BODIES)('answers as a server of its own does: %s', async (_name, body) => {
    const init = { headers: JSON_TYPE, body }
    expect(await answerTo(server, init)).toEqual(await answerTo(plain, init))
  })

  it('takes no form, which a page of another origin could send without asking', async () => {
    const form = { headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: 'query=%7B__typename%7D' }
    const text = { headers: { 'content-type': 'text/plain' }, body: '{"query":"{ __typename }"}' }
    for (const init of [form, text]) {
      const [status, , answer] = (await answerTo(server, init)) as [number, string, string]
      expect([status, answer.includes('__typename')]).toEqual([415, false])
    }
  })

  it('sends events as they come', async () => {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { ...JSON_TYPE, accept: 'text/event-stream', authorization: 'Bearer dev:reader' },
      body: '{"query":"subscription { onlineCountChanged { count } }"}',
    })
    const reader = (response.body as ReadableStream<Uint8Array>).getReader()
    let read = ''
    while (!read.includes('"onlineCountChanged"')) {
      const { value, done } = await reader.read()
      if (done) throw new Error(`The stream ended: ${read}`)
      read += Buffer.from(value).toString()
    }
    await reader.cancel()
    expect(response.status).toBe(200)
  })

  it('has its sockets', async () => {
    const tab = await openTab(server, 'socket')
    expect(await tab.ask('{ viewer { id } }')).toEqual({ data: { viewer: { id: 'viewer:socket' } } })
  })

  it('leaves other paths to their handlers', async () => {
    expect(await (await fetch(`${server.url}/theirs`)).text()).toBe('theirs')
    const response = await fetch(`${server.url}/nobodys`, { method: 'POST', headers: JSON_TYPE, body: '{}' })
    expect([response.status, (await response.text()).includes('Not found\n')]).toEqual([404, false])
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe('ok\n')
  })
})

describe('a handler without `next`', () => {
  it('answers 404 to other paths', async () => {
    const response = await fetch(`${plain.url}/theirs`)
    expect([response.status, await response.text()]).toEqual([404, 'Not found\n'])
  })
})

describe('a body that another handler read', () => {
  it('and left nowhere is a fault of the server, which the log explains', async () => {
    const server = await mounted(rollcall, (request, response) => {
      request.on('end', () => void rollcall.handle(request, response)).resume()
    })
    try {
      const [status, , text] = (await answerTo(server, { headers: JSON_TYPE, body: '{"query":"{ __typename }"}' })) as [
        number,
        string,
        string,
      ]
      expect([status, JSON.parse(text).errors[0].extensions.code]).toEqual([500, 'INTERNAL'])
      expect(lines.filter((line) => line.includes('pass it on as `{ body }`'))).toHaveLength(1)
    } finally {
      await server.stop()
    }
  })

  const hostile = { query: '{ __typename }', toJSON: () => ({ query: '{ viewer { id } }' }) }
  const circular: Record<string, unknown> = { query: '{ __typename }' }
  circular.variables = circular
  const ODD: readonly (readonly [name: string, body: unknown, expected: unknown])[] = [
    [
      'an object without a prototype',
      Object.assign(Object.create(null), { query: '{ __typename }' }),
      { data: { __typename: 'Query' } },
    ],
    ['a text', '{"query":"{ __typename }"}', { data: { __typename: 'Query' } }],
    ['bytes', new TextEncoder().encode('{"query":"{ __typename }"}'), { data: { __typename: 'Query' } }],
    ['null', null, { code: 'BAD_REQUEST' }],
    ['a number', 1, { code: 'BAD_REQUEST' }],
    ['a list', ['{ __typename }'], { code: 'BAD_REQUEST' }],
    ['a number that JSON has not', { query: '{ __typename }', extensions: { a: 1n } }, { code: 'BAD_REQUEST' }],
    ['an object that contains itself', circular, { code: 'BAD_USER_INPUT' }],
    ['an object that writes itself as another one', hostile, { code: 'UNAUTHENTICATED' }],
  ]

  it.each(ODD)('is taken as its JSON is, or refused by its own code: %s', async (_name, body, expected) => {
    const server = await mounted(rollcall, (request, response) => {
      request.on('end', () => void rollcall.handle(request, response, { body })).resume()
    })
    try {
      const [, , text] = (await answerTo(server, { headers: JSON_TYPE, body: '{"query":"x"}' })) as [
        number,
        string,
        string,
      ]
      const answer = JSON.parse(text)
      expect(answer.errors === undefined ? answer : { code: answer.errors[0].extensions.code }).toEqual(expected)
    } finally {
      await server.stop()
    }
  })
})

describe('Express, which cuts off the path of a mount', () => {
  it('serves requests below it without BASE_PATH, and the log says that sockets are elsewhere', async () => {
    const app = express().use(express.json()).use('/presence', rollcall.handle)
    const server = await mounted(rollcall, app)
    try {
      const init = { headers: JSON_TYPE, body: '{"query":"{ __typename }"}' }
      for (const path of ['/presence/graphql', '/presence/graphql']) {
        expect(await answerTo(server, init, path)).toEqual(await answerTo(plain, init))
      }
      expect(((await answerTo(server, init)) as [number])[0]).toBe(404)
      expect(lines.filter((line) => line.includes('set BASE_PATH to that path'))).toEqual([
        expect.stringContaining('"path":"/presence","sockets":"/graphql"'),
      ])
    } finally {
      await server.stop()
    }
  })
})
