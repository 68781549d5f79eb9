import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { closeAll, presenceOf, serverForTests, untilLive } from './kit.ts'

/** Of each length so many at once, because each waits as chance has it. */
const CLIENTS = 8
/** What is wrong is said to be stale by then: 4 s of silence, and 4 s for the answer to a ping. */
const STALE_MS = 15_000
/** A handshake that began before the network's return has 3 s, and the wait after it 2 s at most. */
const RETURN_MS = 6000

describe('a link that goes black', () => {
  let server: TestServer
  beforeAll(async () => {
    // A handshake that is slow is silent meanwhile.
    server = await startServer({ SESSION_TTL: '10m', PING_INTERVAL: '5s', PONG_TIMEOUT: '10s' })
  })
  // Not after each: they run at the same time.
  afterAll(async () => {
    closeAll()
    closeTabs()
    await server.stop()
  })

  it.concurrent.each([5, 20, 45])('is noticed, and is right soon after its return: %i s', async (seconds) => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    const near = { url: `http://127.0.0.1:${proxy.port}` }
    const user = `user-${seconds}`
    await openTab(server, user)
    const stores = Array.from({ length: CLIENTS }, (_, index) => {
      const store = presenceOf(near, `watcher-${seconds}-${index}`, { observer: true }).user(user)
      store.subscribe(() => {})
      return store
    })
    for (const store of stores) await untilLive(store)
    const states = () => stores.map((store) => store.getSnapshot())

    proxy.fallSilent()
    const blackAtMs = performance.now()
    await post(server, `dev:${user}`, 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    if (seconds * 1000 > STALE_MS) {
      await until(() => states().every(({ state }) => state === 'stale'), { withinMs: STALE_MS, what: 'stale' })
      for (const { since } of states()) expect(Number(since)).toBeLessThan(Date.now())
    }
    await until(() => performance.now() - blackAtMs > seconds * 1000, { withinMs: seconds * 2000 })
    expect(states().every(({ state, user }) => state !== 'live' || user?.status === 'ONLINE')).toBe(true)

    proxy.leaveSilent()
    // Of those five seconds some have not noticed yet, and nothing tells them that the network is another one.
    const withinMs = RETURN_MS + Math.max(0, STALE_MS - seconds * 1000)
    await until(() => states().every(({ state, user }) => state === 'live' && user?.status === 'BUSY'), {
      withinMs,
      what: `the truth for ${JSON.stringify(states())}`,
    })
    await proxy.close()
  })

  it.concurrent('takes a handshake that is slower than its limit, where no other is faster', async () => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    proxy.hold(['down'])
    const presence = presenceOf({ url: `http://127.0.0.1:${proxy.port}` }, 'far-away')
    await until(() => presence.link.getSnapshot().state === 'waiting')
    // The second handshake waits for its answer too, and would do so for as long as the first one.
    await until(() => presence.link.getSnapshot().state === 'connecting')
    proxy.release()
    await until(() => presence.link.getSnapshot().state === 'open', { withinMs: 1000 })
    const { data } = await post(server, 'dev:far-away', '{ viewer { sessions { id } } }')
    expect(data?.viewer.sessions).toHaveLength(1)
    await proxy.close()
  })

  it.concurrent('is tried at once where the app asks for it, and says when it will be tried by itself', async () => {
    const proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
    const presence = presenceOf({ url: `http://127.0.0.1:${proxy.port}` }, 'impatient')
    await until(() => presence.link.getSnapshot().state === 'open')
    proxy.refuse()
    const link = await until(
      () => {
        const snapshot = presence.link.getSnapshot()
        return snapshot.state === 'waiting' && snapshot.retryInMs > 1500 && snapshot
      },
      { withinMs: 60_000 },
    )
    expect(Number(link.retryAt) - Date.now()).toBeGreaterThan(0)
    proxy.mend()
    presence.retryNow()
    expect(presence.link.getSnapshot().state).toBe('connecting')
    await until(() => presence.link.getSnapshot().state === 'open', { withinMs: 1000 })
    await proxy.close()
  })
})

describe('a link that goes black in Firefox', () => {
  const kit = serverForTests({ SESSION_TTL: '10m' })
  afterEach(() => void vi.unstubAllGlobals())

  it('makes no WebSocket before something answers over HTTP, however often the app asks', async () => {
    vi.stubGlobal('navigator', { userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0' })
    let made = 0
    class CountedSocket extends WebSocket {
      constructor(url: string, protocol: string) {
        super(url, protocol)
        made += 1
      }
    }
    const presence = presenceOf(kit.near, 'fox', { webSocketImpl: CountedSocket })
    const { link } = presence
    await until(() => link.getSnapshot().state === 'open')
    kit.wire.fallSilent()
    for (let count = 0; count < 3; count += 1) {
      await until(() => link.getSnapshot().state === 'waiting', { withinMs: 20_000 })
      presence.retryNow()
    }
    await until(() => link.getSnapshot().state === 'waiting', { withinMs: 20_000 })
    expect(made).toBe(1)
    kit.wire.leaveSilent()
    await until(() => link.getSnapshot().state === 'open', { withinMs: 10_000 })
    expect(made).toBe(2)
  })
})
