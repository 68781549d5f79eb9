/** Chromium, cut off from every host but the server's: whoever asks another one fails the test. */
import { mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Browser, type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect } from 'vitest'

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
/** Where `shoot` leaves its pictures, to be looked at. */
const PICTURES = process.env.SCREENSHOT_DIR ?? join(tmpdir(), 'rollcall-screenshots')

export const PHONE = { width: 390, height: 844 }
export const DESKTOP = { width: 1280, height: 800 }

export interface TestBrowser {
  /** A window of its own: nothing is shared with others, as between two people's browsers. */
  open(url: string, options?: BrowserContextOptions): Promise<Page>
  /** What pages complained about so far. Complaints that a test expects it takes away. */
  readonly complaints: string[]
  /** Every socket that a page opened, the newest first. */
  readonly sockets: readonly SeenSocket[]
}

export interface SeenSocket {
  readonly page: Page
  readonly acknowledged: boolean
  readonly isClosed: boolean
}

/** For a test file: one browser for all its tests, with what is open closed after each. */
export function browserForTests(): TestBrowser {
  let browser: Browser
  const contexts = new Set<BrowserContext>()
  const strangers: string[] = []
  const complaints: string[] = []
  const sockets: SeenSocket[] = []

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        // Workers and sockets too: no other name leads anywhere.
        '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1',
        // Chromium's sandbox does not work for root.
        ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      ],
    })
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

    async open(url, options = {}) {
      const context = await browser.newContext({ viewport: DESKTOP, locale: 'en-GB', ...options })
      contexts.add(context)
      const { host } = new URL(url)
      await context.route('**/*', (route) => {
        const asked = new URL(route.request().url())
        if (asked.host === host || asked.protocol === 'data:' || asked.protocol === 'blob:') return route.continue()
        strangers.push(`asked for ${asked.href}`)
        return route.abort()
      })
      context.on('page', (page) => {
        page.on('websocket', (socket) => {
          if (new URL(socket.url()).host !== host) strangers.push(`connected to ${socket.url()}`)
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

/** Whether something is wider than the window: on a phone it would have to be pushed around. */
export function isTooWide(page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth')
}
