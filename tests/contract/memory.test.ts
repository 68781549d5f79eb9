import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect } from 'vitest'
import { type PresenceStore, SEED_MEMORY_MS, type SweepAnswer } from '../../src/presence/store.ts'
import { openMemory } from './memory-harness.ts'
import {
  acknowledge,
  adoptedUser,
  beatOverHttp,
  connect,
  detach,
  expectFewLongRecords,
  goOffline,
  HIDDEN,
  isOnline,
  onlineIds,
  openRow,
  ruleOf,
  statusOf,
  storeNowMs,
  viewerOf,
} from './presence-store/harness.ts'
import { describePresenceStore } from './presence-store.ts'

describePresenceStore('the memory store', openMemory)

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function usedBytes(): number {
  collectGarbage()
  return process.memoryUsage().heapUsed
}

/** What only a manual clock can show. */
describe('the memory store, to the millisecond', () => {
  const rule = ruleOf(openMemory)

  rule('ends a lease over HTTP at its deadline, and not before', { sessionTtlMs: 300 }, async ({ store, pass }) => {
    await beatOverHttp(store, 'alice')
    await pass(299)
    expect(await isOnline(store, 'alice')).toBe(true)
    await pass(1)
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  rule(
    'ends each grace at its deadline, and not before',
    { closeGraceMs: 100, reconnectGraceMs: 400 },
    async ({ store, pass }) => {
      await detach(store, await connect(store, 'closed'), 'closed')
      await detach(store, await connect(store, 'ended'), 'ended')
      await detach(store, await connect(store, 'silent'), 'silent', 100)
      await pass(99)
      expect(await onlineIds(store)).toEqual(['closed', 'ended', 'silent'])
      await pass(1)
      expect(await onlineIds(store)).toEqual(['ended', 'silent'])
      await pass(199)
      expect(await onlineIds(store)).toEqual(['ended', 'silent'])
      await pass(1)
      expect(await onlineIds(store)).toEqual(['ended'])
      await pass(99)
      expect(await onlineIds(store)).toEqual(['ended'])
      await pass(1)
      expect(await onlineIds(store)).toEqual([])
    },
  )

  rule(
    'shows AWAY and idle at their deadlines, and not before',
    { awayAfterMs: 300, idleTimeoutMs: 500 },
    async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(299)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      await pass(1)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      await pass(199)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      await pass(1)
      expect(await statusOf(store, 'alice')).toBe('OFFLINE')
    },
  )

  rule(
    'falls idle without being away first where both are due at once',
    { awayAfterMs: 300, idleTimeoutMs: 300 },
    async ({ store, pass }) => {
      await connect(store, 'alice')
      const position = await store.changes.position()
      await pass(400)
      expect(await statusOf(store, 'alice')).toBe('OFFLINE')
      expect((await store.changes.position()).seq).toBe(position.seq + 1)
    },
  )

  rule(
    'reaps a node at its deadline, and not before',
    { nodeTtlMs: 300, reconnectGraceMs: 400 },
    async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(299)
      expect((await viewerOf(store, 'alice')).sessions).not.toMatchObject([{ fence: null }])
      await pass(1)
      expect((await viewerOf(store, 'alice')).sessions).toMatchObject([{ fence: null }])
      const foundAtMs = await storeNowMs(store)
      expect((await viewerOf(store, 'alice')).sessions[0]?.leaseEndsAtMs).toBe(foundAtMs + 400)
    },
  )

  rule(
    'judges again with the very next sweep after one that came late',
    { closeGraceMs: 100 },
    async ({ store, pass }) => {
      await detach(store, await connect(store, 'alice'))
      await connect(store, 'bob')
      await pass(2 * 50 + 501, { isStalled: true })
      expect(await store.sweep(100)).toMatchObject({ wasLate: true, count: 0 })
      expect(await onlineIds(store)).toEqual(['alice', 'bob'])
      await pass(50, { isStalled: true })
      expect(await store.sweep(100)).toMatchObject({ wasLate: false })
      expect(await onlineIds(store)).toEqual(['bob'])
    },
  )

  rule('does not call a sweep late that is within the bound', { closeGraceMs: 100 }, async ({ store, pass }) => {
    await detach(store, await connect(store, 'alice'))
    await pass(2 * 50 + 500, { isStalled: true })
    expect(await store.sweep(100)).toMatchObject({ wasLate: false })
    expect(await isOnline(store, 'alice')).toBe(false)
  })

  rule('asks for late nodes with the same patience', { nodeTtlMs: 300 }, async ({ store, pass }) => {
    await connect(store, 'alice')
    await pass(700, { isStalled: true })
    await store.sweep(100)
    await store.reapNodes(100)
    expect((await viewerOf(store, 'alice')).sessions).not.toMatchObject([{ fence: null }])
  })

  rule('asks for what an earlier run left open until it has been adopted', async ({ store }) => {
    const renewal = { nodeId: 'node-1', seenLossCount: 0, seenDismissalCount: null, isReturning: false }
    for (const _ of [1, 2]) expect(await store.renewNode(renewal)).toMatchObject({ mustAdopt: true })
    await store.adopted()
    for (const _ of [1, 2]) expect(await store.renewNode(renewal)).toMatchObject({ mustAdopt: false })
  })

  rule('forgets settings of who did not come within SEED_MEMORY_MS', async ({ store, pass }) => {
    await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 9 } })
    await store.setUser({ userId: 'bob', settings: { ...HIDDEN, version: 9 } })
    await pass(SEED_MEMORY_MS - 1000)
    await connect(store, 'alice')
    await pass(2000)
    await connect(store, 'bob')
    expect(await onlineIds(store)).toEqual(['bob'])
  })
})

