/**
 * A Fastify app with a WebSocket of its own at `/echo`, and Rollcall below `/presence` on the same server.
 *
 *     npx tsx examples/fastify/server.ts
 *
 * It imports the sources of this repository. In your app it is `import { createRollcall } from 'rollcall'`.
 */
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { pino } from 'pino'
import { WebSocketServer } from 'ws'
import { createRollcall } from '../../src/app.ts'

const { PORT = '4000', DATABASE_URL, DATA_DIR } = process.env
const log = pino({ base: null })
const rollcall = createRollcall({ BASE_PATH: '/presence', DATABASE_URL, DATA_DIR }, log)

const app = Fastify()
app.get('/', () => 'The app itself.')
for (const url of ['/presence', '/presence/*']) {
  app.all(url, async (request, reply) => {
    // Rollcall writes the answer. Fastify has read the body.
    reply.hijack()
    await rollcall.handle(request.raw, reply.raw, { body: request.body })
  })
}

// With `noServer` it takes only what it is handed: with `server` it would answer 400 to the sockets of all others.
const echo = new WebSocketServer({ noServer: true })
echo.on('connection', (socket) => socket.on('message', (data) => socket.send(String(data))))
app.server.on('upgrade', (request, socket, head) => {
  if (rollcall.upgrade(request, socket, head)) return
  if (request.url === '/echo') echo.handleUpgrade(request, socket, head, (open) => echo.emit('connection', open))
  else socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n')
})

await app.listen({ port: Number(PORT), host: '127.0.0.1' })
await rollcall.ready
log.info({ url: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}` }, 'The app is ready.')

process.once('SIGTERM', async () => {
  await rollcall.drain()
  for (const socket of echo.clients) socket.close(1001)
  await rollcall.close()
  app.server.closeAllConnections()
  await app.close()
})
