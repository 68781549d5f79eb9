import { randomUUID } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { OWN_VERSION } from '../../src/own-version.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

describe('over HTTP', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterEach(closeTabs)
  afterAll(() => server.stop())

  async function openStream(selection: string): Promise<{ text(): string; close(): Promise<void> }> {
    const abort = new AbortController()
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      signal: abort.signal,
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: 'Bearer dev:reader' },
      body: JSON.stringify({ query: `subscription ${selection}` }),
    })
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    let text = ''
    const reading = (async () => {
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>)
        text += Buffer.from(chunk).toString()
    })().catch(() => {})
    return {
      text: () => text,
      close() {
        abort.abort()
        return reading
      },
    }
  }

  it('streams server-sent events to who asks for them, from the same hub', async () => {
    const userId = `user-${randomUUID()}`
    const stream = await openStream(`{ presenceChanged(userIds: ["${userId}"]) { kind user { id } } }`)
    await openTab(server, userId)
    await until(() => stream.text().includes('"kind":"JOIN"'), { what: 'the JOIN' })
    expect(stream.text()).toContain('event: next')
    await stream.close()
  })

  it('gives each change of an event stream its position as the id, and the position reached before the first', async () => {
    const stream = await openStream('{ presenceChanged { user { id } } }')
    const userId = `user-${randomUUID()}`
    await openTab(server, userId)
    await until(() => stream.text().includes(userId), { what: 'the JOIN' })
    const [before, after] = [...stream.text().matchAll(/^id: (\w+):(\d+)$/gm)].map(([, epoch, seq]) => ({ epoch, seq }))
    expect(after?.epoch).toBe(before?.epoch)
    expect(Number(after?.seq)).toBeGreaterThan(Number(before?.seq))
    await stream.close()
  })

  it('tells an event stream too how far the log has advanced', async () => {
    const stream = await openStream('{ positionAdvanced }')
    await until(() => /"positionAdvanced":"\w+:\d+"/.test(stream.text()), { what: 'the position' })
    await stream.close()
  })

  describe('takes what a page sends as it closes', () => {
    const send = (body: string, type = 'text/plain;charset=UTF-8', method = 'POST') =>
      fetch(`${server.url}/graphql`, { method, headers: { 'content-type': type }, body })
    const goOffline = 'mutation ($tab: ID!) { goOffline(sessionId: $tab) { viewer { isOnline } } }'

    it('with the token in its body', async () => {
      const userId = `user-${randomUUID()}`
      const { sessionId } = await openTab(server, userId)
      const extensions = { authorization: `Bearer dev:${userId}` }
      const response = await send(JSON.stringify({ query: goOffline, variables: { tab: sessionId }, extensions }))
      expect([response.status, await response.json()]).toEqual([
        200,
        { data: { goOffline: { viewer: { isOnline: false } } } },
      ])
    })

    it.each([
      ['no token', { query: '{ position }' }],
      ['a token in the place of another', { query: '{ position }', authorization: 'Bearer dev:alice' }],
      ['a token that is no text', { query: '{ position }', extensions: { authorization: ['dev:alice'] } }],
      ['extensions that are none', { query: '{ position }', extensions: 'authorization' }],
      ['no object', ['authorization']],
    ])('and refuses it as another type of body with %s', async (_name, body) => {
      const response = await send(JSON.stringify(body))
      expect([response.status, (await response.json()).errors[0].extensions.argument]).toEqual([415, 'content-type'])
    })

    it('and refuses a token that does not hold, and a body that is too long', async () => {
      const extensions = { authorization: 'Bearer no.such.token' }
      expect((await send(JSON.stringify({ query: '{ position }', extensions }))).status).toBe(401)
      expect((await send(JSON.stringify({ query: 'x'.repeat(70_000), extensions }))).status).toBe(413)
    })

    it('and no such token in any other type of body', async () => {
      const extensions = { authorization: 'Bearer dev:alice' }
      const response = await send(JSON.stringify({ query: '{ viewer { status } }', extensions }), 'application/json')
      expect((await response.json()).errors[0].extensions.code).toBe('UNAUTHENTICATED')
    })
  })

  it('answers health and readiness', async () => {
    for (const accept of ['*/*', 'text/html', 'text/plain, application/*']) {
      expect(await (await fetch(`${server.url}/healthz`, { headers: { accept } })).text()).toBe('ok\n')
    }
    const health = await fetch(`${server.url}/healthz`, { headers: { accept: 'application/json' } })
    expect([health.status, await health.json()]).toEqual([200, { status: 'ok', version: OWN_VERSION }])
    expect(await (await fetch(`${server.url}/readyz`)).text()).toBe('ready\n')
    expect((await fetch(`${server.url}/no-such-page`)).status).toBe(404)
    expect((await fetch(`${server.url}/../package.json`)).status).toBe(404)
  })

  it('takes requests of this machine by its pages and refuses those of others, over HTTP and sockets', async () => {
    const allowed = await fetch(`${server.url}/graphql`, {
      method: 'OPTIONS',
      headers: {
        origin: 'http://localhost:3000',
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    })
    expect(allowed.headers.get('access-control-allow-origin')).toBe('http://localhost:3000')
    const refused = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { origin: 'https://evil.example', 'content-type': 'application/json' },
      body: '{"query":"{ __typename }"}',
    })
    expect(refused.status).toBe(403)
    expect(refused.headers.get('access-control-allow-origin')).toBeNull()
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws', { origin: 'https://evil.example' })
    const error = await new Promise<Error>((resolve) => socket.once('error', resolve))
    expect(error.message).toContain('403')
  })

  it('takes JSON only, and no body beyond its bound', async () => {
    const form = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'text/plain' },
      body: '{"query":"{ __typename }"}',
    })
    expect([form.status, (await form.json()).errors[0].extensions.code]).toEqual([415, 'BAD_USER_INPUT'])
    const large = await post(server, 'dev:alice', '{ __typename }', { filler: 'x'.repeat(70_000) })
    expect([large.status, large.errors?.[0]?.extensions]).toEqual([
      413,
      { code: 'BAD_USER_INPUT', argument: 'body', bound: 'at most 65536 bytes' },
    ])
    // Without a length told before, it is counted as it comes.
    const status = await new Promise((resolve, reject) => {
      const chunked = request(
        `${server.url}/graphql`,
        { method: 'POST', headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' } },
        (response) => {
          response.resume()
          resolve(response.statusCode)
        },
      )
      chunked.on('error', reject)
      chunked.write('{"query":"')
      chunked.end(`${'x'.repeat(70_000)}"}`)
    })
    expect(status).toBe(413)
  })

  it('answers introspection without a token, and nothing of anybody', async () => {
    const { data } = await post(server, null, '{ __schema { queryType { name } } }')
    expect(data?.__schema.queryType.name).toBe('Query')
    const { errors, data: nothing } = await post(server, null, '{ onlineUsers { totalCount } }')
    expect([errors?.[0]?.extensions.code, nothing]).toEqual(['UNAUTHENTICATED', null])
  })

  it('answers errors of the whole request with their status, 401 for a token that does not hold', async () => {
    const { status, errors } = await post(server, 'nonsense', '{ viewer { id } }')
    expect([status, errors?.[0]?.extensions.code]).toEqual([401, 'UNAUTHENTICATED'])
  })

  it('counts a heartbeat without a session id for the user alone where a socket holds one: no ghost stays', async () => {
    const userId = `user-${randomUUID()}`
    const tab = await openTab(server, userId)
    const beat = () => post(server, `dev:${userId}`, 'mutation { heartbeat { session { id } expiresAt } }')
    expect((await beat()).data?.heartbeat).toEqual({ session: null, expiresAt: null })
    await tab.close()
    // In the middle of a reload: the session is in its grace.
    expect((await beat()).data?.heartbeat).toEqual({ session: null, expiresAt: null })
    await until(
      async () =>
        (await post(server, 'dev:reader', `{ user(id: "${userId}") { isOnline } }`)).data?.user.isOnline === false,
      { what: 'the end', withinMs: 1500 },
    )
  })

  it('takes the position before anything else of the same answer', async () => {
    const { data } = await post(server, 'dev:reader', '{ onlineUsers { position } position }')
    const [list, own] = [data?.onlineUsers.position, data?.position].map((position) =>
      Number(String(position).split(':')[1]),
    )
    expect(own).toBeLessThanOrEqual(Number(list))
  })
})
