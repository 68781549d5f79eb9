/** Chromium, cut off from every host but the server's: whoever asks another one fails the test. */
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import axe from 'axe-core'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'

export const CHROMIUM = {
  executablePath: process.env.CHROMIUM_PATH ?? '/usr/bin/chromium',
  args: [
    // Workers and sockets too: no other name leads anywhere.
    '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
    // Chromium's sandbox does not work for root.
    ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
  ],
}
/** Where `shoot` leaves its pictures, to be looked at. */
const PICTURES = process.env.SCREENSHOT_DIR ?? join(tmpdir(), 'rollcall-screenshots')

export const PHONE = { width: 390, height: 844 }
export const DESKTOP = { width: 1280, height: 800 }

export interface TestBrowser {
  /** A window of its own: nothing is shared with others, as between two people's browsers. */
  open(url: string, options?: OpenOptions): Promise<Page>
  /** What pages complained about so far. Complaints that a test expects it takes away. */
  readonly complaints: string[]
  /** Every socket that a page opened, the newest first. */
  readonly sockets: readonly SeenSocket[]
}

export interface OpenOptions extends BrowserContextOptions {
  /** Where its pages lead besides the address that it opens. */
  readonly alsoTo?: readonly string[]
}

export interface SeenSocket {
  readonly page: Page
  readonly acknowledged: boolean
  readonly isClosed: boolean
}

/**
 * For a test file: one browser for all its tests, with what is open closed after each.
 *
 * @param keepsPages - with Chromium's back/forward cache, as people have it; Playwright switches it off
 */
export function browserForTests({ keepsPages = false }: { readonly keepsPages?: boolean } = {}): TestBrowser {
  let browser: Browser
  const contexts = new Set<BrowserContext>()
  const strangers: string[] = []
  const complaints: string[] = []
  const sockets: SeenSocket[] = []

  beforeAll(async () => {
    const ignoreDefaultArgs = keepsPages ? ['--disable-back-forward-cache'] : []
    browser = await chromium.launch({ ...CHROMIUM, ignoreDefaultArgs })
  })

  afterEach(async () => {
    await Promise.all([...contexts].map((context) => context.close()))
    contexts.clear()
    const seen = [...strangers.splice(0), ...complaints.splice(0)]
    expect(seen).toEqual([])
  })

  afterAll(() => browser?.close())

  return {
    complaints,
    sockets,

    async open(url, { alsoTo = [], ...options } = {}) {
      const context = await browser.newContext({ viewport: DESKTOP, locale: 'en-GB', ...options })
      contexts.add(context)
      const hosts = new Set([url, ...alsoTo].map((address) => new URL(address).host))
      await context.route('**/*', (route) => {
        const asked = new URL(route.request().url())
        if (hosts.has(asked.host) || asked.protocol === 'data:' || asked.protocol === 'blob:') return route.continue()
        strangers.push(`asked for ${asked.href}`)
        return route.abort()
      })
      context.on('page', (page) => {
        page.on('websocket', (socket) => {
          if (!hosts.has(new URL(socket.url()).host)) strangers.push(`connected to ${socket.url()}`)
          const seen = { page, acknowledged: false, isClosed: false }
          sockets.unshift(seen)
          socket.on('framereceived', ({ payload }) => {
            if (String(payload).includes('"connection_ack"')) seen.acknowledged = true
          })
          socket.on('close', () => {
            seen.isClosed = true
          })
        })
        page.on('console', (message) => {
          if (message.type() === 'error') complaints.push(message.text())
        })
        page.on('pageerror', (error) => complaints.push(String(error)))
      })
      const page = await context.newPage()
      page.setDefaultTimeout(15_000)
      await page.goto(url)
      return page
    },
  }
}

/** Leaves a picture in a temporary folder: of the whole page, and of GraphiQL what its window shows. */
export async function shoot(page: Page, name: string): Promise<void> {
  await mkdir(PICTURES, { recursive: true })
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: !name.startsWith('graphiql') })
}

/**
 * Runs an operation of GraphiQL's first tab. Its button has a menu once GraphiQL has parsed the tab: a click before would
 * run the tab as a whole.
 */
export async function runOperation(page: Page, operation: string): Promise<void> {
  await page.locator('.graphiql-execute-button[aria-haspopup=menu]').click()
  await page.getByRole('menuitem', { name: operation }).click()
}

/** Goes back, and does not wait for a load: a page out of the back/forward cache has none. */
export async function goBack(page: Page): Promise<void> {
  await page.evaluate('history.back()')
}

/** What axe finds wrong with a page, a line a rule. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source)
  const { violations } = await page.evaluate<axe.AxeResults>('axe.run()')
  return violations.map(({ id, impact, nodes }) => `${id} (${impact}): ${nodes.map(({ html }) => html).join(' ')}`)
}

/** Whether something is wider than the window: on a phone it would have to be pushed around. */
export function isTooWide(page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')
}
