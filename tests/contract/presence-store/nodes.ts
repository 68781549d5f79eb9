/** Nodes and their leases, and the sweep: rule 5 for a dead node, and rule 10. */
import { describe, expect } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
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
  renewNode,
  rowOf,
  SETTLE_MS,
  seen,
  sessionOf,
  storeNowMs,
  told,
  tryAttach,
  viewerOf,
} from './harness.ts'

async function lossesOf(store: PresenceStore, nodeId: string, seenLossCount = 0) {
  return store.renewNode({ nodeId, seenLossCount, seenDismissalCount: null, isReturning: false })
}

export function describeNodes(rule: Rule): void {
  describe('a node', () => {
    const NODE = { nodeTtlMs: 400, reconnectGraceMs: 400 }

    rule('that renews its lease keeps its sockets', NODE, async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(1500, { renewing: ['node-1'] })
      expect(await isOnline(store, 'alice')).toBe(true)
      expect(await lossesOf(store, 'node-1')).toMatchObject({ losses: [] })
    })

    rule('lives for NODE_TTL by an attach', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(250)
      await connect(store, 'bob')
      await pass(250)
      expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence })
    })

    rule(
      'that died leaves its sessions the whole RECONNECT_GRACE, and shows nothing yet',
      NODE,
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice', { rooms: ['hall'] })
        const other = await connect(store, 'bob', { nodeId: 'node-2' })
        await expectNothingShown(store, ['alice', 'bob'], ['hall'], () => pass(600, { renewing: ['node-2'] }))
        expect(await sessionOf(store, socket)).toMatchObject({ fence: null })
        expect(await sessionOf(store, other)).toMatchObject({ fence: other.fence })

        const mark = await markOf(store)
        await pass(500, { renewing: ['node-2'] })
        expect(told(await mark.changes())).toEqual(['alice LEAVE'])
        expect(await rowOf(store, socket)).toMatchObject({ endReason: 'NODE_LOST', nodeId: 'node-1' })
      },
    )

    rule('is reaped in pieces', { nodeTtlMs: 400 }, async ({ store, pass }) => {
      for (const userId of ['a', 'b', 'c', 'd', 'e']) await connect(store, userId)
      // No step of this is so late that it would judge nobody.
      await pass(300)
      await pass(300, { isStalled: true })
      await store.sweep(1000)
      const counts: number[] = []
      for (;;) {
        const { count, hasMore } = await store.reapNodes(2)
        expect(count).toBeLessThanOrEqual(2)
        counts.push(count)
        if (!hasMore) break
      }
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(5)
      expect(await store.reapNodes(2)).toMatchObject({ count: 0, hasMore: false })
      for (const userId of ['a', 'b', 'c', 'd', 'e']) {
        expect((await viewerOf(store, userId)).sessions).toMatchObject([{ fence: null }])
      }
    })

    rule(
      'is told what it lost while it was away, until it has seen it',
      { ...NODE, reconnectGraceMs: 600_000 },
      async ({ store, pass }) => {
        const alice = await connect(store, 'alice')
        const bob = await connect(store, 'bob')
        await pass(700)
        const first = await lossesOf(store, 'node-1')
        const told = first.losses.map(({ fence, cause }) => `${cause} ${fence}`)
        expect([...told].sort()).toEqual([`reaped ${alice.fence}`, `reaped ${bob.fence}`].sort())

        expect(await lossesOf(store, 'node-1')).toEqual(first)
        expect(await lossesOf(store, 'node-1', first.lossCount)).toMatchObject({
          losses: [],
          lossCount: first.lossCount,
        })
      },
    )

    rule('is told what was replaced or ended elsewhere, oldest first', async ({ store }) => {
      const alice = await connect(store, 'alice')
      const bob = await connect(store, 'bob')
      const carol = await connect(store, 'carol')
      await connect(store, 'alice', { sessionId: alice.sessionId, nodeId: 'node-2' })
      await store.end({ userId: 'bob', sessionId: null, fence: null, reason: 'DISCONNECTED' })
      const { losses, lossCount } = await lossesOf(store, 'node-1')
      expect(losses).toEqual([
        { fence: alice.fence, cause: 'replaced' },
        { fence: bob.fence, cause: 'DISCONNECTED' },
      ])
      await goOffline(store, 'carol')
      expect((await lossesOf(store, 'node-1', lossCount)).losses).toEqual([
        { fence: carol.fence, cause: 'WENT_OFFLINE' },
      ])
      expect((await lossesOf(store, 'node-2')).losses).toEqual([])
    })

    rule('is not told of a socket that it let go itself', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      await pass(300)
      expect((await lossesOf(store, 'node-1')).losses).toEqual([])
    })

    rule('that dies takes nothing from a session whose socket closed before', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      const before = await sessionOf(store, socket)
      await pass(600)
      expect(await sessionOf(store, socket)).toEqual(before)
      expect((await lossesOf(store, 'node-1')).losses).toEqual([])
    })

    rule('that nobody knows renews like any other', async ({ store }) => {
      expect(await lossesOf(store, 'node-9')).toMatchObject({ losses: [], lossCount: 0 })
    })
  })

  describe('a node that comes back', () => {
    const NODE = { nodeTtlMs: 400, reconnectGraceMs: 5000 }
    const ages = { startedForMs: 3000, lastActiveForMs: 2000, formerFences: [], startId: null }

    rule('takes a session again that hangs on no socket, and shows nothing', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const session = await sessionOf(store, socket)
      await pass(600)
      expect(await beat(store, socket)).toEqual({ kind: 'late' })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const answer = await tryAttach(store, socket, { isActive: false, comeback: ages, rooms: ['hall'] })
        expect(answer).toMatchObject({
          kind: 'attached',
          replacedFence: null,
          session: { fence: socket.fence, startedAtMs: session?.startedAtMs, leaseEndsAtMs: null },
        })
      })
    })

    rule('may say it of a session that hangs on its very socket', NODE, async ({ store }) => {
      const socket = await connect(store, 'alice')
      await expectNothingShown(store, ['alice'], [], async () => {
        expect(await tryAttach(store, socket, { isActive: false, comeback: ages })).toMatchObject({
          kind: 'attached',
        })
      })
    })

    rule('never takes one that moved to another socket', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(600)
      const fresh = await connect(store, 'alice', { sessionId: socket.sessionId, nodeId: 'node-2' })
      const before = await viewerOf(store, 'alice')
      const mark = await markOf(store)
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const answer = await tryAttach(store, socket, { isActive: false, comeback: ages, rooms: ['hall'] })
        expect(answer).toEqual({ kind: 'moved' })
      })
      expect(await viewerOf(store, 'alice')).toEqual(before)
      expect(await mark.records()).toEqual([])
      expect(await sessionOf(store, fresh)).toMatchObject({ fence: fresh.fence })
    })

    rule(
      'brings a session that ended meanwhile its own start and activity',
      { nodeTtlMs: 300, reconnectGraceMs: 300 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await pass(900)
        expect(await isOnline(store, 'alice')).toBe(false)
        const nowMs = await storeNowMs(store)
        const mark = await markOf(store)
        await attach(store, socket, {
          isActive: false,
          comeback: { startedForMs: 900, lastActiveForMs: 100, formerFences: [], startId: null },
          rooms: ['hall'],
        })
        expect(told(await mark.changes())).toEqual(['alice JOIN'])
        expect(await onlineIds(store, 'hall')).toEqual(['alice'])
        const session = await sessionOf(store, socket)
        const isAbout = (moment: number | undefined, ageMs: number) => {
          expect(Number(moment)).toBeGreaterThanOrEqual(nowMs - ageMs)
          expect(Number(moment)).toBeLessThan(nowMs - ageMs + 80)
        }
        isAbout(session?.startedAtMs, 900)
        isAbout(session?.lastActiveAtMs, 100)
        expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(session?.lastActiveAtMs)
      },
    )

    rule('does not bring back who went offline meanwhile', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(600)
      await goOffline(store, 'alice')
      await expectNothingShown(store, ['alice'], [], async () => {
        await tryAttach(store, socket, {
          isActive: false,
          comeback: { startedForMs: 600, lastActiveForMs: 600, formerFences: [], startId: null },
        })
      })
    })

    rule('brings activity that is older than what is known, and nothing goes back', NODE, async ({ store, pass }) => {
      const old = await connect(store, 'alice')
      const other = await connect(store, 'alice', { nodeId: 'node-2' })
      await pass(SETTLE_MS)
      await beat(store, other)
      const lastActiveAtMs = (await seen(store, 'alice'))?.lastActiveAtMs
      await detach(store, old, 'silent', 100_000)
      await attach(store, old, {
        isActive: false,
        comeback: { startedForMs: 90_000, lastActiveForMs: 80_000, formerFences: [], startId: null },
      })
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: true, lastActiveAtMs })
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(lastActiveAtMs)
    })
  })

  describe('a node that is back, and not with all of its sockets yet', () => {
    const NODE = { nodeTtlMs: 400, reconnectGraceMs: 600 }
    const CUT_MS = 500

    rule('keeps a session from its end, however often it is cut off again', NODE, async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await connect(store, 'dead', { nodeId: 'node-2' })
      const mark = await markOf(store)
      await pass(CUT_MS)
      for (let contact = 0; contact < 5; contact += 1) {
        expect(await sessionOf(store, socket)).toMatchObject({ fence: null })
        // The first contact is a renewal like any other: only then it learns what it lost.
        await renewNode(store, 'node-1', contact > 0)
        await pass(CUT_MS)
      }
      expect(told(await mark.changes())).toEqual(['dead LEAVE'])
    })

    rule(
      'and dies then, leaves its sessions NODE_TTL and RECONNECT_GRACE from its last word',
      NODE,
      async ({ store, pass }) => {
        await connect(store, 'alice')
        await pass(CUT_MS)
        await renewNode(store, 'node-1')
        await pass(NODE.nodeTtlMs + NODE.reconnectGraceMs - 100)
        expect(await isOnline(store, 'alice')).toBe(true)
        await pass(200)
        expect(await isOnline(store, 'alice')).toBe(false)
      },
    )

    rule('and says then that it is, leaves what it did not bring to its grace', NODE, async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(CUT_MS)
      await renewNode(store, 'node-1')
      await pass(100, { renewing: ['node-1'], returning: ['node-1'] })
      await renewNode(store, 'node-1')
      await pass(NODE.reconnectGraceMs - 280, { renewing: ['node-1'] })
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(200, { renewing: ['node-1'] })
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('holds nothing that did not hang on it', NODE, async ({ store, pass }) => {
      await connect(store, 'dead', { nodeId: 'node-2' })
      await detach(store, await connect(store, 'closed'), 'ended')
      await connect(store, 'alice')
      const mark = await markOf(store)
      await pass(CUT_MS)
      await pass(2 * (NODE.nodeTtlMs + NODE.reconnectGraceMs), { renewing: ['node-1'], returning: ['node-1'] })
      expect([...told(await mark.changes())].sort()).toEqual(['closed LEAVE', 'dead LEAVE'])
    })

    for (const { cause, silentForMs, endsWithinMs } of [
      { cause: 'silent', silentForMs: 600, endsWithinMs: 0 },
      { cause: 'closed', silentForMs: 0, endsWithinMs: 200 },
      { cause: 'ended', silentForMs: 0, endsWithinMs: 600 },
    ] as const) {
      const timing = { ...NODE, closeGraceMs: 200 }
      rule(`may tell how its socket was lost, ${cause}, and holds it no more`, timing, async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await connect(store, 'bob')
        const away = { renewing: ['node-1'], returning: ['node-1'] }
        await pass(CUT_MS)
        await pass(700, away)
        await detach(store, socket, cause, silentForMs)
        if (endsWithinMs > 100) {
          await pass(endsWithinMs - 100, away)
          expect(await isOnline(store, 'alice')).toBe(true)
        }
        await pass(200, away)
        expect([await isOnline(store, 'alice'), await isOnline(store, 'bob')]).toEqual([false, true])
        expect(await rowOf(store, socket)).toMatchObject({ endReason: cause === 'closed' ? 'CLOSED' : 'LOST' })
      })
    }

    rule('says nothing by a fence that was old before', NODE, async ({ store, pass }) => {
      const old = await connect(store, 'alice')
      const socket = await connect(store, 'alice', { sessionId: old.sessionId })
      await pass(CUT_MS)
      const before = await sessionOf(store, socket)
      await detach(store, old, 'silent', 1_000_000)
      expect(await sessionOf(store, socket)).toEqual(before)
    })

    rule(
      'says nothing of a session that another socket has, or a heartbeat',
      { ...NODE, closeGraceMs: 100 },
      async ({ store, pass }) => {
        const moved = await connect(store, 'moved')
        const beating = await connect(store, 'beating')
        await pass(CUT_MS)
        const fresh = await connect(store, 'moved', { sessionId: moved.sessionId, nodeId: 'node-2' })
        await beatOverHttp(store, 'beating', beating.sessionId)
        const before = [await sessionOf(store, fresh), await sessionOf(store, beating)]
        for (const socket of [moved, beating]) await detach(store, socket, 'silent', 1_000_000)
        expect([await sessionOf(store, fresh), await sessionOf(store, beating)]).toEqual(before)
      },
    )
  })

  describe('the sweep', () => {
    rule(
      'does at most so much, and says whether there is more',
      { closeGraceMs: 100, lastActiveFlushMs: 600_000 },
      async ({ store, pass }) => {
        for (const userId of ['a', 'b', 'c', 'd', 'e']) await detach(store, await connect(store, userId))
        await pass(300, { isStalled: true })
        const counts: number[] = []
        for (;;) {
          const answer = await store.sweep(2)
          expect(answer.wasLate).toBe(false)
          counts.push(answer.count)
          if (!answer.hasMore) break
        }
        expect(counts.every((count) => count <= 2)).toBe(true)
        expect(await onlineIds(store)).toEqual([])
      },
    )

    rule('has nothing to do where nothing is due', async ({ store, pass }) => {
      for (const userId of ['a', 'b', 'c']) await connect(store, userId)
      await pass(600)
      expect(await store.sweep(100)).toEqual({ count: 0, hasMore: false, wasLate: false })
    })

    rule(
      'does a user in one step, whatever is due of them',
      { closeGraceMs: 100, awayAfterMs: 150 },
      async ({ store, pass }) => {
        for (const sessionId of [undefined, undefined, undefined]) {
          const details = sessionId === undefined ? {} : { sessionId }
          await detach(store, await connect(store, 'alice', { rooms: ['hall'], ...details }))
        }
        const mark = await markOf(store)
        await pass(300, { isStalled: true })
        await store.sweep(100)
        expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      },
    )

    rule(
      'that comes late itself judges nobody, and a later one does',
      { closeGraceMs: 100, idleTimeoutMs: 1000, awayAfterMs: 1000, nodeTtlMs: 1000, heartbeatIntervalMs: 200 },
      async ({ store, pass }) => {
        await detach(store, await connect(store, 'alice'))
        await connect(store, 'bob')
        await expectNothingShown(store, ['alice', 'bob'], [], async () => {
          await pass(1200, { isStalled: true })
          expect(await store.sweep(1000)).toMatchObject({ wasLate: true, count: 0 })
        })
        // Two of NODE_TTL and HEARTBEAT_INTERVAL: what a store of many nodes waits after an outage.
        await pass(2400, { renewing: ['node-1'] })
        expect(await onlineIds(store)).toEqual([])
      },
    )

    rule(
      'that comes late lets those go on who are back by then',
      { closeGraceMs: 100, nodeTtlMs: 1000, heartbeatIntervalMs: 200 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await detach(store, socket)
        const mark = await markOf(store)
        await pass(1200, { isStalled: true })
        await store.sweep(1000)
        await connect(store, 'alice', { sessionId: socket.sessionId })
        await pass(2400, { renewing: ['node-1'] })
        expect(await mark.changes()).toEqual([])
        expect(await isOnline(store, 'alice')).toBe(true)
      },
    )
  })
}
