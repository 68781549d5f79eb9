/** A node that stops: its lease, and the activity that nobody would record any more. */
import { describe, expect } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import {
  beat,
  beatOverHttp,
  connect,
  detach,
  HIDDEN,
  isOnline,
  markOf,
  type Rule,
  rowOf,
  rowsOf,
  SETTLE_MS,
  seedOf,
  seen,
  sessionOf,
  viewerOf,
} from './harness.ts'

const MINUTE_MS = 60_000

async function endNode(store: PresenceStore, nodeId: string, limit = 100): Promise<number> {
  let total = 0
  for (let hasMore = true; hasMore; ) {
    const answer = await store.endNode(nodeId, limit)
    expect(answer.count).toBeLessThanOrEqual(limit)
    total += answer.count
    hasMore = answer.hasMore
  }
  return total
}

export function describeStops(rule: Rule): void {
  describe('a node that stops', () => {
    rule(
      'as the last one records activity before its time',
      { lastActiveFlushMs: MINUTE_MS },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await beatOverHttp(store, 'bob')
        await pass(SETTLE_MS)
        const mark = await markOf(store)
        await beat(store, socket)
        await beatOverHttp(store, 'bob')
        expect(await mark.records()).toEqual([])
        const { lastActiveAtMs } = await viewerOf(store, 'alice')

        await detach(store, socket, 'ended')
        expect(await endNode(store, 'node-1')).toBe(2)
        const records = await mark.records()
        expect(records.map(({ userId }) => userId).sort()).toEqual(['alice', 'bob'])
        expect(records.find(({ userId }) => userId === 'alice')?.columns).toMatchObject({
          isOnline: true,
          lastActiveAtMs,
        })
        expect(rowsOf(records, 'alice')).toMatchObject([{ lastActiveAtMs, endedAtMs: null }])
        expect(await mark.changes()).toEqual([])
        expect(await isOnline(store, 'alice')).toBe(true)
      },
    )

    rule('records it once, and nothing where nothing waits', { lastActiveFlushMs: 200 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await connect(store, 'bob', { isActive: false })
      await pass(400)
      await beat(store, socket)
      const mark = await markOf(store)
      expect(await endNode(store, 'node-1')).toBe(1)
      expect(await endNode(store, 'node-1')).toBe(0)
      await pass(600)
      expect(await mark.records()).toHaveLength(1)
      // Its socket was taken from it: over HTTP it goes on.
      await beatOverHttp(store, 'alice', socket.sessionId)
      await pass(400)
      expect(await mark.records()).toHaveLength(2)
    })

    rule('tells of who hides no more than before', { lastActiveFlushMs: MINUTE_MS }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { seed: seedOf(HIDDEN) })
      const shown = (await seen(store, 'alice'))?.lastActiveAtMs
      await pass(SETTLE_MS)
      await beat(store, socket)
      const mark = await markOf(store)
      await endNode(store, 'node-1')
      expect(await mark.records()).toMatchObject([
        { columns: { isOnline: false, onlineSinceMs: null, lastActiveAtMs: shown } },
      ])
      const { lastActiveAtMs } = await viewerOf(store, 'alice')
      expect(await rowOf(store, socket)).toMatchObject({ lastActiveAtMs })
    })

    rule('works in pieces, and forgets nobody', { lastActiveFlushMs: MINUTE_MS }, async ({ store, pass }) => {
      const userIds = Array.from({ length: 23 }, (_, index) => `user-${index}`)
      // Some have something else that is due as soon.
      for (const [index, userId] of userIds.entries()) {
        const socket = await connect(store, userId)
        await beat(store, socket)
        if (index % 3 === 0) await store.detach({ ...socket, cause: 'closed', silentForMs: 0 })
      }
      await pass(SETTLE_MS)
      const mark = await markOf(store)
      expect(await endNode(store, 'node-1', 4)).toBe(userIds.length)
      expect((await mark.records()).map(({ userId }) => userId).sort()).toEqual([...userIds].sort())
    })

    rule(
      'leaves it to the sweep of another one whose lease holds',
      { lastActiveFlushMs: 300 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await connect(store, 'bob', { nodeId: 'node-2' })
        await pass(500)
        await beat(store, socket)
        const mark = await markOf(store)
        expect(await endNode(store, 'node-1')).toBe(0)
        expect(await mark.records()).toEqual([])
        await pass(500)
        expect((await mark.records()).map(({ userId }) => userId)).toEqual(['alice'])
      },
    )

    rule(
      'is the last one also where others stop at the same time',
      { lastActiveFlushMs: MINUTE_MS },
      async ({ store }) => {
        const nodeIds = ['node-1', 'node-2', 'node-3']
        for (const nodeId of nodeIds) await beat(store, await connect(store, `user-of-${nodeId}`, { nodeId }))
        const mark = await markOf(store)
        const counts = []
        for (const nodeId of nodeIds) counts.push(await endNode(store, nodeId))
        expect(counts).toEqual([0, 0, 3])
        expect(await mark.records()).toHaveLength(3)
      },
    )

    rule(
      'is the last one where the others died',
      { lastActiveFlushMs: MINUTE_MS, nodeTtlMs: 400 },
      async ({ store, pass }) => {
        await beat(store, await connect(store, 'alice', { nodeId: 'node-1' }))
        await beat(store, await connect(store, 'bob', { nodeId: 'node-2' }))
        await pass(600, { renewing: ['node-2'] })
        expect(await endNode(store, 'node-2')).toBe(2)
      },
    )

    rule('is reaped at once where it left sessions on its sockets', async ({ store, pass }) => {
      const left = await connect(store, 'alice')
      const other = await connect(store, 'bob', { nodeId: 'node-2' })
      await endNode(store, 'node-1')
      await pass(100)
      expect(await sessionOf(store, left)).toMatchObject({ fence: null })
      expect(await sessionOf(store, other)).toMatchObject({ fence: other.fence })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('and is not known succeeds', async ({ store }) => {
      expect(await endNode(store, 'node-9')).toBe(0)
    })
  })
}
