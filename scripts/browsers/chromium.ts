/**
 * Chromium as a person starts it, with its back/forward cache and real background tabs, driven over its own DevTools
 * protocol: Playwright switches the one off and makes every tab think that it is in front.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { launch } from '../../tests/support/launched.ts'
import { until } from '../../tests/support/wait.ts'
import { type Engine, type EngineOptions, type EngineTab, inTime } from './engine.ts'
import { descendants } from './processes.ts'

export const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'

interface Target {
  readonly targetId: string
  readonly type: string
  readonly url: string
}

/** What its settings page writes for "block all cookies". */
const BLOCKED = { profile: { default_content_setting_values: { cookies: 2 } } }

/** @param options - with Chromium's own flags beside those that it needs */
export async function startChromium({
  blocksStorage = false,
  flags = [],
}: EngineOptions & { readonly flags?: readonly string[] } = {}): Promise<Engine> {
  const folder = await mkdtemp(join(tmpdir(), 'rollcall-chromium-'))
  const extension = join(folder, 'duplicate')
  await writeExtension(extension)
  if (blocksStorage) {
    await mkdir(join(folder, 'profile', 'Default'), { recursive: true })
    await writeFile(join(folder, 'profile', 'Default', 'Preferences'), JSON.stringify(BLOCKED))
  }
  const program = launch(
    CHROMIUM,
    [
      '--headless=new',
      '--remote-debugging-port=0',
      `--user-data-dir=${join(folder, 'profile')}`,
      `--load-extension=${extension}`,
      '--no-first-run',
      // No other name leads anywhere.
      '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.*',
      // Chromium's sandbox does not work for root.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
      ...flags,
      'about:blank',
    ],
    { env: process.env },
  )
  const address = await until(() => program.output().match(/DevTools listening on (ws:\S+)/)?.[1], {
    what: `Chromium: ${program.output()}`,
    withinMs: 30_000,
  })
  const complaints: string[] = []
  const devTools = await connect(address, (method, params) => complaints.push(...complaintOf(method, params)))
  const { product } = await devTools.send<{ product: string }>('Browser.getVersion')

  async function targets(): Promise<readonly Target[]> {
    return (await devTools.send<{ targetInfos: Target[] }>('Target.getTargets')).targetInfos
  }

  async function attach(targetId: string): Promise<string> {
    return (await devTools.send<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true })).sessionId
  }

  async function evaluate<Value>(sessionId: string, expression: string): Promise<Value> {
    const { result, exceptionDetails } = await devTools.send<Evaluated<Value>>(
      'Runtime.evaluate',
      { expression, awaitPromise: true, returnByValue: true },
      sessionId,
    )
    if (exceptionDetails !== undefined) throw new Error(JSON.stringify(exceptionDetails))
    return result.value
  }

  async function signalPages(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const isPage = (_: string, commandLine: string) => commandLine.includes('--type=renderer')
    for (const pid of await descendants(program.child.pid ?? 0, isPage)) process.kill(pid, signal)
  }

  const { targetId: workerId } = await until(
    async () => (await targets()).find(({ type, url }) => type === 'service_worker' && url.endsWith('/worker.js')),
    { what: "the extension's worker", withinMs: 30_000 },
  )
  // It sleeps after 30 s, unless somebody looks at it.
  const worker = await attach(workerId)

  async function tabOf(targetId: string): Promise<EngineTab> {
    const sessionId = await attach(targetId)
    await devTools.send('Runtime.enable', {}, sessionId)
    await devTools.send('Log.enable', {}, sessionId)
    return {
      evaluate: (script) => evaluate(sessionId, script),
      reload: async () => void (await devTools.send('Page.reload', {}, sessionId)),
      async close() {
        await devTools.send('Target.closeTarget', { targetId })
        // Chromium answers before the tab is gone, and then brings another tab to the front: a later one would be seen.
        await until(async () => !(await targets()).some((target) => target.targetId === targetId), {
          what: 'the end of the tab',
        })
      },
      show: async () => void (await devTools.send('Target.activateTarget', { targetId })),
      freeze: async () => void (await devTools.send('Page.setWebLifecycleState', { state: 'frozen' }, sessionId)),
      thaw: async () => void (await devTools.send('Page.setWebLifecycleState', { state: 'active' }, sessionId)),
      suspend: () => signalPages('SIGSTOP'),
      resume: () => signalPages('SIGCONT'),
      async setOffline(isOffline) {
        const conditions = { offline: isOffline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 }
        await devTools.send('Network.emulateNetworkConditions', conditions, sessionId)
      },
      async duplicate() {
        const url = await evaluate<string>(sessionId, 'location.href')
        const before = new Set((await targets()).map((target) => target.targetId))
        await evaluate(
          worker,
          `chrome.tabs.query({ url: ${JSON.stringify(`${new URL(url).protocol}//${new URL(url).hostname}/*`)} })
            .then((tabs) => chrome.tabs.duplicate(tabs.find(({ url }) => url === ${JSON.stringify(url)}).id))
            .then(({ id }) => id)`,
        )
        const copy = await until(
          async () => (await targets()).find((target) => target.type === 'page' && !before.has(target.targetId)),
          { what: 'the duplicated tab' },
        )
        return tabOf(copy.targetId)
      },
    }
  }

  return {
    name: product.replace('/', ' '),
    ways: {
      duplicate: '`chrome.tabs.duplicate`',
      freeze: '`Page.setWebLifecycleState`',
      blockStorage: 'the setting "block all cookies"',
      console: '`Runtime` and `Log` of the DevTools protocol',
      offline: '`Network.emulateNetworkConditions`',
    },
    complaints,
    async open(url, { inBackground = false } = {}) {
      const { targetId } = await devTools.send<{ targetId: string }>('Target.createTarget', {
        url,
        background: inBackground,
      })
      return tabOf(targetId)
    },
    async close() {
      devTools.close()
      await program.kill()
      await rm(folder, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

interface Evaluated<Value> {
  readonly result: { readonly value: Value }
  readonly exceptionDetails?: unknown
}

/** What an event of the DevTools protocol says that went wrong. */
function complaintOf(method: string, params: Complaint): readonly string[] {
  if (method === 'Runtime.exceptionThrown') return [String(params.exceptionDetails?.exception?.description)]
  if (method === 'Runtime.consoleAPICalled' && params.type === 'error') {
    return [String(params.args?.map(({ value, description }) => value ?? description).join(' '))]
  }
  if (method === 'Log.entryAdded' && params.entry?.level === 'error') return [params.entry.text]
  return []
}

interface Complaint {
  readonly type?: string
  readonly args?: readonly { readonly value?: unknown; readonly description?: string }[]
  readonly exceptionDetails?: { readonly exception?: { readonly description?: string } }
  readonly entry?: { readonly level: string; readonly text: string }
}

/** The DevTools protocol has no word for "duplicate this tab"; extensions have. */
async function writeExtension(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const manifest = {
    manifest_version: 3,
    name: 'Duplicate',
    version: '1',
    permissions: ['tabs'],
    host_permissions: ['http://127.0.0.1/*'],
    background: { service_worker: 'worker.js' },
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
  await writeFile(join(folder, 'worker.js'), '')
}

interface DevTools {
  send<Result>(method: string, params?: object, sessionId?: string): Promise<Result>
  close(): void
}

async function connect(address: string, onEvent: (method: string, params: Complaint) => void): Promise<DevTools> {
  const socket = new WebSocket(address)
  const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  let lastId = 0
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject))
  socket.on('message', (data) => {
    const { id, result, error, method, params } = JSON.parse(String(data))
    if (method !== undefined) return onEvent(method, params)
    const caller = waiting.get(id)
    waiting.delete(id)
    if (error === undefined) caller?.resolve(result)
    else caller?.reject(new Error(JSON.stringify(error)))
  })
  return {
    send<Result>(method: string, params: object = {}, sessionId?: string) {
      lastId += 1
      const id = lastId
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
      const answer = new Promise<Result>((resolve, reject) => {
        waiting.set(id, { resolve: resolve as (result: unknown) => void, reject })
      })
      return inTime(answer, method)
    },
    close: () => socket.close(),
  }
}
