/**
 * Hidden tabs that share a socket: one whose timers Chromium holds back to one a minute, as it does by itself after five,
 * and one that it freezes. Playwright shows every tab as if it were in front, so Chromium is driven without it.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChromium } from '../../scripts/browsers/chromium.ts'
import type { Engine, EngineTab } from '../../scripts/browsers/engine.ts'
import { post } from '../support/clients.ts'
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
  browser = await startChromium({ flags: ['--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/1'] })
})
afterAll(async () => {
  await browser.close()
  await app.stop()
  await wire.close()
  await server.stop()
})

async function openHidden(user: string): Promise<EngineTab> {
  const url = app.page(user, `http://127.0.0.1:${wire.port}/graphql`)
  const tab = await browser.open(url, { inBackground: true })
  await until(() => tab.evaluate("window.list?.getSnapshot().state === 'live'"), { what: 'a live list' })
  expect(await tab.evaluate('document.visibilityState')).toBe('hidden')
  return tab
}

const stateOf = (tab: EngineTab) => tab.evaluate<string>('list.getSnapshot().state')

describe('a hidden tab whose timers the browser holds back', () => {
  it('knows in time that the network is black where it shares a socket, and that it is back', {
    timeout: 240_000,
  }, async () => {
    const tab = await openHidden('alice')
    await tab.evaluate('void (window.lastAt = Date.now(), setInterval(() => { lastAt = Date.now() }, 500))')
    await until(() => tab.evaluate('Date.now() - lastAt > 5000'), { what: 'held timers', withinMs: 150_000 })
    wire.fallSilent()
    await until(async () => (await stateOf(tab)) === 'stale', { what: 'a stale list', withinMs: 15_000 })
    wire.leaveSilent()
    await until(async () => (await stateOf(tab)) === 'live', { what: 'a live list', withinMs: 15_000 })
    await tab.close()
  })
})

describe('a tab that the browser freezes', () => {
  it('is offline when it has answered nothing for so long, and online when it runs again', {
    timeout: 120_000,
  }, async () => {
    const [runs, freezes] = [await openHidden('bob'), await openHidden('bob')]
    const idsOf = async (...tabs: EngineTab[]) =>
      (await Promise.all(tabs.map((tab) => tab.evaluate<string>('presence.sessionId')))).sort()
    const sessions = async () => {
      const { data } = await post(server, 'dev:bob', '{ viewer { sessions { id } } }')
      return data?.viewer.sessions.map(({ id }: { id: string }) => id).sort()
    }
    const [both, one] = [await idsOf(runs, freezes), await idsOf(runs)]
    expect(await sessions()).toEqual(both)
    await freezes.freeze()
    await until(async () => String(await sessions()) === String(one), { what: 'the end of one', withinMs: 45_000 })
    await freezes.thaw()
    await until(async () => String(await sessions()) === String(both), { what: 'both again', withinMs: 15_000 })
    await until(async () => (await stateOf(freezes)) === 'live', { what: 'a live list' })
    await freezes.close()
    await runs.close()
  })
})
