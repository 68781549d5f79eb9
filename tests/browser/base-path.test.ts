/** The pages below BASE_PATH, on an origin that is another app's too. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { browserForTests, runOperation } from './browser.ts'

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  server = await startServer({ BASE_PATH: '/presence', PING_INTERVAL: '10s', PONG_TIMEOUT: '5s', SESSION_TTL: '60s' })
})
afterAll(() => server.stop())

/** Opens a page, and notes the path of everything that its window asks for. */
async function open(path: string): Promise<{ page: Page; paths: string[] }> {
  const page = await browser.open('about:blank', { alsoTo: [server.url] })
  const paths: string[] = []
  page.context().on('request', (request) => {
    if (request.url().startsWith('http')) paths.push(new URL(request.url()).pathname)
  })
  page.context().on('page', (other) => other.on('websocket', (socket) => paths.push(new URL(socket.url()).pathname)))
  page.on('websocket', (socket) => paths.push(new URL(socket.url()).pathname))
  await page.goto(`${server.url}${path}`)
  return { page, paths }
}

function outside(paths: readonly string[]): string[] {
  return paths.filter((path) => !path.startsWith('/presence/') && path !== '/presence')
}

describe('the pages below BASE_PATH', () => {
  it('show who is online, and lead to each other', async () => {
    const { page, paths } = await open('/presence')
    expect(new URL(page.url()).pathname).toBe('/presence/')
    await page.getByLabel('User id').fill('alice')
    await page.getByRole('button', { name: 'Go online' }).click()
    await page.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    const [other] = await Promise.all([page.context().waitForEvent('page'), page.locator('#other-tab').click()])
    await page.locator('#list li').filter({ hasText: 'bob' }).waitFor()
    expect(new URL(other.url()).pathname).toBe('/presence/')
    await page.getByRole('link', { name: 'GraphiQL' }).click()
    await page.locator('.graphiql-query-editor .view-line').first().waitFor()
    expect([new URL(page.url()).pathname, outside(paths)]).toEqual(['/presence/graphql', []])
    expect(paths).toContain('/presence/graphql')
  })

  it('are GraphiQL, which asks and subscribes there', async () => {
    const { page, paths } = await open('/presence/graphql')
    await page.locator('.graphiql-query-editor .view-line').first().waitFor()
    await runOperation(page, 'Heartbeat')
    const response = page.locator('.graphiql-response .view-line')
    const text = async () => (await response.allTextContents()).join('\n').replaceAll('\u00a0', ' ')
    await until(async () => (await text()).includes('"status": "ONLINE"'), { what: 'an answer' })
    await runOperation(page, 'WhatHappens')
    const socket = await until(() => browser.sockets.find((seen) => seen.page === page), { what: 'the socket' })
    await until(() => socket.acknowledged, { what: 'its acknowledgement' })
    // The editor's workers are loaded from the server too.
    await until(() => paths.some((path) => path.includes('worker')), { what: 'a worker' })
    expect(outside(paths)).toEqual([])
  })
})
