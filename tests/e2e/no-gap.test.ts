import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { type Answer, closeTabs, onlineIds, openTab, post, type SeenChange, type Tab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

/** Follows the list as the README says: position with the first page, the other pages, then changes after it. */
interface Follower {
  readonly ids: Set<string>
  position: string
  tab: Tab
  readonly errors: unknown[]
}

interface Page {
  readonly position: string
  readonly nodes: readonly { readonly id: string }[]
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor: string }
}

const cleanups = cleanupsAfterEach()

describe('position and after', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({
      CLOSE_GRACE: '0ms',
      RECONNECT_GRACE: '0ms',
      SESSION_TTL: '60s',
      CHANGE_LOG_COUNT: '5000',
    })
  })
  afterEach(closeTabs)
  afterAll(() => server.stop())

  async function readPages(room: string | null): Promise<{ ids: Set<string>; position: string }> {
    const ids = new Set<string>()
    let position = ''
    let after: string | null = null
    do {
      const answer: Answer = await post(
        server,
        'dev:reader',
        'query ($room: ID, $after: String) { onlineUsers(room: $room, first: 7, after: $after) { position nodes { id } pageInfo { hasNextPage endCursor } } }',
        { room, after },
      )
      const page: Page = answer.data?.onlineUsers
      if (position === '') position = page.position
      for (const { id } of page.nodes) ids.add(id)
      after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null
      // Others have their turn between two pages, as on a network.
      await sleep(Math.random() * 20)
    } while (after !== null)
    return { ids, position }
  }

  function followAfter(follower: Follower, room: string | null): void {
    follower.tab.client.subscribe<{ presenceChanged: SeenChange }>(
      {
        query:
          'subscription ($room: ID, $after: String) { presenceChanged(room: $room, after: $after) { kind position user { id } } }',
        variables: { room, after: follower.position },
      },
      {
        next({ data, errors }) {
          if (errors) follower.errors.push(errors)
          if (!data) return
          const { kind, user, position } = data.presenceChanged
          if (kind === 'LEAVE') follower.ids.delete(user.id)
          else follower.ids.add(user.id)
          follower.position = position
        },
        // A cut socket is no error of the subscription.
        error: (error) => void (Array.isArray(error) && follower.errors.push(error)),
        complete: () => {},
      },
    )
  }

  /** Users come, change rooms and go, until told to stop. */
  function churn(people: readonly string[], room: string): { stop(): Promise<void> } {
    let isOn = true
    const running = (async () => {
      while (isOn) {
        const token = `dev:${people[Math.floor(Math.random() * people.length)]}`
        const kind = Math.random()
        if (kind < 0.45) await post(server, token, `mutation { heartbeat(rooms: ["${room}"]) { expiresAt } }`)
        else if (kind < 0.6) await post(server, token, 'mutation { heartbeat(rooms: []) { expiresAt } }')
        else if (kind < 0.7) await post(server, token, 'mutation { setStatus(status: BUSY) { viewer { id } } }')
        else await post(server, token, 'mutation { goOffline { viewer { id } } }')
      }
    })()
    return {
      async stop() {
        isOn = false
        await running
      },
    }
  }

  it('brings 50 subscribers that start at any moment to exactly the live set, and again after their sockets were cut', async () => {
    const people = Array.from({ length: 60 }, () => `user-${randomUUID()}`)
    const room = `room-${randomUUID()}`
    let churning = churn(people, room)
    const followers = await Promise.all(
      Array.from({ length: 50 }, async (_, index) => {
        await sleep(Math.random() * 1500)
        const inRoom = index % 2 === 0 ? room : null
        const tab = await openTab(server, `follower-${index}`, { observer: true })
        const follower: Follower = { ...(await readPages(inRoom)), tab, errors: [] }
        followAfter(follower, inRoom)
        return { follower, inRoom }
      }),
    )
    await churning.stop()
    await allEqual(followers)

    for (const { follower } of followers) follower.tab.reset()
    churning = churn(people, room)
    await Promise.all(
      followers.map(async ({ follower, inRoom }, index) => {
        await sleep(Math.random() * 800)
        follower.tab = await openTab(server, `follower-${index}`, { observer: true })
        followAfter(follower, inRoom)
      }),
    )
    await churning.stop()
    await allEqual(followers)

    async function allEqual(all: typeof followers): Promise<void> {
      const truth = { all: await onlineIds(server, 'dev:reader'), room: await onlineIds(server, 'dev:reader', room) }
      for (const { follower, inRoom } of all) {
        const expected = inRoom === null ? truth.all : truth.room
        await until(() => follower.ids.size === expected.length && expected.every((id) => follower.ids.has(id)), {
          what: 'the live set',
        }).catch(() => {})
        expect([...follower.ids].sort()).toEqual([...expected].sort())
        expect(follower.errors).toEqual([])
      }
    }
  })

  it('gives POSITION_EXPIRED for a log that was trimmed meanwhile, never a wrong set', async () => {
    const small = await startServer({ CHANGE_LOG_COUNT: '100', SESSION_TTL: '60s' })
    try {
      const { data } = await post(small, 'dev:reader', '{ position }')
      const mover = `dev:${randomUUID()}`
      for (let count = 0; count < 60; count += 1) {
        await post(small, mover, 'mutation { heartbeat { expiresAt } }')
        await post(small, mover, 'mutation { goOffline { viewer { id } } }')
      }
      const tab = await openTab(small, 'late', { observer: true })
      const { errors } = await tab.ask(`subscription { presenceChanged(after: "${data?.position}") { kind } }`)
      expect(errors?.[0]?.extensions.code).toBe('POSITION_EXPIRED')
      const other = await tab.ask('subscription { presenceChanged(after: "0123456789abcdef:1") { kind } }')
      expect(other.errors?.[0]?.extensions.code).toBe('POSITION_EXPIRED')
    } finally {
      closeTabs()
      await small.stop()
    }
  })

  it('replays a subscriber that did not read, merged, once it reads again', async () => {
    // It answers no pings while it does not read, and on a slow machine that is long enough to be given up.
    const patient = await startServer({ PING_INTERVAL: '5m', PAGE_PING_INTERVAL: '5m', SESSION_TTL: '5m' })
    cleanups.push(patient.stop)
    const tab = await openTab(patient, 'slow', { observer: true })
    const seen = tab.follow()
    await tab.ask('{ position }')
    tab.fallSilent()
    const mover = `mover-${randomUUID()}`
    for (let count = 0; count < 400; count += 1) {
      await post(patient, `dev:${mover}`, 'mutation { heartbeat { expiresAt } }')
      await post(patient, `dev:${mover}`, 'mutation { goOffline { viewer { id } } }')
      if (count % 50 === 0) tab.wire().resume()
      if (count % 50 === 10) tab.wire().pause()
    }
    await post(patient, `dev:${mover}`, 'mutation { heartbeat { expiresAt } }')
    tab.wire().resume()
    await until(() => seen.filter(({ user }) => user.id === mover).at(-1)?.kind === 'JOIN', { what: 'the last JOIN' })
    const positions = seen.map(({ position }) => Number(position.split(':')[1]))
    expect(positions).toEqual([...positions].sort((one, other) => one - other))
  })
})
