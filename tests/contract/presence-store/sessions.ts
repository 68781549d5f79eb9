/** Rules 1, 4, 5 and 6: sessions, their sockets, and what a lost socket leaves. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  attach,
  beat,
  beatOverHttp,
  connect,
  detach,
  eventually,
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
      expect(entries[0]?.before.rooms).toEqual(new Set())
      expect(entries[0]?.after.user).toEqual(await seen(store, 'alice'))
      expect(entries[0]?.after.rooms).toEqual(new Set(['hall']))
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
      expect(entry?.before.rooms).toEqual(new Set(['hall', 'bar']))
      expect(entry?.after.rooms).toEqual(new Set(['bar', 'attic']))
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

  describe('the bell of viewers', () => {
    rule(
      'rings for each session that starts, ends, moves, or changes its rooms or its device',
      async ({ store, pass }) => {
        const rung: string[] = []
        const unlisten = store.viewers.listen((userId) => rung.push(userId))
        const rings = async (step: () => Promise<unknown>) => {
          await pass(SETTLE_MS)
          rung.length = 0
          await step()
          await eventually(pass, () => expect(rung).toContain('alice'))
        }
        let socket = socketOf('alice')
        await rings(() => attach(store, socket))
        await rings(async () => {
          socket = await connect(store, 'alice', { sessionId: socket.sessionId, nodeId: 'node-2' })
        })
        await rings(() => store.join({ ...socket, room: 'hall' }))
        await rings(() => store.leave({ ...socket, room: 'hall' }))
        await rings(() => beat(store, socket, { device: 'phone' }))
        await rings(() => detach(store, socket))
        await rings(() => store.end({ ...socket, fence: null, reason: 'WENT_OFFLINE' }))
        unlisten()
        rung.length = 0
        await connect(store, 'alice')
        await pass(SETTLE_MS)
        expect(rung).toEqual([])
      },
    )

    rule(
      'rings for what the user chose, hidden or not, and for what time brings',
      { awayAfterMs: 300 },
      async ({ store, pass }) => {
        await connect(store, 'alice', { seed: seedOf({ ...VISIBLE, visibility: 'NOBODY' }) })
        const rung: string[] = []
        store.viewers.listen((userId) => rung.push(userId))
        await pass(SETTLE_MS)
        rung.length = 0
        await store.setUser({
          userId: 'alice',
          settings: { ...VISIBLE, visibility: 'NOBODY', version: 2, statusMessage: 'x' },
        })
        await eventually(pass, () => expect(rung).toContain('alice'))
        rung.length = 0
        await pass(300)
        await eventually(pass, () => expect(rung).toContain('alice'))
        expect(await viewerOf(store, 'alice')).toMatchObject({ status: 'AWAY' })
      },
    )

    rule('does not ring for activity alone, nor for what changes nothing', async ({ store, pass }) => {
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await pass(SETTLE_MS)
      const rung: string[] = []
      store.viewers.listen((userId) => rung.push(userId))
      await beat(store, socket)
      await beat(store, socket, { rooms: ['hall'] })
      await store.join({ ...socket, room: 'hall' })
      await store.leave({ ...socket, room: 'bar' })
      await store.setUser({ userId: 'alice', settings: VISIBLE })
      await pass(2 * SETTLE_MS)
      expect(rung).toEqual([])
    })
  })
}
