/** The list of who is online, without a gap: what the server is asked for, and what is shown meanwhile. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, onlineIds, openTab, post, recordingSocket, type Tab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/wait.ts'
import { closeAll, presenceOf, read, untilLive } from './kit.ts'

/** The least: an old position is soon forgotten. */
const LOG_COUNT = 100
const MORE_THAN_THE_LOG_KEEPS = LOG_COUNT + 20
/** The kit reads 500 users at a time. */
const MORE_THAN_A_PAGE = 520

describe('the list of who is online', () => {
  let server: TestServer
  let proxy: TcpProxy
  beforeEach(async () => {
    server = await startServer({
      SESSION_TTL: '60s',
      PING_INTERVAL: '10s',
      PONG_TIMEOUT: '5s',
      CHANGE_LOG_COUNT: String(LOG_COUNT),
    })
    proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
  })
  afterEach(async () => {
    closeAll()
    closeTabs()
    await proxy.close()
    await server.stop()
  })

  /** Through the proxy, with what it sends at hand. */
  function open(userId: string, options: Parameters<typeof presenceOf>[2] = {}) {
    const { sent, webSocketImpl } = recordingSocket()
    const near = { url: `http://127.0.0.1:${proxy.port}` }
    const presence = presenceOf(near, userId, { webSocketImpl, ...options })
    return { presence, countSent: (operation: string) => sent.filter((text) => text.includes(operation)).length }
  }

  async function chatter(tab: Tab): Promise<void> {
    for (let index = 0; index < MORE_THAN_THE_LOG_KEEPS; index += 1) {
      await tab.ask(`mutation { setStatus(status: AUTOMATIC, message: "${index}") { viewer { id } } }`)
    }
  }

  it('reads page by page, and applies what happened on the way', async () => {
    const ids = Array.from({ length: MORE_THAN_A_PAGE }, (_, index) => `user-${index}`)
    for (let from = 0; from < ids.length; from += 20) {
      const some = ids.slice(from, from + 20)
      const comeOnline = async (id: string) =>
        (await post(server, `dev:${id}`, 'mutation { heartbeat { expiresAt } }')).data ?? null
      // A busy server refuses some at first.
      await Promise.all(some.map((id) => until(() => comeOnline(id), { what: `${id} online` })))
    }
    const { presence, countSent } = open('alice')
    const list = read(presence.onlineUsers())
    const bob = await openTab(server, 'bob')
    await bob.ask('mutation { setStatus(status: BUSY, message: "Here") { viewer { id } } }')
    await untilLive(presence.onlineUsers())
    await until(() => list.now().users.some(({ statusMessage }) => statusMessage === 'Here'))
    expect(list.now().ids).toEqual([...ids, 'alice', 'bob'].sort())
    expect(countSent('query OnlineUsers')).toBe(2)
  })

  it('is stale while the connection is lost, and goes on without reading again', async () => {
    const bob = await openTab(server, 'bob')
    const { presence, countSent } = open('alice')
    const list = read(presence.onlineUsers())
    await until(() => list.now().state === 'live' && list.now().ids.length === 2)
    await chatter(bob)
    proxy.refuse()
    await until(() => list.now().state === 'stale')
    await bob.ask('mutation { setStatus(status: BUSY, message: "In the gap") { viewer { id } } }')
    const saidBefore = list.said.length
    proxy.mend()
    presence.retryNow()
    await until(() => list.now().state === 'live')
    // It is live only when it shows what it missed.
    for (const { state, users } of list.said.slice(saidBefore)) {
      if (state === 'live') expect(users[1]?.statusMessage).toBe('In the gap')
    }
    expect(countSent('query OnlineUsers')).toBe(1)
  })

  it('keeps the place of a quiet room', { timeout: 40_000 }, async () => {
    const bob = await openTab(server, 'bob')
    const { sent, webSocketImpl } = recordingSocket()
    let wordCount = 0
    class HearingSocket extends webSocketImpl {
      constructor(...parameters: ConstructorParameters<typeof webSocketImpl>) {
        super(...parameters)
        this.on('message', (data) => {
          if (String(data).includes('"positionAdvanced"')) wordCount += 1
        })
      }
    }
    const { presence } = open('alice', { webSocketImpl: HearingSocket })
    presence.joinRoom('lobby')
    const list = read(presence.onlineUsers({ room: 'lobby' }))
    await until(() => list.now().state === 'live' && list.now().ids.length === 1)
    await chatter(bob)
    // The server's word comes every 10 s: the next one covers what was said elsewhere.
    const before = wordCount
    await until(() => wordCount > before, { what: 'the next word', withinMs: 20_000 })
    proxy.cut()
    await until(() => list.now().state === 'stale')
    await bob.ask('mutation { joinRoom(room: "lobby") { session { id } } }')
    await until(() => list.now().state === 'live' && list.now().ids.length === 2)
    expect(sent.filter((text) => text.includes('query OnlineUsers'))).toHaveLength(1)
  })

  it('reads again where its position is no longer known', async () => {
    const bob = await openTab(server, 'bob')
    const { presence, countSent } = open('alice')
    const list = read(presence.onlineUsers())
    await until(() => list.now().state === 'live' && list.now().ids.length === 2)
    proxy.refuse()
    await until(() => list.now().state === 'stale')
    await chatter(bob)
    proxy.mend()
    await until(() => list.now().users[1]?.statusMessage === String(MORE_THAN_THE_LOG_KEEPS - 1))
    await until(() => list.now().state === 'live')
    expect(countSent('query OnlineUsers')).toBe(2)
  })

  it('says what it may not see', async () => {
    const { presence } = open('alice')
    const list = read(presence.onlineUsers({ room: 'x'.repeat(200) }))
    const failed = await until(() => list.now().state === 'failed' && list.now())
    expect(failed.error).toMatchObject({ code: 'BAD_USER_INPUT' })
  })

  it('comes back into its room', async () => {
    const { presence } = open('alice')
    presence.joinRoom('lobby')
    await until(async () => (await onlineIds(server, 'dev:reader', 'lobby')).includes('alice'))
    await presence.goOffline()
    expect(await onlineIds(server, 'dev:reader')).not.toContain('alice')
    await presence.comeBack()
    expect(await onlineIds(server, 'dev:reader', 'lobby')).toContain('alice')
  })

  it('does not send again what was never answered', async () => {
    const { presence, countSent } = open('alice')
    // The server knows of the session before the client does.
    await until(() => presence.link.getSnapshot().state === 'open')
    proxy.loseAnswers()
    const left = presence.goOffline()
    left.catch(() => {})
    // It took effect: only the answer is lost.
    await until(async () => !(await onlineIds(server, 'dev:reader')).includes('alice'))
    proxy.mend()
    await expect(left).rejects.toMatchObject({ code: 'CLOSED' })
    await until(async () => (await onlineIds(server, 'dev:reader')).includes('alice'), { withinMs: 20_000 })
    expect(countSent('mutation GoOffline')).toBe(1)
  })

  it('says why it is refused, and does not try again', async () => {
    const { presence } = open('')
    const link = await until(() => {
      const snapshot = presence.link.getSnapshot()
      return snapshot.state === 'failed' && snapshot
    })
    expect(link.error).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(proxy.connectionCount()).toBe(1)
  })
})
