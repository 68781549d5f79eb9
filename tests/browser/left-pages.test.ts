/**
 * Pages that are left, in a Chromium that keeps them in its back/forward cache: their sockets stay open, and the browser
 * answers for them. Nobody is shown who is not there.
 */
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type StockPage, serveStockPage } from '../../scripts/browsers/stock-page/serve.ts'
import { openWire, type Wire } from '../../scripts/browsers/wire.ts'
import { closeTabs, openTab, post, type SeenChange } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'
import { browserForTests, goBack } from './browser.ts'

const GRACE_MS = 1000
/** A sweep, and a busy machine: far less than what another reason would take. */
const LATE_MS = 1500
/** `RECONNECT_GRACE`: what is counted as a lost connection is seen after so long at the earliest. */
const RECONNECT_GRACE_MS = 8000

const browser = browserForTests({ keepsPages: true })
let server: TestServer
let stockPage: StockPage
let changes: readonly SeenChange[]

beforeAll(async () => {
  server = await startServer({
    CLOSE_GRACE: `${GRACE_MS}ms`,
    RECONNECT_GRACE: `${RECONNECT_GRACE_MS}ms`,
    SWEEP_INTERVAL: '50ms',
    PING_INTERVAL: '10s',
    PONG_TIMEOUT: '5s',
  })
  stockPage = await serveStockPage()
})
afterAll(async () => {
  await stockPage.close()
  await server.stop()
})
afterEach(() => closeTabs())

async function watch(): Promise<void> {
  const observer = await openTab(server, 'observer', { observer: true })
  changes = observer.follow()
}

/** Opens a page that leads to the empty one. */
function open(url: string): Promise<Page> {
  return browser.open(url, { alsoTo: [stockPage.elsewhere, server.url] })
}

function saw(userId: string, kind: SeenChange['kind'], sinceMs = 0): SeenChange | undefined {
  return changes.find((change) => change.user.id === userId && change.kind === kind && change.receivedAtMs >= sinceMs)
}

async function sessions(userId: string): Promise<{ id: string; rooms: string[]; isAttached: boolean }[]> {
  const { data } = await post(server, `dev:${userId}`, '{ viewer { sessions { id rooms isAttached } } }')
  return data?.viewer.sessions
}

function says(page: Page, text: string): Promise<void> {
  return page.locator('#own-state').filter({ hasText: text }).waitFor()
}

/** Follows a link away, and marks the page to know it again. @returns when */
async function leave(page: Page): Promise<number> {
  await page.evaluate('void (window.isKept = true)')
  const leftAtMs = performance.now()
  await page.goto(stockPage.elsewhere)
  return leftAtMs
}

async function isKept(page: Page): Promise<boolean> {
  return page.evaluate('window.isKept === true')
}

describe('the page in a browser that keeps pages', () => {
  it('is offline soon after it was left, and online with a whole list when the person comes back', async () => {
    await watch()
    const page = await open(`${server.url}/?user=leaver`)
    await says(page, 'You are shown as online.')
    const leftAtMs = await leave(page)
    const change = await until(() => saw('leaver', 'LEAVE'), { what: 'the LEAVE' })
    expect(change.receivedAtMs - leftAtMs).toBeLessThan(GRACE_MS + LATE_MS)
    await openTab(server, 'newcomer')

    const backAtMs = performance.now()
    await goBack(page)
    await until(() => saw('leaver', 'JOIN', backAtMs), { what: 'the JOIN' })
    expect(await isKept(page)).toBe(true)
    await says(page, 'You are shown as online.')
    await page.locator('#list li').filter({ hasText: 'newcomer' }).waitFor()
    await page.locator('#freshness').filter({ hasText: 'Live' }).waitFor()
    expect(await page.locator('#list li').filter({ hasText: 'leaver' }).count()).toBe(1)
    await page.close()
    await until(() => saw('leaver', 'LEAVE', backAtMs), { what: 'the LEAVE after the close' })
  })

  it('shows nothing to others where the person is back within the grace, and of a reload', async () => {
    await watch()
    const page = await open(`${server.url}/?user=passer`)
    await says(page, 'You are shown as online.')
    const [before] = await sessions('passer')
    await leave(page)
    await goBack(page)
    await until(() => isKept(page).catch(() => false), { what: 'the page' })
    await until(async () => (await sessions('passer'))[0]?.isAttached, { what: 'its socket' })
    await page.reload()
    await says(page, 'You are shown as online.')
    await until(async () => (await sessions('passer'))[0]?.isAttached, { what: 'its socket after the reload' })
    expect((await sessions('passer')).map(({ id }) => id)).toEqual([before?.id])
    const closedAtMs = performance.now()
    await page.close()
    const change = await until(() => saw('passer', 'LEAVE'), { what: 'the LEAVE' })
    // The first one comes from the close.
    expect(change.receivedAtMs).toBeGreaterThan(closedAtMs)
    expect(change.receivedAtMs - closedAtMs).toBeLessThan(GRACE_MS + LATE_MS)
  })

  it('is one session, however often it is opened in one tab', async () => {
    const page = await open(`${server.url}/?user=walker`)
    for (let count = 0; count < 6; count += 1) {
      await page.goto(`${server.url}/?user=walker`)
      await says(page, 'You are shown as online.')
      expect(await sessions('walker')).toHaveLength(1)
    }
    await page.goto(stockPage.elsewhere)
    await until(async () => (await sessions('walker')).length === 0, { what: 'no session' })
  })

  it('is in the room that the tab shows, and in no other', async () => {
    const page = await open(`${server.url}/?user=mover&room=one`)
    await says(page, 'You are shown as online.')
    await page.goto(`${server.url}/?user=mover&room=two`)
    await says(page, 'You are shown as online.')
    // The page after waits a moment before it leaves the room of the page before: it may join it as well.
    await until(async () => (await sessions('mover')).map(({ rooms }) => rooms.join()).join() === 'two', {
      what: 'the room of the page after',
    })

    await goBack(page)
    await page.locator('#list-title').filter({ hasText: 'In one' }).waitFor()
    await until(async () => (await sessions('mover')).map(({ rooms }) => rooms.join()).join() === 'one', {
      what: 'the room of the page before',
    })
    // What the tab remembers is of this page again.
    await page.reload()
    await page.locator('#list-title').filter({ hasText: 'In one' }).waitFor()
  })

  it('stays away where the person left before, and is there again when they wish', async () => {
    const page = await open(`${server.url}/?user=hermit`)
    await says(page, 'You are shown as online.')
    await page.getByRole('button', { name: 'Go offline' }).click()
    await says(page, 'You are offline: you left.')
    await leave(page)
    await goBack(page)
    await until(() => isKept(page).catch(() => false), { what: 'the page' })
    await says(page, 'You are offline: you left.')
    await page.getByRole('button', { name: 'Come back' }).click()
    await says(page, 'You are shown as online.')
    expect(await sessions('hermit')).toHaveLength(1)
  })
})

