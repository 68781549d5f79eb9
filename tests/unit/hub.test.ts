import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../src/config.ts'
import { createHub } from '../../src/fanout/hub.ts'
import type { ChangeFilter } from '../../src/presence/changes.ts'
import type { ChangeEvent } from '../../src/presence/feed.ts'
import type { UserSeed } from '../../src/presence/model.ts'
import type { Position } from '../../src/presence/position.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'

const TIMING = timingOf(parseConfig({}))
const SEED: UserSeed = {
  settings: {
    version: 1,
    statusChoice: 'AUTOMATIC',
    statusMessage: null,
    visibility: 'EVERYONE',
    hideLastActive: false,
  },
  profile: null,
  lastActiveAtMs: null,
  shownLastActiveAtMs: null,
  isActivityOver: false,
}
const USERS = ['a', 'b', 'c', 'd']

function openStore() {
  let nowMs = 1_000_000
  let version = 1
  const store = createMemoryStore({ timing: TIMING, clock: () => nowMs })
  return {
    store,
    pass(ms: number) {
      nowMs += ms
    },
    come: (userId: string, rooms: readonly string[]) =>
      store.attach({
        userId,
        sessionId: 'one',
        fence: null,
        nodeId: null,
        isActive: true,
        rooms,
        profile: null,
        seed: SEED,
        comeback: null,
      }),
    go: (userId: string) => store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' }),
    async choose(userId: string, statusChoice: 'BUSY' | 'AUTOMATIC') {
      version += 1
      await store.setUser({
        userId,
        settings: { ...(SEED.settings as NonNullable<UserSeed['settings']>), version, statusChoice },
      })
    },
  }
}

/** Reads without waiting: null where nothing has come yet. */
function readerOf(iterator: AsyncIterator<ChangeEvent>) {
  let pending: Promise<IteratorResult<ChangeEvent>> | null = null
  return {
    async take(): Promise<ChangeEvent | null> {
      pending ??= iterator.next()
      const nothing = new Promise<null>((resolve) => setImmediate(() => resolve(null)))
      const result = await Promise.race([pending, nothing])
      if (result === null || result.done) return null
      pending = null
      return result.value
    },
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('come' as const), user: fc.constantFrom(...USERS), room: fc.boolean() }),
  fc.record({ kind: fc.constant('go' as const), user: fc.constantFrom(...USERS) }),
  fc.record({ kind: fc.constant('choose' as const), user: fc.constantFrom(...USERS), isBusy: fc.boolean() }),
  fc.record({ kind: fc.constant('read' as const), count: fc.nat(4) }),
  fc.record({ kind: fc.constant('cut' as const) }),
)
const filters: readonly ChangeFilter[] = [
  { kind: 'everyone' },
  { kind: 'room', room: 'hall' },
  { kind: 'users', userIds: new Set(['a', 'c']) },
]

describe('the hub', () => {
  it('brings a reader that is slow, cut off and back again to the live set, with positions that only grow', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { minLength: 20, maxLength: 80 }),
        fc.constantFrom(...filters),
        async (steps, filter) => {
          const { store, pass, come, go, choose } = openStore()
          // A reader is behind after three events: then the short histories of a property meet it often.
          const hub = createHub({ store, monotonicMs: () => 0, waitingMost: 3 })
          await hub.start()
          const statuses = new Map<string, string>()
          let position: Position = await store.changes.position()
          let iterator = await hub.changes(filter, null, null)
          let reader = readerOf(iterator)

          async function read(count: number): Promise<boolean> {
            for (let taken = 0; taken < count; taken += 1) {
              const event = await reader.take()
              if (event === null) return false
              expect(event.position.seq).toBeGreaterThanOrEqual(position.seq)
              position = event.position
              const { kind, user } = event.change
              if (kind === 'LEAVE') statuses.delete(user.id)
              else statuses.set(user.id, user.status)
            }
            return true
          }

          for (const one of steps) {
            pass(1)
            if (one.kind === 'come') await come(one.user, one.room ? ['hall'] : [])
            else if (one.kind === 'go') await go(one.user)
            else if (one.kind === 'choose') await choose(one.user, one.isBusy ? 'BUSY' : 'AUTOMATIC')
            else if (one.kind === 'read') await read(one.count)
            else {
              await iterator.return?.()
              iterator = await hub.changes(filter, position, null)
              reader = readerOf(iterator)
            }
          }
          while (await read(1)) {
            // Until nothing comes any more.
          }
          const page = await store.page({ room: filter.kind === 'room' ? filter.room : null, first: 100, after: null })
          const expected = page.users.filter(({ id }) => filter.kind !== 'users' || filter.userIds.has(id))
          expect([...statuses].sort()).toEqual(expected.map(({ id, status }) => [id, status]))
          hub.close()
        },
      ),
      { numRuns: 1000 },
    )
  }, 120_000)

  it('tells a reader who came and went between its first page and its subscription', async () => {
    const { store, come, go } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const position = await store.changes.position()
    await come('a', [])
    // A second page, read now, would hold the user.
    expect((await store.page({ room: null, first: 10, after: null })).users.map(({ id }) => id)).toEqual(['a'])
    await go('a')
    const reader = readerOf(await hub.changes({ kind: 'everyone' }, position, null))
    expect((await reader.take())?.change).toMatchObject({ kind: 'LEAVE', user: { id: 'a' } })
  })

  it('hands the same event to all whom it concerns, and to nobody else', async () => {
    const { store, come } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const everyone = readerOf(await hub.changes({ kind: 'everyone' }, null, null))
    const watching = readerOf(await hub.changes({ kind: 'users', userIds: new Set(['a']) }, null, null))
    const inRoom = readerOf(await hub.changes({ kind: 'room', room: 'hall' }, null, null))
    const elsewhere = readerOf(await hub.changes({ kind: 'room', room: 'cellar' }, null, null))
    await come('a', ['hall'])
    const event = await everyone.take()
    expect(await watching.take()).toBe(event)
    expect((await inRoom.take())?.change).toMatchObject({ kind: 'JOIN', room: 'hall' })
    expect(await elsewhere.take()).toBeNull()
    await come('b', [])
    expect((await everyone.take())?.change.user.id).toBe('b')
    expect(await watching.take()).toBeNull()
  })

  it('never tells a group a position that one of its subscriptions has not written up to', async () => {
    const { store, come } = openStore()
    let nowMs = 0
    const hub = createHub({ store, monotonicMs: () => nowMs })
    await hub.start()
    const group = { subscriptions: new Set<{ writtenSeq(): number }>() }
    const changes = (await hub.changes({ kind: 'everyone' }, null, group))[Symbol.asyncIterator]()
    const positions = hub.positions(group)[Symbol.asyncIterator]()
    expect((await positions.next()).value.seq).toBe(0)
    await come('a', [])
    await changes.next()
    nowMs = 10_000
    hub.tickPositions()
    // Taken, but perhaps not written: the reader has not come back for the next one.
    expect((await positions.next()).value.seq).toBe(0)
    void changes.next()
    nowMs = 20_000
    hub.tickPositions()
    expect((await positions.next()).value.seq).toBe(1)
    hub.close()
  })
})
