import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { metricOf } from '../support/metrics.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** A socket without a library: what it hears are the bytes of the messages, in order. */
interface Wire {
  readonly heard: string[]
  readonly closed: { readonly code: number }[]
  send(...messages: readonly object[]): void
  hear(count: number): Promise<readonly string[]>
}

describe('answers over a socket', () => {
  let server: TestServer
  const sockets: WebSocket[] = []
  beforeAll(async () => {
    server = await startServer({ SUBSCRIPTIONS_PER_SOCKET: '2' })
  })
  afterAll(async () => {
    for (const socket of sockets) socket.terminate()
    await server.stop()
  })

  async function connect(userId: string): Promise<Wire> {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
    sockets.push(socket)
    const [heard, closed]: [string[], { code: number }[]] = [[], []]
    socket.on('message', (data) => heard.push(String(data)))
    socket.on('close', (code) => closed.push({ code }))
    await new Promise((resolve) => socket.once('open', resolve))
    const wire: Wire = {
      heard,
      closed,
      // Corked, so that they come to the server in one piece, as a hurried client sends them.
      send(...messages) {
        const raw = (socket as unknown as { _socket: { cork(): void; uncork(): void } })._socket
        raw.cork()
        for (const message of messages) socket.send(JSON.stringify(message))
        raw.uncork()
      },
      async hear(count) {
        await until(() => heard.length >= count, { what: `${count} messages` })
        return heard.splice(0)
      },
    }
    wire.send({ type: 'connection_init', payload: { authorization: `Bearer dev:${userId}` } })
    await wire.hear(1)
    return wire
  }

  const subscriptionCount = () => metricOf(server, 'rollcall_subscriptions')
  const subscribe = (id: string, query: string) => ({ id, type: 'subscribe', payload: { query } })

  it('have the very form that the protocol library gives them, whatever the id and the text', async () => {
    const wire = await connect('zoë "☃"')
    const id = 'é "1"'
    wire.send(subscribe(id, '{ viewer { user { id } } }'))
    expect(await wire.hear(2)).toEqual([
      `{"id":${JSON.stringify(id)},"type":"next","payload":{"data":{"viewer":{"user":{"id":${JSON.stringify('zoë "☃"')}}}}}}`,
      `{"id":${JSON.stringify(id)},"type":"complete"}`,
    ])
  })

  it('have their errors after their data', async () => {
    const wire = await connect('alice')
    wire.send(subscribe('1', '{ viewer { user { id } } user(id: "") { id } }'))
    const [next = '', complete] = await wire.hear(2)
    expect(JSON.parse(next)).toEqual({
      id: '1',
      type: 'next',
      payload: {
        data: { viewer: { user: { id: 'alice' } }, user: null },
        errors: [expect.objectContaining({ path: ['user'], extensions: expect.objectContaining({ argument: 'id' }) })],
      },
    })
    expect(Object.keys(JSON.parse(next).payload)).toEqual(['data', 'errors'])
    expect(complete).toBe('{"id":"1","type":"complete"}')
  })

  it.each([
    { why: 'a position that the log does not reach', args: '(after: "0123456789abcdef:1")', code: 'POSITION_EXPIRED' },
    { why: 'an argument out of its bounds', args: `(room: "${'☃'.repeat(128)}")`, code: 'BAD_USER_INPUT' },
  ])('are one `error` message where a subscription cannot begin: $why', async ({ args, code }) => {
    const wire = await connect('alice')
    const id = 'é "1"'
    const before = await subscriptionCount()
    wire.send(subscribe(id, `subscription { presenceChanged${args} { kind } }`))
    const [error = ''] = await wire.hear(1)
    expect(JSON.parse(error)).toEqual({
      id,
      type: 'error',
      payload: [expect.objectContaining({ path: ['presenceChanged'], extensions: expect.objectContaining({ code }) })],
    })
    // Nothing follows it, and its id is free.
    wire.send(subscribe(id, '{ viewer { user { id } } }'))
    expect((await wire.hear(2)).map((text) => JSON.parse(text).type)).toEqual(['next', 'complete'])
    expect(await subscriptionCount()).toBe(before)
  })

  it('free their id, and no message of an operation comes after its end', async () => {
    const wire = await connect('alice')
    for (let count = 0; count < 3; count += 1) {
      wire.send(subscribe('again', 'mutation { heartbeat { nextHeartbeatInMs } }'))
      expect((await wire.hear(2)).map((text) => JSON.parse(text).type)).toEqual(['next', 'complete'])
    }
  })

  it('are not given to who ended the operation before they were there', async () => {
    const wire = await connect('alice')
    wire.send(subscribe('1', '{ viewer { id } }'), { id: '1', type: 'complete' }, subscribe('2', '{ viewer { id } }'))
    expect((await wire.hear(2)).map((text) => JSON.parse(text).id)).toEqual(['2', '2'])
    // The next answer is that of the next question: nothing of the first one came late.
    wire.send(subscribe('3', '{ viewer { id } }'))
    expect((await wire.hear(2)).map((text) => JSON.parse(text).id)).toEqual(['3', '3'])
  })

  it('go to the operation that they are of where its client ended one and used its id again', async () => {
    const wire = await connect('alice')
    wire.send(
      subscribe('1', '{ user(id: "alice") { id } }'),
      { id: '1', type: 'complete' },
      subscribe('1', '{ viewer { isOnline } }'),
    )
    expect((await wire.hear(2)).map((text) => JSON.parse(text))).toEqual([
      { id: '1', type: 'next', payload: { data: { viewer: { isOnline: true } } } },
      { id: '1', type: 'complete' },
    ])
    // One that was ended before its turn never begins.
    wire.send(
      subscribe('2', '{ user(id: "alice") { id } }'),
      { id: '2', type: 'complete' },
      subscribe('2', '{ viewer { isOnline } }'),
      { id: '2', type: 'complete' },
      subscribe('3', '{ viewer { id } }'),
    )
    expect((await wire.hear(2)).map((text) => JSON.parse(text).id)).toEqual(['3', '3'])
    wire.send(subscribe('2', '{ __typename }'))
    expect((await wire.hear(2)).map((text) => JSON.parse(text).payload?.data)).toEqual([
      { __typename: 'Query' },
      undefined,
    ])
  })

  it('come once from a subscription, however often its client began and ended it in one breath', async () => {
    const before = await subscriptionCount()
    const wire = await connect('alice')
    const follow = subscribe('1', 'subscription { presenceChanged(room: "hall") { user { id } } }')
    const flood = Array.from({ length: 50 }, () => [follow, { id: '1', type: 'complete' }]).flat()
    wire.send(...flood, follow)
    await until(async () => (await subscriptionCount()) === before + 1, { what: 'one subscription' })
    const other = await connect('bob')
    other.send(subscribe('1', 'mutation { joinRoom(room: "hall") { session { id } } }'))
    await other.hear(2)
    wire.send(subscribe('2', '{ __typename }'))
    await until(() => wire.heard.some((text) => text.includes('"complete"')), { what: 'the last answer' })
    expect(wire.heard.filter((text) => text.includes('presenceChanged'))).toHaveLength(1)
    for (const socket of sockets.splice(0)) socket.terminate()
    await until(async () => (await subscriptionCount()) === 0, { what: 'the end of all subscriptions' })
  })

  it('are given to a client at its limit that goes from one subscription to the next in one breath', async () => {
    const wire = await connect('alice')
    const follow = (id: string) => subscribe(id, 'subscription { positionAdvanced }')
    wire.send(follow('a'), follow('b'))
    await wire.hear(2)
    wire.send(follow('c'))
    expect(JSON.parse(String(await wire.hear(1)))).toMatchObject({ id: 'c', type: 'error' })
    wire.send({ id: 'a', type: 'complete' }, follow('c'))
    expect(JSON.parse(String(await wire.hear(1)))).toMatchObject({ id: 'c', type: 'next' })
  })

  it('come to messages in binary frames too, which some clients send', async () => {
    const wire = await connect('alice')
    const socket = sockets.at(-1)
    socket?.send(Buffer.from(JSON.stringify(subscribe('é', '{ viewer { id } }'))), { binary: true })
    expect((await wire.hear(2)).map((text) => JSON.parse(text))).toEqual([
      { id: 'é', type: 'next', payload: { data: { viewer: { id: 'viewer:alice' } } } },
      { id: 'é', type: 'complete' },
    ])
  })

  it('come where the name of the operation is empty, over HTTP too', async () => {
    const wire = await connect('alice')
    const payload = { query: 'query Me { viewer { id } }', operationName: '' }
    wire.send({ id: '1', type: 'subscribe', payload })
    expect(JSON.parse(String((await wire.hear(2))[0])).payload).toEqual({ data: { viewer: { id: 'viewer:alice' } } })
    const headers = { authorization: 'Bearer dev:alice', 'content-type': 'application/json' }
    const url = `${server.url}/graphql`
    for (const response of [
      await fetch(url, { method: 'POST', headers, body: JSON.stringify(payload) }),
      await fetch(`${url}?${new URLSearchParams(payload)}`, { headers }),
    ]) {
      expect(await response.json()).toEqual({ data: { viewer: { id: 'viewer:alice' } } })
    }
  })

  it('are those of the operation that was asked for, whatever others asked of the same text', async () => {
    const [one, other] = [await connect('alice'), await connect('bob')]
    const text = '{ viewer { id isOnline } }'
    one.send({ id: '1', type: 'subscribe', payload: { query: text, operationName: 'Other' } })
    expect(JSON.parse(String(await one.hear(1)))).toMatchObject({ type: 'error' })
    other.send(subscribe('1', text))
    expect((await other.hear(2)).map((answer) => JSON.parse(answer).type)).toEqual(['next', 'complete'])
  })

  it('close the socket with 4400 where an id is longer than any has to be', async () => {
    const wire = await connect('alice')
    wire.send(subscribe('i'.repeat(256), '{ viewer { id } }'))
    await wire.hear(2)
    wire.send(subscribe('i'.repeat(257), '{ viewer { id } }'))
    await until(() => wire.closed.length > 0, { what: 'the end of the socket' })
    expect(wire.closed).toEqual([{ code: 4400 }])
  })

  it('close the socket with 4409 where an id is used while its operation is open', async () => {
    const wire = await connect('alice')
    wire.send(subscribe('1', '{ viewer { id } }'), subscribe('1', '{ viewer { id } }'))
    await until(() => wire.closed.length > 0, { what: 'the end of the socket' })
    expect(wire.closed).toEqual([{ code: 4409 }])
  })
})

describe('an upgrade that is refused', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server.stop())

  it('leaves no connection open, whatever the peer does', async () => {
    const { hostname, port } = new URL(server.url)
    const peer = connectTcp({ host: hostname, port: Number(port), allowHalfOpen: true })
    let isClosed = false
    peer.on('error', () => {
      isClosed = true
    })
    peer.write(
      `GET /elsewhere HTTP/1.1\r\nHost: ${hostname}:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nmore`,
    )
    const [answer] = await once(peer, 'data')
    expect(String(answer)).toContain('404 Not Found')
    // It closes nothing itself, and goes on sending: refused only where the server has let go.
    await until(
      () => {
        if (!isClosed) peer.write('more')
        return isClosed
      },
      { what: 'the end of the connection' },
    )
    peer.destroy()
  })
})
