/** Rules 1, 4 and 6: sessions, and the sockets that they hang on. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  expectNothingShown,
  isOnline,
  markOf,
  onlineIds,
  type Rule,
  rowOf,
  SETTLE_MS,
  seedOf,
  seen,
  sessionOf,
  socketOf,
  storeNowMs,
  told,
  tryAttach,
  VISIBLE,
  viewerOf,
} from './harness.ts'

export function describeSessions(rule: Rule): void {
  describe('a session', () => {
    rule('puts its user online when it starts on a socket, and the JOIN is in the log by then', async ({ store }) => {
      const mark = await markOf(store)
      const socket = socketOf('alice')
      const answer = await attach(store, socket, { rooms: ['hall'], device: 'phone' })

      const entries = await mark.changes()
      expect(told(entries)).toEqual(['alice JOIN'])
      expect(entries[0]?.before.user).toMatchObject({
        id: 'alice',
        isOnline: false,
        status: 'OFFLINE',
        onlineSinceMs: null,
      })
      expect(new Set(entries[0]?.before.rooms)).toEqual(new Set())
      expect(entries[0]?.after.user).toEqual(await seen(store, 'alice'))
      expect(new Set(entries[0]?.after.rooms)).toEqual(new Set(['hall']))
      expect(answer).toMatchObject({
        session: { id: socket.sessionId, fence: socket.fence, leaseEndsAtMs: null, device: 'phone', rooms: ['hall'] },
        replacedFence: null,
      })
      expect(await seen(store, 'alice')).toEqual({
        id: 'alice',
        name: 'alice',
        avatarUrl: null,
        isOnline: true,
        status: 'ONLINE',
        statusMessage: null,
        onlineSinceMs: answer.session?.startedAtMs,
        lastActiveAtMs: answer.lastActiveAtMs,
        lastSeenAtMs: null,
      })
    })

    rule('over HTTP has a lease of SESSION_TTL, and none on a socket', { sessionTtlMs: 5000 }, async ({ store }) => {
      const session = await beatOverHttp(store, 'alice', randomUUID())
      expect(session).toMatchObject({ fence: null, rooms: [], device: null })
      expect(Number(session?.leaseEndsAtMs) - Number(session?.startedAtMs)).toBe(5000)

      const socket = await connect(store, 'bob')
      expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence, leaseEndsAtMs: null })
    })

    rule('ends when its lease has passed, and its user leaves', { sessionTtlMs: 300 }, async ({ store, pass }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      await pass(100)
      expect(await isOnline(store, 'alice')).toBe(true)

      const mark = await markOf(store)
      await pass(300)
      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false, status: 'OFFLINE', onlineSinceMs: null })
      expect((await viewerOf(store, 'alice')).sessions).toEqual([])
      expect(await rowOf(store, { userId: 'alice', sessionId })).toMatchObject({
        endReason: 'EXPIRED',
        hadSocket: false,
      })
    })

    rule(
      'on a socket stays as long as its node lives, however quiet',
      { sessionTtlMs: 100, closeGraceMs: 100, reconnectGraceMs: 100 },
      async ({ store, pass }) => {
        await connect(store, 'alice')
        await pass(500)
        expect(await isOnline(store, 'alice')).toBe(true)
      },
    )

    rule('of one tab that closes changes nothing that others see', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const first = await connect(store, 'alice', { rooms: ['hall'] })
      const second = await connect(store, 'alice', { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        await detach(store, first)
        await pass(300)
      })
      expect((await viewerOf(store, 'alice')).sessions.map(({ id }) => id)).toEqual([second.sessionId])
    })

    rule('that starts with `active: false` is no activity, and alone puts nobody online', async ({ store }) => {
      await expectNothingShown(store, ['bob'], ['hall'], async () => {
        const answer = await attach(store, socketOf('alice'), { isActive: false, rooms: ['hall'] })
        expect(answer.session).not.toBeNull()
        expect(answer.lastActiveAtMs).toBeNull()
      })
      expect(await viewerOf(store, 'alice')).toMatchObject({ isOnline: false, status: 'OFFLINE', lastActiveAtMs: null })
    })

    rule(
      'that starts with `active: false` puts a user online who was active lately',
      { reconnectGraceMs: 100 },
      async ({ store, pass }) => {
        const first = await connect(store, 'alice')
        const lastActiveAtMs = (await seen(store, 'alice'))?.lastActiveAtMs
        await pass(SETTLE_MS)
        await detach(store, first, 'silent', 200)
        expect(await isOnline(store, 'alice')).toBe(false)

        await pass(SETTLE_MS)
        await connect(store, 'alice', { isActive: false })
        const alice = await seen(store, 'alice')
        expect(alice).toMatchObject({ isOnline: true, lastActiveAtMs })
        expect(Number(alice?.onlineSinceMs)).toBeGreaterThan(Number(lastActiveAtMs))
      },
    )

    rule('is known by user and session id together', { reconnectGraceMs: 100 }, async ({ store }) => {
      const sessionId = randomUUID()
      const alice = await connect(store, 'alice', { sessionId })
      const bob = await connect(store, 'bob', { sessionId })
      await detach(store, { ...alice, userId: 'bob' }, 'silent', 200)
      expect(await sessionOf(store, bob)).toMatchObject({ fence: bob.fence })
      expect(await onlineIds(store)).toEqual(['alice', 'bob'])
    })
  })

  describe('a socket that attaches a live session again', () => {
    rule('shows nothing to anyone, and is no activity', async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'], device: 'phone' })
      await pass(SETTLE_MS)
      await detach(store, socket)
      await pass(SETTLE_MS)
      const again = socketOf('alice', socket.sessionId, 'node-2')
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const answer = await attach(store, again)
        expect(answer).toMatchObject({
          replacedFence: null,
          session: { fence: again.fence, leaseEndsAtMs: null, rooms: ['hall'], device: 'phone' },
        })
        expect(answer.session?.startedAtMs).toBe(answer.lastActiveAtMs)
      })
    })

    rule('keeps it alive beyond the grace that it was in', { closeGraceMs: 150 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await detach(store, socket)
      await connect(store, 'alice', { sessionId: socket.sessionId })
      await pass(400)
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('brings rooms and a device where it names them', async ({ store }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall', 'bar'], device: 'phone' })
      const mark = await markOf(store)
      await connect(store, 'alice', { sessionId: socket.sessionId, rooms: ['bar', 'attic'], device: null })

      const [entry, ...others] = await mark.changes()
      expect(others).toEqual([])
      expect(new Set(entry?.before.rooms)).toEqual(new Set(['hall', 'bar']))
      expect(new Set(entry?.after.rooms)).toEqual(new Set(['bar', 'attic']))
      expect(await sessionOf(store, socket)).toMatchObject({ device: null })
    })

    rule('replaces the one that held it, and learns which', async ({ store }) => {
      const old = await connect(store, 'alice')
      const fresh = socketOf('alice', old.sessionId)
      await expectNothingShown(store, ['alice'], [], async () => {
        expect(await attach(store, fresh)).toMatchObject({ replacedFence: old.fence, session: { fence: fresh.fence } })
      })
    })

    rule('may ask twice, and the second call has no second effect', async ({ store }) => {
      const socket = socketOf('alice')
      const first = await attach(store, socket, { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const second = await attach(store, socket, { rooms: ['hall'] })
        expect(second.replacedFence).toBeNull()
        expect(second.session?.startedAtMs).toBe(first.session?.startedAtMs)
      })
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })
  })

  describe('over SESSIONS_PER_USER', () => {
    const TWO = { sessionsPerUser: 2, sessionTtlMs: 60_000, closeGraceMs: 5000 }

    rule('the session whose lease ends first gives way', TWO, async ({ store, pass }) => {
      const [first, second] = [randomUUID(), randomUUID()]
      await beatOverHttp(store, 'alice', first, { rooms: ['hall'] })
      await pass(SETTLE_MS)
      await beatOverHttp(store, 'alice', second)
      await pass(SETTLE_MS)
      const third = await connect(store, 'alice')

      const { sessions } = await viewerOf(store, 'alice')
      expect(sessions.map(({ id }) => id).sort()).toEqual([second, third.sessionId].sort())
      expect(await onlineIds(store, 'hall')).toEqual([])
      expect(await rowOf(store, { userId: 'alice', sessionId: first })).toMatchObject({ endReason: 'DISPLACED' })
    })

    rule('a session in its grace gives way before one with a longer lease', TWO, async ({ store }) => {
      const closed = await connect(store, 'alice')
      const overHttp = randomUUID()
      await beatOverHttp(store, 'alice', overHttp)
      await detach(store, closed)
      const third = await connect(store, 'alice')
      const { sessions } = await viewerOf(store, 'alice')
      expect(sessions.map(({ id }) => id).sort()).toEqual([overHttp, third.sessionId].sort())
      expect(await rowOf(store, closed)).toMatchObject({ endReason: 'DISPLACED' })
    })

    rule('giving way is no leave of a user who goes on', TWO, async ({ store }) => {
      await beatOverHttp(store, 'alice', randomUUID())
      await beatOverHttp(store, 'alice', randomUUID())
      await expectNothingShown(store, ['bob'], [], () => connect(store, 'alice', { isActive: false }))
    })

    rule('nothing is written where all have sockets', TWO, async ({ store }) => {
      await connect(store, 'alice')
      await connect(store, 'alice')
      const mark = await markOf(store)
      const before = await viewerOf(store, 'alice')
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        expect(await tryAttach(store, socketOf('alice'), { rooms: ['hall'] })).toEqual({ kind: 'full' })
        const overHttp = { userId: 'alice', sessionId: randomUUID(), fence: null, nodeId: null }
        expect(await tryAttach(store, overHttp)).toEqual({ kind: 'full' })
      })
      expect(await viewerOf(store, 'alice')).toEqual(before)
      expect(await mark.records()).toEqual([])
    })

    rule('a session that is there already attaches again', TWO, async ({ store }) => {
      const socket = await connect(store, 'alice')
      await connect(store, 'alice')
      const again = socketOf('alice', socket.sessionId)
      expect(await tryAttach(store, again)).toMatchObject({ kind: 'attached', replacedFence: socket.fence })
    })
  })

  describe('the first attach of a user', () => {
    rule('asks for their row, and writes nothing before it has it', async ({ store }) => {
      const mark = await markOf(store)
      const request = { ...socketOf('alice'), isActive: true, profile: null, comeback: null }
      await expectNothingShown(store, ['alice'], [], async () => {
        expect(await store.attach({ ...request, seed: null })).toEqual({ kind: 'unseeded' })
      })
      expect(await store.viewer('alice')).toBeNull()
      expect(await mark.records()).toEqual([])
      expect(await store.attach({ ...request, seed: seedOf(VISIBLE) })).toMatchObject({ kind: 'attached' })
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('is the only one to ask: the next tab is known', async ({ store }) => {
      await connect(store, 'alice')
      const request = { ...socketOf('alice'), isActive: true, profile: null, comeback: null, seed: null }
      expect(await store.attach(request)).toMatchObject({ kind: 'attached' })
    })

    rule('brings what they chose before, and their last activity', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const settings = { ...VISIBLE, version: 7, statusChoice: 'BUSY', statusMessage: 'in court' } as const
      await connect(store, 'alice', {
        isActive: false,
        seed: seedOf(settings, {
          profile: { name: 'Alice', avatarUrl: null, issuedAtMs: 5 },
          lastActiveAtMs: nowMs - 1000,
          shownLastActiveAtMs: nowMs - 3000,
        }),
      })
      expect(await seen(store, 'alice')).toMatchObject({
        name: 'Alice',
        isOnline: true,
        status: 'BUSY',
        statusMessage: 'in court',
      })
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(nowMs - 1000)
    })

    rule('does not bring back who went offline for good, unless it is active', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const seed = seedOf(VISIBLE, { lastActiveAtMs: nowMs, shownLastActiveAtMs: nowMs, isActivityOver: true })
      const socket = await connect(store, 'alice', { isActive: false, seed })
      expect(await isOnline(store, 'alice')).toBe(false)
      await beat(store, socket)
      expect(await isOnline(store, 'alice')).toBe(true)
    })
  })
}
