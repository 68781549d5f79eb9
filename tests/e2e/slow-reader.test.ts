import { SignJWT } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post, settled, type Tab } from '../support/clients.ts'
import { metricOf } from '../support/metrics.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const SECRET = 'a-secret-of-32-bytes-for-the-tests!'
/** With these a change is 28 KB. */
const PICTURE = `https://example.com/${'p'.repeat(2000)}`
const FIELDS = Array.from({ length: 14 }, (_, index) => `p${index}: user { avatarUrl }`).join(' ')
/** More than any kernel holds for a socket: 84 MB. */
const MAX_CHANGES = 3000
const MISSED = 100

interface Seen {
  readonly kind: string
  readonly position: string
}

describe('a client that does not read', () => {
  let server: TestServer

  beforeAll(async () => {
    // It does not answer pings either, and is not to be given up for it meanwhile.
    server = await startServer({ JWT_SECRET: SECRET, PING_INTERVAL: '5m', PAGE_PING_INTERVAL: '5m' })
  })
  afterEach(closeTabs)
  afterAll(() => server.stop())

  function tokenOf(userId: string, picture: string | null = null): Promise<string> {
    return new SignJWT({ ...(picture === null ? {} : { picture }), presence: { rooms: ['**'] } })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(userId)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(SECRET))
  }

  async function open(userId: string, options: Parameters<typeof openTab>[2] = {}): Promise<Tab> {
    return openTab(server, userId, { token: await tokenOf(userId, PICTURE), ...options })
  }

  function follow(tab: Tab): Seen[] {
    const seen: Seen[] = []
    tab.client.subscribe<{ presenceChanged: Seen }>(
      { query: `subscription { presenceChanged(room: "hall") { kind position ${FIELDS} } }` },
      { next: ({ data }) => void (data && seen.push(data.presenceChanged)), error() {}, complete() {} },
    )
    return seen
  }

  const behindCount = () => metricOf(server, 'rollcall_subscriptions_behind')

  it('is told what it missed, merged, once it reads; the others miss nothing, and nobody waits for it', async () => {
    const [slow, quick, mover] = [await open('slow', { observer: true }), await open('quick'), await open('mover')]
    const seen = { slow: follow(slow), quick: follow(quick) }
    await settled(slow)
    await settled(quick)
    slow.fallSilent()
    let changeCount = 0
    async function change(times: number): Promise<void> {
      for (let time = 0; time < times; time += 1) {
        const field = changeCount % 2 === 0 ? 'joinRoom' : 'leaveRoom'
        const { errors } = await mover.ask(`mutation { ${field}(room: "hall") { session { id } } }`)
        expect(errors).toBeUndefined()
        changeCount += 1
      }
    }
    while ((await behindCount()) === 0) {
      expect(changeCount).toBeLessThan(MAX_CHANGES)
      await change(50)
    }
    await change(MISSED + 1)
    // What is in the end as it was where the reader stopped is no change, and in or out is as likely as not.
    await mover.ask('mutation { setStatus(status: AUTOMATIC, message: "after") { viewer { id } } }')
    await until(() => seen.quick.length === changeCount + 1, { what: 'every change' })
    expect(await behindCount()).toBe(1)

    slow.wire().resume()
    const last = seen.quick.at(-1)
    await until(() => seen.slow.at(-1)?.position === last?.position, { what: 'the last change' })
    expect(await behindCount()).toBe(0)
    // What did not fit came as one change, and each that came was one of the log, in its order.
    expect(seen.slow.length).toBeLessThanOrEqual(changeCount - MISSED)
    const positions = seen.quick.map(({ position }) => position)
    const places = seen.slow.map(({ position }) => positions.indexOf(position))
    expect(places).toEqual([...new Set(places)].sort((one, other) => one - other))
    expect(places).not.toContain(-1)
    expect(seen.slow.at(-1)).toEqual({ ...last, kind: expect.any(String) })

    // From here on it is told each again.
    const before = seen.slow.length
    await change(2)
    await until(() => seen.slow.length === before + 2, { what: 'two more' })
    expect(seen.slow.slice(-2).map(({ kind }) => kind)).toEqual(['LEAVE', 'JOIN'])
    expect((await post(server, await tokenOf('anyone'), '{ onlineCount(room: "hall") }')).data).toEqual({
      onlineCount: 1,
    })
  })
})
