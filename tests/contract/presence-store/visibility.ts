/** Rules 8 and 9: who hides, settings and their versions, profiles, and users whose row is not known yet. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { SEED_MEMORY_MS } from '../../../src/presence/store.ts'
import {
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  goOffline,
  HIDDEN,
  isOnline,
  markOf,
  onlineIds,
  profileOf,
  type Rule,
  SETTLE_MS,
  seedOf,
  seen,
  socketOf,
  statusOf,
  storeNowMs,
  told,
  VISIBLE,
  viewerOf,
} from './harness.ts'

export function describeVisibility(rule: Rule): void {
  describe('hiding', () => {
    rule('is a leave for everyone else', async ({ store }) => {
      await connect(store, 'alice', { rooms: ['hall'] })
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusMessage: 'here' } })
      const lastActiveAtMs = (await seen(store, 'alice'))?.lastActiveAtMs
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3, statusMessage: 'here' } })

      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice LEAVE'])
      expect(new Set(entries[0]?.after.rooms)).toEqual(new Set())
      expect(entries[0]?.after.user).toEqual({
        id: 'alice',
        name: 'alice',
        avatarUrl: null,
        isOnline: false,
        status: 'OFFLINE',
        statusMessage: null,
        onlineSinceMs: null,
        lastActiveAtMs,
        lastSeenAtMs: entries[0]?.atMs,
      })
      expect(await seen(store, 'alice')).toEqual(entries[0]?.after.user)
      expect([await onlineIds(store), await onlineIds(store, 'hall')]).toEqual([[], []])
      expect([await store.count(null), await store.count('hall')]).toEqual([0, 0])
    })

    rule(
      'gives nothing away by anything that the user does meanwhile',
      { awayAfterMs: 300, idleTimeoutMs: 350, reconnectGraceMs: 100, sessionTtlMs: 2000 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice', { rooms: ['hall'] })
        await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
        await pass(SETTLE_MS)
        await expectNothingShown(store, ['alice'], ['hall', 'bar'], async () => {
          await beat(store, socket)
          await store.join({ ...socket, room: 'bar' })
          await beat(store, socket, { rooms: ['bar', 'hall'] })
          await store.setUser({
            userId: 'alice',
            settings: { ...HIDDEN, version: 3, statusChoice: 'BUSY', statusMessage: 'x' },
          })
          const second = await connect(store, 'alice', { rooms: ['hall'] })
          await detach(store, second, 'ended')
          await pass(200)
          await beatOverHttp(store, 'alice')
          await pass(300)
          await goOffline(store, 'alice')
          await beatOverHttp(store, 'alice', randomUUID(), { rooms: ['hall'] })
          await pass(400)
        })
      },
    )

    rule('leaves the user their own truth', async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { seed: seedOf({ ...HIDDEN, statusMessage: 'in hiding' }) })
      await pass(SETTLE_MS)
      const answer = await beat(store, socket)
      if (answer.kind !== 'counted') throw new Error(answer.kind)
      expect(await viewerOf(store, 'alice')).toMatchObject({
        user: { isOnline: false, status: 'OFFLINE', lastActiveAtMs: null },
        isOnline: true,
        status: 'ONLINE',
        statusMessage: 'in hiding',
        lastActiveAtMs: answer.lastActiveAtMs,
        visibility: 'NOBODY',
        sessions: [{ id: socket.sessionId, lastActiveAtMs: answer.lastActiveAtMs }],
      })
    })

    rule('lets name and picture through, which are no presence', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(HIDDEN) })
      const position = await store.changes.position()
      await store.setUser({ userId: 'alice', profile: profileOf('Alice', 'https://pictures.test/a.png', 2) })
      expect(await seen(store, 'alice')).toMatchObject({ name: 'Alice', avatarUrl: 'https://pictures.test/a.png' })
      expect(await store.changes.position()).toEqual(position)
    })

    rule('ends with a JOIN whose moments are that moment', async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const before = await seen(store, 'alice')
      await pass(SETTLE_MS)
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      await pass(SETTLE_MS)
      await beat(store, socket)
      const truth = (await viewerOf(store, 'alice')).lastActiveAtMs
      await pass(SETTLE_MS)

      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice JOIN'])
      expect(entries[0]?.before.user).toMatchObject({ isOnline: false, lastActiveAtMs: before?.lastActiveAtMs })
      expect(new Set(entries[0]?.after.rooms)).toEqual(new Set(['hall']))
      const after = await seen(store, 'alice')
      expect(after).toMatchObject({ isOnline: true, lastActiveAtMs: after?.onlineSinceMs })
      expect(Number(after?.onlineSinceMs)).toBeGreaterThan(Number(truth))
      // Being seen again is no activity.
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(truth)
    })

    rule('ends unseen where the user is not online then', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const shown = (await seen(store, 'alice'))?.lastActiveAtMs
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      await pass(SETTLE_MS)
      await beat(store, socket)
      await goOffline(store, 'alice')
      await expectNothingShown(store, ['alice'], [], () =>
        store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } }),
      )
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastActiveAtMs: shown })
    })

    rule('before anyone saw the user, whose seed says so, is no change at all', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const seed = seedOf(HIDDEN, { lastActiveAtMs: nowMs - 1000, shownLastActiveAtMs: nowMs - 500_000 })
      const position = await store.changes.position()
      const socket = await connect(store, 'alice', { seed })
      await beat(store, socket)
      expect(await store.changes.position()).toEqual(position)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastActiveAtMs: nowMs - 500_000 })
    })
  })

  describe('hideLastActive', () => {
    rule('is no change, and takes the moment from everyone', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const position = await store.changes.position()
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, hideLastActive: true } })
      expect(await store.changes.position()).toEqual(position)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: true, lastActiveAtMs: null })
      const page = await store.page({ room: null, first: 10, after: null })
      expect(page.users).toMatchObject([{ id: 'alice', lastActiveAtMs: null }])
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).not.toBeNull()

      await pass(SETTLE_MS)
      await beat(store, socket)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(await store.changes.position()).toEqual(position)
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe((await viewerOf(store, 'alice')).lastActiveAtMs)
    })
  })

  describe('hideLastActive of a hidden user', () => {
    for (const hiddenWith of [false, true]) {
      const hid = hiddenWith ? 'with it' : 'without it'

      rule(`who hid ${hid} shows nothing to anyone, whatever becomes of it`, async ({ store, pass }) => {
        const socket = await connect(store, 'alice', { rooms: ['hall'] })
        await pass(SETTLE_MS)
        const settings = { ...HIDDEN, hideLastActive: hiddenWith }
        await store.setUser({ userId: 'alice', settings: { ...settings, version: 2 } })
        expect((await seen(store, 'alice'))?.lastActiveAtMs === null).toBe(hiddenWith)
        const mark = await markOf(store)
        await expectNothingShown(store, ['alice'], ['hall'], async () => {
          for (const [index, hideLastActive] of [!hiddenWith, hiddenWith, !hiddenWith].entries()) {
            await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3 + index, hideLastActive } })
            await beat(store, socket)
          }
          await goOffline(store, 'alice')
        })
        const columns = (await mark.records()).flatMap((record) => record.columns ?? [])
        expect(columns.length).toBeGreaterThan(0)
        for (const { lastActiveAtMs } of columns) expect(lastActiveAtMs === null).toBe(hiddenWith)
        expect(await viewerOf(store, 'alice')).toMatchObject({ hideLastActive: !hiddenWith })
      })

      rule(`who hid ${hid} holds as soon as they are seen again`, async ({ store }) => {
        const socket = await connect(store, 'alice')
        await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2, hideLastActive: hiddenWith } })
        await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3, hideLastActive: !hiddenWith } })
        await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 4, hideLastActive: !hiddenWith } })
        await beat(store, socket)
        const lastActiveAtMs = hiddenWith ? (await viewerOf(store, 'alice')).lastActiveAtMs : null
        expect(await seen(store, 'alice')).toMatchObject({ isOnline: true, lastActiveAtMs })
      })
    }

    rule('does not take away what the row still shows, when the store takes the user in', async ({ store }) => {
      const settings = { ...HIDDEN, version: 3, hideLastActive: true }
      const atMs = (await storeNowMs(store)) - 60_000
      await connect(store, 'alice', { seed: seedOf(settings, { lastActiveAtMs: atMs, shownLastActiveAtMs: atMs }) })
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastActiveAtMs: atMs })
    })

    rule('goes along with the step into hiding, also where the store has only an older row', async ({ store }) => {
      const atMs = (await storeNowMs(store)) - 60_000
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2, hideLastActive: true } })
      await connect(store, 'alice', { seed: seedOf(VISIBLE, { lastActiveAtMs: atMs, shownLastActiveAtMs: atMs }) })
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastActiveAtMs: null })
    })
  })

  describe('settings', () => {
    rule('of a lower version do nothing, and the answer says what holds', async ({ store }) => {
      await connect(store, 'alice')
      const live = { ...VISIBLE, version: 5, statusChoice: 'BUSY', statusMessage: 'here' } as const
      expect(await store.setUser({ userId: 'alice', settings: live })).toEqual(live)
      const mark = await markOf(store)
      await expectNothingShown(store, ['alice'], [], async () => {
        expect(await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 4 } })).toEqual(live)
        expect(await store.setUser({ userId: 'alice', settings: live })).toEqual(live)
        expect(await store.setUser({ userId: 'alice' })).toEqual(live)
      })
      expect(await mark.records()).toEqual([])
      expect(await viewerOf(store, 'alice')).toMatchObject({ statusChoice: 'BUSY', visibility: 'EVERYONE' })
    })

    rule('that differ under one version are of two histories: the more private hold', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const one = { ...VISIBLE, version: 5, statusChoice: 'BUSY', statusMessage: 'here' } as const
      const other = {
        ...VISIBLE,
        version: 5,
        statusChoice: 'AWAY',
        hideLastActive: true,
        visibility: 'NOBODY',
      } as const
      await store.setUser({ userId: 'alice', settings: one })
      const mark = await markOf(store)
      const both = { ...other, statusChoice: 'BUSY', statusMessage: null }
      expect(await store.setUser({ userId: 'alice', settings: other })).toEqual(both)
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect((await mark.records()).at(-1)).toMatchObject({ settings: both, columns: { isOnline: false } })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        await store.setUser({ userId: 'alice', settings: one })
        await connect(store, 'alice', { seed: seedOf(one) })
        await beat(store, socket)
      })
      expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', hideLastActive: true })
      await store.setUser({ userId: 'alice', settings: { ...one, version: 6 } })
      expect(await seen(store, 'alice')).toMatchObject({ status: 'BUSY', statusMessage: 'here' })
    })

    rule('that change what is public are one update', async ({ store }) => {
      await connect(store, 'alice')
      const mark = await markOf(store)
      const settings = { ...VISIBLE, version: 2, statusChoice: 'AWAY', statusMessage: 'lunch' } as const
      await store.setUser({ userId: 'alice', settings, profile: profileOf('Alice', null, 3) })
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice UPDATE'])
      expect(entries[0]?.before.user).toMatchObject({ name: 'alice', status: 'ONLINE', statusMessage: null })
      expect(entries[0]?.after.user).toMatchObject({ name: 'Alice', status: 'AWAY', statusMessage: 'lunch' })
    })

    rule('of who is not there are remembered for the attach that is under way', async ({ store }) => {
      expect(await store.setUser({ userId: 'alice' })).toBeNull()
      const settings = { ...HIDDEN, version: 9, statusMessage: 'here' }
      expect(await store.setUser({ userId: 'alice', settings })).toEqual(settings)
      expect(await store.setUser({ userId: 'alice', settings: VISIBLE })).toEqual(settings)
      expect(await store.setUser({ userId: 'alice' })).toEqual(settings)
      expect(await store.viewer('alice')).toBeNull()
      await expectNothingShown(store, ['bob'], [], () => connect(store, 'alice', { seed: seedOf(VISIBLE) }))
      expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
    })

    rule('of who is not there do not win over a row that is newer', async ({ store }) => {
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3 } })
      await connect(store, 'alice', { seed: seedOf({ ...VISIBLE, version: 4 }) })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('of who is not there, and others under the same version, hide together', async ({ store }) => {
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 4 } })
      await connect(store, 'alice', { seed: seedOf({ ...VISIBLE, version: 4 }) })
      expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
      await store.setUser({ userId: 'bob', settings: { ...VISIBLE, version: 4 } })
      expect(await store.setUser({ userId: 'bob', settings: { ...HIDDEN, version: 4 } })).toEqual({
        ...HIDDEN,
        version: 4,
      })
    })

    rule('of who is not there are worth something for longer than a row is read', async () => {
      expect(SEED_MEMORY_MS).toBeGreaterThan(10_000)
    })

    rule('of who is offline, but still known, are kept', async ({ store }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const position = await store.changes.position()
      await connect(store, 'alice', { seed: seedOf(VISIBLE) })
      expect(await store.changes.position()).toEqual(position)
      expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
    })
  })

  describe('a profile', () => {
    rule('that is newer replaces the other, as one update', async ({ store }) => {
      await connect(store, 'alice', { profile: profileOf('Alice', 'https://pictures.test/1.png', 10) })
      const mark = await markOf(store)
      await connect(store, 'alice', { profile: profileOf('Alice Liddell', 'https://pictures.test/2.png', 20) })
      expect(told(await mark.changes())).toEqual(['alice UPDATE'])
      expect(await seen(store, 'alice')).toMatchObject({
        name: 'Alice Liddell',
        avatarUrl: 'https://pictures.test/2.png',
      })
    })

    rule('that is older or as old changes nothing', async ({ store }) => {
      const socket = await connect(store, 'alice', { profile: profileOf('Alice', null, 10) })
      await expectNothingShown(store, ['alice'], [], async () => {
        await connect(store, 'alice', { profile: profileOf('Old', null, 9), isActive: false })
        await beat(store, socket, { profile: profileOf('Same', null, 10), isActive: false })
        await store.setUser({ userId: 'alice', profile: profileOf('Older', null, 1) })
      })
      expect((await seen(store, 'alice'))?.name).toBe('Alice')
    })

    rule('that leaves out a part keeps it', async ({ store }) => {
      const socket = await connect(store, 'alice', { profile: profileOf('Alice', 'https://pictures.test/1.png', 10) })
      await beat(store, socket, { profile: profileOf(null, 'https://pictures.test/2.png', 11) })
      expect(await seen(store, 'alice')).toMatchObject({ name: 'Alice', avatarUrl: 'https://pictures.test/2.png' })
      await beat(store, socket, { profile: profileOf(null, null, 12) })
      expect(await seen(store, 'alice')).toMatchObject({ name: 'Alice', avatarUrl: 'https://pictures.test/2.png' })
    })

    rule('of a token meets the one of the row, and the newer wins', async ({ store }) => {
      const seed = seedOf(VISIBLE, { profile: profileOf('Row', null, 10) })
      await connect(store, 'alice', { seed, profile: profileOf('Token', null, 9) })
      await connect(store, 'bob', { seed, profile: profileOf('Token', null, 11) })
      expect(await store.lookup(['alice', 'bob'])).toMatchObject([{ name: 'Row' }, { name: 'Token' }])
    })

    rule('issued anew with the same name is no change', async ({ store }) => {
      const socket = await connect(store, 'alice', { profile: profileOf('Alice', null, 10) })
      const position = await store.changes.position()
      await beat(store, socket, { profile: profileOf('Alice', null, 20) })
      expect(await store.changes.position()).toEqual(position)
    })

    rule('comes with the JOIN that it starts with', async ({ store }) => {
      const mark = await markOf(store)
      await beatOverHttp(store, 'alice', null, { profile: profileOf('Alice', null, 10) })
      expect((await mark.changes()).map(({ after }) => [after.user.name, after.user.isOnline])).toEqual([
        ['Alice', true],
      ])
    })
  })

  describe('a user whose row could not be read in time', () => {
    rule('counts as hidden, and their viewer says pending', async ({ store }) => {
      const position = await store.changes.position()
      const answer = await attach(store, socketOf('alice'), { seed: seedOf(null), rooms: ['hall'] })
      expect(answer.session).toMatchObject({ rooms: ['hall'] })
      expect(await store.viewer('alice')).toBe('pending')
      expect([await onlineIds(store), await store.count(null), await store.count('hall')]).toEqual([[], 0, 0])
      expect((await seen(store, 'alice'))?.isOnline ?? false).toBe(false)
      expect(await store.changes.position()).toEqual(position)
    })

    rule('joins when the row comes, dated then', async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { seed: seedOf(null), rooms: ['hall'] })
      const { lastActiveAtMs: startedAtMs } = await attach(store, socket, { seed: seedOf(null) })
      await pass(SETTLE_MS)
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE, { profile: profileOf('Alice', null, 1) }) })
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice JOIN'])
      expect(entries[0]?.after.user).toMatchObject({ name: 'Alice', status: 'ONLINE' })
      expect(Number(entries[0]?.after.user.onlineSinceMs)).toBeGreaterThan(Number(startedAtMs))
      expect(await onlineIds(store, 'hall')).toEqual(['alice'])
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(startedAtMs)
    })

    rule('keeps of the row what the token left out', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(null), profile: profileOf('Token', null, 5) })
      const row = profileOf('Row', 'https://pictures.test/row.png', 1)
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE, { profile: row }) })
      expect(await seen(store, 'alice')).toMatchObject({ name: 'Token', avatarUrl: 'https://pictures.test/row.png' })
    })

    rule('joins with nothing of a row that newer settings hide', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(null) })
      await expectNothingShown(store, ['alice'], [], async () => {
        await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 }, seed: seedOf(VISIBLE) })
      })
    })

    rule('stays offline where the row says that they went offline, until they are active', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const socket = await connect(store, 'alice', { isActive: false, seed: seedOf(null) })
      const moments = { lastActiveAtMs: nowMs, shownLastActiveAtMs: nowMs }
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE, { ...moments, isActivityOver: true }) })
      expect(await isOnline(store, 'alice')).toBe(false)
      await beat(store, socket)
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('goes on with what they did before the row came', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      await connect(store, 'alice', { seed: seedOf(null) })
      const moments = { lastActiveAtMs: nowMs - 5000, shownLastActiveAtMs: nowMs - 5000 }
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE, { ...moments, isActivityOver: true }) })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('joins also when settings come by themselves', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(null) })
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3, statusChoice: 'BUSY' } })
      expect(await statusOf(store, 'alice')).toBe('BUSY')
      expect(await viewerOf(store, 'alice')).toMatchObject({ statusChoice: 'BUSY' })
    })

    rule('stays hidden where the row says so', async ({ store }) => {
      const position = await store.changes.position()
      await connect(store, 'alice', { seed: seedOf(null) })
      await store.setUser({ userId: 'alice', seed: seedOf(HIDDEN) })
      expect(await viewerOf(store, 'alice')).toMatchObject({ visibility: 'NOBODY', isOnline: true })
      expect(await store.changes.position()).toEqual(position)
    })

    rule('has records without public columns until then, and with them after', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(null) })
      const { records } = await store.records.read(0, 100)
      expect(records.map(({ userId, columns }) => [userId, columns])).toEqual([['alice', null]])
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE) })
      expect((await mark.records()).at(-1)).toMatchObject({ userId: 'alice', columns: { isOnline: true } })
    })

    rule('may go before anybody knows them', async ({ store }) => {
      const position = await store.changes.position()
      await connect(store, 'alice', { seed: seedOf(null) })
      await goOffline(store, 'alice')
      await store.setUser({ userId: 'alice', seed: seedOf(VISIBLE) })
      expect(await store.changes.position()).toEqual(position)
      expect(await isOnline(store, 'alice')).toBe(false)
    })
  })
}
