/** Rule 7: heartbeats, and what they prove. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { DEFAULT_SESSION_ID } from '../../../src/presence/bounds.ts'
import type { Beat } from '../../../src/presence/store.ts'
import {
  adoptedUser,
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  SETTLE_MS,
  seen,
  sendBeat,
  sessionOf,
  storeNowMs,
  told,
  tryAttach,
  viewerOf,
} from './harness.ts'

export function describeHeartbeats(rule: Rule): void {
  describe('a heartbeat over HTTP', () => {
    rule('starts nothing where there is no such session, and says so', async ({ store }) => {
      const mark = await markOf(store)
      expect(await sendBeat(store, { userId: 'alice', sessionId: randomUUID(), fence: null })).toEqual({
        kind: 'unknown',
      })
      expect(await sendBeat(store, { userId: 'alice', sessionId: null, fence: null })).toEqual({ kind: 'unknown' })
      expect(await mark.records()).toEqual([])
      expect(await store.viewer('alice')).toBeNull()
    })

    rule('renews the lease of its session', { sessionTtlMs: 500 }, async ({ store, pass }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      for (let count = 0; count < 4; count += 1) {
        await pass(200)
        expect(await sendBeat(store, { userId: 'alice', sessionId, fence: null })).toMatchObject({
          kind: 'counted',
          session: { id: sessionId, fence: null },
        })
      }
      expect(await isOnline(store, 'alice')).toBe(true)
      await pass(600)
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('renews it without activity too', { sessionTtlMs: 500 }, async ({ store, pass }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      const lastActiveAtMs = (await seen(store, 'alice'))?.lastActiveAtMs
      for (let count = 0; count < 3; count += 1) {
        await pass(200)
        const answer = await sendBeat(store, { userId: 'alice', sessionId, fence: null, isActive: false })
        expect(answer).toMatchObject({ kind: 'counted', lastActiveAtMs })
      }
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: true, lastActiveAtMs })
    })

    rule('renews SESSION_TTL from now, by its own answer', { sessionTtlMs: 5000 }, async ({ store, pass }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      await pass(SETTLE_MS)
      const answer = await sendBeat(store, { userId: 'alice', sessionId, fence: null })
      if (answer.kind !== 'counted') throw new Error(answer.kind)
      expect(Number(answer.session?.leaseEndsAtMs) - Number(answer.lastActiveAtMs)).toBe(5000)
      expect(answer.session?.lastActiveAtMs).toBe(answer.lastActiveAtMs)
    })

    rule(
      'keeps a session alive that lost its socket, beyond the grace',
      { closeGraceMs: 100, sessionTtlMs: 500 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await detach(store, socket)
        await sendBeat(store, { userId: 'alice', sessionId: socket.sessionId, fence: null })
        await pass(300)
        expect(await isOnline(store, 'alice')).toBe(true)
        await pass(400)
        expect(await isOnline(store, 'alice')).toBe(false)
        expect(await rowOf(store, socket)).toMatchObject({ endReason: 'EXPIRED', hadSocket: true })
      },
    )

    rule('for a session that a socket holds counts activity only', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(SETTLE_MS)
      const answer = await sendBeat(store, {
        userId: 'alice',
        sessionId: socket.sessionId,
        fence: null,
        rooms: ['hall'],
      })
      expect(answer).toMatchObject({ session: { fence: socket.fence, leaseEndsAtMs: null, rooms: ['hall'] } })
      await detach(store, socket)
      await pass(300)
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('is activity of the user, and no change', async ({ store, pass }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      const before = await seen(store, 'alice')
      const position = await store.changes.position()
      await pass(SETTLE_MS)
      await beatOverHttp(store, 'alice', sessionId)
      const after = await seen(store, 'alice')
      expect(Number(after?.lastActiveAtMs)).toBeGreaterThan(Number(before?.lastActiveAtMs))
      expect({ ...after, lastActiveAtMs: null }).toEqual({ ...before, lastActiveAtMs: null })
      expect(await store.changes.position()).toEqual(position)
    })

    rule('brings rooms and a device where it names them, and keeps them else', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId, { rooms: ['hall'], device: 'phone' })
      await beatOverHttp(store, 'alice', sessionId)
      expect(await sessionOf(store, { userId: 'alice', sessionId })).toMatchObject({ rooms: ['hall'], device: 'phone' })

      const mark = await markOf(store)
      await beatOverHttp(store, 'alice', sessionId, { rooms: ['bar'], device: null })
      expect(await sessionOf(store, { userId: 'alice', sessionId })).toMatchObject({ rooms: ['bar'], device: null })
      const entries = await mark.changes()
      expect(entries.map(({ before, after }) => [...before.rooms, ...after.rooms])).toEqual([['hall', 'bar']])
    })

    rule('that comes twice at once starts one session', async ({ store }) => {
      const who = { userId: 'alice', sessionId: randomUUID(), fence: null, nodeId: null }
      const mark = await markOf(store)
      const answers = await Promise.all([tryAttach(store, who), tryAttach(store, who)])
      expect(answers).toMatchObject([{ kind: 'attached' }, { kind: 'attached' }])
      expect(told(await mark.changes())).toEqual(['alice JOIN'])
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })
  })

  describe('a heartbeat over HTTP without a session id', () => {
    rule('is session `default` where the user has no other', async ({ store }) => {
      expect(await beatOverHttp(store, 'alice')).toMatchObject({ id: DEFAULT_SESSION_ID, fence: null })
      expect(await beatOverHttp(store, 'alice')).toMatchObject({ id: DEFAULT_SESSION_ID })
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })

    rule('is session `default` beside sessions that live by HTTP', async ({ store }) => {
      await beatOverHttp(store, 'alice', randomUUID())
      expect(await beatOverHttp(store, 'alice')).toMatchObject({ id: DEFAULT_SESSION_ID })
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(2)
    })

    rule('counts for the user alone where a session hangs on a socket', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const before = await seen(store, 'alice')
      await pass(SETTLE_MS)
      const answer = await sendBeat(store, {
        userId: 'alice',
        sessionId: null,
        fence: null,
        rooms: ['hall'],
        device: 'x',
      })
      expect(answer).toMatchObject({ kind: 'counted', session: null })
      expect(Number((await seen(store, 'alice'))?.lastActiveAtMs)).toBeGreaterThan(Number(before?.lastActiveAtMs))
      expect(await viewerOf(store, 'alice')).toMatchObject({
        sessions: [{ id: socket.sessionId, rooms: [], device: null, lastActiveAtMs: before?.lastActiveAtMs }],
      })
      expect(await onlineIds(store, 'hall')).toEqual([])
    })

    rule('counts for the user alone where a session is in the grace after a socket', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      const leaseEndsAtMs = (await sessionOf(store, socket))?.leaseEndsAtMs
      await pass(SETTLE_MS)
      expect(await beatOverHttp(store, 'alice')).toBeNull()
      const { sessions } = await viewerOf(store, 'alice')
      expect(sessions).toMatchObject([{ id: socket.sessionId, leaseEndsAtMs }])
    })

    rule('is session `default` beside one that had a socket and lives by HTTP now', async ({ store }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      await beatOverHttp(store, 'alice', socket.sessionId)
      expect(await beatOverHttp(store, 'alice')).toMatchObject({ id: DEFAULT_SESSION_ID })
    })

    rule(
      'leaves no ghost: the tab that closes takes its user along',
      { closeGraceMs: 100 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        await beatOverHttp(store, 'alice')
        await detach(store, socket)
        await beatOverHttp(store, 'alice')
        await pass(300)
        expect(await isOnline(store, 'alice')).toBe(false)
      },
    )

    rule('is session `default` again once the grace is over', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      await pass(300)
      expect(await beatOverHttp(store, 'alice')).toMatchObject({ id: DEFAULT_SESSION_ID })
    })

    rule('counts for the user alone where a restart took their socket', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const sessionId = randomUUID()
      const row = {
        startId: randomUUID(),
        sessionId,
        device: null,
        rooms: [],
        nodeId: 'node-0',
        hadSocket: true,
        startedAtMs: nowMs - 9000,
        lastActiveAtMs: nowMs - 2000,
        endedAtMs: null,
        endReason: null,
      }
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [row] })])
      expect(await sendBeat(store, { userId: 'alice', sessionId: null, fence: null })).toMatchObject({
        kind: 'counted',
        session: null,
      })
    })

    rule('counts for the user alone also where the socket came between its beat and its attach', async ({ store }) => {
      await connect(store, 'alice')
      const answer = await tryAttach(store, { userId: 'alice', sessionId: null, fence: null, nodeId: null })
      expect(answer).toMatchObject({ kind: 'attached', session: null, replacedFence: null })
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })

    rule('with `active: false` where a socket is there proves nothing about the user', async ({ store, pass }) => {
      await connect(store, 'alice')
      const before = await seen(store, 'alice')
      await pass(SETTLE_MS)
      const answer = await sendBeat(store, { userId: 'alice', sessionId: null, fence: null, isActive: false })
      expect(answer).toEqual({ kind: 'counted', session: null, lastActiveAtMs: before?.lastActiveAtMs })
      expect(await seen(store, 'alice')).toEqual(before)
    })
  })

  describe('a heartbeat of a socket', () => {
    rule('counts activity of its session and of its user', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const before = await seen(store, 'alice')
      await pass(SETTLE_MS)
      const answer = await beat(store, socket)
      if (answer.kind !== 'counted') throw new Error(answer.kind)
      expect(Number(answer.lastActiveAtMs)).toBeGreaterThan(Number(before?.lastActiveAtMs))
      expect(answer.session).toMatchObject({ lastActiveAtMs: answer.lastActiveAtMs, leaseEndsAtMs: null })
      expect((await seen(store, 'alice'))?.lastActiveAtMs).toBe(answer.lastActiveAtMs)
    })

    rule('with `active: false` counts no activity', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const before = await viewerOf(store, 'alice')
      await pass(SETTLE_MS)
      expect(await beat(store, socket, { isActive: false })).toMatchObject({ lastActiveAtMs: before.lastActiveAtMs })
      expect(await viewerOf(store, 'alice')).toEqual(before)
    })

    rule('many at once are counted in order, each for itself', async ({ store }) => {
      const alice = await connect(store, 'alice')
      const old = await connect(store, 'bob')
      const bob = await connect(store, 'bob', { sessionId: old.sessionId })
      const one = { isActive: true, profile: null }
      const beats: Beat[] = [
        { ...one, userId: 'bob', sessionId: old.sessionId, fence: old.fence },
        { ...one, userId: 'carol', sessionId: randomUUID(), fence: null },
        { ...one, userId: 'alice', sessionId: alice.sessionId, fence: alice.fence },
        { ...one, userId: 'bob', sessionId: bob.sessionId, fence: bob.fence },
        { ...one, userId: 'alice', sessionId: alice.sessionId, fence: alice.fence, rooms: ['hall'] },
      ]
      const answers = await Promise.all(beats.map((beat) => store.beat(beat)))
      expect(answers.map(({ kind }) => kind)).toEqual(['late', 'unknown', 'counted', 'counted', 'counted'])
      expect(answers[4]).toMatchObject({ session: { id: alice.sessionId, rooms: ['hall'] } })
    })

    rule('whose session ended starts it again only where it is active', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await store.end({ ...socket, reason: 'WENT_OFFLINE' })
      expect(await beat(store, socket, { isActive: false })).toEqual({ kind: 'unknown' })
      expect(await beat(store, socket)).toEqual({ kind: 'unknown' })
      expect(await isOnline(store, 'alice')).toBe(false)

      const before = await rowOf(store, socket)
      const mark = await markOf(store)
      const answer = await attach(store, socket)
      expect(answer).toMatchObject({ replacedFence: null, session: { fence: socket.fence, rooms: [] } })
      expect(told(await mark.changes())).toEqual(['alice JOIN'])
      expect((await rowOf(store, socket)).startId).not.toBe(before.startId)
    })
  })
}
