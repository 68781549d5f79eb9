/** The app's own sessions in place of tokens, a cookie's included, and what no page of another origin may do with it. */
import { randomUUID } from 'node:crypto'
import express from 'express'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { type AppCaller, createRollcall, type Rollcall } from '../../src/app.ts'
import { closeTabs, openTab, post, type Tab } from '../support/clients.ts'
import { createReadLog } from '../support/log.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { askRaw, type RawAnswer } from '../support/raw-http.ts'
import { startRollcall } from '../support/server.ts'
import { until } from '../support/wait.ts'

const LISTED = 'https://app.example'
/** The app's sessions, by the value of its cookie: what its `authenticate` answers, or does. */
const sessions = new Map<string, () => unknown>()
const { log, lines } = createReadLog()
let rollcall: Rollcall
let drop: () => Promise<void>
let server: Mounted

beforeAll(async () => {
  ;({ rollcall, drop } = await startRollcall({ ALLOWED_ORIGINS: LISTED }, log, {
    authenticate({ request, req, connectionParams }) {
      const cookie = /(?:^|; )session=([^;]+)/.exec(request.headers.get('cookie') ?? '')?.[1]
      const { locals } = (req ?? {}) as { readonly locals?: string }
      const found = sessions.get(cookie ?? locals ?? String(connectionParams?.ticket))
      return (found?.() ?? null) as AppCaller | null
    },
  }))
  const app = express()
  app.use((request, _response, next) => {
    // As middleware of the app does with what it found out.
    Object.assign(request, { locals: request.headers['x-session'] })
    next()
  })
  server = await mounted(rollcall, app.use(express.json()).use(rollcall.handle))
})
afterEach(closeTabs)
afterAll(async () => {
  await server.stop()
  await rollcall.close()
  await drop()
})

/** @returns the cookie of a new session */
function signIn(answer: unknown): string {
  const id = randomUUID()
  sessions.set(id, typeof answer === 'function' ? (answer as () => unknown) : () => answer)
  return `session=${id}`
}

function ask(cookie: string, query: string, headers: Record<string, string> = {}) {
  return post(server, null, query, {}, { cookie, ...headers })
}

function tabWith(cookie: string, headers: Record<string, string> = {}): Promise<Tab> {
  class WithCookie extends WebSocket {
    constructor(url: string, protocols: string) {
      super(url, protocols, { headers: { cookie, ...headers } })
    }
  }
  return openTab(server, 'nobody', { options: { webSocketImpl: WithCookie, connectionParams: {} } })
}

