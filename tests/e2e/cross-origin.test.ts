import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { createRollcall } from '../../src/app.ts'
import { isErrorCode } from '../../src/presence/errors.ts'
import { createReadLog } from '../support/log.ts'
import { askRaw } from '../support/raw-http.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { SECRET } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

const OWN = 'http://localhost:3000'
const QUERY = '{"query":"{ position }"}'
const JSON_TYPE = { 'content-type': 'application/json' }
const TOKEN = { ...JSON_TYPE, authorization: 'Bearer dev:alice' }

const REFUSED: readonly (readonly [name: string, init: RequestInit, status: number, code: string])[] = [
  ['a token that is missing', { headers: JSON_TYPE, body: '{"query":"{ viewer { id } }"}' }, 200, 'UNAUTHENTICATED'],
  [
    'a token that does not hold',
    { headers: { ...JSON_TYPE, authorization: 'x' }, body: QUERY },
    401,
    'UNAUTHENTICATED',
  ],
  ['another method', { method: 'PATCH', headers: TOKEN, body: QUERY }, 405, 'BAD_REQUEST'],
  [
    'an answer that is asked for in another type',
    { headers: { ...TOKEN, accept: 'image/png' }, body: QUERY },
    406,
    'BAD_REQUEST',
  ],
  [
    'a subscription that is to be JSON',
    { headers: { ...TOKEN, accept: 'application/json' }, body: '{"query":"subscription { viewerChanged { id } }"}' },
    406,
    'BAD_REQUEST',
  ],
  ['a body that is too long', { headers: TOKEN, body: `{"query":"${'x'.repeat(70_000)}"}` }, 413, 'BAD_USER_INPUT'],
  ['a body of another type', { headers: { 'content-type': 'text/plain' }, body: QUERY }, 415, 'BAD_USER_INPUT'],
  ['a body that is no JSON', { headers: TOKEN, body: 'x' }, 400, 'BAD_REQUEST'],
  ['several operations at once', { headers: TOKEN, body: `[${QUERY}]` }, 400, 'BAD_REQUEST'],
  ['a member that is not known', { headers: TOKEN, body: '{"query":"{ position }","no":1}' }, 400, 'BAD_REQUEST'],
  [
    'a session that has no known form',
    { headers: { ...TOKEN, 'rollcall-session': 'x' }, body: QUERY },
    400,
    'BAD_USER_INPUT',
  ],
]

describe('a page of an allowed origin', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server.stop())

  const ask = (init: RequestInit, origin: string): Promise<Response> =>
    fetch(`${server.url}/graphql`, { method: 'POST', ...init, headers: { ...init.headers, origin } })

  it.each(REFUSED)('may read why it is refused: %s', async (_name, init, status, code) => {
    const response = await ask(init, OWN)
    const { errors } = await response.json()
    expect([response.status, errors[0].extensions.code]).toEqual([status, code])
    expect(code).toSatisfy(isErrorCode)
    expect(response.headers.get('access-control-allow-origin')).toBe(OWN)
    expect(response.headers.get('vary')).toMatch(/\bOrigin\b/i)
  })

  it('is asked for by a preflight, which needs no answer of the server behind', async () => {
    const response = await ask({ method: 'OPTIONS', headers: { 'access-control-request-method': 'POST' } }, OWN)
    expect([response.status, await response.text()]).toEqual([204, ''])
    expect(response.headers.get('access-control-allow-origin')).toBe(OWN)
    expect(response.headers.get('access-control-allow-methods')).toBe('GET, POST, PUT, DELETE, OPTIONS')
    expect(response.headers.get('access-control-allow-headers')).toBe('authorization, content-type, rollcall-session')
    expect(response.headers.get('vary')).toMatch(/\bOrigin\b/i)
    expect(response.headers.get('vary')).toMatch(/\bAccess-Control-Request-Headers\b/i)
  })

  it('may send the headers that tracing and client libraries add', async () => {
    const asked = 'apollographql-client-name,authorization,baggage,content-type,sentry-trace,traceparent,tracestate'
    const response = await ask(
      {
        method: 'OPTIONS',
        headers: { 'access-control-request-method': 'POST', 'access-control-request-headers': asked },
      },
      OWN,
    )
    expect([response.status, response.headers.get('access-control-allow-headers')]).toEqual([204, asked])
  })

  it('may read after how long to ask again', async () => {
    const response = await ask({ headers: TOKEN, body: QUERY }, OWN)
    expect(response.headers.get('access-control-expose-headers')).toBe('retry-after')
  })

  it('is not one of another origin: its preflight and its requests are refused as JSON that it cannot read', async () => {
    for (const method of ['OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH']) {
      const response = await ask(
        { method, headers: TOKEN, body: method === 'OPTIONS' ? null : QUERY },
        'https://else.example',
      )
      expect([response.status, (await response.json()).errors[0].extensions.code]).toEqual([403, 'FORBIDDEN'])
      expect(response.headers.get('access-control-allow-origin')).toBeNull()
      expect(response.headers.get('vary')).toMatch(/\bOrigin\b/i)
    }
  })
})

