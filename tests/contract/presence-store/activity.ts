/** Rules 2, 3 and 5: sessions that end at once, and what time does to a user without activity. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  goOffline,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  seen,
  socketOf,
  statusOf,
  told,
  VISIBLE,
  viewerOf,
} from './harness.ts'

export function describeActivity(rule: Rule): void {
  describe('ending', () => {
    rule('a session at once, its user leaves in that step', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const mark = await markOf(store)
      const answer = await store.end({ ...socket, reason: 'WENT_OFFLINE' })
      expect(answer).toEqual({ kind: 'ended', sessionCount: 1, fences: [socket.fence] })
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect([await store.count(null), await store.count('hall')]).toEqual([0, 0])
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'WENT_OFFLINE' })
    })

    rule('one of several shows nothing', async ({ store }) => {
      await connect(store, 'alice')
      const socket = await connect(store, 'alice')
      await expectNothingShown(store, ['alice'], [], async () => {
        expect(await goOffline(store, 'alice', socket.sessionId)).toBe(1)
      })
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })

    rule('all of them is one leave, and names their sockets', async ({ store }) => {
      const first = await connect(store, 'alice')
      const second = await connect(store, 'alice')
      await beatOverHttp(store, 'alice', randomUUID())
      await connect(store, 'bob')
      const mark = await markOf(store)
      const answer = await store.end({ userId: 'alice', sessionId: null, fence: null, reason: 'DISCONNECTED' })
      expect({ ...answer, fences: [...answer.fences].sort() }).toEqual({
        kind: 'ended',
        sessionCount: 3,
        fences: [first.fence, second.fence].sort(),
      })
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect(await rowOf(store, first)).toMatchObject({ endReason: 'DISCONNECTED' })
      expect(await onlineIds(store)).toEqual(['bob'])
    })

    rule('what is not there succeeds and does nothing', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const nothing = { kind: 'ended', sessionCount: 0, fences: [] }
      const end = { fence: null, reason: 'WENT_OFFLINE' } as const
      await expectNothingShown(store, ['alice', 'bob'], [], async () => {
        expect(await store.end({ ...end, userId: 'alice', sessionId: randomUUID() })).toEqual(nothing)
        expect(await store.end({ ...end, userId: 'bob', sessionId: null })).toEqual(nothing)
        expect(await store.end({ ...end, userId: 'bob', sessionId: socket.sessionId })).toEqual(nothing)
      })
      await store.end({ ...socket, reason: 'WENT_OFFLINE' })
      const mark = await markOf(store)
      expect(await store.end({ ...end, userId: 'alice', sessionId: socket.sessionId })).toEqual(nothing)
      expect(await store.end({ ...socket, reason: 'WENT_OFFLINE' })).toMatchObject({ sessionCount: 0 })
      expect(await mark.records()).toEqual([])
    })
  })

  describe('after going offline', () => {
    rule('a program that beats without activity does not bring its user back', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      await goOffline(store, 'alice')
      await expectNothingShown(store, ['alice'], [], async () => {
        const session = await beatOverHttp(store, 'alice', sessionId, { isActive: false })
        expect(session).toMatchObject({ id: sessionId })
        await beatOverHttp(store, 'alice', sessionId, { isActive: false })
        await connect(store, 'alice', { isActive: false })
      })
      expect(await viewerOf(store, 'alice')).toMatchObject({ isOnline: false, status: 'OFFLINE' })
    })

    rule('an active heartbeat brings them back', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      await goOffline(store, 'alice')
      await beatOverHttp(store, 'alice', sessionId, { isActive: false })
      const mark = await markOf(store)
      await beatOverHttp(store, 'alice', sessionId)
      expect(told(await mark.changes())).toEqual(['alice JOIN'])
      // Their activity counts again from then on.
      await connect(store, 'alice', { isActive: false })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('a start that is activity brings them back', async ({ store }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      await connect(store, 'alice')
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('with another session left, activity goes on', async ({ store }) => {
      const first = await connect(store, 'alice')
      const second = await connect(store, 'alice')
      await goOffline(store, 'alice', first.sessionId)
      await connect(store, 'alice', { sessionId: first.sessionId, isActive: false })
      await detach(store, second, 'silent', 1_000_000)
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('being disconnected by a service is not the same', async ({ store }) => {
      await connect(store, 'alice')
      await store.end({ userId: 'alice', sessionId: null, fence: null, reason: 'DISCONNECTED' })
      await connect(store, 'alice', { isActive: false })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('the end of a connection alone is not the end of activity', async ({ store }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket, 'silent', 1_000_000)
      expect(await isOnline(store, 'alice')).toBe(false)
      await connect(store, 'alice', { isActive: false })
      expect(await isOnline(store, 'alice')).toBe(true)
    })
  })

  describe('time without activity', () => {
    const FALL = { awayAfterMs: 300, idleTimeoutMs: 900 }

    rule('makes a user AWAY, and an active heartbeat ends it at once', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(100)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      const mark = await markOf(store)
      await pass(350)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      await beat(store, socket, { isActive: false })
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      await beat(store, socket)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice UPDATE', 'alice UPDATE'])
      expect(entries.map(({ after }) => after.user.status)).toEqual(['AWAY', 'ONLINE'])
    })

    rule('does not make a user AWAY who was active meanwhile', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const position = await store.changes.position()
      for (let count = 0; count < 4; count += 1) {
        await pass(150)
        await beat(store, socket)
      }
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      expect(await store.changes.position()).toEqual(position)
    })

    rule('counts the activity of all sessions of the user together', FALL, async ({ store, pass }) => {
      await connect(store, 'alice')
      const other = randomUUID()
      await beatOverHttp(store, 'alice', other)
      for (let count = 0; count < 4; count += 1) {
        await pass(150)
        await beatOverHttp(store, 'alice', other)
      }
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
    })

    rule('never changes a chosen status, and activity does not end it', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      const position = await store.changes.position()
      await pass(450)
      await beat(store, socket)
      expect(await statusOf(store, 'alice')).toBe('BUSY')
      expect(await store.changes.position()).toEqual(position)
    })

    rule('shows again what is automatic when a choice is taken back', FALL, async ({ store, pass }) => {
      await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      await pass(450)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 3 } })
      expect(await statusOf(store, 'alice')).toBe('AWAY')
    })

    rule('takes an idle user out of all lists, counts and rooms, sockets or not', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await store.setUser({
        userId: 'alice',
        settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY', statusMessage: 'x' },
      })
      const mark = await markOf(store)
      await pass(1000)
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect([await onlineIds(store), await onlineIds(store, 'hall')]).toEqual([[], []])
      expect([await store.count(null), await store.count('hall')]).toEqual([0, 0])
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, status: 'OFFLINE', statusMessage: null })
      expect(await viewerOf(store, 'alice')).toMatchObject({
        isOnline: false,
        status: 'OFFLINE',
        statusChoice: 'BUSY',
        sessions: [{ id: socket.sessionId, fence: socket.fence, rooms: ['hall'] }],
      })
    })

    rule(
      'lets an idle user come back by an active heartbeat, with a JOIN and their rooms',
      FALL,
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice', { rooms: ['hall'] })
        const since = (await seen(store, 'alice'))?.onlineSinceMs
        await pass(1000)
        await beat(store, socket, { isActive: false })
        expect(await isOnline(store, 'alice')).toBe(false)

        const mark = await markOf(store)
        const answer = await beat(store, socket)
        const entries = await mark.changes()
        expect(told(entries)).toEqual(['alice JOIN'])
        expect(new Set(entries[0]?.after.rooms)).toEqual(new Set(['hall']))
        const alice = await seen(store, 'alice')
        expect(Number(alice?.onlineSinceMs)).toBeGreaterThan(Number(since))
        expect(answer).toMatchObject({ kind: 'counted', lastActiveAtMs: alice?.onlineSinceMs })
      },
    )

    rule('lets an idle user come back by a heartbeat that names no session', FALL, async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(1000)
      expect(await beatOverHttp(store, 'alice')).toBeNull()
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('does not bring an idle user back when a tab attaches again', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(1000)
      await expectNothingShown(store, ['alice'], [], async () => {
        await detach(store, socket)
        await attach(store, socketOf('alice', socket.sessionId))
      })
    })

    rule('is looked at from the last activity, whatever was swept before', FALL, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(450)
      await beat(store, socket)
      await pass(100)
      expect(await statusOf(store, 'alice')).toBe('ONLINE')
      await pass(350)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      await pass(600)
      expect(await isOnline(store, 'alice')).toBe(false)
    })
  })
}
