/** When others last saw a user: the moment of their last LEAVE, as far as everyone may know it. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { mergedChanges } from '../../../src/presence/changes.ts'
import type { LogEntry } from '../../../src/presence/model.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import {
  adoptedUser,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  goOffline,
  HIDDEN,
  markOf,
  openRow,
  type Rule,
  SETTLE_MS,
  type Socket,
  seedOf,
  seen,
  storeNowMs,
  told,
  VISIBLE,
} from './harness.ts'

const AWAY = { awayAfterMs: 300, idleTimeoutMs: 400, reconnectGraceMs: 200 }

async function lastSeenOf(store: PresenceStore, userId = 'alice'): Promise<number | null> {
  const user = await seen(store, userId)
  if (user === null) throw new Error(`Expected ${userId} to be in the store.`)
  return user.lastSeenAtMs
}

/** Asserts that the last of these entries is a LEAVE, and that everything dates the user by it. */
async function expectLeft(
  store: PresenceStore,
  mark: Awaited<ReturnType<typeof markOf>>,
): Promise<Pick<LogEntry, 'atMs'>> {
  const entries = await mark.changes()
  expect(told(entries).at(-1)).toBe('alice LEAVE')
  const leave = entries.at(-1) as LogEntry
  expect(leave.after.user.lastSeenAtMs).toBe(leave.atMs)
  expect(await seen(store, 'alice')).toEqual(leave.after.user)
  expect((await mark.records()).at(-1)?.columns).toMatchObject({ isOnline: false, lastSeenAtMs: leave.atMs })
  return leave
}

