/**
 * Socket.IO as its documentation has it: a middleware that checks the token, and rooms as audiences.
 *
 * With `--gathered` what is written to a socket within one turn of the event loop goes out together: Socket.IO has no
 * such setting, so its raw sockets are corked at their first write of a turn. CROWD says how many members are there who
 * have no socket.
 */
import type { Socket as RawSocket } from 'node:net'
import { Server } from 'socket.io'
import { listen, verify } from './listen.ts'
import { type Beat, type Change, createPresence, type Member, type Page } from './presence.ts'

interface FromClient {
  follow(room: string, done: () => void): void
  watch(userIds: readonly string[], done: () => void): void
  join(room: string, done: () => void): void
  leave(room: string, done: () => void): void
  heartbeat(done: (beat: Beat) => void): void
  list(from: number, count: number, done: (page: Page) => void): void
}

interface FromServer {
  presenceChanged(change: Change): void
}

const io = new Server<FromClient, FromServer, Record<string, never>, { member: Member }>(listen(), {
  transports: ['websocket'],
  serveClient: false,
})
const presence = createPresence((change) => io.to(`user:${change.user.id}`).emit('presenceChanged', change))

for (let index = 0; index < Number(process.env.CROWD ?? 0); index += 1) {
  presence.enter({ id: `user-${String(index).padStart(6, '0')}`, name: `User ${index}` })
}

io.use((socket, next) => {
  verify(socket.handshake.auth.token).then((claims) => {
    socket.data.member = presence.enter(claims)
    next()
  }, next)
})

io.on('connection', (socket) => {
  const { member } = socket.data
  socket.on('follow', (room, done) => {
    socket.join(`room:${room}`)
    done()
  })
  socket.on('watch', (userIds, done) => {
    socket.join(userIds.map((id) => `user:${id}`))
    done()
  })
  socket.on('join', (room, done) => {
    const change = presence.join(member, room)
    if (change !== null) io.to(`room:${room}`).emit('presenceChanged', change)
    done()
  })
  socket.on('leave', (room, done) => {
    const change = presence.leave(member, room)
    if (change !== null) io.to(`room:${room}`).emit('presenceChanged', change)
    done()
  })
  socket.on('heartbeat', (done) => done(presence.beat(member)))
  socket.on('list', (from, count, done) => done(presence.page(from, count)))
  socket.on('disconnect', () => presence.exit(member))
})

io.engine.on('connection', (raw) => {
  if (process.argv.includes('--gathered')) gatherWrites(raw.request.socket)
  // As its documentation advises, so that it keeps less memory a client.
  raw.request = null
})

/** What was begun in this turn of the event loop, to be let out at its end. */
const gathered: (() => void)[] = []

function gatherWrites(socket: RawSocket): void {
  const write = socket.write.bind(socket) as (...args: unknown[]) => boolean
  let isGathering = false
  socket.write = (...args: unknown[]): boolean => {
    if (!isGathering) {
      isGathering = true
      socket.cork()
      if (gathered.length === 0) setImmediate(letOut)
      gathered.push(() => {
        isGathering = false
        socket.uncork()
      })
    }
    return write(...args)
  }
}

function letOut(): void {
  for (const uncork of gathered.splice(0)) uncork()
}
