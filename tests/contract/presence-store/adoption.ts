import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  adoptedUser,
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  HIDDEN,
  isOnline,
  markOf,
  onlineIds,
  openRow,
  type Rule,
  rowOf,
  seedOf,
  seen,
  sessionOf,
  socketOf,
  storeNowMs,
  told,
  VISIBLE,
  viewerOf,
} from './harness.ts'

export function describeAdoption(rule: Rule): void {
  describe('sessions that an earlier run left open', () => {
    const GRACES = { reconnectGraceMs: 300, sessionTtlMs: 900 }

    rule('are online from the start, as they were', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const row = openRow(nowMs)
      const mark = await markOf(store)
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [row] })])
      expect(await seen(store, 'alice')).toMatchObject({
        isOnline: true,
        status: 'ONLINE',
        onlineSinceMs: nowMs - 9000,
        lastActiveAtMs: nowMs - 2000,
      })
      expect(await onlineIds(store, 'hall')).toEqual(['alice'])
      expect((await viewerOf(store, 'alice')).sessions).toMatchObject([
        { id: row.sessionId, device: 'phone', rooms: ['hall'], startedAtMs: row.startedAtMs, fence: null },
      ])
      // Whoever read the list before it learns of it.
      expect(told(await mark.changes())).toEqual(['alice JOIN'])
    })

    rule('that had a socket stay for RECONNECT_GRACE, the others for SESSION_TTL', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const [tab, program] = [openRow(nowMs), openRow(nowMs, { hadSocket: false, nodeId: null })]
      await store.adopt([
        adoptedUser('alice', nowMs, { sessions: [tab] }),
        adoptedUser('bob', nowMs, { sessions: [program] }),
      ])
      await pass(100)
      expect(await onlineIds(store)).toEqual(['alice', 'bob'])
      await pass(400)
      expect(await onlineIds(store)).toEqual(['bob'])
      await pass(700)
      expect(await onlineIds(store)).toEqual([])
      const ended = { endReason: 'SERVER_RESTART', endedAtMs: nowMs - 2000, lastActiveAtMs: nowMs - 2000 }
      expect(await rowOf(store, { userId: 'alice', ...tab })).toMatchObject({ startId: tab.startId, ...ended })
      expect(await rowOf(store, { userId: 'bob', ...program })).toMatchObject({ startId: program.startId, ...ended })
    })

    rule('whose client is back in time show nothing, and are the same start', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const row = openRow(nowMs)
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [row] })])
      const socket = socketOf('alice', row.sessionId)
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const answer = await attach(store, socket)
        expect(answer.session).toMatchObject({ startedAtMs: row.startedAtMs, rooms: ['hall'] })
        await pass(600)
      })
      expect(await rowOf(store, socket)).toMatchObject({ startId: row.startId, nodeId: 'node-1', endedAtMs: null })
      await detach(store, socket, 'silent', 1000)
      expect(await rowOf(store, socket)).toMatchObject({ startId: row.startId, endReason: 'LOST' })
    })

    rule('over HTTP go on with the next heartbeat, and then end as any other', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const row = openRow(nowMs, { hadSocket: false, nodeId: null })
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [row] })])
      await pass(200)
      await beatOverHttp(store, 'alice', row.sessionId)
      await pass(750)
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(400)
      expect(await rowOf(store, { userId: 'alice', ...row })).toMatchObject({
        startId: row.startId,
        endReason: 'EXPIRED',
      })
    })

    rule('of who is hidden stay hidden', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const seed = seedOf(HIDDEN, { lastActiveAtMs: nowMs - 2000, shownLastActiveAtMs: nowMs - 50_000 })
      const position = await store.changes.position()
      await store.adopt([adoptedUser('alice', nowMs, { seed, onlineSinceMs: null, sessions: [openRow(nowMs)] })])
      expect(await store.changes.position()).toEqual(position)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, lastActiveAtMs: nowMs - 50_000 })
      expect(await viewerOf(store, 'alice')).toMatchObject({ isOnline: true, lastActiveAtMs: nowMs - 2000 })
    })

    rule('of who was idle stay idle, until they are active', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const seed = seedOf(VISIBLE, { lastActiveAtMs: nowMs - 1_300_000, shownLastActiveAtMs: nowMs - 1_300_000 })
      const row = openRow(nowMs, { lastActiveAtMs: nowMs - 1_300_000 })
      await store.adopt([adoptedUser('alice', nowMs, { seed, onlineSinceMs: null, sessions: [row] })])
      expect(await isOnline(store, 'alice')).toBe(false)
      const socket = await connect(store, 'alice', { sessionId: row.sessionId })
      expect(await isOnline(store, 'alice')).toBe(false)
      await beat(store, socket)
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('that are live already stay as they are', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      const socket = await connect(store, 'alice', { rooms: ['bar'] })
      const before = await sessionOf(store, socket)
      await expectNothingShown(store, ['alice'], ['bar', 'hall'], async () => {
        await store.adopt([
          adoptedUser('alice', nowMs, { sessions: [openRow(nowMs, { sessionId: socket.sessionId })] }),
        ])
        await pass(600)
      })
      expect(await sessionOf(store, socket)).toEqual(before)
    })

    rule('are asked for no more when all of them have been adopted', GRACES, async ({ store, pass }) => {
      await store.adopted()
      for (const nodeId of ['node-1', 'node-2']) {
        const renewal = { nodeId, seenLossCount: 0, seenDismissalCount: null, isReturning: false }
        expect(await store.renewNode(renewal)).toMatchObject({ mustAdopt: false })
        await pass(100)
        await store.adopted()
        expect(await store.renewNode(renewal)).toMatchObject({ mustAdopt: false })
      }
    })

    rule('bring what their user chose since, and nothing that is older', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      await connect(store, 'alice', { seed: seedOf({ ...VISIBLE, version: 2 }) })
      const chosen = (version: number, statusChoice: 'BUSY' | 'AWAY') =>
        adoptedUser('alice', nowMs, { seed: seedOf({ ...VISIBLE, version, statusChoice }) })
      await store.adopt([chosen(3, 'BUSY')])
      expect(await seen(store, 'alice')).toMatchObject({ status: 'BUSY' })
      await store.adopt([chosen(2, 'AWAY')])
      expect(await seen(store, 'alice')).toMatchObject({ status: 'BUSY' })
    })

    rule('and the rows of which have ended end nothing that is live', GRACES, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      expect(await store.inherited(10)).toEqual([])
      const socket = await connect(store, 'alice', { rooms: ['bar'] })
      const { startId, startedAtMs } = await rowOf(store, socket)
      const ended = openRow(nowMs, { endedAtMs: nowMs - 1000, endReason: 'WENT_OFFLINE' })
      await expectNothingShown(store, ['alice', 'bob'], ['bar', 'hall'], async () => {
        await store.adopt([
          adoptedUser('alice', nowMs, {
            sessions: [{ ...ended, startId: randomUUID() }],
            tokensValidAfterMs: startedAtMs,
          }),
        ])
        await pass(600)
      })
      expect(await rowOf(store, socket)).toMatchObject({ startId, endedAtMs: null })
      await store.adopt([adoptedUser('bob', nowMs, { sessions: [ended] })])
      expect(await isOnline(store, 'bob')).toBe(false)
      expect((await viewerOf(store, 'bob')).sessions).toEqual([])
    })

    rule('may be told twice', GRACES, async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const users = [adoptedUser('alice', nowMs, { sessions: [openRow(nowMs), openRow(nowMs)] })]
      await store.adopt(users)
      await expectNothingShown(store, ['alice'], ['hall'], () => store.adopt(users))
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(2)
    })
  })
}
