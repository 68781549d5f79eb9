/** What a page of another origin does without a client library: `EventSource`, and the last words of a page that closes. */
import { randomUUID } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { CHROMIUM } from './browser.ts'

let server: TestServer
let proxy: TcpProxy
let elsewhere: Server
let browser: Browser
let page: Page

beforeAll(async () => {
  browser = await chromium.launch(CHROMIUM)
  elsewhere = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html')
    response.end('<!doctype html><title>Elsewhere</title>')
  })
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
})
afterAll(async () => {
  await browser.close()
  elsewhere.close()
})
beforeEach(async () => {
  server = await startServer({ SESSION_TTL: '60s', PING_INTERVAL: '10s', PONG_TIMEOUT: '5s' })
  proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`)
})
afterEach(async () => {
  await page.close()
  closeTabs()
  await proxy.close()
  await server.stop()
})

describe('an EventSource of a page', () => {
  const heard = () => page.evaluate<string[]>('window.heard')

  async function follow(filter: string): Promise<void> {
    const query = `subscription { presenceChanged${filter} { kind user { id } } }`
    const search = new URLSearchParams({ query, token: 'dev:reader' })
    await page.evaluate((url) => {
      const heard: string[] = []
      const source = new EventSource(url)
      source.addEventListener('open', () => heard.push('open'))
      source.addEventListener('error', () => heard.push('lost'))
      source.addEventListener('next', ({ data }) => {
        const { kind, user } = JSON.parse(data).data.presenceChanged
        heard.push(`${kind} ${user.id}`)
      })
      Object.assign(window, { heard, source })
    }, `http://127.0.0.1:${proxy.port}/graphql?${search}`)
    await until(async () => (await heard()).includes('open'), { what: 'the stream' })
  }

  it('misses nothing when its connection is lost before it has seen any change', async () => {
    await follow('(userIds: ["late"])')
    await openTab(server, 'early')
    proxy.refuse()
    await until(async () => (await heard()).includes('lost'), { what: 'the loss' })
    await openTab(server, 'late')
    proxy.mend()
    await until(async () => (await heard()).includes('JOIN late'), { what: 'what was missed', withinMs: 30_000 })
    expect((await heard()).filter((line) => line.startsWith('JOIN'))).toEqual(['JOIN late'])
  })
})

describe('a page that closes', () => {
  const LAST_WORDS: Record<string, (url: string, body: object, token: string) => void> = {
    'fetch with keepalive': (url, body, authorization) => {
      addEventListener('pagehide', () => {
        const headers = { 'content-type': 'application/json', authorization }
        void fetch(url, { method: 'POST', keepalive: true, headers, body: JSON.stringify(body) })
      })
    },
    sendBeacon: (url, body, authorization) => {
      addEventListener('pagehide', () => {
        navigator.sendBeacon(url, JSON.stringify({ ...body, extensions: { authorization } }))
      })
    },
  }

  it.each(Object.keys(LAST_WORDS))('takes its person offline at once by %s', async (name) => {
    const tab = randomUUID()
    const isOnline = async () =>
      (await post(server, 'dev:bob', '{ user(id: "alice") { isOnline } }')).data?.user?.isOnline
    await post(server, 'dev:alice', `mutation { heartbeat(sessionId: "${tab}") { expiresAt } }`)
    expect(await isOnline()).toBe(true)

    const body = { query: `mutation { goOffline(sessionId: "${tab}") { viewer { isOnline } } }` }
    const url = `http://127.0.0.1:${proxy.port}/graphql`
    await page.evaluate(`(${LAST_WORDS[name]})(${JSON.stringify(url)}, ${JSON.stringify(body)}, 'Bearer dev:alice')`)
    await page.goto('about:blank')
    await until(async () => !(await isOnline()), { what: 'offline' })
  })
})
