/** The page as axe judges it, in each of its states: nothing is to be wrong. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openTab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { browserForTests, DESKTOP, PHONE, violations } from './browser.ts'

const browser = browserForTests()
let server: TestServer

beforeAll(async () => {
  server = await startServer({ PING_INTERVAL: '10s', PONG_TIMEOUT: '5s', CLOSE_GRACE: '5s', RECONNECT_GRACE: '15s' })
})
afterAll(() => server.stop())

function says(page: Page, text: string): Promise<void> {
  return page.locator('#own-state').filter({ hasText: text }).waitFor()
}

describe('axe finds nothing', () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    for (const [size, viewport] of Object.entries({ phone: PHONE, desktop: DESKTOP })) {
      it(`on a ${size}, ${colorScheme}: side by side, cut off, signed in, hidden and gone`, async () => {
        const page = await browser.open(server.url, { viewport, colorScheme })
        await page.locator('.panel .status').nth(1).waitFor()
        expect(await violations(page)).toEqual([])
        await page.getByRole('button', { name: 'Cut the link' }).first().click()
        await page.getByRole('button', { name: 'Try now' }).waitFor()
        expect(await violations(page)).toEqual([])

        await page.getByLabel('User id').fill('alice')
        await page.getByLabel('User id').press('Enter')
        await says(page, 'You are shown as online.')
        const others = await Promise.all(['bob', 'user-1', 'user-2'].map((userId) => openTab(server, userId)))
        for (const [index, status] of ['AWAY', 'BUSY'].entries()) {
          await others[index]?.ask(`mutation { setStatus(status: ${status}, message: "At lunch") { viewer { id } } }`)
        }
        await page.locator('#log').getByText('user-1 is busy: “At lunch”').waitFor()
        expect(await violations(page)).toEqual([])

        await page.getByRole('button', { name: 'Appear offline' }).click()
        await says(page, 'You are hidden')
        expect(await violations(page)).toEqual([])
        await page.getByRole('button', { name: 'Show me again' }).click()
        await says(page, 'You are shown as online.')

        await page.getByRole('button', { name: 'Go offline' }).click()
        await says(page, 'You are offline: you left.')
        expect(await violations(page)).toEqual([])

        for (const other of others) {
          await other.ask('mutation { setStatus(status: AUTOMATIC, message: null) { viewer { id } } }')
          await other.ask('mutation { goOffline { viewer { id } } }')
          await other.close()
        }
        await page.getByRole('button', { name: 'Sign out' }).click()
        await page.getByLabel('User id').waitFor()
      })
    }

    it(`where something is wrong, ${colorScheme}`, async () => {
      const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
      try {
        const page = await browser.open(`http://127.0.0.1:${proxy.port}/?user=alice`, { colorScheme })
        await says(page, 'You are shown as online.')
        await page.evaluate("document.querySelector('.message-field').maxLength = 1000")
        await page.getByLabel('Message').fill('x'.repeat(200))
        await page.getByRole('button', { name: 'Set' }).click()
        await page.getByRole('alert').filter({ hasText: 'message' }).waitFor()
        proxy.refuse()
        await page.locator('#freshness').filter({ hasText: 'Stale since' }).waitFor()
        expect(await violations(page)).toEqual([])
        await page.close()

        const refused = await browser.open(`${server.url}/?user=eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl`, { colorScheme })
        await says(refused, 'The server refused you')
        expect(await violations(refused)).toEqual([])
      } finally {
        await proxy.close()
        // Chromium tells of each connection that could not be made.
        browser.complaints.length = 0
      }
    })
  }
})
