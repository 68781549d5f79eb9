/** A hidden tab whose timers Chromium holds back to one a minute, as it does by itself after five. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChromium } from '../../scripts/browsers/chromium.ts'
import type { Engine, EngineTab } from '../../scripts/browsers/engine.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { buildSharedApp, type SharedApp } from './shared-app.ts'

let server: TestServer
let wire: TcpProxy
let app: SharedApp
let browser: Engine

beforeAll(async () => {
  server = await startServer({})
  wire = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  app = await buildSharedApp()
  browser = await startChromium(['--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1'])
})
afterAll(async () => {
  await browser.close()
  await app.stop()
  await wire.close()
  await server.stop()
})

/** Opens a tab behind the others, and waits until its timers are held back. */
async function openHidden(more = ''): Promise<EngineTab> {
  const url = app.page('alice', `http://127.0.0.1:${wire.port}/graphql`, more)
  const tab = await browser.open(url, { inBackground: true })
  await until(() => tab.evaluate("window.list?.getSnapshot().state === 'live'"), { what: 'a live list' })
  expect(await tab.evaluate('document.visibilityState')).toBe('hidden')
  await tab.evaluate('void (window.lastAt = Date.now(), setInterval(() => { lastAt = Date.now() }, 500))')
  await until(() => tab.evaluate('Date.now() - lastAt > 5000'), { what: 'held timers', withinMs: 150_000 })
  return tab
}

const stateOf = (tab: EngineTab) => tab.evaluate<string>('list.getSnapshot().state')

describe('a hidden tab whose timers the browser holds back', () => {
  it('knows in time that the network is black where it shares a socket, and that it is back', {
    timeout: 240_000,
  }, async () => {
    const tab = await openHidden()
    wire.fallSilent()
    await until(async () => (await stateOf(tab)) === 'stale', { what: 'a stale list', withinMs: 15_000 })
    wire.leaveSilent()
    await until(async () => (await stateOf(tab)) === 'live', { what: 'a live list', withinMs: 15_000 })
    await tab.close()
  })
})
