/**
 * `ws` as apps use it, without a protocol on top: a change becomes JSON once, and is sent to each socket of its audience.
 *
 * The protocol has three messages from the client (`hello`, `ask`, `follow`) and three from the server (`welcome`,
 * `answer`, `change`). It pings nobody.
 */
import { type WebSocket, WebSocketServer } from 'ws'
import { listen, verify } from './listen.ts'
import { type Change, createPresence, type Member } from './presence.ts'

type Message =
  | { readonly type: 'hello'; readonly token: string }
  | { readonly type: 'follow'; readonly id: number; readonly room?: string; readonly userIds?: readonly string[] }
  | { readonly type: 'ask'; readonly id: number; readonly what: 'join' | 'leave' | 'heartbeat'; readonly room: string }

const audiences = new Map<string, Set<WebSocket>>()
const presence = createPresence((change) => tell(`user:${change.user.id}`, change))

function tell(audience: string, change: Change): void {
  const sockets = audiences.get(audience)
  if (sockets === undefined) return
  const message = Buffer.from(JSON.stringify({ type: 'change', change }))
  for (const socket of sockets) socket.send(message, { binary: false })
}

function follow(socket: WebSocket, audience: string): void {
  const sockets = audiences.get(audience)
  if (sockets === undefined) audiences.set(audience, new Set([socket]))
  else sockets.add(socket)
}

const server = new WebSocketServer({ server: listen(), perMessageDeflate: false })

server.on('connection', (socket) => {
  let member: Member | null = null
  const followed: string[] = []

  async function take(message: Message): Promise<void> {
    if (message.type === 'hello') {
      member = presence.enter(await verify(message.token))
      socket.send(JSON.stringify({ type: 'welcome' }))
      return
    }
    if (member === null) throw new Error('Who is it?')
    if (message.type === 'follow') {
      const { room, userIds = [] } = message
      const names = room === undefined ? userIds.map((id) => `user:${id}`) : [`room:${room}`]
      for (const name of names) follow(socket, name)
      followed.push(...names)
      socket.send(JSON.stringify({ type: 'answer', id: message.id }))
      return
    }
    if (message.what === 'heartbeat') {
      socket.send(JSON.stringify({ type: 'answer', id: message.id, ...presence.beat(member) }))
      return
    }
    const change = presence[message.what](member, message.room)
    if (change !== null) tell(`room:${message.room}`, change)
    socket.send(JSON.stringify({ type: 'answer', id: message.id }))
  }

  socket.on('message', (data) => {
    take(JSON.parse(String(data))).catch((error) => socket.close(4400, String(error.message)))
  })
  socket.on('close', () => {
    for (const audience of followed) audiences.get(audience)?.delete(socket)
    if (member !== null) presence.exit(member)
  })
})