describe("the app's session", () => {
  it('is the caller of requests, event streams and sockets', async () => {
    const cookie = signIn({ userId: 'alice', name: 'Alice', picture: 'https://app.example/alice.png' })
    const tab = await tabWith(cookie)
    expect((await tab.ask('{ viewer { id } }')).data).toEqual({ viewer: { id: 'viewer:alice' } })
    const { data } = await ask(cookie, '{ viewer { isOnline user { id name avatarUrl } } }')
    const user = { id: 'alice', name: 'Alice', avatarUrl: 'https://app.example/alice.png' }
    expect(data?.viewer).toEqual({ isOnline: true, user })
    const stream = await openStream(cookie)
    expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
    await stream.body?.cancel()
  })

  it('may be in connectionParams, or where middleware put it', async () => {
    const [, ticket = ''] = signIn({ userId: 'bob' }).split('=')
    const tab = await openTab(server, 'nobody', { options: { connectionParams: { ticket } } })
    expect((await tab.ask('{ viewer { id } }')).data).toEqual({ viewer: { id: 'viewer:bob' } })
    expect((await ask('', '{ viewer { id } }', { 'x-session': ticket })).data).toEqual({ viewer: { id: 'viewer:bob' } })
  })

  it('is in place of tokens: without it nobody is anybody', async () => {
    const { errors } = await post(server, 'dev:alice', '{ viewer { id } }')
    expect(errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    await expect(openTab(server, 'alice')).rejects.toMatchObject({ code: 4403 })
    expect((await post(server, null, '{ __typename }')).data).toEqual({ __typename: 'Query' })
  })

  it('has the rights that the app gives it', async () => {
    const guest = signIn({ userId: 'guest', rooms: ['team:*'], everyone: false })
    expect((await ask(guest, '{ onlineCount }')).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    expect((await ask(guest, '{ onlineCount(room: "team:a") }')).data).toEqual({ onlineCount: 0 })
    expect((await ask(guest, '{ onlineCount(room: "other") }')).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    expect((await ask(guest, 'mutation { disconnectUser(userId: "guest") { userId } }')).errors?.[0]).toMatchObject({
      extensions: { code: 'FORBIDDEN' },
    })
    await ask(guest, 'mutation { heartbeat { expiresAt } }')
    const service = signIn({ userId: 'backend', role: 'service' })
    const { data } = await ask(service, 'mutation { disconnectUser(userId: "guest") { userId } }')
    expect(data).toEqual({ disconnectUser: { userId: 'guest' } })
  })

  const NAME_BYTES = '1 to 128 bytes of UTF-8 without control characters'
  it.each<[field: string, bound: string, answer: unknown]>([
    ['caller', 'an object or null', 'alice'],
    ['userId', 'a text', {}],
    ['userId', 'a text', { userId: 7 }],
    ['userId', NAME_BYTES, { userId: '' }],
    ['everyone', '`true` or `false`', { userId: 'a', everyone: null }],
    ['role', '`member` or `service`', { userId: 'a', role: 'admin' }],
    ['rooms', 'a list of texts', { userId: 'a', rooms: null }],
    ['rooms', 'a list of texts', { userId: 'a', rooms: [1] }],
    ['rooms[0]', '1 to 256 bytes of UTF-8 without control characters', { userId: 'a', rooms: [''] }],
    ['expiresAt', 'a Date since 1970', { userId: 'a', expiresAt: '2030-01-01' }],
    ['expiresAt', 'a Date since 1970', { userId: 'a', expiresAt: new Date(Number.NaN) }],
    ['issuedAt', 'a Date since 1970', { userId: 'a', issuedAt: 1 }],
    ['issuedAt', 'at most 5 s after now', { userId: 'a', issuedAt: new Date(Date.now() + 60_000) }],
    ['issuedAt', 'no longer ago than TOKEN_MAX_AGE', { userId: 'a', issuedAt: new Date(1) }],
  ])('is refused where its %s is not %s: %j', async (field, bound, answer) => {
    const message = `\`${field}\` of the caller that the app's \`authenticate\` returned must be ${bound}.`
    const { status, errors } = await ask(signIn(answer), '{ viewer { id } }')
    expect([status, errors?.[0]?.message, errors?.[0]?.extensions]).toEqual([
      401,
      message,
      { code: 'UNAUTHENTICATED', field, bound },
    ])
    await expect(tabWith(signIn(answer))).rejects.toMatchObject({
      code: 4403,
      reason: expect.stringContaining(message.slice(0, 60)),
    })
  })

  it('that cannot be checked is no sign-out: the client comes back, and the log has the error', async () => {
    const throwing = signIn(() => {
      throw new Error('the session store is away')
    })
    const silent = signIn(() => new Promise(() => {}))
    const answers = await Promise.all([throwing, silent].map((cookie) => ask(cookie, '{ viewer { id } }')))
    for (const { status, errors } of answers) {
      expect([status, errors?.[0]?.extensions.code]).toEqual([503, 'UNAVAILABLE'])
      expect(errors?.[0]?.message).not.toContain('session store')
    }
    await expect(tabWith(throwing)).rejects.toMatchObject({ code: 1013 })
    expect(lines.some((line) => line.includes('the session store is away'))).toBe(true)
    expect(lines.some((line) => line.includes('did not answer'))).toBe(true)
  })

  it('ends its sockets and event streams when it runs out', async () => {
    const cookie = signIn(() => ({ userId: 'short', expiresAt: new Date(endsAtMs) }))
    const endsAtMs = Date.now() + 2500
    const tab = await tabWith(cookie)
    const closed = new Promise<number>((resolve) => tab.wire().once('close', resolve))
    const stream = await openStream(cookie)
    await Promise.all([expect(stream.text()).rejects.toThrow(), expect(closed).resolves.toBe(4403)])
    expect(Date.now()).toBeGreaterThanOrEqual(endsAtMs)
    expect(await ask(cookie, '{ viewer { id } }')).toMatchObject({ status: 401 })
  })

  it('of before a dismissal is over if the app says when it began, and else the app decides', async () => {
    const service = signIn({ userId: 'backend', role: 'service' })
    const old = signIn({ userId: 'carol', issuedAt: new Date(Date.now() - 60_000) })
    const undated = signIn({ userId: 'carol' })
    const tabs = await Promise.all([old, undated].map((cookie) => tabWith(cookie)))
    const closes = tabs.map((tab) => new Promise<number>((resolve) => tab.wire().once('close', resolve)))
    await ask(service, 'mutation { disconnectUser(userId: "carol") { sessionCount } }')
    expect(await Promise.all(closes)).toEqual([4403, 4403])
    expect(await ask(old, '{ viewer { id } }')).toMatchObject({ status: 401 })
    await expect(tabWith(old)).rejects.toMatchObject({ code: 4403 })
    // A dismissal counts in whole seconds.
    await until(async () => (await ask(undated, 'mutation { heartbeat { expiresAt } }')).errors === undefined)
    const later = signIn({ userId: 'carol', issuedAt: new Date() })
    expect((await (await tabWith(later)).ask('{ viewer { id } }')).data).toEqual({ viewer: { id: 'viewer:carol' } })
  })
})

describe('a page with the cookie of somebody', () => {
  const BODY = '{"query":"mutation { heartbeat { viewer { id } } }"}'
  const cookie = signIn({ userId: 'victim' })

  function send(headers: Record<string, string>, init: RequestInit = {}, path = '/graphql'): Promise<Response> {
    const json = { 'content-type': 'application/json' }
    return fetch(`${server.url}${path}`, {
      method: 'POST',
      body: BODY,
      ...init,
      headers: { cookie, ...json, ...headers },
    })
  }

  it.each([
    'https://evil.example',
    'null',
    'http://localhost:3000',
    'http://127.0.0.1:3000',
    'https://app.example:8443',
  ])('of another origin may neither ask nor open a socket: %s', async (origin) => {
    const response = await send({ origin })
    expect([response.status, (await response.json()).errors[0].extensions.code]).toEqual([403, 'FORBIDDEN'])
    expect(response.headers.get('access-control-allow-origin')).toBeNull()
    expect(response.headers.get('access-control-allow-credentials')).toBeNull()
    expect((await handshake(origin)).status).toBe(403)
    expect((await ask(cookie, '{ viewer { isOnline } }')).data).toEqual({ viewer: { isOnline: false } })
  })

  it('of an origin that is listed may, and with its cookie', async () => {
    const preflight = await send(
      { origin: LISTED, 'access-control-request-headers': 'content-type' },
      { method: 'OPTIONS', body: null },
    )
    const response = await askFrom(LISTED)
    for (const { headers } of [preflight, response]) {
      expect(headers.get('access-control-allow-origin')).toBe(LISTED)
      expect(headers.get('access-control-allow-credentials')).toBe('true')
    }
    expect([response.status, response.headers.get('cache-control')]).toEqual([200, 'no-store'])
    expect((await handshake(LISTED)).status).toBe(101)
  })

  it('of our own origin may, and a program that names none', async () => {
    const own = await askFrom(server.url)
    expect([own.status, own.headers.get('access-control-allow-credentials')]).toEqual([200, null])
    expect((await handshake(server.url)).status).toBe(101)
    expect((await send({}, { body: '{"query":"{ viewer { id } }"}' })).status).toBe(200)
    expect((await handshake(null)).status).toBe(101)
  })

  it('may load no address of ours as a picture, and may lead to it', async () => {
    // `fetch` of Node says itself of what mode it is.
    const get = async (site: string, mode: string) => {
      const fetchHeaders = site === '' ? '' : `Sec-Fetch-Site: ${site}\r\nSec-Fetch-Mode: ${mode}\r\n`
      const target = '/graphql?query=%7Bviewer%7Bid%7D%7D'
      const request = `GET ${target} HTTP/1.1\r\nHost: a\r\nCookie: ${cookie}\r\n${fetchHeaders}Connection: close\r\n\r\n`
      return (await askRaw(server, request)).status
    }
    expect([await get('cross-site', 'no-cors'), await get('same-site', 'no-cors')]).toEqual([403, 403])
    expect([await get('same-origin', 'cors'), await get('cross-site', 'navigate')]).toEqual([200, 200])
    expect(await get('', '')).toBe(200)
  })

  it('may send no form and change nothing by a GET', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']) {
      expect((await send({ 'content-type': type })).status).toBe(415)
    }
    const mutation = encodeURIComponent('mutation { heartbeat { viewer { id } } }')
    expect((await send({}, { method: 'GET', body: null }, `/graphql?query=${mutation}`)).status).toBe(405)
    expect((await ask(cookie, '{ viewer { isOnline } }')).data).toEqual({ viewer: { isOnline: false } })
  })

  function askFrom(origin: string): Promise<Response> {
    return send({ origin }, { body: '{"query":"{ viewer { id } }"}' })
  }

  function handshake(origin: string | null): Promise<RawAnswer> {
    const named = origin === null ? '' : `Origin: ${origin}\r\n`
    const request = `GET /graphql HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\n${named}Cookie: ${cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n`
    return askRaw(server, request, {
      alsoWhole: (text) => text.startsWith('HTTP/1.1 101') && text.includes('\r\n\r\n'),
    })
  }
})

describe('the settings beside `authenticate`', () => {
  const authenticate = () => null

  it('need no key in production', async () => {
    const created = createRollcall({ NODE_ENV: 'production', DATABASE_URL: 'postgres://nowhere.invalid/x' }, log, {
      authenticate,
    })
    created.ready.catch(() => {})
    await created.close()
  })

  it.each([
    ['JWT_SECRET', { JWT_SECRET: 'a-secret-for-tests-of-32-bytes-or-more' }],
    ['JWKS_URL', { JWKS_URL: 'https://issuer.example/keys' }],
    ['ALLOWED_ORIGINS', { ALLOWED_ORIGINS: 'null' }],
  ])('are refused where they would mean nothing or too much: %s', (name, settings) => {
    expect(() => createRollcall(settings, log, { authenticate })).toThrow(name)
  })
})

function openStream(cookie: string): Promise<Response> {
  return fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', cookie },
    body: '{"query":"subscription { onlineCountChanged { count } }"}',
  })
}
