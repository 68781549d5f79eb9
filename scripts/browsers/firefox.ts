/** Firefox as the distribution has it, driven over Marionette, its own protocol: no other program is in between. */
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect as connectTo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { launch } from '../../tests/support/launched.ts'
import { until } from '../../tests/support/wait.ts'
import { type Engine, type EngineOptions, type EngineTab, inTime } from './engine.ts'

export const FIREFOX = process.env.FIREFOX_PATH ?? '/usr/bin/firefox-esr'

/** As its settings page writes them for "block all cookies", and for the person who works offline. */
const BLOCKED = 'user_pref("network.cookie.cookieBehavior", 2);\n'
const OFFLINE = 'user_pref("network.disable-localhost-when-offline", true);\n'

export async function startFirefox({ blocksStorage = false }: EngineOptions = {}): Promise<Engine> {
  const profile = await mkdtemp(join(tmpdir(), 'rollcall-firefox-'))
  await writeFile(
    join(profile, 'user.js'),
    `user_pref("marionette.port", 0);\n${OFFLINE}${blocksStorage ? BLOCKED : ''}`,
  )
  const program = launch(
    FIREFOX,
    [
      '--headless',
      '--marionette',
      // WebDriver BiDi, for what the consoles say.
      '--remote-debugging-port=0',
      // Without it scripts may not touch the window around the page, and the tab is duplicated there.
      '--remote-allow-system-access',
      '--no-remote',
      '--profile',
      profile,
    ],
    { env: { ...process.env, HOME: profile } },
  )
  const port = await until(
    async () => Number(await readFile(join(profile, 'MarionetteActivePort'), 'utf8').catch(() => '')) || null,
    {
      what: `Firefox: ${program.output()}`,
      withinMs: 60_000,
    },
  )
  const marionette = await connect(port)
  const { capabilities } = await marionette.send<{
    capabilities: { browserVersion: string; webSocketUrl: string }
  }>('WebDriver:NewSession', { pageLoadStrategy: 'none', webSocketUrl: true })
  const consoles = await readConsoles(capabilities.webSocketUrl)

  async function select(handle: string, isShown: boolean): Promise<void> {
    await marionette.send('WebDriver:SwitchToWindow', { handle, focus: isShown })
  }

  /** Runs what has the window around the page, `gBrowser`, at hand. */
  async function inChrome<Value>(script: string): Promise<Value> {
    await marionette.send('Marionette:SetContext', { value: 'chrome' })
    try {
      return (await marionette.send<{ value: Value }>('WebDriver:ExecuteScript', { script, args: [] })).value
    } finally {
      await marionette.send('Marionette:SetContext', { value: 'content' })
    }
  }

  function handles(): Promise<readonly string[]> {
    return marionette.send('WebDriver:GetWindowHandles')
  }

  /** @param script - opens a tab */
  async function newHandle(script: string): Promise<string> {
    const before = await handles()
    await inChrome(script)
    return until(async () => (await handles()).find((handle) => !before.includes(handle)), { what: 'the new tab' })
  }

  function tabOf(handle: string): EngineTab {
    let frozenPid = 0
    return {
      async evaluate(script) {
        await select(handle, false)
        const answer = await marionette.send<{ value: never }>('WebDriver:ExecuteScript', {
          script: `return (${script})`,
          args: [],
          sandbox: null,
        })
        return answer.value
      },
      async reload() {
        await select(handle, false)
        await marionette.send('WebDriver:Refresh')
      },
      async close() {
        await select(handle, false)
        await marionette.send('WebDriver:CloseWindow')
        const [other] = await handles()
        if (other !== undefined) await select(other, true)
      },
      show: () => select(handle, true),
      async duplicate() {
        await select(handle, true)
        return tabOf(await newHandle('gBrowser.selectedTab = gBrowser.duplicateTab(gBrowser.selectedTab)'))
      },
      async freeze() {
        await select(handle, true)
        frozenPid = await inChrome('return gBrowser.selectedBrowser.browsingContext.currentWindowGlobal.osPid')
        process.kill(frozenPid, 'SIGSTOP')
      },
      async thaw() {
        process.kill(frozenPid, 'SIGCONT')
      },
      suspend() {
        return this.freeze()
      },
      resume() {
        return this.thaw()
      },
      setOffline: (isOffline) => inChrome(`Services.io.offline = ${isOffline}`),
    }
  }

  return {
    name: `Firefox ${capabilities.browserVersion}`,
    ways: {
      duplicate: '`gBrowser.duplicateTab`',
      freeze: '`SIGSTOP` of the content process',
      blockStorage: '`network.cookie.cookieBehavior` 2, "block all cookies"',
      console: '`log.entryAdded` of WebDriver BiDi',
      offline: '`Services.io.offline`, "work offline"',
    },
    complaints: consoles.errors,
    async open(url, { inBackground = false } = {}) {
      return tabOf(
        await newHandle(`
          const principal = Services.scriptSecurityManager.createNullPrincipal({})
          const tab = gBrowser.addTab(${JSON.stringify(url)}, { triggeringPrincipal: principal })
          ${inBackground ? '' : 'gBrowser.selectedTab = tab'}
        `),
      )
    },
    async close() {
      consoles.close()
      marionette.close()
      await program.kill()
      await rm(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

/** @param address - of WebDriver BiDi, for the session that Marionette has begun */
async function readConsoles(address: string): Promise<{ readonly errors: readonly string[]; close(): void }> {
  const errors: string[] = []
  const socket = new WebSocket(address)
  await once(socket, 'open')
  const subscribed = new Promise<void>((resolve, reject) => {
    socket.on('message', (data) => {
      const { id, type, method, params } = JSON.parse(String(data))
      if (id === 1) return type === 'success' ? resolve() : reject(new Error(String(data)))
      if (method === 'log.entryAdded' && params.level === 'error') errors.push(params.text)
    })
  })
  socket.send(JSON.stringify({ id: 1, method: 'session.subscribe', params: { events: ['log.entryAdded'] } }))
  await subscribed
  return { errors, close: () => socket.terminate() }
}

interface Marionette {
  send<Result>(command: string, params?: object): Promise<Result>
  close(): void
}

/** Messages are `<length>:<JSON>`: `[0, id, command, params]` there, `[1, id, error, result]` back. */
async function connect(port: number): Promise<Marionette> {
  const socket = connectTo(port, '127.0.0.1')
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  let unread = Buffer.alloc(0)
  let lastId = 0
  let greeted = (): void => {}
  const greeting = new Promise<void>((resolve) => {
    greeted = resolve
  })
  socket.on('data', (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk])
    for (;;) {
      const colon = unread.indexOf(':')
      const end = colon + 1 + Number(unread.subarray(0, Math.max(colon, 0)))
      if (colon < 0 || unread.length < end) return
      const message = JSON.parse(unread.subarray(colon + 1, end).toString())
      unread = unread.subarray(end)
      if (!Array.isArray(message)) {
        greeted()
        continue
      }
      const [, id, error, result] = message
      const caller = waiting.get(id)
      waiting.delete(id)
      if (error === null) caller?.resolve(result)
      else caller?.reject(new Error(JSON.stringify(error)))
    }
  })
  socket.on('error', () => {})
  await Promise.race([greeting, once(socket, 'close').then(() => Promise.reject(new Error('Marionette closed.')))])
  return {
    send<Result>(command: string, params: object = {}) {
      lastId += 1
      const text = JSON.stringify([0, lastId, command, params])
      socket.write(`${Buffer.byteLength(text)}:${text}`)
      const id = lastId
      const answer = new Promise<Result>((resolve, reject) => {
        waiting.set(id, { resolve: resolve as (result: unknown) => void, reject })
      })
      return inTime(answer, command)
    },
    close: () => socket.destroy(),
  }
}
