import { describe, expect } from 'vitest'
import {
  beat,
  connect,
  detach,
  expectNothingShown,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  SETTLE_MS,
  sessionOf,
  storeNowMs,
  told,
  viewerOf,
} from './harness.ts'

export function describeSockets(rule: Rule): void {
  describe('what a socket says after its session moved to another', () => {
    rule(
      'does nothing: neither a beat, nor a close, nor a room, nor an end',
      { closeGraceMs: 100, reconnectGraceMs: 100 },
      async ({ store, pass }) => {
        const old = await connect(store, 'alice', { rooms: ['hall'] })
        const fresh = await connect(store, 'alice', { sessionId: old.sessionId, nodeId: 'node-2' })
        const before = await viewerOf(store, 'alice')
        await pass(SETTLE_MS)
        await expectNothingShown(store, ['alice'], ['hall', 'bar'], async () => {
          expect(await beat(store, old, { rooms: ['bar'], device: 'ghost' })).toEqual({ kind: 'late' })
          await detach(store, old, 'silent', 1000)
          await detach(store, old, 'closed')
          expect(await store.join({ ...old, room: 'bar' })).toEqual({ kind: 'late' })
          expect(await store.leave({ ...old, room: 'hall' })).toEqual({ kind: 'late' })
          expect(await store.end({ ...old, reason: 'WENT_OFFLINE' })).toEqual({
            kind: 'late',
            sessionCount: 0,
            fences: [],
          })
          await pass(300)
        })
        expect(await viewerOf(store, 'alice')).toEqual(before)
        expect(await sessionOf(store, fresh)).toMatchObject({ fence: fresh.fence })
      },
    )

    rule(
      'does nothing where the session hangs on no socket any more',
      { closeGraceMs: 5000, reconnectGraceMs: 9000 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await detach(store, socket)
        const before = await viewerOf(store, 'alice')
        await pass(SETTLE_MS)
        expect(await beat(store, socket)).toEqual({ kind: 'late' })
        await detach(store, socket, 'ended')
        expect(await store.join({ ...socket, room: 'bar' })).toEqual({ kind: 'late' })
        expect(await store.end({ ...socket, reason: 'WENT_OFFLINE' })).toMatchObject({ kind: 'late', sessionCount: 0 })
        expect(await viewerOf(store, 'alice')).toEqual(before)
      },
    )

    rule('does not prolong a grace, however often the close is told', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      const leaseEndsAtMs = (await sessionOf(store, socket))?.leaseEndsAtMs
      await pass(SETTLE_MS)
      await detach(store, socket)
      expect((await sessionOf(store, socket))?.leaseEndsAtMs).toBe(leaseEndsAtMs)
    })

    rule('does nothing to a later start of the same session', { reconnectGraceMs: 1000 }, async ({ store }) => {
      const old = await connect(store, 'alice')
      await store.end({ ...old, reason: 'WENT_OFFLINE' })
      const fresh = await connect(store, 'alice', { sessionId: old.sessionId })
      await expectNothingShown(store, ['alice'], [], async () => {
        await detach(store, old, 'silent', 10_000)
        expect(await beat(store, old)).toEqual({ kind: 'late' })
      })
      expect(await sessionOf(store, fresh)).toMatchObject({ fence: fresh.fence })
    })
  })

  describe('the grace of a session that lost its socket', () => {
    const GRACES = { closeGraceMs: 200, reconnectGraceMs: 600 }

    rule('is CLOSE_GRACE where its client closed it', GRACES, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket, 'closed')
      await pass(50)
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(300)
      expect(await isOnline(store, 'alice')).toBe(false)
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'CLOSED', hadSocket: true, nodeId: 'node-1' })
    })

    rule('is RECONNECT_GRACE from that moment where the network ended it', GRACES, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      // How long it had been silent before does not count: the end of a connection is itself a sign of life.
      await detach(store, socket, 'ended', 100_000)
      await pass(350)
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(400)
      expect(await isOnline(store, 'alice')).toBe(false)
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'LOST' })
    })

    rule('counts from the last proof of life where it fell silent', GRACES, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket, 'silent', 400)
      await pass(50)
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(300)
      expect(await isOnline(store, 'alice')).toBe(false)
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'LOST' })
    })

    rule(
      'tells its end, from the last proof of life',
      { closeGraceMs: 20_000, reconnectGraceMs: 60_000 },
      async ({ store }) => {
        const nowMs = await storeNowMs(store)
        const ends = new Map<string, number>()
        for (const [cause, silentForMs] of [
          ['closed', 0],
          ['ended', 0],
          ['silent', 4000],
        ] as const) {
          const socket = await connect(store, cause)
          await detach(store, socket, cause, silentForMs)
          ends.set(cause, Number((await sessionOf(store, socket))?.leaseEndsAtMs) - nowMs)
        }
        const isAbout = (cause: string, expectedMs: number) => {
          expect(ends.get(cause)).toBeGreaterThanOrEqual(expectedMs)
          expect(ends.get(cause)).toBeLessThan(expectedMs + 500)
        }
        isAbout('closed', 20_000)
        isAbout('ended', 60_000)
        isAbout('silent', 56_000)
      },
    )

    rule('is over in that very step where the silence was as long', GRACES, async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const mark = await markOf(store)
      await detach(store, socket, 'silent', 600)
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect(await onlineIds(store, 'hall')).toEqual([])
      expect((await viewerOf(store, 'alice')).sessions).toEqual([])
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'LOST' })
    })

    rule('is over in that very step where the setting is 0', { closeGraceMs: 0 }, async ({ store }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket, 'closed')
      expect(await isOnline(store, 'alice')).toBe(false)
      expect(await rowOf(store, socket)).toMatchObject({ endReason: 'CLOSED' })
    })

    rule('leaves the session its rooms', GRACES, async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        await detach(store, socket, 'ended')
        await pass(SETTLE_MS)
      })
      expect(await onlineIds(store, 'hall')).toEqual(['alice'])
    })
  })
}
