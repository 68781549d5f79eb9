import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isErrorCode } from '../../src/presence/errors.ts'
import { startServer, type TestServer } from '../support/server.ts'

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
  ['another method', { method: 'PUT', headers: TOKEN, body: QUERY }, 405, 'BAD_REQUEST'],
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
    expect(response.headers.get('access-control-allow-methods')).toBe('GET, POST, OPTIONS')
    expect(response.headers.get('access-control-allow-headers')).toBe('authorization, content-type, rollcall-session')
    expect(response.headers.get('vary')).toMatch(/\bOrigin\b/i)
  })

  it('is not one of another origin: its preflight and its requests are refused as JSON that it cannot read', async () => {
    for (const method of ['OPTIONS', 'POST', 'PUT']) {
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
