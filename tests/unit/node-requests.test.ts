import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createErrorMask } from '../../src/execution/client-errors.ts'
import { createEdge } from '../../src/server/edge.ts'
import { createHealth } from '../../src/server/health.ts'
import { createNodeRequests } from '../../src/server/node-requests.ts'
import { createRoutes } from '../../src/server/routes.ts'
import { createReadLog } from '../support/log.ts'
import { askRaw } from '../support/raw-http.ts'

const SECRET = 'the inside of the server'

describe('a fault of the server', () => {
  let server: Server
  afterEach(() => new Promise((resolve) => server.close(resolve)))

  async function listen(answer: (request: Request) => Promise<Response>, throughEdge: boolean) {
    const { log, lines } = createReadLog()
    const mask = createErrorMask(log)
    const origins = { allows: () => true, allowsCookies: () => false }
    const routes = createRoutes({ BASE_PATH: '', METRICS_TOKEN: null, NODE_ENV: 'test' }, { has: () => false })
    const edge = createEdge({
      origins,
      usesCookies: false,
      health: createHealth(''),
      mask,
      routes,
      serving: () => answer,
    })
    const requests = createNodeRequests({
      fetch: throughEdge ? edge : answer,
      routes,
      isDraining: () => false,
      openSocket: (_request, socket) => socket.destroy(),
      mask,
      onConnectionError: (error) => log.debug({ error }, 'A connection failed.'),
      onMountedAt: (path) => log.debug({ path }, 'Mounted.'),
    })
    server = createServer()
    requests.mount(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return { url, errors: () => lines.filter((line) => /"level":50/.test(line)) }
  }

  const request = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`

  it.each([
    ['in a route', true, '/graphql'],
    ['in a page', true, '/'],
    ['in what should have caught it', false, '/graphql'],
  ])('is answered masked, with a requestId that is logged once: %s', async (_name, throughEdge, path) => {
    const { url, errors } = await listen(() => Promise.reject(new Error(SECRET)), throughEdge)
    const { status, body, text } = await askRaw({ url }, request(path), { whole: () => false })
    const requestId = /"requestId":"([^"]+)"/.exec(body)?.[1]
    expect([status, requestId]).toEqual([500, expect.any(String)])
    expect(text).not.toContain(SECRET)
    expect(body).toContain('"code":"INTERNAL"')
    expect(errors()).toEqual([expect.stringContaining(String(requestId))])
  })

  it('in the middle of an answer ends the connection, so that half an answer is not taken for a whole one', async () => {
    let hearHalf = (): void => {}
    const halfHeard = new Promise<void>((resolve) => {
      hearHalf = resolve
    })
    const { url, errors } = await listen(async () => {
      async function* body(): AsyncGenerator<Uint8Array> {
        yield new TextEncoder().encode('half')
        await halfHeard
        throw new Error(SECRET)
      }
      return new Response(body() as unknown as BodyInit)
    }, true)
    const { status, text } = await askRaw({ url }, request('/graphql'), {
      whole(heard) {
        if (heard.includes('half')) hearHalf()
        return false
      },
    })
    expect([status, text.includes('half'), text.endsWith('0\r\n\r\n'), text.includes(SECRET)]).toEqual([
      200,
      true,
      false,
      false,
    ])
    expect(errors()).toHaveLength(1)
  })
})
