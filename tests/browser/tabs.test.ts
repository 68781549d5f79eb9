/** Tabs that are not in front: Playwright shows every tab as if it were, so Chromium is driven without it. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChromium } from '../../scripts/browsers/chromium.ts'
import type { Engine } from '../../scripts/browsers/engine.ts'
import { serveStockPage } from '../../scripts/browsers/stock-page/serve.ts'
import { openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

let server: TestServer
let browser: Engine

beforeAll(async () => {
  // With the usual interval: what waits for it does not come within the test's patience.
  server = await startServer({
    PING_INTERVAL: '10s',
    PONG_TIMEOUT: '5s',
    HEARTBEAT_INTERVAL: '30s',
    SESSION_TTL: '75s',
  })
  browser = await startChromium()
})
afterAll(async () => {
  await browser.close()
  await server.stop()
})

async function isOnline(userId: string): Promise<boolean> {
  const { data } = await post(server, 'dev:bob', 'query ($id: ID!) { user(id: $id) { isOnline } }', { id: userId })
  return data?.user?.isOnline === true
}

describe('a tab that opens in the background', () => {
  it('is no activity, and comes online as soon as it is looked at', async () => {
    const tab = await browser.open(`${server.url}/?user=alice`, { inBackground: true })
    const ownState = () => tab.evaluate<string>("document.getElementById('own-state')?.textContent ?? ''")
    // It is connected, and not online.
    await until(async () => (await ownState()) === 'Coming online…', { what: 'the page' })
    const { data } = await post(server, 'dev:alice', '{ viewer { sessions { isAttached } } }')
    expect(data?.viewer.sessions).toEqual([{ isAttached: true }])
    expect(await isOnline('alice')).toBe(false)

    // Everything that the page says of its person from now on.
    await tab.evaluate(`void (window.said = [], new MutationObserver(() => {
      said.push(document.getElementById('own-state').textContent)
    }).observe(document.getElementById('own-state'), { characterData: true, childList: true, subtree: true }))`)
    await tab.show()
    await until(() => isOnline('alice'), { what: 'alice online' })
    await until(async () => (await ownState()) === 'You are shown as online.', { what: 'the words' })
    expect(await tab.evaluate('said')).toEqual(['You are shown as online.'])
    await tab.close()
  })

  it('comes online with a click where it was never looked at', async () => {
    const tab = await browser.open(`${server.url}/?user=carol`, { inBackground: true })
    await until(async () => (await post(server, 'dev:carol', '{ viewer { id } }')).data !== undefined)
    await until(() => tab.evaluate("document.getElementById('own-state')?.textContent === 'Coming online…'"))
    await tab.evaluate("void document.body.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }))")
    await until(() => isOnline('carol'), { what: 'carol online' })
    await tab.close()
  })
})

describe('a tab that the browser freezes', () => {
  it('is offline when its page has answered nothing for so long, and online when it runs again', async () => {
    const quick = await startServer({ PAGE_PING_INTERVAL: '1s', PAGE_PONG_TIMEOUT: '1s' })
    const stockPage = await serveStockPage()
    try {
      const observer = await openTab(quick, 'observer', { observer: true })
      const changes = observer.follow()
      const seen = (userId: string) => changes.filter(({ user }) => user.id === userId).map(({ kind }) => kind)

      const stock = await browser.open(stockPage.url(quick.wsUrl, 'stock'))
      await until(() => seen('stock').length === 1, { what: 'the JOIN of the stock page' })
      await stock.freeze()
      await until(() => seen('stock').length === 2, { what: 'the LEAVE of the stock page' })
      // It does not come back: Chromium reports the end as an error, and graphql-ws by itself retries after no error.
      await stock.close()

      const own = await browser.open(`${quick.url}/?user=own`)
      await until(() => seen('own').length === 1, { what: 'the JOIN' })
      await own.freeze()
      await until(() => seen('own').length === 2, { what: 'the LEAVE' })
      await own.thaw()
      await own.show()
      await until(() => seen('own').length === 3, { what: 'the JOIN when it runs again' })
      expect(seen('own')).toEqual(['JOIN', 'LEAVE', 'JOIN'])
      await own.close()
      await observer.close()
    } finally {
      await stockPage.close()
      await quick.stop()
    }
  })
})
