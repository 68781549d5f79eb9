/** Other WebSockets on the server where Rollcall's are: each owner answers its own, and none touches the others'. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import express from 'express'
import { Server as SocketIoServer } from 'socket.io'
import { io } from 'socket.io-client'
import { createServer as createVite } from 'vite'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket, WebSocketServer } from 'ws'
import type { Rollcall } from '../../src/app.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { type Mounted, mounted } from '../support/mounted.ts'
import { askRaw } from '../support/raw-http.ts'
import { startRollcall } from '../support/server.ts'

let rollcall: Rollcall
let drop: () => Promise<void>
const cleanups = cleanupsAfterEach()

beforeAll(async () => {
  ;({ rollcall, drop } = await startRollcall())
})
afterEach(closeTabs)
afterAll(async () => {
  await rollcall.close()
  await drop()
})

/** @param prepare - attaches the sockets of others before Rollcall's are */
async function start(prepare: (http: Server) => void = () => {}): Promise<Mounted> {
  const server = await mounted(rollcall, express().use(rollcall.handle), prepare)
  cleanups.push(() => server.stop())
  return server
}

async function expectRollcall(server: Mounted, userId: string): Promise<void> {
  const tab = await openTab(server, userId)
  expect(await tab.ask('{ viewer { id } }')).toEqual({ data: { viewer: { id: `viewer:${userId}` } } })
}

function upgradeRequest(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`
}

describe('beside the sockets of others', () => {
  it.each(['before', 'after'])(
    "Socket.IO's are served where it was attached %s Rollcall, by WebSocket alone and from long polling on",
    async (order) => {
      let sockets = new SocketIoServer()
      const attach = (http: Server) => {
        sockets = new SocketIoServer(http)
        sockets.on('connection', (socket) => {
          socket.on('question', (answer: (text: string) => void) => answer('an answer'))
        })
      }
      const server = await start(order === 'before' ? attach : undefined)
      if (order === 'after') attach(server.http)
      cleanups.push(() => sockets.close())

      for (const transports of [['websocket'], ['polling', 'websocket']]) {
        const client = io(server.url, { transports, reconnection: false })
        cleanups.push(async () => client.close())
        await new Promise<void>((resolve) => client.once('connect', resolve))
        expect(await client.emitWithAck('question')).toBe('an answer')
        if (client.io.engine.transport.name !== 'websocket')
          await new Promise<unknown>((resolve) => client.io.engine.once('upgrade', resolve))
        await expectRollcall(server, `beside-${transports.length}`)
        // Rollcall's socket took nothing from it.
        expect([await client.emitWithAck('question'), client.io.engine.transport.name]).toEqual([
          'an answer',
          'websocket',
        ])
      }
    },
  )

  it('those of `ws` are served at their path', async () => {
    const theirs = new WebSocketServer({ noServer: true })
    theirs.on('connection', (socket) => socket.on('message', (data) => socket.send(data)))
    const server = await start()
    server.http.on('upgrade', (request, socket, head) => {
      if (request.url === '/theirs')
        theirs.handleUpgrade(request, socket, head, (open) => theirs.emit('connection', open))
    })
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/theirs`)
    cleanups.push(async () => socket.terminate())
    await once(socket, 'open')
    socket.send('there and back')
    expect(String((await once(socket, 'message'))[0])).toBe('there and back')
    await expectRollcall(server, 'beside-ws')
  })

  it("Vite's development server has its own for its pages, and its pages", async () => {
    const root = await mkdtemp(join(tmpdir(), 'rollcall-vite-'))
    cleanups.push(() => rm(root, { recursive: true, force: true }))
    const http = createServer()
    const vite = await createVite({
      root,
      configFile: false,
      logLevel: 'silent',
      server: { middlewareMode: true, hmr: { server: http } },
    })
    cleanups.push(() => vite.close())
    const server = await mounted(rollcall, express().use(rollcall.handle).use(vite.middlewares), () => {}, http)
    cleanups.push(() => server.stop())

    const client = await (await fetch(`${server.url}/@vite/client`)).text()
    expect(client).toContain('WebSocket')
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/?token=${vite.config.webSocketToken}`, 'vite-hmr')
    cleanups.push(async () => socket.terminate())
    expect(JSON.parse(String((await once(socket, 'message'))[0]))).toEqual({ type: 'connected' })
    await expectRollcall(server, 'beside-vite')
    const heard = once(socket, 'message')
    vite.ws.send('custom:event', { still: 'there' })
    expect(JSON.parse(String((await heard)[0]))).toMatchObject({ type: 'custom', data: { still: 'there' } })
  })

  it('one that nobody takes is left as it came', async () => {
    const server = await start()
    const seen = new Promise<[errors: number, written: number, taken: boolean, socket: Duplex]>((resolve) => {
      server.http.removeAllListeners('upgrade')
      server.http.on('upgrade', (request, socket, head) => {
        const before = socket.listenerCount('error')
        const taken = rollcall.upgrade(request, socket, head)
        resolve([socket.listenerCount('error') - before, request.socket.bytesWritten, taken, socket])
        setImmediate(() => socket.end('HTTP/1.1 204 No Content\r\n\r\n'))
      })
    })
    const answer = await askRaw(server, upgradeRequest('/theirs'), { whole: () => false })
    const [errors, written, taken] = await seen
    expect([errors, written, taken]).toEqual([0, 0, false])
    // Written by the only one who may.
    expect(answer.text).toBe('HTTP/1.1 204 No Content\r\n\r\n')
  })
})

describe('a server that is all its own', () => {
  async function startOwn(
    prepare: (http: Server) => void = () => {},
  ): Promise<Pick<Mounted, 'url' | 'wsUrl'> & { http: Server }> {
    const http = createServer({ requireHostHeader: false })
    rollcall.mount(http)
    prepare(http)
    await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
    cleanups.push(async () => {
      http.closeAllConnections()
      await new Promise((resolve) => http.close(resolve))
    })
    const { port } = http.address() as { port: number }
    return { http, url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}/graphql` }
  }

  it('answers a WebSocket at another path, so that it does not hang', async () => {
    const answer = await askRaw(await startOwn(), upgradeRequest('/theirs'))
    expect([answer.status, JSON.parse(answer.body).errors[0].extensions.code]).toEqual([404, 'NOT_FOUND'])
  })

  it('leaves it to another listener where there is one', async () => {
    const sockets = new SocketIoServer()
    const server = await startOwn((http) => sockets.attach(http))
    cleanups.push(() => sockets.close())
    const client = io(server.url, { transports: ['websocket'], reconnection: false })
    cleanups.push(async () => client.close())
    await new Promise<void>((resolve) => client.once('connect', resolve))
    const tab = await openTab(server, 'own')
    expect(await tab.ask('{ viewer { id } }')).toEqual({ data: { viewer: { id: 'viewer:own' } } })
  })
})
