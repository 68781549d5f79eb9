/**
 * What one caller may do to make others suffer, each by one ordinary client with a valid token, as fast as it can. Sent
 * to a server of our own on this machine, for so long.
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { getIntrospectionQuery } from 'graphql'
import { WebSocket } from 'ws'

export interface Target {
  /** `http://127.0.0.1:4000` */
  readonly url: string
  /** Of the one caller. */
  readonly token: string
  readonly isOver: () => boolean
}

type Deed = (target: Target) => Promise<void>

const PROTOCOL = 'graphql-transport-ws'
/** So much unsent, and it waits: it is not to run out of memory itself. */
const MAX_UNSENT_BYTES = 4 * 1024 * 1024

/** @returns null where the server does not take it */
async function open({ url, token }: Target, params: object = {}): Promise<WebSocket | null> {
  const wire = new WebSocket(`${url.replace('http', 'ws')}/graphql`, PROTOCOL)
  wire.on('error', () => {})
  const closed = once(wire, 'close').catch(() => {})
  await Promise.race([once(wire, 'open').catch(() => {}), closed])
  if (wire.readyState !== WebSocket.OPEN) return null
  wire.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}`, ...params } }))
  await Promise.race([once(wire, 'message').catch(() => {}), closed])
  return wire.readyState === WebSocket.OPEN ? wire : null
}

function subscribe(query: string, variables: object = {}): string {
  return JSON.stringify({ id: randomUUID(), type: 'subscribe', payload: { query, variables } })
}

/** Sends the next message whenever there is room, on a socket that is opened again whenever it was closed. */
function floodBy(message: (count: number) => string | Buffer | null): Deed {
  return async (target) => {
    let count = 0
    while (!target.isOver()) {
      const wire = await open(target)
      if (wire === null) {
        await sleep(10)
        continue
      }
      while (!target.isOver() && wire.readyState === WebSocket.OPEN) {
        for (let index = 0; index < 100 && wire.readyState === WebSocket.OPEN; index += 1) {
          const text = message(count)
          if (text === null) wire.ping()
          else wire.send(text)
          count += 1
        }
        await sleep(wire.bufferedAmount > MAX_UNSENT_BYTES ? 10 : 0)
      }
      wire.terminate()
    }
  }
}

function post({ url, token }: Target, body: object, headers: Record<string, string> = {}, signal?: AbortSignal) {
  return fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${token}`, ...headers },
    body: JSON.stringify(body),
    signal: signal ?? null,
  })
}

/** So many requests at once, each the next when one is answered. */
function floodOverHttp(atOnce: number, ask: (target: Target) => Promise<Response>): Deed {
  return async (target) => {
    await Promise.all(
      Array.from({ length: atOnce }, async () => {
        while (!target.isOver()) {
          await ask(target)
            .then((response) => response.text())
            .catch(() => sleep(10))
        }
      }),
    )
  }
}

async function untilOver({ isOver }: Target): Promise<void> {
  while (!isOver()) await sleep(50)
}

const PAGE = '{ onlineUsers(first: 1000) { nodes { id name status isOnline lastActive onlineSince statusMessage } } }'