export function describeLastSeen(rule: Rule): void {
  describe('lastSeen', () => {
    rule(
      'is the moment of the LEAVE, wherever it is told, and not that of the last activity',
      async ({ store, pass }) => {
        await connect(store, 'alice', { rooms: ['hall'] })
        await pass(SETTLE_MS)
        const mark = await markOf(store)
        await goOffline(store, 'alice')
        const { atMs } = await expectLeft(store, mark)
        expect(atMs).toBeGreaterThan(Number((await seen(store, 'alice'))?.lastActiveAtMs))
        await pass(SETTLE_MS)
        expect(await lastSeenOf(store)).toBe(atMs)
      },
    )

    rule('is null while the user is online', AWAY, async ({ store, pass }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      const mark = await markOf(store)
      const socket = await connect(store, 'alice')
      await store.join({ ...socket, room: 'hall' })
      await pass(330)
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice JOIN', 'alice UPDATE', 'alice UPDATE'])
      expect(entries.map(({ after }) => after.user.lastSeenAtMs)).toEqual([null, null, null])
      expect(await lastSeenOf(store)).toBeNull()
      expect((await store.page({ room: null, first: 10, after: null })).users).toMatchObject([{ lastSeenAtMs: null }])
      for (const { columns } of await mark.records()) expect(columns).toMatchObject({ lastSeenAtMs: null })
    })

    rule(
      'is not moved by a reload, nor by a second tab that closes',
      { closeGraceMs: 200 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await expectNothingShown(store, ['alice'], [], async () => {
          const second = await connect(store, 'alice', { isActive: false })
          await detach(store, second)
          await detach(store, socket)
          await pass(100)
          await connect(store, 'alice', { sessionId: socket.sessionId, isActive: false })
          await pass(400)
        })
        expect(await lastSeenOf(store)).toBeNull()
      },
    )

    rule('of who leaves a room only is null', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const mark = await markOf(store)
      await store.leave({ ...socket, room: 'hall' })
      expect((await mark.changes()).map(({ after }) => after.user.lastSeenAtMs)).toEqual([null])
    })

    const departures: Record<string, (store: PresenceStore, socket: Socket) => Promise<unknown>> = {
      'whose socket was lost': (store, socket) => detach(store, socket, 'ended'),
      'who went idle': async () => {},
      'who was disconnected': (store) =>
        store.end({ userId: 'alice', sessionId: null, fence: null, reason: 'DISCONNECTED' }),
    }
    for (const [who, depart] of Object.entries(departures)) {
      rule(`of a user ${who} is the moment when others saw it`, AWAY, async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await pass(SETTLE_MS)
        const mark = await markOf(store)
        await depart(store, socket)
        await pass(600)
        await expectLeft(store, mark)
      })
    }

    rule('of a user whom nobody ever saw is null', async ({ store }) => {
      await connect(store, 'alice', { isActive: false })
      await connect(store, 'bob', { seed: seedOf(HIDDEN) })
      expect([await lastSeenOf(store), await lastSeenOf(store, 'bob')]).toEqual([null, null])
      await goOffline(store, 'alice')
      await goOffline(store, 'bob')
      expect([await lastSeenOf(store), await lastSeenOf(store, 'bob')]).toEqual([null, null])
    })

    rule('of changes that are merged is the newest', async ({ store, pass }) => {
      await connect(store, 'alice')
      const mark = await markOf(store)
      await goOffline(store, 'alice')
      await pass(SETTLE_MS)
      await connect(store, 'alice')
      await pass(SETTLE_MS)
      await goOffline(store, 'alice')
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice LEAVE', 'alice JOIN', 'alice LEAVE'])
      const [change, ...others] = mergedChanges(entries, { kind: 'everyone' })
      expect(others).toEqual([])
      expect(change).toMatchObject({ kind: 'LEAVE', atMs: entries[2]?.atMs, user: { lastSeenAtMs: entries[2]?.atMs } })
      expect(change?.atMs).toBeGreaterThan(Number(entries[0]?.atMs))
    })
  })

  describe('lastSeen of who hides', () => {
    rule('is the moment of hiding, whatever they do meanwhile', AWAY, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(SETTLE_MS)
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const { atMs } = await expectLeft(store, mark)
      await expectNothingShown(store, ['alice'], [], async () => {
        await beat(store, socket)
        await goOffline(store, 'alice')
        await pass(SETTLE_MS)
        await beatOverHttp(store, 'alice')
        const second = await connect(store, 'alice')
        await detach(store, second, 'ended')
        await pass(600)
      })
      for (const { columns } of await mark.records()) expect(columns).toMatchObject({ lastSeenAtMs: atMs })

      await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(told(await mark.changes())).toEqual(['alice LEAVE', 'alice JOIN'])
      expect(await lastSeenOf(store)).toBeNull()
      await pass(SETTLE_MS)
      const later = await markOf(store)
      await goOffline(store, 'alice')
      expect((await expectLeft(store, later)).atMs).toBeGreaterThan(atMs)
    })

    rule('stays that of hiding where they are not online when they come back', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const { atMs } = await expectLeft(store, mark)
      await pass(SETTLE_MS)
      await beat(store, socket)
      await goOffline(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(await lastSeenOf(store)).toBe(atMs)
    })

    rule('stays that of the LEAVE where they were offline by then', async ({ store, pass }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      await connect(store, 'alice', { isActive: false })
      const shown = await lastSeenOf(store)
      expect(shown).not.toBeNull()
      await pass(SETTLE_MS)
      await expectNothingShown(store, ['alice'], [], () =>
        store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } }),
      )
      expect(await lastSeenOf(store)).toBe(shown)
    })

    rule('is that of the row, when the store takes the user in', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const moments = {
        lastActiveAtMs: nowMs - 1000,
        shownLastActiveAtMs: nowMs - 60_000,
        shownLastSeenAtMs: nowMs - 50_000,
      }
      const socket = await connect(store, 'alice', { seed: seedOf(HIDDEN, moments) })
      expect(await lastSeenOf(store)).toBe(nowMs - 50_000)
      await beat(store, socket)
      await goOffline(store, 'alice')
      expect(await lastSeenOf(store)).toBe(nowMs - 50_000)
      const { records } = await store.records.read(0, 100)
      for (const { userId, columns } of records) {
        if (userId === 'alice') expect(columns).toMatchObject({ lastSeenAtMs: nowMs - 50_000 })
      }
    })

    rule('is that of a row that comes late', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const moments = { lastActiveAtMs: nowMs - 9000, shownLastActiveAtMs: nowMs - 9000 }
      await connect(store, 'alice', { seed: seedOf(null) })
      await store.setUser({
        userId: 'alice',
        seed: seedOf(HIDDEN, { ...moments, shownLastSeenAtMs: nowMs - 8000 }),
      })
      expect(await lastSeenOf(store)).toBe(nowMs - 8000)
    })
  })

  describe('lastSeen of who hides their last activity', () => {
    const hiding = { ...VISIBLE, version: 2, hideLastActive: true }

    rule('is null, and is told again when that is', async ({ store, pass }) => {
      await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: hiding })
      const mark = await markOf(store)
      await goOffline(store, 'alice')
      const [leave] = await mark.changes()
      expect(leave?.after.user).toMatchObject({ isOnline: false, lastActiveAtMs: null, lastSeenAtMs: null })
      expect(await seen(store, 'alice')).toEqual(leave?.after.user)
      expect((await mark.records()).at(-1)?.columns).toMatchObject({ lastActiveAtMs: null, lastSeenAtMs: null })

      await pass(SETTLE_MS)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(await lastSeenOf(store)).toBe(leave?.atMs)
      expect((await mark.records()).at(-1)?.columns).toMatchObject({ lastSeenAtMs: leave?.atMs })
      expect(await mark.changes()).toHaveLength(1)
    })

    rule('is null where they hide in the same step, and stays so', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2, hideLastActive: true } })
      const [leave] = await mark.changes()
      expect(leave?.after.user).toMatchObject({ isOnline: false, lastActiveAtMs: null, lastSeenAtMs: null })
      await pass(SETTLE_MS)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3 } })
      await beat(store, socket)
      await goOffline(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 4 } })
      expect(await lastSeenOf(store)).toBeNull()
      for (const { columns } of await mark.records()) expect(columns).toMatchObject({ lastSeenAtMs: null })
    })

    for (const isOnline of [true, false]) {
      const then = isOnline ? 'online' : 'offline'
      rule(`is gone for good where they hide both while ${then}, whatever a row brings later`, async ({ store }) => {
        const nowMs = await storeNowMs(store)
        await connect(store, 'alice')
        if (!isOnline) await goOffline(store, 'alice')
        await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2, hideLastActive: true } })
        if (isOnline) await goOffline(store, 'alice')
        const settings = { ...VISIBLE, version: 3 }
        await store.setUser({ userId: 'alice', seed: seedOf(settings, { shownLastActiveAtMs: nowMs - 60_000 }) })
        expect(await seen(store, 'alice')).toMatchObject({ lastActiveAtMs: nowMs - 60_000, lastSeenAtMs: null })
      })
    }

    rule('stands still where they hide it later, until they are seen again', async ({ store }) => {
      await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const shown = await lastSeenOf(store)
      expect(shown).not.toBeNull()
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3, hideLastActive: true } })
      await goOffline(store, 'alice')
      expect(await lastSeenOf(store)).toBe(shown)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 4, hideLastActive: true } })
      expect(await lastSeenOf(store)).toBeNull()
    })
  })

  describe('lastSeen after a restart', () => {
    const GRACES = { reconnectGraceMs: 300, sessionTtlMs: 900 }

    rule('is the LEAVE of who is online at first, and does not come back', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [openRow(nowMs)] })])
      expect(await lastSeenOf(store)).toBeNull()
      const mark = await markOf(store)
      await pass(600)
      await expectLeft(store, mark)
    })

    rule('is the last activity of who was online before, and is idle or gone by then', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const moments = { lastActiveAtMs: nowMs - 1_300_000, shownLastActiveAtMs: nowMs - 1_300_000 }
      const row = openRow(nowMs, { lastActiveAtMs: nowMs - 1_300_000 })
      const was = { seed: seedOf(VISIBLE, moments), onlineSinceMs: nowMs - 1_400_000 }
      await store.adopt([
        adoptedUser('alice', nowMs, { ...was, sessions: [row] }),
        adoptedUser('bob', nowMs, { ...was, sessions: [] }),
      ])
      const { records } = await store.records.read(0, 100)
      for (const userId of ['alice', 'bob']) {
        expect(await seen(store, userId)).toMatchObject({ isOnline: false, lastSeenAtMs: nowMs - 1_300_000 })
        const columns = records.findLast((record) => record.userId === userId)?.columns
        expect(columns).toMatchObject({ isOnline: false, lastSeenAtMs: nowMs - 1_300_000 })
      }
    })

    rule('is that of before of who was hidden or offline', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const moments = {
        lastActiveAtMs: nowMs - 2000,
        shownLastActiveAtMs: nowMs - 50_000,
        shownLastSeenAtMs: nowMs - 40_000,
      }
      const was = { onlineSinceMs: null, sessions: [openRow(nowMs)] }
      const offline = { ...moments, lastActiveAtMs: nowMs - 1_300_000, shownLastActiveAtMs: nowMs - 1_300_000 }
      await store.adopt([
        adoptedUser('alice', nowMs, { ...was, seed: seedOf(HIDDEN, moments) }),
        adoptedUser('bob', nowMs, { ...was, seed: seedOf(VISIBLE, offline), sessions: [openRow(nowMs)] }),
      ])
      await expectNothingShown(store, ['alice', 'bob'], [], () => pass(600))
      expect([await lastSeenOf(store), await lastSeenOf(store, 'bob')]).toEqual([nowMs - 40_000, nowMs - 40_000])
    })

    rule('is what this run saw of who came and went before they were adopted', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const moments = { lastActiveAtMs: nowMs - 2000, shownLastActiveAtMs: nowMs - 2000 }
      await connect(store, 'alice', { seed: seedOf(VISIBLE, moments), sessionId: randomUUID() })
      await pass(SETTLE_MS)
      const mark = await markOf(store)
      await goOffline(store, 'alice')
      const { atMs } = await expectLeft(store, mark)
      await store.adopt([adoptedUser('alice', nowMs, { seed: seedOf(VISIBLE, moments), sessions: [] })])
      expect(await lastSeenOf(store)).toBe(atMs)
    })

    rule('is recorded of who came, and was not active, before they were adopted', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const moments = { lastActiveAtMs: nowMs - 1_300_000, shownLastActiveAtMs: nowMs - 1_300_000 }
      const seed = seedOf(VISIBLE, moments)
      await connect(store, 'alice', { seed, isActive: false })
      expect(await lastSeenOf(store)).toBeNull()
      const mark = await markOf(store)
      await store.adopt([adoptedUser('alice', nowMs, { seed, onlineSinceMs: nowMs - 1_400_000, sessions: [] })])
      expect(await lastSeenOf(store)).toBe(nowMs - 1_300_000)
      expect((await mark.records()).at(-1)?.columns).toMatchObject({ lastSeenAtMs: nowMs - 1_300_000 })
    })

    rule('is never later than what follows, though the clock is set back', GRACES, async ({ store, step }) => {
      const nowMs = await storeNowMs(store)
      const moments = { lastActiveAtMs: nowMs - 9000, shownLastActiveAtMs: nowMs - 9000 }
      const seed = seedOf({ ...HIDDEN, version: 1 }, { ...moments, shownLastSeenAtMs: nowMs - 1000 })
      const row = openRow(nowMs, { lastActiveAtMs: nowMs - 9000 })
      await store.adopt([adoptedUser('alice', nowMs, { seed, onlineSinceMs: null, sessions: [row] })])
      await step(-5000)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2 } })
      await connect(store, 'alice')
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: true })
      expect(Number((await seen(store, 'alice'))?.onlineSinceMs)).toBeGreaterThanOrEqual(nowMs - 1000)
    })

    rule('is never a moment of the future', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const future = nowMs + 3_600_000
      const moments = { lastActiveAtMs: future, shownLastActiveAtMs: future, shownLastSeenAtMs: future }
      await connect(store, 'alice', { isActive: false, seed: seedOf(HIDDEN, moments) })
      const shown = Number(await lastSeenOf(store))
      expect(shown).toBeGreaterThanOrEqual(nowMs)
      expect(shown).toBeLessThan(nowMs + 60_000)
    })
  })
}
