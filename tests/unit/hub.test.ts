import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseConfig, timingOf } from '../../src/config.ts'
import { createHub } from '../../src/fanout/hub.ts'
import type { ChangeFilter } from '../../src/presence/changes.ts'
import type { ChangeEvent, ChangeStream, FeedGroup } from '../../src/presence/feed.ts'
import type { UserSeed } from '../../src/presence/model.ts'
import type { Position } from '../../src/presence/position.ts'
import type { ChangeListener, PresenceStore } from '../../src/presence/store.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import { until } from '../support/wait.ts'

const READER = { userId: 'reader', charge() {} }
/** The group of a stream that has no other beside it. */
const alone = (): FeedGroup => ({ subscriptions: new Set() })

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
  shownLastSeenAtMs: null,
  isActivityOver: false,
}
const USERS = ['a', 'b', 'c', 'd']

function openStore() {
  let nowMs = 1_000_000
  let version = 1
  const store = createMemoryStore({ timing: TIMING, clock: () => ({ steadyMs: nowMs, wallMs: nowMs }) })
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

type Heard = Parameters<ChangeListener['entry']>

/**
 * A store whose word comes when the test lets it: the log is ahead of what the hub has heard, as on a store of many
 * nodes. Its log can be lost, and it can be in trouble.
 */
function withDistance(store: PresenceStore) {
  const heardLater: Heard[] = []
  const changeListeners = new Set<ChangeListener>()
  const viewerListeners = new Set<(userId: string | null) => void>()
  let trouble: string | null = null
  let epoch: string | null = null
  store.changes.listen({
    entry: (...heard) => void heardLater.push(heard),
    newEpoch() {},
  })
  const inEpoch = (position: Position): Position => (epoch === null ? position : { ...position, epoch })
  const distant: Pick<PresenceStore, 'changes' | 'viewers' | 'count' | 'trouble'> = {
    changes: {
      position: async () => inEpoch(await store.changes.position()),
      async read(after, limit) {
        if (epoch !== null && after.epoch !== epoch) return 'expired'
        const own = await store.changes.position()
        const answer = await store.changes.read({ ...after, epoch: own.epoch }, limit)
        return answer === 'expired' ? answer : { ...answer, position: inEpoch(answer.position) }
      },
      listen(listener) {
        changeListeners.add(listener)
        return () => void changeListeners.delete(listener)
      },
    },
    viewers: {
      listen(listener) {
        viewerListeners.add(listener)
        return () => void viewerListeners.delete(listener)
      },
    },
    count: store.count,
    trouble: () => trouble,
  }
  return {
    distant,
    /** The hub hears what has been in the log for a while. */
    hear({ times = 1 } = {}) {
      const all = heardLater.splice(0)
      for (let time = 0; time < times; time += 1) {
        for (const [entry, of] of all) for (const listener of changeListeners) listener.entry(entry, epoch ?? of)
      }
    },
    async loseLog(name: string, seq?: number) {
      epoch = name
      heardLater.length = 0
      const now = await distant.changes.position()
      const position = seq === undefined ? now : { ...now, seq }
      for (const listener of changeListeners) listener.newEpoch(position)
      return position
    },
    ringViewers(userId: string | null) {
      for (const listener of viewerListeners) listener(userId)
    },
    setTrouble(reason: string | null) {
      trouble = reason
    },
  }
}

/** Reads without waiting: null where nothing has come yet. */
function readerOf<Event = ChangeEvent>(iterator: AsyncIterator<Event>) {
  let pending: Promise<IteratorResult<Event>> | null = null
  return {
    async take(): Promise<Event | null> {
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
  fc.record({ kind: fc.constant('cut' as const), start: fc.constantFrom('goes on', 'reads the list', 'now') }),
  fc.record({ kind: fc.constant('tell' as const) }),
)
const filters: readonly ChangeFilter[] = [
  { kind: 'everyone' },
  { kind: 'room', room: 'hall' },
  { kind: 'users', userIds: new Set(['a', 'c']) },
]

/** Takes `count` events at most. @returns whether there were so many */
type Take = (count: number) => Promise<boolean>

/** One who asks for event after event. */
function takeByReading(stream: ChangeStream, apply: (event: ChangeEvent) => void): Take {
  const reader = readerOf(stream)
  return async (count) => {
    for (let taken = 0; taken < count; taken += 1) {
      const event = await reader.take()
      if (event === null) return false
      apply(event)
    }
    return true
  }
}

/** A socket: what it has room for comes by itself. */
function takeByFlow(stream: ChangeStream, apply: (event: ChangeEvent) => void): Take {
  let room = 0
  let resumes: (() => void)[] = []
  stream.flowInto({
    isFull: () => room === 0,
    write(event) {
      expect(room).toBeGreaterThan(0)
      room -= 1
      apply(event)
    },
    onceDrained: (resume) => void resumes.push(resume),
  })
  return async (count) => {
    room += count
    const due = resumes
    resumes = []
    for (const resume of due) resume()
    for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    return room === 0
  }
}

describe('the hub', () => {
  it.each([
    { how: 'is slow to read', take: takeByReading, windowMs: 0 },
    { how: 'is slow to read, told once a window', take: takeByReading, windowMs: 100 },
    { how: 'is a full socket', take: takeByFlow, windowMs: 0 },
    { how: 'is a full socket, told once a window', take: takeByFlow, windowMs: 100 },
  ])(
    'brings one who $how, cut off and back again, to the live set, with positions that only grow',
    async ({ take, windowMs }) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(step, { minLength: 20, maxLength: 80 }),
          fc.constantFrom(...filters),
          async (steps, filter) => {
            const { store, pass, come, go, choose } = openStore()
            // A reader is behind after three events: then the short histories of a property meet it often.
            const hub = createHub({ store, monotonicMs: () => 0, windowMs, waitingMost: 3 })
            await hub.start()
            const statuses = new Map<string, string>()
            let position: Position = await store.changes.position()
            const group: FeedGroup = { subscriptions: new Set() }

            function apply(event: ChangeEvent): void {
              expect(event.position.seq).toBeGreaterThanOrEqual(position.seq)
              position = event.position
              const { kind, user } = event.change
              if (kind === 'LEAVE') statuses.delete(user.id)
              else statuses.set(user.id, user.status)
            }

            async function liveSet() {
              const room = filter.kind === 'room' ? filter.room : null
              const { users } = await store.page({ room, first: 100, after: null })
              return users.filter(({ id }) => filter.kind !== 'users' || filter.userIds.has(id))
            }

            async function expectLiveSet(): Promise<void> {
              expect([...statuses].sort()).toEqual((await liveSet()).map(({ id, status }) => [id, status]))
            }

            let stream = await hub.changes(filter, null, group, READER)
            let takeSome = take(stream, apply)
            for (const one of steps) {
              pass(1)
              if (one.kind === 'come') await come(one.user, one.room ? ['hall'] : [])
              else if (one.kind === 'go') await go(one.user)
              else if (one.kind === 'choose') await choose(one.user, one.isBusy ? 'BUSY' : 'AUTOMATIC')
              else if (one.kind === 'tell') hub.tell()
              else if (one.kind === 'read') {
                await takeSome(one.count)
                await hub.tick()
              } else {
                await stream.return()
                if (one.start !== 'goes on') {
                  statuses.clear()
                  position = await store.changes.position()
                  for (const { id, status } of await liveSet()) statuses.set(id, status)
                }
                stream = await hub.changes(filter, one.start === 'now' ? null : position, group, READER)
                takeSome = take(stream, apply)
              }
              // What it is said to have been written is what it has.
              const writtenSeq = Math.min(...[...group.subscriptions].map((written) => Number(written.writtenSeq())))
              if (writtenSeq === (await store.changes.position()).seq) await expectLiveSet()
            }
            hub.tell()
            while (await takeSome(1)) {
              // Until nothing comes any more.
            }
            await expectLiveSet()
            hub.close()
          },
        ),
        { numRuns: 1500 },
      )
    },
    120_000,
  )

  it('tells a reader who came and went between its first page and its subscription', async () => {
    const { store, come, go } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const position = await store.changes.position()
    await come('a', [])
    // A second page, read now, would hold the user.
    expect((await store.page({ room: null, first: 10, after: null })).users.map(({ id }) => id)).toEqual(['a'])
    await go('a')
    const reader = readerOf(await hub.changes({ kind: 'everyone' }, position, alone(), READER))
    expect((await reader.take())?.change).toMatchObject({ kind: 'LEAVE', user: { id: 'a' } })
  })

  it('hands the same event to all whom it concerns, and to nobody else', async () => {
    const { store, come } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const everyone = readerOf(await hub.changes({ kind: 'everyone' }, null, alone(), READER))
    const watching = readerOf(await hub.changes({ kind: 'users', userIds: new Set(['a']) }, null, alone(), READER))
    const inRoom = readerOf(await hub.changes({ kind: 'room', room: 'hall' }, null, alone(), READER))
    const elsewhere = readerOf(await hub.changes({ kind: 'room', room: 'cellar' }, null, alone(), READER))
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
    const group = { subscriptions: new Set<{ writtenSeq(): number | null }>() }
    const changes = (await hub.changes({ kind: 'everyone' }, null, group, READER))[Symbol.asyncIterator]()
    const positions = hub.positions(group)[Symbol.asyncIterator]()
    expect((await positions.next()).value.seq).toBe(0)
    await come('a', [])
    await changes.next()
    nowMs = 10_000
    await hub.tickPositions()
    // Taken, but perhaps not written: the reader has not come back for the next one.
    expect((await positions.next()).value.seq).toBe(0)
    void changes.next()
    nowMs = 20_000
    await hub.tickPositions()
    expect((await positions.next()).value.seq).toBe(1)
    hub.close()
  })

  it('tells a group its first position when all of its subscriptions have got what they missed', async () => {
    const { store, come } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const before = await store.changes.position()
    await come('a', [])
    await come('b', [])
    const group = { subscriptions: new Set<{ writtenSeq(): number | null }>() }
    const changes = (await hub.changes({ kind: 'everyone' }, before, group, READER))[Symbol.asyncIterator]()
    const said: number[] = []
    void hub
      .positions(group)
      .next()
      .then(({ value }) => said.push(value.seq))
    for (const id of ['a', 'b']) {
      expect((await changes.next()).value.change.user.id).toBe(id)
      await hub.tick()
      expect(said).toEqual([])
    }
    // Who comes for the next one has written the last one.
    void changes.next()
    await hub.tick()
    await until(() => said.length > 0)
    expect(said).toEqual([2])
    hub.close()
  })

  it('tells no position of a new log to a group before its subscription heard that the old one is lost', async () => {
    const { store, come } = openStore()
    await come('a', [])
    const { distant, loseLog } = withDistance(store)
    let nowMs = 0
    // Each look at it is a slice: others have their turn between any two that are told.
    const hub = createHub({ store: distant, monotonicMs: () => (nowMs += 5) })
    await hub.start()
    const group = { subscriptions: new Set<{ writtenSeq(): number | null }>() }
    const said: string[] = []
    const follow = async (of: FeedGroup) => {
      const stream = await hub.changes({ kind: 'everyone' }, null, of, READER)
      return stream.next().catch((error) => void said.push(error.code))
    }
    const following = [follow(alone()), follow(alone()), follow(group)]
    const positions = hub.positions(group)
    await positions.next()
    nowMs = 10_000
    await hub.tickPositions()
    const first = await positions.next()
    const next = positions.next().then(({ value }) => void said.push(`${value.epoch}:${value.seq}`))
    nowMs = 20_000
    await loseLog('new', 0)
    await hub.tickPositions()
    await Promise.all(following)
    nowMs = 40_000
    await hub.tickPositions()
    await next
    expect(first.value.seq).toBe(1)
    expect(said).toEqual(['POSITION_EXPIRED', 'POSITION_EXPIRED', 'POSITION_EXPIRED', 'new:0'])
    hub.close()
  })

  it('tells a subscription nothing twice that starts ahead of what the hub has heard', async () => {
    const { store, come, go } = openStore()
    const { distant, hear } = withDistance(store)
    const hub = createHub({ store: distant, monotonicMs: () => 0 })
    await hub.start()
    const start = await store.changes.position()
    await come('a', [])
    const page = await store.page({ room: null, first: 10, after: null })
    await come('b', [])

    // One begins at the page, one where the hub is, and one with what is heard from now on.
    const atPage = readerOf(await hub.changes({ kind: 'everyone' }, page.position, alone(), READER))
    const atHub = readerOf(await hub.changes({ kind: 'everyone' }, start, alone(), READER))
    const fromNow = readerOf(await hub.changes({ kind: 'everyone' }, null, alone(), READER))
    const words = async (reader: typeof atPage) => {
      const found = []
      for (let event = await reader.take(); event !== null; event = await reader.take()) {
        found.push(`${event.change.user.id} ${event.change.kind} ${event.position.seq}`)
      }
      return found
    }
    // Nobody is told what the others are not.
    expect([await words(atPage), await words(atHub), await words(fromNow)]).toEqual([[], [], []])
    hear()
    await go('a')
    hear()
    expect(await words(atPage)).toEqual(['b JOIN 2', 'a LEAVE 3'])
    expect(await words(atHub)).toEqual(['a JOIN 1', 'b JOIN 2', 'a LEAVE 3'])
    expect(await words(fromNow)).toEqual(['a JOIN 1', 'b JOIN 2', 'a LEAVE 3'])
    hub.close()
  })

  it('tells nothing twice that it hears twice, or hears while it starts', async () => {
    const { store, come } = openStore()
    const { distant, hear } = withDistance(store)
    const hub = createHub({ store: distant, monotonicMs: () => 0 })
    await come('a', [])
    const starting = hub.start()
    hear()
    await starting
    const reader = readerOf(await hub.changes({ kind: 'everyone' }, null, alone(), READER))
    await come('b', [])
    hear({ times: 2 })
    expect((await reader.take())?.change.user.id).toBe('b')
    expect(await reader.take()).toBeNull()
    hub.close()
  })

  it('tells a crowd of counts with the tick, each once, and others in the moment', async () => {
    const { store, come } = openStore()
    let nowMs = 0
    const hub = createHub({ store, monotonicMs: () => nowMs })
    await hub.start()
    const crowd = Array.from({ length: 201 }, () => readerOf(hub.counts(null)))
    const few = readerOf(hub.counts('hall'))
    for (const reader of [...crowd, few]) expect(await reader.take()).toMatchObject({ count: 0 })
    nowMs = 1000
    await come('a', ['hall'])
    expect(await few.take()).toEqual({ room: 'hall', count: 1 })
    expect(await crowd[0]?.take()).toBeNull()
    await hub.tick()
    for (const reader of crowd) expect(await reader.take()).toEqual({ room: null, count: 1 })
    await hub.tick()
    for (const reader of crowd) expect(await reader.take()).toBeNull()
    hub.close()
  })

  it('ends every subscription with POSITION_EXPIRED where the log was lost, and counts anew', async () => {
    const { store, come } = openStore()
    const { distant, loseLog } = withDistance(store)
    let nowMs = 0
    const hub = createHub({ store: distant, monotonicMs: () => nowMs })
    await hub.start()
    const old = await distant.changes.position()
    const filters: readonly ChangeFilter[] = [
      { kind: 'everyone' },
      { kind: 'room', room: 'hall' },
      { kind: 'users', userIds: new Set(['a']) },
    ]
    const waiting = []
    for (const filter of filters) waiting.push((await hub.changes(filter, null, alone(), READER)).next())
    const idle = await hub.changes({ kind: 'everyone' }, null, alone(), READER)
    const counts = [null, 'hall'].map((room) => readerOf(hub.counts(room)))
    for (const reader of counts) expect(await reader.take()).toMatchObject({ count: 0 })

    await come('a', ['hall'])
    nowMs = 1000
    const position = await loseLog('another-epoch')
    const expired = { code: 'POSITION_EXPIRED' }
    for (const word of [...waiting, idle.next()]) await expect(word).rejects.toMatchObject(expired)
    for (const reader of counts) expect(await reader.take()).toMatchObject({ count: 1 })
    await expect(hub.changes({ kind: 'everyone' }, old, alone(), READER)).rejects.toMatchObject(expired)

    // It follows the new one.
    const reader = readerOf(await hub.changes({ kind: 'everyone' }, position, alone(), READER))
    expect(await reader.take()).toBeNull()
    hub.close()
  })

  it('sends whoever names a position of a log that it has not heard of to ask again', async () => {
    const { store } = openStore()
    const { distant } = withDistance(store)
    const ahead = { epoch: 'another-epoch', seq: 3 }
    const hub = createHub({
      store: { ...distant, changes: { ...distant.changes, position: async () => ahead } },
      monotonicMs: () => 0,
    })
    const known = createHub({ store: distant, monotonicMs: () => 0 })
    await known.start()
    await expect(hub.changes({ kind: 'everyone' }, ahead, alone(), READER)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
    })
    await expect(known.changes({ kind: 'everyone' }, ahead, alone(), READER)).rejects.toMatchObject({
      code: 'POSITION_EXPIRED',
    })
  })

  it('says nothing of positions while the store is in trouble, for silence says that what is shown may be old', async () => {
    const { store } = openStore()
    const { distant, setTrouble } = withDistance(store)
    let nowMs = 0
    const hub = createHub({ store: distant, monotonicMs: () => nowMs })
    await hub.start()
    const positions = readerOf(hub.positions({ subscriptions: new Set() }))
    expect(await positions.take()).toMatchObject({ seq: 0 })
    setTrouble('Away.')
    for (nowMs = 10_000; nowMs <= 60_000; nowMs += 10_000) {
      await hub.tickPositions()
      expect(await positions.take()).toBeNull()
    }
    setTrouble(null)
    await hub.tickPositions()
    expect(await positions.take()).toMatchObject({ seq: 0 })
    hub.close()
  })

  it('looks anew for every viewer where names may have been lost, and else for the one who is named', async () => {
    const { store } = openStore()
    const { distant, ringViewers } = withDistance(store)
    let nowMs = 0
    const hub = createHub({ store: distant, monotonicMs: () => nowMs })
    await hub.start()
    const readers = ['a', 'a', 'b'].map((userId) => readerOf(hub.viewerTicks(userId)))
    const ticks = async () => Promise.all(readers.map((reader) => reader.take()))
    expect(await ticks()).toEqual([null, null, null])
    ringViewers('a')
    expect(await ticks()).toEqual(['a', 'a', null])
    nowMs = 1000
    ringViewers(null)
    // A crowd: with the tick.
    expect(await ticks()).toEqual([null, null, null])
    await hub.tick()
    expect(await ticks()).toEqual(['a', 'a', 'b'])
    // Too soon for another word: it comes with the tick.
    ringViewers(null)
    expect(await ticks()).toEqual([null, null, null])
    nowMs = 2000
    await hub.tick()
    expect(await ticks()).toEqual(['a', 'a', 'b'])
    ringViewers('c')
    hub.close()
  })
})

