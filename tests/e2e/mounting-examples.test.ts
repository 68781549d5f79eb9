/** The examples of docs/embedding.md, started as they say and used as their clients use them. */
import { once } from 'node:events'
import { io } from 'socket.io-client'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { GET, OPTIONS, POST } from '../../examples/next/app/presence/[...path]/route.ts'
import { setRollcall } from '../../examples/next/rollcall.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { launch } from '../support/launched.ts'
import { freshDatabase } from '../support/postgres.ts'
import { startRollcall, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const cleanups = cleanupsAfterEach()
afterEach(closeTabs)

/** @returns the app's own address, and Rollcall's below it */
async function start(example: string): Promise<{ readonly app: string; readonly below: Omit<TestServer, 'stop'> }> {
  const database = await freshDatabase()
  cleanups.push(() => database.drop())
  const program = launch(process.execPath, ['--import', 'tsx', `examples/${example}/server.ts`], {
    env: { ...process.env, PORT: '0', DATABASE_URL: database.url },
  })
  cleanups.push(() => program.kill())
  const app = await until(
    () => {
      if (program.hasEnded()) throw new Error(program.output())
      return /"url":"([^"]+)","msg":"The app is ready\."/.exec(program.output())?.[1]
    },
    { withinMs: 50_000, what: `the example ${example}` },
  )
  // It stops by itself when it is asked to, whatever is still open.
  cleanups.push(async () => {
    closeTabs()
    program.child.kill('SIGTERM')
    await until(() => program.hasEnded(), { withinMs: 20_000, what: `the end of ${example}: ${program.output()}` })
    expect([program.child.exitCode, program.child.signalCode]).toEqual([0, null])
  })
  return { app, below: { url: `${app}/presence`, wsUrl: `${app.replace('http', 'ws')}/presence/graphql` } }
}

async function opened(address: string, protocol?: string): Promise<WebSocket> {
  const socket = new WebSocket(address.replace('http', 'ws'), protocol)
  cleanups.push(async () => socket.terminate())
  await once(socket, 'open')
  return socket
}

// Each compiles its sources as it starts, which a busy machine does slowly.
describe('the example', { timeout: 120_000 }, () => {
  it('of Express: its session is the caller, and Socket.IO is beside', async () => {
    const { app, below } = await start('express')
    const signedIn = await fetch(`${app}/sign-in`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"name":"Alice"}',
    })
    const cookie = String(signedIn.headers.get('set-cookie')).split(';')[0] ?? ''
    class WithCookie extends WebSocket {
      constructor(url: string, protocols: string) {
        super(url, protocols, { headers: { cookie } })
      }
    }
    const tab = await openTab(below, 'alice', { rooms: ['lobby'], options: { webSocketImpl: WithCookie } })
    const { data } = await post(below, null, '{ onlineUsers(room: "lobby") { nodes { id name } } }', {}, { cookie })
    expect(data?.onlineUsers.nodes).toEqual([{ id: 'alice', name: 'Alice' }])
    expect((await post(below, null, '{ viewer { id } }')).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')

    const chat = io(app, { transports: ['websocket'], reconnection: false })
    cleanups.push(async () => chat.close())
    const heard = new Promise<string>((resolve) => chat.once('chat', resolve))
    chat.emit('chat', 'hello')
    expect(await heard).toBe('hello')
    expect((await tab.ask('{ viewer { id } }')).data).toEqual({ viewer: { id: 'viewer:alice' } })
    expect(await (await fetch(app)).text()).toBe('The app itself.')
  })

  it('of Fastify: bodies that it has read, and a socket of its own', async () => {
    const { app, below } = await start('fastify')
    expect((await post(below, 'dev:alice', '{ viewer { id } }')).data).toEqual({ viewer: { id: 'viewer:alice' } })
    const tab = await openTab(below, 'alice')
    const echo = await opened(`${app}/echo`)
    echo.send('there and back')
    expect(String((await once(echo, 'message'))[0])).toBe('there and back')
    expect((await tab.ask('{ viewer { isOnline } }')).data).toEqual({ viewer: { isOnline: true } })
    expect(await (await fetch(app)).text()).toBe('The app itself.')
    expect((await fetch(below.url)).url).toBe(`${below.url}/`)
    await expect(opened(`${app}/nobodys`)).rejects.toThrow('404')
  })

  it('of Vite: its pages, and the socket by which it reloads them', async () => {
    const { app, below } = await start('vite')
    const page = await (await fetch(app, { headers: { accept: 'text/html' } })).text()
    expect(page).toContain('/@vite/client')
    expect(await (await fetch(`${app}/main.ts`)).text()).toContain('/presence/graphql')
    const client = await (await fetch(`${app}/@vite/client`)).text()
    const token = /wsToken = "([^"]+)"/.exec(client)?.[1]
    const socket = new WebSocket(`${app.replace('http', 'ws')}/?token=${token}`, 'vite-hmr')
    cleanups.push(async () => socket.terminate())
    expect(JSON.parse(String((await once(socket, 'message'))[0]))).toEqual({ type: 'connected' })
    const tab = await openTab(below, 'alice')
    expect((await tab.ask('{ viewer { isOnline } }')).data).toEqual({ viewer: { isOnline: true } })
    expect(socket.readyState).toBe(WebSocket.OPEN)
  })
})

/** Next.js itself is not installed for the tests: what it calls is. docs/embedding.md says with which version it ran. */
describe('the route of the example of Next.js', () => {
  const URL_OF_ROUTE = 'http://localhost:3000/presence/graphql'

  function asked(query: string, headers: Record<string, string> = {}): Request {
    return new Request(URL_OF_ROUTE, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        authorization: 'Bearer dev:alice',
        host: 'localhost:3000',
        ...headers,
      },
      body: JSON.stringify({ query }),
    })
  }

  it("answers the platform's requests with the platform's responses, streams included", async () => {
    const { rollcall, drop } = await startRollcall({ BASE_PATH: '/presence' })
    cleanups.push(async () => {
      await rollcall.close()
      await drop()
    })
    setRollcall(rollcall)
    const answer = await POST(asked('mutation { heartbeat { viewer { isOnline } } }'))
    // Next.js answers 500 where a route returns anything else.
    expect([answer instanceof Response, answer.status]).toEqual([true, 200])
    expect(await answer.json()).toEqual({ data: { heartbeat: { viewer: { isOnline: true } } } })
    expect(await (await GET(new Request(`${URL_OF_ROUTE}?query=%7B__typename%7D`))).json()).toEqual({
      data: { __typename: 'Query' },
    })
    const origin = 'http://localhost:3000'
    const preflight = await OPTIONS(new Request(URL_OF_ROUTE, { method: 'OPTIONS', headers: { origin } }))
    expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([204, origin])
    expect((await GET(new Request('http://localhost:3000/presence/nothing'))).status).toBe(404)

    const controller = new AbortController()
    const stream = await POST(
      new Request(asked('subscription { onlineCountChanged { count } }', { accept: 'text/event-stream' }), {
        signal: controller.signal,
      }),
    )
    expect([stream instanceof Response, stream.headers.get('content-type')]).toEqual([true, 'text/event-stream'])
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader()
    let read = ''
    while (!read.includes('"count":1')) read += Buffer.from((await reader.read()).value ?? []).toString()
    // A reader that goes ends the subscription.
    await reader.cancel()
  })
})
