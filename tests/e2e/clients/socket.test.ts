/** The examples' socket, as an app uses it without a library around it. */
import { randomUUID } from 'node:crypto'
import type { Client } from 'graphql-ws'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { openSocket } from '../../../examples/socket.ts'
import { post, recordingSocket } from '../../support/clients.ts'
import { postgresData, startServer, type TestData, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { until } from '../../support/wait.ts'

let data: TestData
let server: TestServer
let proxy: TcpProxy
let client: Client
let sent: readonly string[]

beforeEach(async () => {
  data = await postgresData()
  server = await startServer({ ...data.settings, PING_INTERVAL: '10s', PONG_TIMEOUT: '5s' })
  proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  const recording = recordingSocket()
  sent = recording.sent
  client = openSocket({
    url: `http://127.0.0.1:${proxy.port}/graphql`,
    token: () => 'dev:alice',
    sessionId: randomUUID(),
    webSocketImpl: recording.webSocketImpl,
  })
  // It keeps the socket open.
  client.subscribe({ query: 'subscription { viewerChanged { id } }' }, { next() {}, error() {}, complete() {} })
  await until(isOnline, { what: 'alice online' })
  // The server shows her before its acknowledgement has arrived, and a test may lose it.
  await until(() => sentCount('viewerChanged') === 1, { what: 'the acknowledgement' })
})

afterEach(async () => {
  await client.dispose()
  await proxy.close()
  await server.stop()
  await data.drop()
})

async function isOnline(): Promise<boolean> {
  const answer = await post(server, 'dev:bob', '{ user(id: "alice") { isOnline } }')
  return answer.data?.user?.isOnline === true
}

function ask(query: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    client.subscribe({ query }, { next: resolve, error: reject, complete: () => reject(new Error('No answer came.')) })
  })
}

function sentCount(part: string): number {
  return sent.filter((text) => text.includes(part)).length
}

describe("the examples' socket", () => {
  it('does not send again a mutation that was never answered', async () => {
    expect(await ask('mutation { heartbeat { viewer { isOnline } } }')).toEqual({
      data: { heartbeat: { viewer: { isOnline: true } } },
    })
    proxy.loseAnswers()
    const left = ask('fragment Own on Viewer { id } mutation { goOffline { viewer { ...Own } } }')
    left.catch(() => {})
    await until(async () => !(await isOnline()), { what: 'the end of the session' })
    proxy.mend()
    await expect(left).rejects.toMatchObject({ code: 1006 })
    await until(() => sentCount('connection_init') === 2 && sentCount('viewerChanged') === 2, {
      what: 'the next connection',
    })
    await until(isOnline, { what: 'the person on the page' })
    // What was sent before this answer has taken effect.
    await ask('{ position }')
    expect(sentCount('goOffline')).toBe(1)
    expect(await isOnline()).toBe(true)
  })

  it('sends again a query that was never answered', async () => {
    proxy.loseAnswers()
    const asked = ask('{ position }')
    await until(() => sentCount('{ position }') === 1, { what: 'the question' })
    proxy.mend()
    expect(await asked).toMatchObject({ data: { position: expect.any(String) } })
    expect(sentCount('{ position }')).toBe(2)
  })
})
