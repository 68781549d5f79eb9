/**
 * An Express app with sessions of its own and Socket.IO, and Rollcall below `/presence` on the same server.
 *
 *     npx tsx examples/express/server.ts
 *
 * It imports the sources of this repository. In your app it is `import { createRollcall } from 'rollcall'`.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { pino } from 'pino'
import { Server as SocketIoServer } from 'socket.io'
import { type AppCaller, type AppCredentials, createRollcall } from '../../src/app.ts'

const { PORT = '4000', DATABASE_URL, DATA_DIR } = process.env
const log = pino({ base: null })

/** The app's own sessions: the user's name by the value of the cookie. */
const sessions = new Map<string, string>()

function callerOf({ request }: AppCredentials): AppCaller | null {
  const id = /(?:^|; )session=([^;]+)/.exec(request.headers.get('cookie') ?? '')?.[1]
  const name = sessions.get(id ?? '')
  return name === undefined ? null : { userId: name.toLowerCase(), name, rooms: ['lobby'] }
}

const settings = { BASE_PATH: '/presence', PAGES: 'false', DATABASE_URL, DATA_DIR }
const rollcall = createRollcall(settings, log, { authenticate: callerOf })

const app = express()
app.use(express.json())
app.post('/sign-in', (request, response) => {
  const id = randomUUID()
  sessions.set(id, String(request.body.name))
  response.cookie('session', id, { httpOnly: true, sameSite: 'lax' }).json({ isSignedIn: true })
})
app.use(rollcall.handle)
app.get('/', (_request, response) => {
  response.send('The app itself.')
})

const server = createServer(app)
server.on('upgrade', rollcall.upgrade)

// By default Socket.IO ends every other socket that is not open within a second.
const io = new SocketIoServer(server, { destroyUpgrade: false })
io.on('connection', (socket) => socket.on('chat', (text: string) => io.emit('chat', text)))

server.listen(Number(PORT), '127.0.0.1')
await rollcall.ready
log.info({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, 'The app is ready.')

process.once('SIGTERM', async () => {
  await rollcall.drain()
  await io.close()
  await rollcall.close()
  server.closeAllConnections()
})