describe('a reader who comes with a position', () => {
  it('pays for the entries after it', async () => {
    const { store, come } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0 })
    await hub.start()
    const position = await store.changes.position()
    for (let index = 0; index < 40; index += 1) await come(`user-${index}`, [])
    const charged: number[] = []
    const stream = await hub.changes({ kind: 'everyone' }, position, alone(), {
      ...READER,
      charge: (units) => charged.push(units),
    })
    expect(charged).toEqual([10])
    await stream.return()
    hub.close()
  })
})

describe('watch lists', () => {
  it('are bounded for each user by the ids in all of them, and free again when they end', async () => {
    const { store } = openStore()
    const hub = createHub({ store, monotonicMs: () => 0, watchedIdsPerUser: 3 })
    await hub.start()
    const watch = (userId: string, ids: readonly string[]) =>
      hub.changes({ kind: 'users', userIds: new Set(ids) }, null, alone(), { ...READER, userId })
    const first = await watch('alice', ['a', 'b'])
    await expect(watch('alice', ['a', 'b'])).rejects.toMatchObject({
      code: 'RATE_LIMITED',
      message: 'A user may watch 3 ids at once, in all subscriptions.',
    })
    await watch('alice', ['c'])
    await watch('bob', ['a', 'b', 'c'])
    await first.return()
    await first.return()
    const next = await watch('alice', ['a', 'b'])
    expect(hub.traffic.subscriptionCount).toBe(3)
    await next.return()
    hub.close()
  })
})