describe('the memory store, when the database is away for long', () => {
  const rule = ruleOf((request) => openMemory(request, { recordsKept: 3 }))

  ruleOf((request) => openMemory(request, { recordBytes: 100_000 }))(
    'bounds the records by their bytes, for those of a session in many rooms are long',
    async ({ store }) => expectFewLongRecords(store),
  )

  rule('keeps so many records, says that some were lost, and is made whole by a snapshot', async ({ store }) => {
    for (const userId of ['a', 'b', 'c']) await connect(store, userId)
    expect(await store.records.read(0, 10)).toMatchObject({ isGap: false, records: [{}, {}, {}] })
    await goOffline(store, 'a')
    const { isGap, lastSeq } = await store.records.read(0, 10)
    expect([isGap, (await store.records.read(1, 10)).isGap]).toEqual([true, false])

    expect((await store.records.snapshot(null, 10)).map(({ userId }) => userId)).toEqual(['a', 'b', 'c'])
    await acknowledge(store, lastSeq)
    expect(await store.records.read(lastSeq, 10)).toMatchObject({ isGap: false, records: [] })
    expect((await store.lookup(['a', 'b', 'c'])).map((user) => user?.isOnline ?? null)).toEqual([null, true, true])
  })
})

describe('the memory store, with much to do at once', () => {
  /** A clock that is so much further whenever it is looked at: a slice is over after a few looks. */
  const ruleAt = (ticksMs: number) =>
    ruleOf((request) => {
      let nowMs = 0
      const monotonicMs = (): number => {
        nowMs += ticksMs
        return nowMs
      }
      return openMemory(request, { monotonicMs })
    })
  const rule = ruleAt(1)
  const knownOf = async (store: PresenceStore, userIds: readonly string[]): Promise<string[]> =>
    (await store.lookup(userIds)).flatMap((user) => (user === null ? [] : [user.id]))
  const countsOfSlices = async (slice: () => Promise<SweepAnswer>): Promise<number[]> => {
    const counts = []
    for (let hasMore = true; hasMore; ) {
      const answer = await slice()
      counts.push(answer.count)
      hasMore = answer.hasMore
    }
    return counts
  }
  const USER_IDS = Array.from({ length: 20 }, (_, index) => `user-${10 + index}`)

  rule('ends a sweep when its slice is over, and goes on with the next', { closeGraceMs: 100 }, async (harness) => {
    const { store, pass } = harness
    for (const userId of USER_IDS) await detach(store, await connect(store, userId))
    await pass(100, { isStalled: true })
    const counts = await countsOfSlices(() => store.sweep(100))
    expect(Math.max(...counts)).toBeLessThan(5)
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(USER_IDS.length)
    expect(await onlineIds(store)).toEqual([])
  })

  rule('takes the sockets of a dead node in slices too', { nodeTtlMs: 300 }, async ({ store, pass }) => {
    for (const userId of USER_IDS) await connect(store, userId)
    await pass(300, { isStalled: true })
    const counts = await countsOfSlices(() => store.reapNodes(100))
    expect(Math.max(...counts)).toBeLessThan(5)
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(USER_IDS.length)
    expect((await store.stats()).reapedCount).toBe(USER_IDS.length)
  })

  ruleAt(1000)('gets on by one user a slice, however slow it is', { closeGraceMs: 100 }, async ({ store, pass }) => {
    for (const userId of ['alice', 'bob']) await detach(store, await connect(store, userId))
    await pass(100, { isStalled: true })
    expect(await store.sweep(100)).toMatchObject({ count: 1, hasMore: true })
    expect(await store.sweep(100)).toMatchObject({ count: 1 })
    expect(await onlineIds(store)).toEqual([])
  })

  rule('lets others have their turn while it takes over what an earlier run left open', async ({ store }) => {
    const nowMs = await storeNowMs(store)
    const users = USER_IDS.map((userId) => adoptedUser(userId, nowMs, { sessions: [openRow(nowMs)] }))
    const adopting = store.adopt(users)
    await turn()
    const countMeanwhile = await store.count(null)
    await adopting
    expect(countMeanwhile).toBeGreaterThan(0)
    expect(countMeanwhile).toBeLessThan(USER_IDS.length)
    expect(await onlineIds(store)).toEqual(USER_IDS)
  })

  rule('lets whoever left go in slices, and keeps who comes back between two of them', async ({ store }) => {
    for (const userId of USER_IDS) await connect(store, userId)
    for (const userId of USER_IDS) await goOffline(store, userId)
    const { lastSeq } = await store.records.read(0, 1)
    const acknowledging = acknowledge(store, lastSeq)
    await turn()
    const [next, ...others] = await knownOf(store, USER_IDS)
    expect(others.length).toBeGreaterThan(0)
    expect(others.length).toBeLessThan(USER_IDS.length - 1)
    await connect(store, String(next))
    await acknowledging
    expect(await knownOf(store, USER_IDS)).toEqual([next])
    expect(await onlineIds(store)).toEqual([next])
  })

  rule('needs constant memory for an entry, however many rooms its user is in', async ({ store }) => {
    const name = (number: number): string => `room ${number} `.padEnd(128, '.')
    for (let session = 0; session < 49; session += 1) {
      await connect(store, 'alice', { rooms: Array.from({ length: 100 }, (_, room) => name(100 * session + room)) })
    }
    const { userId, sessionId, fence } = await connect(store, 'alice', { sessionId: 'last' })
    const release = async () => acknowledge(store, (await store.records.read(0, 1)).lastSeq)
    await release()
    const bytesBefore = usedBytes()
    const logBytesBefore = (await store.stats()).logBytes
    for (let count = 0; count < 1000; count += 1) {
      await store.join({ userId, sessionId, fence, room: 'hall' })
      await store.leave({ userId, sessionId, fence, room: 'hall' })
    }
    await release()
    const bytes = usedBytes() - bytesBefore
    // A list of the rooms alone has 40,000.
    expect(bytes / 2000).toBeLessThan(4000)
    const { logBytes } = await store.stats()
    expect((logBytes - logBytesBefore) / 2000).toBeGreaterThan(0.5 * (bytes / 2000))
    expect((logBytes - logBytesBefore) / 2000).toBeLessThan(4000)
  })

  rule('lets a long log that is past its age go in parts', { logCount: 20_000, logAgeMs: 1000 }, async (harness) => {
    const { store, pass } = harness
    const { userId, sessionId, fence } = await connect(store, 'alice')
    const position = await store.changes.position()
    for (let count = 0; count < 6000; count += 1) {
      await store.join({ userId, sessionId, fence, room: 'hall' })
      await store.leave({ userId, sessionId, fence, room: 'hall' })
    }
    await pass(1000, { isStalled: true })
    const logCounts = []
    for (let looks = 0; looks < 2; looks += 1) {
      expect(await store.changes.read(position, 1)).toBe('expired')
      logCounts.push((await store.stats()).logCount)
    }
    // With the JOIN there were 12,001.
    expect(logCounts).toEqual([2001, 0])
  })
})
