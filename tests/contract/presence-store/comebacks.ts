/**
 * Attaches that a node makes by itself, and those whose answer never came: whose session it is then, and that a word
 * which comes too late does nothing.
 */
import { describe, expect } from 'vitest'
import type { Comeback, PresenceStore } from '../../../src/presence/store.ts'
import {
  type AttachDetails,
  attach,
  beat,
  connect,
  detach,
  expectNothingShown,
  goOffline,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  type Socket,
  seen,
  sessionOf,
  socketOf,
  statusOf,
  storeNowMs,
  told,
  tryAttach,
  viewerOf,
} from './harness.ts'

/** As a node does it: under a name that was never used. */
function comeBack(store: PresenceStore, was: Socket, comeback: Partial<Comeback>, details: AttachDetails = {}) {
  const socket = socketOf(was.userId, was.sessionId, was.nodeId)
  const ages = { startedForMs: 100_000, lastActiveForMs: 100_000, formerFences: [], startId: null, ...comeback }
  return { socket, answer: tryAttach(store, socket, { isActive: false, ...details, comeback: ages }) }
}

async function disown(store: PresenceStore, { userId, sessionId, fence }: Socket): Promise<void> {
  await store.detach({ userId, sessionId, fence, cause: 'ended', silentForMs: 0, isAttachUncertain: true })
}

async function expectNothingWritten(store: PresenceStore, userId: string, step: () => Promise<unknown>) {
  const before = await store.viewer(userId)
  const mark = await markOf(store)
  await expectNothingShown(store, [userId], ['hall', 'bar'], step)
  expect(await store.viewer(userId)).toEqual(before)
  expect(await mark.records()).toEqual([])
}

