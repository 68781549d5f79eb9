/** Tabs of one browser that share a socket by a SharedWorker, in Chromium, and what others see of them. */
import { randomUUID } from 'node:crypto'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { browserForTests, goBack } from './browser.ts'
import { buildSharedApp, type SharedApp } from './shared-app.ts'

const SETTINGS = {
  CLOSE_GRACE: '2s',
  RECONNECT_GRACE: '4s',
  SESSION_TTL: '60s',
  HEARTBEAT_INTERVAL: '4s',
  PING_INTERVAL: '5s',
  PONG_TIMEOUT: '5s',
}

let server: TestServer
let wire: TcpProxy
let app: SharedApp

beforeAll(async () => {
  app = await buildSharedApp()
})
afterAll(() => app.stop())
beforeEach(async () => {
  server = await startServer(SETTINGS)
  wire = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
})
afterEach(async () => {
  closeTabs()
  await wire.close()
  await server.stop()
})
const browser = browserForTests({ keepsPages: true })

const addressOf = (user: string, more = ''): string => app.page(user, `http://127.0.0.1:${wire.port}/graphql`, more)

/** The first tab of a browser of its own. */
function open(user: string, more = ''): Promise<Page> {
  return browser.open(addressOf(user, more), { alsoTo: [`http://127.0.0.1:${wire.port}`] })
}

/** Another tab of the same browser. */
async function openBeside(page: Page, user: string, more = ''): Promise<Page> {
  const other = await page.context().newPage()
  await other.goto(addressOf(user, more))
  return other
}

/** As the browser's own "duplicate this tab" does, a window that is opened has a copy of the `sessionStorage`. */
async function duplicate(page: Page): Promise<Page> {
  const [copy] = await Promise.all([page.waitForEvent('popup'), page.evaluate('void window.open(location.href)')])
  return copy
}

const stateOf = (page: Page): Promise<string> => page.evaluate('presence.link.getSnapshot().state')
const sessionIdOf = (page: Page): Promise<string> => page.evaluate('presence.sessionId')

async function untilLive(...pages: readonly Page[]): Promise<void> {
  for (const page of pages) {
    const isLive = () => page.evaluate<boolean>("window.list?.getSnapshot().state === 'live'")
    await until(isLive, { what: `a live list in ${page.url()}`, withinMs: 20_000 })
  }
}

async function sessionsOf(user: string): Promise<string[]> {
  const { data } = await post(server, `dev:${user}`, '{ viewer { sessions { id } } }')
  return data?.viewer.sessions.map(({ id }: { id: string }) => id).sort()
}

async function untilSessions(user: string, pages: readonly Page[], withinMs = 10_000): Promise<void> {
  const ids = (await Promise.all(pages.map(sessionIdOf))).sort()
  await until(async () => JSON.stringify(await sessionsOf(user)) === JSON.stringify(ids), {
    what: `the sessions ${ids}`,
    withinMs,
  })
}

/** What others see of a user from now on. */
async function seenOf(user: string): Promise<() => string[]> {
  const watcher = await openTab(server, `watcher-${randomUUID()}`, { observer: true })
  const changes = watcher.follow(`(userIds: ["${user}"])`)
  await watcher.ask('{ position }')
  return () => changes.map(({ kind }) => kind)
}

