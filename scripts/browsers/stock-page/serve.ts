/** Serves the stock page: it loads graphql-ws as the package has it. */
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const OWN = dirname(fileURLToPath(import.meta.url))
const GRAPHQL_WS = dirname(createRequire(import.meta.url).resolve('graphql-ws'))

export interface StockPage {
  /** @param socketUrl - where Rollcall takes sockets */
  url(socketUrl: string, userId: string, rooms?: readonly string[]): string
  /** A page of the same origin, with nothing in it. */
  readonly elsewhere: string
  close(): Promise<void>
}

export async function serveStockPage(): Promise<StockPage> {
  const server = createServer(async (request, response) => {
    const path = new URL(request.url ?? '/', 'http://localhost').pathname
    const [, name] = path.match(/^\/graphql-ws\/([\w-]+\.js)$/) ?? []
    const file = name !== undefined ? join(GRAPHQL_WS, name) : path === '/page.js' ? join(OWN, 'page.js') : null
    response.setHeader('content-type', file === null ? 'text/html' : 'text/javascript')
    if (path === '/') response.end(await readFile(join(OWN, 'index.html')))
    else if (file !== null) response.end(await readFile(file))
    else response.end('<!doctype html><title>Elsewhere</title><p>Elsewhere</p>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url(socketUrl, userId, rooms = []) {
      const parameters = new URLSearchParams({ socket: socketUrl, user: userId })
      for (const room of rooms) parameters.append('room', room)
      return `${origin}/?${parameters}`
    },
    elsewhere: `${origin}/elsewhere`,
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
