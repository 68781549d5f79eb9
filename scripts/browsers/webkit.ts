/** WebKitGTK's own browser, on a screen that nobody sees, driven over WebDriver. */
import { freePort } from '../../tests/support/free-port.ts'
import { launch } from '../../tests/support/launched.ts'
import { until } from '../../tests/support/wait.ts'
import { type Engine, type EngineTab, inTime } from './engine.ts'
import { descendants } from './processes.ts'

const SCREEN = '/usr/bin/Xvfb'
const DRIVER = process.env.WEBKIT_DRIVER_PATH ?? '/usr/bin/WebKitWebDriver'
const BROWSER = process.env.MINIBROWSER_PATH ?? '/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser'

/** The programs that it needs. */
export const WEBKIT = [SCREEN, DRIVER, BROWSER]

export async function startWebKit(): Promise<Engine> {
  const screen = launch(SCREEN, ['-displayfd', '1', '-screen', '0', '1280x800x24', '-nolisten', 'tcp'], {
    env: process.env,
  })
  const display = await until(() => screen.output().match(/^(\d+)\n/m)?.[1], { what: `Xvfb: ${screen.output()}` })
  const port = await freePort('127.0.0.1')
  const driver = launch(DRIVER, [`--port=${port}`], {
    env: { ...process.env, DISPLAY: `:${display}`, GDK_BACKEND: 'x11', LIBGL_ALWAYS_SOFTWARE: '1' },
  })
  const root = `http://127.0.0.1:${port}`
  await until(
    () =>
      fetch(`${root}/status`).then(
        ({ ok }) => ok,
        () => false,
      ),
    {
      what: `WebKitWebDriver: ${driver.output()}`,
    },
  )
  const { sessionId, capabilities } = await ask<{ sessionId: string; capabilities: { browserVersion: string } }>(
    'POST',
    `${root}/session`,
    {
      capabilities: {
        alwaysMatch: {
          pageLoadStrategy: 'none',
          'webkitgtk:browserOptions': {
            binary: BROWSER,
            args: ['--automation'],
          },
        },
      },
    },
  )
  const session = `${root}/session/${sessionId}`

  async function select(handle: string): Promise<void> {
    await ask('POST', `${session}/window`, { handle })
  }

  function handles(): Promise<readonly string[]> {
    return ask('GET', `${session}/window/handles`)
  }

  async function signalPages(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const pages = await descendants(driver.child.pid ?? 0, (name) => name === 'WebKitWebProces')
    for (const pid of pages) process.kill(pid, signal)
  }

  function tabOf(handle: string): EngineTab {
    async function evaluate<Value>(script: string): Promise<Value> {
      await select(handle)
      return ask('POST', `${session}/execute/sync`, { script: `return (${script})`, args: [] })
    }
    return {
      evaluate,
      async reload() {
        await select(handle)
        await ask('POST', `${session}/refresh`, {})
      },
      async close() {
        await select(handle)
        await ask('DELETE', `${session}/window`)
      },
      show: () => select(handle),
      async duplicate() {
        const before = await handles()
        await evaluate(
          `void document.body.prepend(Object.assign(document.createElement('a'), {
            id: 'duplicate', href: location.href, target: '_blank', rel: 'opener', textContent: 'Duplicate' }))`,
        )
        const found = await ask<Record<string, string>>('POST', `${session}/element`, {
          using: 'css selector',
          value: '#duplicate',
        })
        // A click of the person's: what a script opens by itself is blocked.
        await ask('POST', `${session}/element/${Object.values(found)[0]}/click`, {})
        return tabOf(
          await until(async () => (await handles()).find((handle) => !before.includes(handle)), {
            what: 'the new tab',
          }),
        )
      },
      freeze: () => signalPages('SIGSTOP'),
      thaw: () => signalPages('SIGCONT'),
      suspend: () => signalPages('SIGSTOP'),
      resume: () => signalPages('SIGCONT'),
      setOffline: null,
    }
  }

  return {
    name: `WebKitGTK ${capabilities.browserVersion}`,
    ways: {
      duplicate:
        'a link to itself with `target=_blank rel=opener`, which copies `sessionStorage`: MiniBrowser duplicates no tabs',
      freeze: '`SIGSTOP` of the web processes',
      // There is one for `localStorage`, and the page has `sessionStorage` only.
      blockStorage: null,
      // Its own option prints them, but not for a window that a driver opens.
      console: null,
      offline: null,
    },
    complaints: [],
    async open(url) {
      const [first] = await handles()
      if (first !== undefined) await select(first)
      const { handle } = await ask<{ handle: string }>('POST', `${session}/window/new`, { type: 'window' })
      await select(handle)
      await ask('POST', `${session}/url`, { url })
      return tabOf(handle)
    },
    async close() {
      await ask('DELETE', session).catch(() => {})
      await driver.kill()
      await screen.kill()
    },
  }
}

async function ask<Value>(method: string, url: string, body?: object): Promise<Value> {
  const init = body === undefined ? { method } : { method, body: JSON.stringify(body) }
  const response = await inTime(fetch(url, init), `${method} ${url}`)
  const { value } = (await response.json()) as { value: Value }
  if (!response.ok) throw new Error(`${method} ${url}: ${JSON.stringify(value)}`)
  return value
}
