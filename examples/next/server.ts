/**
 * Next.js with Rollcall in its process: queries come by the route `app/presence/[...path]`, and sockets have a port of
 * their own, because Next.js ends each socket whose path is one of its routes.
 *
 *     npm install
 *     npx tsx server.ts
 *
 * It imports the sources of this repository. In your app it is `import { createRollcall } from 'rollcall'`.
 */
import { createServer } from 'node:http'
import next from 'next'
import { pino } from 'pino'
import { createRollcall } from '../../src/app.ts'
import { setRollcall } from './rollcall.ts'

const { PORT = '3000', SOCKET_PORT = '4000', DATABASE_URL, DATA_DIR, NODE_ENV } = process.env
const log = pino({ base: null })
const rollcall = createRollcall({ BASE_PATH: '/presence', PAGES: 'false', DATABASE_URL, DATA_DIR }, log)
setRollcall(rollcall)

const sockets = createServer({ requireHostHeader: false })
rollcall.mount(sockets)
sockets.listen(Number(SOCKET_PORT), '127.0.0.1')

const app = next({ dev: NODE_ENV !== 'production', dir: import.meta.dirname })
await app.prepare()
const handle = app.getRequestHandler()
const server = createServer((request, response) => void handle(request, response))
server.listen(Number(PORT), '127.0.0.1')
await rollcall.ready
log.info(
  { url: `http://127.0.0.1:${PORT}`, sockets: `ws://127.0.0.1:${SOCKET_PORT}/presence/graphql` },
  'The app is ready.',
)

process.once('SIGTERM', async () => {
  await rollcall.drain()
  await app.close()
  await rollcall.close()
  for (const one of [server, sockets]) {
    one.close()
    one.closeAllConnections()
  }
})
