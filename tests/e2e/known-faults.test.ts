/** Faults that were found in servers of the same kind, and are answered here: SECURITY.md names them. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { closeTabs, openTab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'

const VIEWER = '{"query":"{ viewer { user { id } } }"}'

describe('a server of this kind', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterEach(closeTabs)
  afterAll(() => server.stop())

  async function postAs(contentType: string, body: string | FormData | Uint8Array<ArrayBuffer>, headers = {}) {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { ...(contentType === '' ? {} : { 'content-type': contentType }), ...headers },
      body,
    })
    return { status: response.status, ...(await response.json()) }
  }

  /** How the server closes a socket of its own that says these messages and nothing else. */
  async function closeAfter(protocol: string, ...messages: readonly (string | Buffer)[]): Promise<number> {
    const socket = protocol === '' ? new WebSocket(server.wsUrl) : new WebSocket(server.wsUrl, protocol)
    const closed = new Promise<number>((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.once('open', () => {
      for (const message of messages) socket.send(message)
    })
    return await closed
  }

  it('takes no operation of a socket that did not say who it is', async () => {
    const subscribe = JSON.stringify({ type: 'subscribe', id: 'a', payload: { query: '{ position }' } })
    expect(await closeAfter('graphql-transport-ws', subscribe)).toBe(4401)
  })

  it('knows no older protocol in which a socket could do without that', async () => {
    const start = JSON.stringify({ type: 'start', id: 'a', payload: { query: '{ position }' } })
    for (const protocol of ['graphql-ws', 'subscriptions-transport-ws']) {
      // The handshake names no protocol, so the client gives up and has sent nothing.
      expect([protocol, await closeAfter(protocol, start)]).toEqual([protocol, 1006])
    }
    expect(await closeAfter('', start)).toBe(4406)
  })

  it('believes nothing that connectionParams say of the user but the token', async () => {
    const connectionParams = { jwt: { sub: 'alice' }, token: 'dev:alice', userId: 'alice', user: { id: 'alice' } }
    await expect(openTab(server, 'alice', { options: { connectionParams } })).rejects.toMatchObject({ code: 4403 })
  })

  it('goes by no cookie, so that no other page can ask for its reader', async () => {
    const { errors } = await postAs('application/json', VIEWER, { cookie: 'authorization=dev:alice; token=dev:alice' })
    expect(errors[0].extensions.code).toBe('UNAUTHENTICATED')
    const url = `${server.url}/graphql?query=${encodeURIComponent('{ viewer { id } }')}`
    for (const contentType of ['application/json', 'text/plain', 'message/x']) {
      const response = await fetch(url, { headers: { cookie: 'token=dev:alice', 'content-type': contentType } })
      expect((await response.json()).errors[0].extensions.code).toBe('UNAUTHENTICATED')
      expect(response.headers.get('access-control-allow-credentials')).not.toBe('true')
    }
  })

  it('changes nothing by a GET', async () => {
    const query = encodeURIComponent('mutation { heartbeat { expiresAt } }')
    const headers = { authorization: 'Bearer dev:getter', accept: 'application/json' }
    const response = await fetch(`${server.url}/graphql?query=${query}`, { headers })
    expect([response.ok, (await response.json()).data]).toEqual([false, undefined])
    const { data } = await postAs('application/json', '{"query":"{ user(id: \\"getter\\") { isOnline } }"}', {
      authorization: 'Bearer dev:reader',
    })
    expect(data.user?.isOnline ?? false).toBe(false)
  })

  it('reads no form, whose fields could reach into its objects', async () => {
    const form = new FormData()
    form.set('operations', VIEWER)
    form.set('map', '{}')
    expect((await postAs('', form)).status).toBe(415)
    expect((await postAs('application/x-www-form-urlencoded', 'query={position}')).status).toBe(415)
  })

  it('reads a body as UTF-8, whatever charset it claims', async () => {
    for (const charset of ['utf-8', 'utf-16le', 'shift_jis', 'x-unknown']) {
      const answer = await postAs(`application/json; charset=${charset}`, VIEWER, { authorization: 'dev:alice' })
      expect([charset, answer.data]).toEqual([charset, { viewer: { user: { id: 'alice' } } }])
    }
  })

  it('answers one operation a request, so that no batch goes past the limits of one', async () => {
    const { errors, data } = await postAs('application/json', `[${VIEWER},${VIEWER}]`, { authorization: 'dev:alice' })
    expect([data, typeof errors[0].extensions.code]).toEqual([undefined, 'string'])
  })

  it('closes a socket that sends a binary message that is no JSON or one beyond the bound, and no other', async () => {
    const alice = await openTab(server, 'alice')
    expect(await closeAfter('graphql-transport-ws', Buffer.from([1, 2, 3]))).toBe(4400)
    // JSON but for one byte that is no UTF-8.
    expect(
      await closeAfter('graphql-transport-ws', Buffer.from('{"type":"ping","payload":{"a":"\xff"}}', 'latin1')),
    ).toBe(4400)
    expect(await closeAfter('graphql-transport-ws', 'x'.repeat(65_537))).toBe(1009)
    expect((await alice.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
  })

  it('keeps what JSON calls __proto__ and constructor a name like others', async () => {
    const body =
      '{"query":"query ($ids: [ID!]!) { users(ids: $ids) { id } }","variables":{"ids":["a"],"__proto__":{"polluted":true}},"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}'
    await postAs('application/json', body, { authorization: 'dev:alice' })
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined()
  })
})
