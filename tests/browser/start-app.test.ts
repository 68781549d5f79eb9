/** The app of docs/start.md in a real browser: two people, who reload, leave, come back and lose their network. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Page } from 'playwright-core'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { serve } from '../support/serve.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { browserForTests, goBack, violations } from './browser.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SETTINGS = { CLOSE_GRACE: '1500ms', RECONNECT_GRACE: '15s', PING_INTERVAL: '5s', PONG_TIMEOUT: '10s' }

const cleanups = cleanupsAfterEach()
let server: TestServer
let wire: TcpProxy
let script: string
let page: string

/** As an app's bundler makes it, with the address of the test's server. */
async function bundled(url: string): Promise<string> {
  const document = await readFile(`${ROOT}docs/start.md`, 'utf8')
  const app = /<!-- tested: App.tsx -->\n```tsx\n([\s\S]*?)```/.exec(document)?.[1]
  if (app === undefined) throw new Error('docs/start.md has no App.tsx.')
  const { outputFiles } = await build({
    stdin: {
      contents: `${app.replace('http://localhost:4000/graphql', url)}
        import { createRoot } from 'react-dom/client'
        import { StrictMode } from 'react'
        createRoot(document.querySelector('main')!).render(<StrictMode><App /></StrictMode>)`,
      resolveDir: ROOT,
      loader: 'tsx',
    },
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"' },
  })
  return String(outputFiles[0]?.text)
}

beforeEach(async () => {
  server = await startServer(SETTINGS)
  wire = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  script = await bundled(`http://127.0.0.1:${wire.port}/graphql`)
  const site = await serve((request, response) => {
    const isScript = request.url === '/app.js'
    response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
    response.end(
      isScript
        ? script
        : '<!doctype html><html lang="en"><title>Team</title><header><h1>Team</h1></header><main></main><script type="module" src="/app.js"></script>',
    )
  })
  cleanups.push(() => site.stop())
  page = site.url
})
afterEach(async () => {
  await wire.close()
  await server.stop()
})
// Below the hooks above: Vitest runs the last `afterEach` first, and a page that outlives its server complains.
const browser = browserForTests({ keepsPages: true })

function open(user: string): Promise<Page> {
  return browser.open(`${page}/?user=${user}`, { alsoTo: [`http://127.0.0.1:${wire.port}`] })
}

/** Waits until the page of a person shows this. */
async function shows(page: Page, text: RegExp, withinMs = 10_000): Promise<void> {
  await until(async () => text.test(String(await page.locator('main').textContent())), {
    what: `${text} in ${await page.locator('main').textContent()}`,
    withinMs,
  })
}

/** Every text that the page shows from now on. */
async function recorded(page: Page): Promise<() => Promise<string[]>> {
  await page.evaluate(() => {
    const texts: string[] = []
    Object.assign(window, { texts })
    const main = document.querySelector('main') as HTMLElement
    const options = { subtree: true, childList: true, characterData: true, attributes: true }
    new MutationObserver(() => texts.push(main.textContent)).observe(main, options)
  })
  return () => page.evaluate('window.texts')
}

describe('the app of docs/start.md', () => {
  it('shows two people to each other: online, hidden, back, gone and when they were last seen', async () => {
    const alice = await open('alice')
    await shows(alice, /^alicebob: offline In the lobby: 1/)
    const bob = await open('bob')
    await shows(alice, /alicebobbob: online In the lobby: 2/)
    await shows(bob, /alice: online/)
    expect(await violations(alice)).toEqual([])

    await bob.getByRole('button', { name: 'Appear offline' }).click()
    await shows(alice, /^alicebob: offline nowIn the lobby: 1/)
    await shows(bob, /Show me/)
    await bob.getByRole('button', { name: 'Show me' }).click()
    await shows(alice, /bob: online/)

    await bob.close()
    await shows(alice, /bob: offline now/)
  })

  it('shows nothing of a reload, and of a page that is left and comes back', async () => {
    const [alice, bob] = [await open('alice'), await open('bob')]
    await shows(alice, /bob: online In the lobby: 2/)
    const texts = await recorded(alice)
    await bob.reload()
    await shows(bob, /alice: online In the lobby: 2/)
    await bob.goto(`${page}/elsewhere?user=bob`)
    await shows(bob, /alice: online In the lobby: 2/)
    await goBack(bob)
    await shows(bob, /alice: online In the lobby: 2/)
    const { data } = await post(server, 'dev:bob', '{ viewer { sessions { id } } }')
    expect(data?.viewer.sessions).toHaveLength(1)
    expect(await texts()).toEqual([])
  })

  it('says what it does not know while its network is black, and is right soon after', async () => {
    const [alice, bob] = [await open('alice'), await open('bob')]
    await shows(alice, /bob: online/)
    await shows(bob, /alice: online In the lobby: 2/)
    wire.fallSilent()
    await shows(alice, /bob: online, as last known/, 15_000)
    await shows(bob, /alice: online, as last known/, 15_000)
    // What is open stays black for ever, and no event of the browser says that the network is another one.
    wire.leaveSilent()
    // Both are pages of one browser, which makes one handshake at a time to an address: one may have to wait for another.
    await shows(alice, /bob: online In the lobby: 2/, 15_000)
    await shows(bob, /alice: online In the lobby: 2/, 15_000)
  })
})

describe('a browser that keeps nothing', () => {
  it('shows the same', async () => {
    const alice = await browser.open(`${page}/?user=alice`, { alsoTo: [`http://127.0.0.1:${wire.port}`] })
    await alice.context().addInitScript(() => {
      Object.defineProperty(window, 'sessionStorage', {
        get() {
          throw new DOMException('Access is denied for this document.', 'SecurityError')
        },
      })
    })
    await alice.reload()
    const bob = await open('bob')
    await shows(alice, /bob: online In the lobby: 2/)
    await shows(bob, /alice: online/)
  })
})