describe('tabs of one browser that share a socket', () => {
  it('are three sessions on one socket, which end one by one, and a reload shows nothing', async () => {
    const first = await open('alice')
    await untilLive(first)
    const [second, third] = [await openBeside(first, 'alice'), await openBeside(first, 'alice')]
    await untilLive(second, third)
    await untilSessions('alice', [first, second, third])
    expect(wire.connectionCount()).toBe(1)
    const seen = await seenOf('alice')

    const id = await sessionIdOf(second)
    await second.reload()
    await untilLive(second)
    expect(await sessionIdOf(second)).toBe(id)
    await untilSessions('alice', [first, second, third])

    await first.close()
    await untilSessions('alice', [second, third])
    await third.close()
    await untilSessions('alice', [second])
    expect(await stateOf(second)).toBe('open')
    expect([seen(), wire.connectionCount()]).toEqual([[], 1])
    // The socket holds the session of another tab, so this one ends by the last words of the worker, which outlives it.
    await second.close()
    await until(() => seen().includes('LEAVE'), { what: 'the LEAVE', withinMs: 15_000 })
  })

  it('show nothing of a reload where there is one tab, and leave with it', async () => {
    const only = await open('bea')
    await untilLive(only)
    const seen = await seenOf('bea')
    await only.reload()
    await untilLive(only)
    await untilSessions('bea', [only])
    expect(seen()).toEqual([])
    await only.close()
    await until(() => seen().includes('LEAVE'), { what: 'the LEAVE', withinMs: 10_000 })
  })

  it('are sessions of their own where one was duplicated', async () => {
    const first = await open('carla')
    await untilLive(first)
    const copy = await duplicate(first)
    await untilLive(copy)
    expect(await sessionIdOf(copy)).not.toBe(await sessionIdOf(first))
    await untilSessions('carla', [first, copy])
    await copy.reload()
    await untilLive(copy)
    await untilSessions('carla', [first, copy])
    expect(wire.connectionCount()).toBe(1)
  })

  it('have a socket for each user, and one who signs out leaves the others as they are', async () => {
    const alice = await open('dora')
    const bob = await openBeside(alice, 'emil')
    const bobAgain = await openBeside(alice, 'emil')
    await untilLive(alice, bob, bobAgain)
    expect(wire.connectionCount()).toBe(2)
    await untilSessions('dora', [alice])
    await untilSessions('emil', [bob, bobAgain])
    await bob.evaluate('presence.signOut()')
    await untilSessions('emil', [bobAgain])
    expect([await stateOf(alice), await stateOf(bob), await stateOf(bobAgain)]).toEqual(['open', 'idle', 'open'])
  })

  it('leave with a page that the browser keeps, and are back with it', async () => {
    const stays = await open('fay')
    const leaves = await openBeside(stays, 'fay')
    await untilLive(stays, leaves)
    await leaves.evaluate('window.isSame = true')
    await leaves.goto(`${app.url}/elsewhere`)
    await untilSessions('fay', [stays])
    await goBack(leaves)
    // It is the very page that was left.
    await until(() => leaves.evaluate('window.isSame === true').catch(() => false), { what: 'the page' })
    await untilLive(leaves)
    await untilSessions('fay', [stays, leaves])
    expect(wire.connectionCount()).toBe(1)
  })

  it('say what they do not know while the network is black, and are right soon after on one socket', async () => {
    const pages = [await open('gina')]
    for (const _ of [2, 3]) pages.push(await openBeside(pages[0] as Page, 'gina'))
    await untilLive(...pages)
    wire.fallSilent()
    for (const page of pages) {
      await until(() => page.evaluate<boolean>("list.getSnapshot().state === 'stale'"), { withinMs: 15_000 })
    }
    const before = wire.connectionCount()
    wire.leaveSilent()
    await untilLive(...pages)
    await untilSessions('gina', pages)
    // Handshakes that began in the black network may still end on the one that is back.
    expect(wire.connectionCount() - before).toBeLessThanOrEqual(2)
    expect(await Promise.all(pages.map(stateOf))).toEqual(['open', 'open', 'open'])
  })

  it('come back together after a restart of the server, by one socket', async () => {
    const pages = [await open('hedi')]
    for (const _ of [2, 3]) pages.push(await openBeside(pages[0] as Page, 'hedi'))
    await untilLive(...pages)
    const before = wire.connectionCount()
    const next = await startServer(SETTINGS)
    wire.retarget(Number(new URL(next.url).port))
    await server.stop()
    server = next
    await untilLive(...pages)
    await untilSessions('hedi', pages)
    expect(wire.connectionCount() - before).toBeLessThanOrEqual(2)
  })
})

describe('tabs with a socket each', () => {
  it('know their session where one was duplicated, and keep it when they are loaded again', async () => {
    const first = await open('ida', '&alone')
    await untilLive(first)
    const copy = await duplicate(first)
    await untilLive(copy)
    await until(async () => (await sessionIdOf(first)) !== (await sessionIdOf(copy)), { what: 'two sessions' })
    await untilSessions('ida', [first, copy])
    const seen = await seenOf('ida')
    await first.reload()
    await untilLive(first)
    await untilSessions('ida', [first, copy])
    expect(seen()).toEqual([])
  })
})

describe('a tab that crashes', () => {
  /** Ends the process of a tab: it says nothing any more. */
  async function crash(page: Page): Promise<void> {
    const devTools = await page.context().newCDPSession(page)
    const isCrashed = page.waitForEvent('crash')
    devTools.send('Page.crash').catch(() => {})
    await isCrashed
  }

  it('ends its session alone, whether the worker lived in its process or not', { timeout: 120_000 }, async () => {
    const first = await open('jana')
    await untilLive(first)
    const [second, third] = [await openBeside(first, 'jana'), await openBeside(first, 'jana')]
    await untilLive(second, third)
    await untilSessions('jana', [first, second, third])
    const seen = await seenOf('jana')
    await crash(third)
    await untilSessions('jana', [first, second], 45_000)
    await crash(first)
    await untilSessions('jana', [second], 45_000)
    await untilLive(second)
    expect(seen()).toEqual([])
  })
})

describe('a browser that does not let the worker run', () => {
  it('has a socket for each tab, and says nothing of it to the app', async () => {
    const strict = await buildSharedApp({ 'content-security-policy': "worker-src 'none'" })
    try {
      const url = `http://127.0.0.1:${wire.port}`
      const first = await browser.open(strict.page('karl', `${url}/graphql`), { alsoTo: [url] })
      const second = await first.context().newPage()
      await second.goto(strict.page('karl', `${url}/graphql`))
      await untilLive(first, second)
      await untilSessions('karl', [first, second])
      expect(wire.connectionCount()).toBe(2)
      // The browser's own report that the policy of the page forbids the worker.
      expect(browser.complaints.splice(0).filter((text) => !/worker-src/.test(text))).toEqual([])
    } finally {
      await strict.stop()
    }
  })
})