describe('a stock graphql-ws page in a browser that keeps pages', () => {
  const PAGE_SILENT_MS = 2000
  let quick: TestServer
  /** Sees the sockets of pages that Playwright does not see any more. */
  let wire: Wire

  beforeAll(async () => {
    quick = await startServer({
      CLOSE_GRACE: '1s',
      RECONNECT_GRACE: '1500ms',
      PAGE_PING_INTERVAL: '1s',
      PAGE_PONG_TIMEOUT: '1s',
      // The browser answers these.
      PING_INTERVAL: '1s',
      PONG_TIMEOUT: '1s',
    })
    wire = await openWire(Number(new URL(quick.url).port))
  })
  afterAll(async () => {
    await wire.close()
    await quick.stop()
  })
  // Chromium tells of a socket that it ends when its page comes back.
  afterEach(() => void browser.complaints.splice(0))

  function socketUrl(): string {
    return `ws://127.0.0.1:${wire.port}/graphql`
  }

  function openStock(userId: string, rooms: readonly string[] = []): Promise<Page> {
    return browser.open(stockPage.url(socketUrl(), userId, rooms), { alsoTo: [socketUrl()] })
  }

  function online(page: Page): Promise<void> {
    return page.locator('#state').filter({ hasText: 'connected; I am online' }).waitFor()
  }

  async function ofUser(userId: string): Promise<{ id: string; rooms: string[]; isAttached: boolean }[]> {
    const { data } = await post(quick, `dev:${userId}`, '{ viewer { sessions { id rooms isAttached } } }')
    return data?.viewer.sessions
  }

  it('is offline when its page has answered nothing for so long, and not before', async () => {
    const observer = await openTab(quick, 'observer', { observer: true })
    changes = observer.follow()
    const page = await openStock('stock')
    await online(page)
    // Seen or not, a page that runs answers.
    await until(() => performance.now() > Number(saw('stock', 'JOIN')?.receivedAtMs) + 2 * PAGE_SILENT_MS, {
      what: 'twice the time',
    })
    expect(saw('stock', 'LEAVE')).toBeUndefined()
    const leftAtMs = await leave(page)
    const change = await until(() => saw('stock', 'LEAVE'), { what: 'the LEAVE' })
    expect(change.receivedAtMs - leftAtMs).toBeLessThan(PAGE_SILENT_MS + LATE_MS)
    expect(await ofUser('stock')).toEqual([])
  })

  it('is one session after six navigations, and in the last room alone', async () => {
    const page = await openStock('wanderer', ['room-0'])
    await online(page)
    for (let count = 1; count <= 6; count += 1) {
      await page.goto(stockPage.url(socketUrl(), 'wanderer', [`room-${count}`]))
      await online(page)
      expect((await ofUser('wanderer')).map(({ rooms }) => rooms)).toEqual([[`room-${count}`]])
    }
    // Each page before has been asked by then whether it is there, and the browser did not answer for it.
    await until(() => wire.sockets.filter(({ userId, end }) => userId === 'wanderer' && end === null).length === 1, {
      what: 'the end of the other sockets',
    })
    expect((await ofUser('wanderer')).map(({ rooms }) => rooms)).toEqual([['room-6']])
  })
})
