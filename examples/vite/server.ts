/**
 * Vite's development server for the pages of an app, and Rollcall below `/presence`: one server for both, and for the
 * socket by which Vite reloads its pages.
 *
 *     npx tsx examples/vite/server.ts
 *
 * It imports the sources of this repository. In your app it is `import { createRollcall } from 'rollcall'`.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { createServer as createVite } from 'vite'
import { createRollcall } from '../../src/app.ts'

const { PORT = '4000', DATABASE_URL, DATA_DIR } = process.env
const log = pino({ base: null })
const rollcall = createRollcall({ BASE_PATH: '/presence', DATABASE_URL, DATA_DIR }, log)

const server = createServer()
const vite = await createVite({
  root: fileURLToPath(new URL('pages', import.meta.url)),
  configFile: false,
  server: { middlewareMode: true, hmr: { server } },
})
server.on('request', (request, response) => {
  void rollcall.handle(request, response, () => vite.middlewares(request, response))
})
server.on('upgrade', rollcall.upgrade)

server.listen(Number(PORT), '127.0.0.1')
await rollcall.ready
log.info({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, 'The app is ready.')

process.once('SIGTERM', async () => {
  await rollcall.drain()
  await vite.close()
  await rollcall.close()
  server.close()
  server.closeAllConnections()
})