describe('origins that a setting allows in production', () => {
  const read = createReadLog()
  const settings = {
    NODE_ENV: 'production',
    JWT_SECRET: SECRET,
    ALLOWED_ORIGINS: 'HTTPS://App.Example.com:443/, https://*.preview.example.com, capacitor://localhost',
  }
  let server: TestServer
  beforeAll(async () => {
    server = await startServer(settings, read.log)
  })
  afterAll(() => server.stop())

  async function overHttp(headers: Record<string, string>): Promise<string | null> {
    const lines = Object.entries({ host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}\r\n`)
    const answer = await askRaw(server, `GET /graphql?query={position} HTTP/1.1\r\n${lines.join('')}\r\n`)
    return answer.headers['access-control-allow-origin'] ?? null
  }

  async function overSocket(headers: Record<string, string>): Promise<number> {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws', { headers })
    try {
      return await new Promise((resolve, reject) => {
        socket.on('open', () => resolve(101))
        socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode ?? 0))
        socket.on('error', reject)
      })
    } finally {
      socket.terminate()
    }
  }

  it.each([
    { origin: 'https://app.example.com' },
    { origin: 'https://pr-17.preview.example.com' },
    { origin: 'capacitor://localhost' },
    { origin: 'https://own.example', host: 'own.example' },
    // As a proxy passes it on that adds the port.
    { origin: 'https://own.example', host: 'own.example:443' },
  ])('take $origin, over HTTP and over a socket', async (headers) => {
    expect([await overHttp(headers), await overSocket(headers)]).toEqual([headers.origin, 101])
  })

  it.each([
    { origin: 'https://preview.example.com' },
    { origin: 'http://app.example.com' },
    { origin: 'tauri://localhost' },
    { origin: 'null' },
    { origin: 'http://localhost:3000' },
    { origin: 'capacitor://own.example', host: 'own.example' },
    { origin: 'http://own.example', host: 'own.example:443' },
  ])('do not take $origin', async (headers) => {
    expect([await overHttp(headers), await overSocket(headers)]).toEqual([null, 403])
  })

  it('name one that was refused once in the log, with what to set', async () => {
    const origin = 'https://new.example.com'
    const linesOf = () => read.lines.filter((line) => line.includes(`"origin":"${origin}"`))
    // One origin is logged a second: those of the tests before may be in this one.
    await until(async () => {
      await overHttp({ origin })
      return linesOf().length > 0
    })
    await overHttp({ origin })
    await overSocket({ origin })
    expect(linesOf().map((line) => JSON.parse(line))).toMatchObject([
      {
        level: 40,
        setting: `ALLOWED_ORIGINS=HTTPS://App.Example.com:443/,https://*.preview.example.com,capacitor://localhost,${origin}`,
        msg: expect.stringContaining('was refused'),
      },
    ])
  })

  it('stop the start where a page could not have one, which is named', () => {
    const log = read.log
    expect(() =>
      createRollcall({ ...settings, ALLOWED_ORIGINS: 'https://app.example.com, *, app.example.com' }, log),
    ).toThrow(
      /ALLOWED_ORIGINS must be .* not `\*`: .*\n.*ALLOWED_ORIGINS must be .* not `app\.example\.com`: it has no scheme/,
    )
  })
})
