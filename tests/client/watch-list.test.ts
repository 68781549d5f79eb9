import { randomUUID } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type RawData, WebSocket } from 'ws'
import { createRandom } from '../fault/random.ts'
import { openTab, post } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { presenceOf, serverForTests, untilLive } from './kit.ts'

/** A socket that counts what goes over it, in bytes of its messages, and the subscriptions that are open. */
function countingSocket() {
  const wire = { bytes: 0, open: new Set<string>(), mostOpen: 0 }
  class CountingSocket extends WebSocket {
    constructor(url: string, protocol: string) {
      super(url, protocol)
      this.on('message', (data: RawData) => {
        wire.bytes += data.toString().length
        const { type, id } = JSON.parse(data.toString())
        if (type === 'error' || type === 'complete') wire.open.delete(id)
      })
    }
    override send(text: string): void {
      wire.bytes += text.length
      const { type, id } = JSON.parse(text)
      if (type === 'subscribe') wire.open.add(id)
      if (type === 'complete') wire.open.delete(id)
      wire.mostOpen = Math.max(wire.mostOpen, wire.open.size)
      super.send(text)
    }
  }
  return { wire, webSocketImpl: CountingSocket }
}

describe('the watch list of a page', () => {
  const at = serverForTests({ SESSION_TTL: '60s' })

  it('sends less than 2 KB for one id more, with hundreds watched', async () => {
    const { wire, webSocketImpl } = countingSocket()
    const presence = presenceOf(at.server, 'alice', { webSocketImpl })
    await until(() => presence.link.getSnapshot().state === 'open')
    const costs: number[] = []
    for (let count = 0; count < 300; count += 1) {
      const before = wire.bytes
      const user = presence.user(randomUUID())
      user.subscribe(() => {})
      await untilLive(user)
      costs.push(wire.bytes - before)
    }
    const mean = costs.reduce((one, other) => one + other, 0) / costs.length
    expect(mean).toBeLessThan(2000)
    expect(wire.open.size).toBeLessThan(30)
  })

  it('watches 10,000 rows by a few subscriptions, and shows who comes among them', async () => {
    const { wire, webSocketImpl } = countingSocket()
    const presence = presenceOf(at.server, 'anna', { webSocketImpl })
    const ids = Array.from({ length: 10_000 }, () => randomUUID())
    for (const id of ids) presence.user(id).subscribe(() => {})
    await until(() => ids.every((id) => presence.user(id).getSnapshot().state === 'live'), { withinMs: 30_000 })
    expect(wire.mostOpen).toBeLessThan(40)
    const id = String(ids[7777])
    await openTab(at.server, id)
    await until(() => presence.user(id).getSnapshot().user?.isOnline)
  })

  it('asks for nobody whom a list that is followed shows already', async () => {
    const { wire, webSocketImpl } = countingSocket()
    const presence = presenceOf(at.server, 'ada', { webSocketImpl })
    await openTab(at.server, 'bob')
    presence.onlineUsers().ids.subscribe(() => {})
    await until(() => presence.onlineUsers().getSnapshot().ids.includes('bob'))
    await untilLive(presence.onlineUsers())
    const before = wire.bytes
    const bob = presence.user('bob')
    bob.subscribe(() => {})
    expect(bob.getSnapshot()).toMatchObject({ state: 'live', user: { id: 'bob', isOnline: true } })
    // Whatever would have been asked is asked by then.
    await presence.setStatus('AUTOMATIC')
    expect(wire.bytes - before).toBeLessThan(2500)
    expect([...wire.open].length).toBeLessThan(3)
  })

  it('follows on by itself whom the list shows no longer', async () => {
    const presence = presenceOf(at.server, 'cleo')
    const tab = await openTab(at.server, 'carl')
    presence.onlineUsers().ids.subscribe(() => {})
    const carl = presence.user('carl')
    carl.subscribe(() => {})
    await until(() => carl.getSnapshot().state === 'live' && carl.getSnapshot().user?.isOnline)
    await tab.close()
    await until(() => carl.getSnapshot().state === 'live' && carl.getSnapshot().user?.isOnline === false)
    await openTab(at.server, 'carl')
    await until(() => carl.getSnapshot().state === 'live' && carl.getSnapshot().user?.isOnline)
  })

  it('shows the truth of each row while rows come and go', async () => {
    const random = createRandom(18)
    const { wire, webSocketImpl } = countingSocket()
    const presence = presenceOf(at.server, 'dora', { webSocketImpl })
    const ids = Array.from({ length: 60 }, (_, index) => `row-${index}`)
    const sessions = new Map(ids.map((id) => [id, randomUUID()]))
    const online = new Set<string>()
    const shown = new Map<string, () => void>()
    for (let step = 0; step < 400; step += 1) {
      const id = random.pick(ids)
      if (random.next() < 0.3) {
        const field = online.has(id)
          ? 'goOffline(sessionId: $id) { viewer { id } }'
          : 'heartbeat(sessionId: $id) { expiresAt }'
        await post(at.server, `dev:${id}`, `mutation ($id: ID) { ${field} }`, { id: sessions.get(id) })
        if (!online.delete(id)) online.add(id)
      } else if (shown.has(id)) {
        shown.get(id)?.()
        shown.delete(id)
      } else
        shown.set(
          id,
          presence.user(id).subscribe(() => {}),
        )
      if (step % 40 !== 39) continue
      await until(
        () =>
          [...shown.keys()].every((id) => {
            const { state, user } = presence.user(id).getSnapshot()
            return state === 'live' && (user?.isOnline ?? false) === online.has(id)
          }),
        { what: `the truth after step ${step}` },
      )
    }
    expect(wire.mostOpen).toBeLessThan(40)
  })

  it('says which id cannot be one, and shows the others', async () => {
    const presence = presenceOf(at.server, 'emma')
    const [bad, good] = [presence.user('x'.repeat(129)), presence.user('emma')]
    for (const store of [bad, good]) store.subscribe(() => {})
    await untilLive(good)
    expect(bad.getSnapshot()).toMatchObject({
      state: 'failed',
      error: { code: 'BAD_USER_INPUT', message: 'A user id must be 1 to 128 bytes.' },
    })
  })
})
