/**
 * Servers of the peers' protocols, as little of each as its client asks for: one number, sent at the start and whenever it
 * changes. Their pings are as often as those of the real servers by default.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server as SocketIo } from 'socket.io'
import { type WebSocket, WebSocketServer } from 'ws'

export interface Peer {
  readonly port: number
  change(count: number): void
  close(): Promise<void>
}

export async function startSocketIo(): Promise<Peer> {
  const http = createServer()
  const io = new SocketIo(http)
  let count = 0
  io.on('connection', (socket) => socket.emit('count', count))
  await listen(http)
  return {
    port: portOf(http),
    change(next) {
      count = next
      io.emit('count', next)
    },
    close: () => new Promise((resolve) => void io.close(() => resolve())),
  }
}

/** Channels of Phoenix 1.7, protocol version 2: `[join, ref, topic, event, payload]`. */
export function startPhoenix(): Promise<Peer> {
  const joined = new Map<WebSocket, string>()
  let count = 0
  return startBare((socket, text) => {
    const [join, ref, topic, event] = JSON.parse(text) as readonly (string | null)[]
    const response = event === 'phx_join' ? { count } : {}
    if (event === 'phx_join') joined.set(socket, String(join))
    socket.send(JSON.stringify([join, ref, topic, 'phx_reply', { status: 'ok', response }]))
  }).then((peer) => ({
    ...peer,
    change(next) {
      count = next
      for (const [socket, join] of joined) socket.send(JSON.stringify([join, null, 'room:1', 'count', { count }]))
    },
  }))
}

/** Centrifugo's JSON protocol, with its default pings: every 25 s, which the client answers. */
export async function startCentrifugo(): Promise<Peer> {
  const subscribed = new Set<WebSocket>()
  let count = 0
  const peer = await startBare((socket, text) => {
    for (const line of text.split('\n')) {
      const command = JSON.parse(line) as { id?: number; connect?: object; subscribe?: object }
      if (command.connect) {
        const connect = { client: String(Math.random()), version: '6', ping: 25, pong: true }
        socket.send(JSON.stringify({ id: command.id, connect }))
      } else if (command.subscribe) {
        subscribed.add(socket)
        socket.send(JSON.stringify({ id: command.id, subscribe: { data: { count } } }))
      }
    }
  })
  const pings = setInterval(() => {
    for (const socket of subscribed) socket.send('{}')
  }, 25_000)
  return {
    ...peer,
    change(next) {
      count = next
      const push = { channel: 'room', pub: { data: { count } } }
      for (const socket of subscribed) socket.send(JSON.stringify({ push }))
    },
    async close() {
      clearInterval(pings)
      await peer.close()
    },
  }
}

async function startBare(onMessage: (socket: WebSocket, text: string) => void): Promise<Peer> {
  const http = createServer()
  const server = new WebSocketServer({ server: http })
  server.on('connection', (socket) => {
    socket.on('error', () => {})
    socket.on('message', (data) => onMessage(socket, data.toString()))
  })
  await listen(http)
  return {
    port: portOf(http),
    change() {},
    async close() {
      for (const socket of server.clients) socket.terminate()
      await new Promise((resolve) => http.close(resolve))
    },
  }
}

function listen(http: ReturnType<typeof createServer>): Promise<void> {
  return new Promise((resolve) => void http.listen(0, '127.0.0.1', resolve))
}

function portOf(http: ReturnType<typeof createServer>): number {
  return (http.address() as AddressInfo).port
}