export const DEEDS: Readonly<Record<string, Deed>> = {
  /** Nothing: what others have without it. */
  nothing: untilOver,

  async 'a user in 5000 rooms who toggles one'(target) {
    const room = (session: number, index: number) => `${session}:${index}:`.padEnd(128, 'x')
    const wires: WebSocket[] = []
    for (let session = 0; session < 50 && !target.isOver(); session += 1) {
      const wire = await open(target, { rooms: Array.from({ length: 100 }, (_, index) => room(session, index)) })
      if (wire !== null) wires.push(wire)
    }
    const [wire] = wires
    for (let count = 0; wire?.readyState === WebSocket.OPEN && !target.isOver(); count += 1) {
      const change = count % 2 === 0 ? 'leaveRoom' : 'joinRoom'
      wire.send(subscribe(`mutation ($room: ID!) { ${change}(room: $room) { session { id } } }`, { room: room(0, 0) }))
      if (count % 20 === 0) await sleep(wire.bufferedAmount > MAX_UNSENT_BYTES ? 10 : 0)
    }
    await untilOver(target)
    for (const one of wires) one.terminate()
  },

  async 'watch lists of 1000 on all sockets'(target) {
    const wires: WebSocket[] = []
    let listCount = 0
    while (!target.isOver()) {
      const wire = wires.length < 100 ? await open(target) : null
      if (wire === null) {
        await sleep(50)
        continue
      }
      wires.push(wire)
      for (let index = 0; index < 99 && !target.isOver() && wire.readyState === WebSocket.OPEN; index += 1) {
        listCount += 1
        const ids = Array.from({ length: 1000 }, (_, id) => `${listCount}-${id}-of-a-user-with-a-long-id`)
        wire.send(subscribe('subscription ($ids: [ID!]) { presenceChanged(userIds: $ids) { kind } }', { ids }))
        if (wire.bufferedAmount > MAX_UNSENT_BYTES) await sleep(20)
      }
    }
    for (const wire of wires) wire.terminate()
  },

  'subscriptions whose answer nobody can read': floodOverHttp(20, (target) =>
    post(target, { query: 'subscription { presenceChanged { kind } }' }, { accept: 'application/json' }),
  ),

  async 'event streams without end'(target) {
    const controller = new AbortController()
    while (!target.isOver()) {
      await post(
        target,
        { query: 'subscription { presenceChanged { kind } }' },
        { accept: 'text/event-stream' },
        controller.signal,
      ).catch(() => sleep(10))
    }
    controller.abort()
  },

  async 'fragments without a token'(target) {
    const { hostname, port, host } = new URL(target.url)
    await Promise.all(
      Array.from({ length: 200 }, async () => {
        while (!target.isOver()) {
          const wire = connectTcp(Number(port), hostname)
          wire.on('error', () => {})
          wire.write(
            `GET /graphql HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
              `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: ${PROTOCOL}\r\n\r\n`,
          )
          await Promise.race([once(wire, 'data').catch(() => {}), once(wire, 'close').catch(() => {})])
          // Text, not final, masked by zeros, one byte; then continuations of it.
          const first = Buffer.from([0x01, 0x81, 0, 0, 0, 0, 0x7b])
          const next = Buffer.from([0x00, 0x81, 0, 0, 0, 0, 0x20])
          wire.write(Buffer.concat([first, ...Array.from({ length: 10_000 }, () => next)]))
          await Promise.race([once(wire, 'close').catch(() => {}), sleep(1000)])
          wire.destroy()
        }
      }),
    )
  },

  async 'sockets that say nothing'(target) {
    const wires = new Set<WebSocket>()
    while (!target.isOver()) {
      if (wires.size >= 3000) {
        await sleep(10)
        continue
      }
      const wire = new WebSocket(`${target.url.replace('http', 'ws')}/graphql`, PROTOCOL)
      wires.add(wire)
      wire.on('error', () => {})
      wire.on('close', () => wires.delete(wire))
      await sleep(1)
    }
    for (const wire of wires) wire.terminate()
  },

  'the schema from three connections': floodOverHttp(3, (target) => post(target, { query: getIntrospectionQuery() })),

  'settings without a pause': floodBy((count) =>
    subscribe('mutation ($m: String) { setStatus(status: BUSY, message: $m) { viewer { id } } }', { m: String(count) }),
  ),

  'tokens that do not hold': floodOverHttp(20, (target) =>
    post({ ...target, token: `${target.token.slice(0, -8)}AAAAAAAA` }, { query: '{ position }' }),
  ),

  pings: floodBy(() => null),

  'pings of the protocol': floodBy(() => '{"type":"ping"}'),

  'full pages': floodBy(() => subscribe(PAGE)),

  'full pages over HTTP from twenty connections': floodOverHttp(20, (target) => post(target, { query: PAGE })),

  'documents that nobody has asked before': floodBy((count) => subscribe(`query Q${count} ${PAGE.repeat(1)}`)),

  heartbeats: floodBy(() => subscribe('mutation { heartbeat { nextHeartbeatInMs } }')),

  async 'connections without a pause'(target) {
    while (!target.isOver()) {
      const wire = await open(target)
      wire?.terminate()
      if (wire === null) await sleep(1)
    }
  },
}