export function describeComebacks(rule: Rule): void {
  describe('a socket that comes back', () => {
    rule('takes a session that hangs on one of the names that it had, and shows nothing', async ({ store }) => {
      const was = await connect(store, 'alice', { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const formerFences = ['a-name-whose-attach-never-came', was.fence]
        const { socket, answer } = comeBack(store, was, { formerFences })
        expect(await answer).toMatchObject({ kind: 'attached', replacedFence: was.fence })
        expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence, leaseEndsAtMs: null })
      })
      expect(await beat(store, was)).toEqual({ kind: 'late' })
    })

    rule('never takes one that hangs on any other name', async ({ store }) => {
      const was = await connect(store, 'alice', { rooms: ['hall'] })
      await connect(store, 'alice', { sessionId: was.sessionId, nodeId: 'node-2' })
      await expectNothingWritten(store, 'alice', async () => {
        const details = { rooms: ['bar'], device: 'ghost' }
        const { answer } = comeBack(store, was, { formerFences: [was.fence], lastActiveForMs: 0 }, details)
        expect(await answer).toEqual({ kind: 'moved' })
      })
    })

    rule('goes on in the row of its start, also where the session has ended', async ({ store, pass }) => {
      const mark = await markOf(store)
      const was = socketOf('alice')
      const { startId } = await attach(store, was)
      expect((await mark.records()).flatMap(({ sessions }) => sessions)).toMatchObject([{ startId }])
      await pass(100)
      await store.end({ userId: 'alice', sessionId: was.sessionId, fence: null, reason: 'NODE_LOST' })
      const { socket, answer } = comeBack(store, was, { startId, startedForMs: 5000, lastActiveForMs: 0 })
      expect(await answer).toMatchObject({ kind: 'attached', isResumed: false, startId })
      expect(await rowOf(store, socket)).toMatchObject({ startId, endedAtMs: null, endReason: null })
    })

    rule('is a start of its own where its node never learnt the name of the last one', async ({ store }) => {
      const was = socketOf('alice')
      const { startId } = await attach(store, was)
      await goOffline(store, 'alice')
      const { answer } = comeBack(store, was, { lastActiveForMs: 0 })
      const again = await answer
      expect(again).toMatchObject({ kind: 'attached', startId: expect.any(String) })
      expect(again).not.toMatchObject({ startId })
    })

    rule('leaves a live session its rooms and its device', async ({ store }) => {
      const was = await connect(store, 'alice', { rooms: ['hall'], device: 'phone' })
      const before = await sessionOf(store, was)
      await detach(store, was, 'ended')
      await expectNothingShown(store, ['alice'], ['hall', 'bar'], async () => {
        const { socket, answer } = comeBack(store, was, {}, { rooms: ['bar'], device: 'ghost' })
        expect(await answer).toMatchObject({ kind: 'attached' })
        expect(await sessionOf(store, socket)).toEqual({ ...before, fence: socket.fence })
      })
    })

    rule('starts a session that ended with the rooms and the device that it brings', async ({ store }) => {
      const was = await connect(store, 'alice', { rooms: ['hall'], device: 'phone' })
      const first = await rowOf(store, was)
      await detach(store, was, 'silent', 1_000_000)
      expect(await isOnline(store, 'alice')).toBe(false)
      const { socket, answer } = comeBack(
        store,
        was,
        { startedForMs: 5000, lastActiveForMs: 3000 },
        { rooms: ['bar'], device: 'tablet' },
      )
      const attached = await answer
      if (attached.kind !== 'attached') throw new Error(attached.kind)
      expect(attached.session).toMatchObject({
        rooms: ['bar'],
        device: 'tablet',
        startedAtMs: attached.atMs - 5000,
        lastActiveAtMs: attached.atMs - 3000,
      })
      expect([await onlineIds(store, 'hall'), await onlineIds(store, 'bar')]).toEqual([[], ['alice']])
      expect((await rowOf(store, socket)).startId).not.toBe(first.startId)
    })

    rule('brings newer activity to a live session', { awayAfterMs: 400 }, async ({ store, pass }) => {
      const was = await connect(store, 'alice')
      await detach(store, was, 'ended')
      await pass(800)
      expect(await statusOf(store, 'alice')).toBe('AWAY')
      const mark = await markOf(store)
      const { socket, answer } = comeBack(store, was, { lastActiveForMs: 100 })
      const attached = await answer
      if (attached.kind !== 'attached') throw new Error(attached.kind)
      expect(attached.lastActiveAtMs).toBe(attached.atMs - 100)
      expect(await sessionOf(store, socket)).toMatchObject({ lastActiveAtMs: attached.atMs - 100 })
      expect(await seen(store, 'alice')).toMatchObject({ status: 'ONLINE', lastActiveAtMs: attached.atMs - 100 })
      expect(told(await mark.changes())).toEqual(['alice UPDATE'])
    })

    rule('brings no activity that is older than what is known', async ({ store, pass }) => {
      const was = await connect(store, 'alice')
      await pass(100)
      await beat(store, was)
      const before = await sessionOf(store, was)
      await detach(store, was, 'ended')
      await pass(100)
      await expectNothingShown(store, ['alice'], [], async () => {
        const { socket, answer } = comeBack(store, was, { lastActiveForMs: 150 })
        expect(await answer).toMatchObject({ kind: 'attached', lastActiveAtMs: before?.lastActiveAtMs })
        expect(await sessionOf(store, socket)).toEqual({ ...before, fence: socket.fence })
      })
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(before?.lastActiveAtMs)
    })

    rule('brings back who went offline and was active since', async ({ store, pass }) => {
      const was = await connect(store, 'alice')
      await goOffline(store, 'alice')
      await pass(300)
      const mark = await markOf(store)
      const { answer } = comeBack(store, was, { lastActiveForMs: 100 })
      expect(await answer).toMatchObject({ kind: 'attached' })
      expect(told(await mark.changes())).toEqual(['alice JOIN'])
    })

    rule('may come twice, and is one session', async ({ store }) => {
      const was = await connect(store, 'alice')
      const first = comeBack(store, was, { formerFences: [was.fence] })
      await first.answer
      const formerFences = [was.fence, first.socket.fence]
      await expectNothingShown(store, ['alice'], [], async () => {
        const { socket, answer } = comeBack(store, was, { formerFences })
        expect(await answer).toMatchObject({ kind: 'attached', replacedFence: first.socket.fence })
        expect((await viewerOf(store, 'alice')).sessions).toMatchObject([{ fence: socket.fence }])
      })
    })
  })

  describe('an attach whose answer did not come, and whose socket is gone', () => {
    rule('is refused where it comes after its detach, and writes nothing', async ({ store }) => {
      const socket = socketOf('alice')
      await disown(store, socket)
      const truth = { position: await store.changes.position(), records: await store.records.read(0, 10) }
      expect(await tryAttach(store, socket, { rooms: ['hall'] })).toEqual({ kind: 'moved' })
      expect(await store.lookup(['alice'])).toEqual([null])
      expect(await store.viewer('alice')).toBeNull()
      expect(await onlineIds(store, 'hall')).toEqual([])
      expect(truth).toEqual({ position: await store.changes.position(), records: await store.records.read(0, 10) })
    })

    rule('is refused beside other sessions of the user, and as a comeback', async ({ store }) => {
      await connect(store, 'alice')
      const socket = socketOf('alice')
      await disown(store, socket)
      await expectNothingWritten(store, 'alice', async () => {
        expect(await tryAttach(store, socket, { rooms: ['hall'] })).toEqual({ kind: 'moved' })
        const comeback = { startedForMs: 0, lastActiveForMs: 0, formerFences: [], startId: null }
        expect(await tryAttach(store, socket, { comeback })).toEqual({ kind: 'moved' })
      })
    })

    rule('takes no session from the socket on which it hangs', async ({ store }) => {
      const held = await connect(store, 'alice', { rooms: ['hall'] })
      const socket = socketOf('alice', held.sessionId)
      await expectNothingWritten(store, 'alice', async () => {
        await disown(store, socket)
        expect(await tryAttach(store, socket, { rooms: ['bar'] })).toEqual({ kind: 'moved' })
      })
      expect(await sessionOf(store, held)).toMatchObject({ fence: held.fence, rooms: ['hall'] })
    })

    rule('that took effect leaves its session the grace, and cannot be repeated', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const nowMs = await storeNowMs(store)
      await disown(store, socket)
      const left = await sessionOf(store, socket)
      expect(left).toMatchObject({ fence: null })
      expect(Number(left?.leaseEndsAtMs)).toBeGreaterThanOrEqual(nowMs + 600_000)
      await expectNothingWritten(store, 'alice', async () => {
        expect(await tryAttach(store, socket)).toEqual({ kind: 'moved' })
      })
    })

    rule('does not stand in the way of the next socket of its client', async ({ store }) => {
      const socket = socketOf('alice')
      await disown(store, socket)
      const next = await connect(store, 'alice', { sessionId: socket.sessionId })
      expect(await sessionOf(store, next)).toMatchObject({ fence: next.fence })
      // Told once more, as after an outage.
      await expectNothingWritten(store, 'alice', () => disown(store, socket))
    })
  })

  describe('the answer to an attach', () => {
    rule("tells the store's moment of it, also of a session that is live", async ({ store, pass }) => {
      const socket = socketOf('alice')
      const steps: (() => Promise<unknown>)[] = []
      let atMs = 0
      steps.push(async () => {
        const started = await attach(store, socket)
        atMs = started.atMs
        expect(started.session?.startedAtMs).toBe(atMs)
      })
      steps.push(async () => {
        const again = await attach(store, socketOf('alice', socket.sessionId))
        expect(again.session?.startedAtMs).toBeLessThan(again.atMs)
        atMs = again.atMs
      })
      // Over HTTP, for the user alone.
      steps.push(async () => {
        const alone = await tryAttach(store, { userId: 'alice', sessionId: null, fence: null, nodeId: null })
        if (alone.kind !== 'attached') throw new Error(alone.kind)
        atMs = alone.atMs
      })
      for (const step of steps) {
        await pass(100)
        const beforeMs = await storeNowMs(store)
        await step()
        expect(atMs).toBeGreaterThanOrEqual(beforeMs)
        expect(atMs).toBeLessThanOrEqual(await storeNowMs(store))
      }
    })
  })
}
