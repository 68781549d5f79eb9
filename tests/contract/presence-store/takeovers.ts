/** Rule 7: a person has one tab and two ways in, so session `default` ends when a socket of its user attaches. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { DEFAULT_SESSION_ID } from '../../../src/presence/bounds.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import {
  adoptedUser,
  attach,
  beatOverHttp,
  connect,
  detach,
  eventually,
  expectNothingShown,
  goOffline,
  isOnline,
  markOf,
  onlineIds,
  openRow,
  type Rule,
  rowOf,
  SETTLE_MS,
  type Socket,
  sendBeat,
  sessionOf,
  socketOf,
  storeNowMs,
  tryAttach,
  viewerOf,
} from './harness.ts'

const ALICES_DEFAULT = { userId: 'alice', sessionId: DEFAULT_SESSION_ID }

async function sessionIds(store: PresenceStore, userId: string): Promise<readonly string[]> {
  return (await viewerOf(store, userId)).sessions.map(({ id }) => id).sort()
}

/** As a node does it for a socket whose session went offline, when something of its user changed. */
async function tryReturn(store: PresenceStore, was: Socket, onlyAfterBeats: 'own' | 'any' = 'any') {
  const socket = socketOf(was.userId, was.sessionId, was.nodeId)
  return { socket, answer: await tryAttach(store, socket, { isActive: false, onlyAfterBeats }) }
}

export function describeTakeovers(rule: Rule): void {
  describe('session `default`, when a socket of its user attaches', () => {
    rule('ends in that step, and nobody sees anything', async ({ store }) => {
      await beatOverHttp(store, 'alice', null, { rooms: ['hall'], device: 'phone' })
      const socket = socketOf('alice')
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        expect(await attach(store, socket)).toMatchObject({ replacedFence: null, isResumed: false })
      })
      expect(await sessionIds(store, 'alice')).toEqual([socket.sessionId])
      expect(await rowOf(store, ALICES_DEFAULT)).toMatchObject({ endReason: 'TAKEN_OVER', rooms: ['hall'] })
    })

    rule('is one record with the start that takes over', async ({ store }) => {
      await beatOverHttp(store, 'alice')
      const mark = await markOf(store)
      const socket = await connect(store, 'alice')
      const records = await mark.records()
      expect(records).toHaveLength(1)
      expect(records[0]?.sessions.map(({ sessionId, endReason }) => [sessionId, endReason]).sort()).toEqual(
        [
          [DEFAULT_SESSION_ID, 'TAKEN_OVER'],
          [socket.sessionId, null],
        ].sort(),
      )
    })

    rule('hands its rooms and its device to a session that names none', async ({ store }) => {
      await beatOverHttp(store, 'alice', null, { rooms: ['hall', 'bar'], device: 'phone' })
      const { session } = await attach(store, socketOf('alice'))
      expect(session).toMatchObject({ device: 'phone', rooms: expect.arrayContaining(['hall', 'bar']) })
    })

    rule('hands over each of the two by itself, and what the socket names is its own', async ({ store }) => {
      await beatOverHttp(store, 'alice', null, { rooms: ['hall'], device: 'phone' })
      const named = await attach(store, socketOf('alice'), { rooms: ['bar'] })
      expect(named.session).toMatchObject({ device: 'phone', rooms: ['bar'] })
      expect([await onlineIds(store, 'hall'), await onlineIds(store, 'bar')]).toEqual([[], ['alice']])

      await beatOverHttp(store, 'bob', null, { rooms: ['hall'], device: 'phone' })
      const without = await attach(store, socketOf('bob'), { device: null })
      expect(without.session).toMatchObject({ device: null, rooms: ['hall'] })
    })

    rule('hands nothing to a session that is live, which keeps its own', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId, { rooms: ['bar'], device: 'laptop' })
      await beatOverHttp(store, 'alice', null, { rooms: ['hall'], device: 'phone' })
      const mark = await markOf(store)
      const answer = await attach(store, socketOf('alice', sessionId))
      expect(answer).toMatchObject({ isResumed: true, session: { rooms: ['bar'], device: 'laptop' } })
      expect(await sessionIds(store, 'alice')).toEqual([sessionId])
      expect((await mark.changes()).map(({ before, after }) => [before.user.isOnline, after.user.isOnline])).toEqual([
        [true, true],
      ])
      expect(await onlineIds(store, 'hall')).toEqual([])
    })

    rule('ends also where a node brings the socket back by itself', async ({ store }) => {
      await beatOverHttp(store, 'alice')
      const comeback = { startedForMs: 5000, lastActiveForMs: 3000, formerFences: [], startId: null }
      const socket = socketOf('alice')
      await expectNothingShown(store, ['alice'], [], () =>
        attach(store, socket, { isActive: false, device: null, rooms: [], comeback }),
      )
      expect(await sessionIds(store, 'alice')).toEqual([socket.sessionId])
    })

    rule(
      'leaves no ghost: the tab that closes takes its user along',
      { closeGraceMs: 100 },
      async ({ store, pass }) => {
        await beatOverHttp(store, 'alice')
        const socket = await connect(store, 'alice')
        expect(await beatOverHttp(store, 'alice')).toBeNull()
        await detach(store, socket)
        await pass(300)
        expect(await isOnline(store, 'alice')).toBe(false)
        expect((await viewerOf(store, 'alice')).sessions).toEqual([])
      },
    )

    rule('stays where the socket is its own', async ({ store }) => {
      await beatOverHttp(store, 'alice', null, { rooms: ['hall'] })
      const socket = socketOf('alice', DEFAULT_SESSION_ID)
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        expect(await attach(store, socket)).toMatchObject({ isResumed: true, session: { rooms: ['hall'] } })
      })
      expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence })
    })

    rule('stays where it hangs on a socket, or did a moment ago', async ({ store }) => {
      const tab = await connect(store, 'alice', { sessionId: DEFAULT_SESSION_ID })
      const other = await connect(store, 'alice')
      expect(await sessionIds(store, 'alice')).toEqual([DEFAULT_SESSION_ID, other.sessionId].sort())
      // One is reloaded while the other is opened again.
      await detach(store, tab)
      await connect(store, 'alice', { sessionId: other.sessionId })
      expect(await sessionIds(store, 'alice')).toEqual([DEFAULT_SESSION_ID, other.sessionId].sort())
    })

    rule('stays where a session attaches that lives by HTTP, and for other users', async ({ store }) => {
      await beatOverHttp(store, 'alice')
      await beatOverHttp(store, 'alice', randomUUID())
      await connect(store, 'bob')
      expect(await sessionIds(store, 'alice')).toContain(DEFAULT_SESSION_ID)
    })

    rule('makes room for it under SESSIONS_PER_USER', { sessionsPerUser: 2 }, async ({ store }) => {
      const overHttp = randomUUID()
      await beatOverHttp(store, 'alice')
      await beatOverHttp(store, 'alice', overHttp)
      const socket = await connect(store, 'alice')
      expect(await sessionIds(store, 'alice')).toEqual([overHttp, socket.sessionId].sort())
      expect(await rowOf(store, ALICES_DEFAULT)).toMatchObject({ endReason: 'TAKEN_OVER' })
    })

    rule('stays where the attach is refused', async ({ store }) => {
      await beatOverHttp(store, 'alice')
      const socket = socketOf('alice')
      const { userId, sessionId, fence } = socket
      await store.detach({ userId, sessionId, fence, cause: 'ended', silentForMs: 0, isAttachUncertain: true })
      expect(await tryAttach(store, socket)).toEqual({ kind: 'moved' })
      expect(await sessionIds(store, 'alice')).toEqual([DEFAULT_SESSION_ID])
    })

    rule('ends its activity with the session, and never the activity itself', async ({ store, pass }) => {
      await beatOverHttp(store, 'alice')
      await pass(SETTLE_MS)
      await beatOverHttp(store, 'alice')
      const before = await viewerOf(store, 'alice')
      await connect(store, 'alice', { isActive: false })
      expect((await viewerOf(store, 'alice')).lastActiveAtMs).toBe(before.lastActiveAtMs)
      expect(await rowOf(store, ALICES_DEFAULT)).toMatchObject({ lastActiveAtMs: before.lastActiveAtMs })
    })
  })

  describe('session `default` that an earlier run left open', () => {
    const overHttp = { sessionId: DEFAULT_SESSION_ID, hadSocket: false, nodeId: null }

    rule('ends at once where a socket of its user came first', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const socket = await connect(store, 'alice', { rooms: ['bar'] })
      const row = openRow(nowMs, overHttp)
      await expectNothingShown(store, ['alice'], ['bar', 'hall'], () =>
        store.adopt([adoptedUser('alice', nowMs, { sessions: [row] })]),
      )
      expect(await sessionIds(store, 'alice')).toEqual([socket.sessionId])
      expect(await rowOf(store, ALICES_DEFAULT)).toMatchObject({ startId: row.startId, endReason: 'TAKEN_OVER' })
    })

    rule('ends where that socket is in its grace by then', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const nowMs = await storeNowMs(store)
      await detach(store, await connect(store, 'alice'))
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [openRow(nowMs, overHttp)] })])
      await pass(300)
      expect(await isOnline(store, 'alice')).toBe(false)
    })

    rule('is adopted beside a session whose socket is not back, and ends when it is', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const tab = openRow(nowMs)
      await store.adopt([adoptedUser('alice', nowMs, { sessions: [openRow(nowMs, overHttp), tab] })])
      expect(await sessionIds(store, 'alice')).toEqual([DEFAULT_SESSION_ID, tab.sessionId].sort())
      await attach(store, socketOf('alice', tab.sessionId))
      expect(await sessionIds(store, 'alice')).toEqual([tab.sessionId])
    })

    rule('may be told twice', async ({ store }) => {
      const nowMs = await storeNowMs(store)
      const socket = await connect(store, 'alice')
      const users = [adoptedUser('alice', nowMs, { sessions: [openRow(nowMs, overHttp)] })]
      await store.adopt(users)
      await expectNothingShown(store, ['alice'], ['hall'], () => store.adopt(users))
      expect(await sessionIds(store, 'alice')).toEqual([socket.sessionId])
    })
  })

  describe('whether a session was resumed', () => {
    rule('is told: started, live without a socket, and live on another one', async ({ store }) => {
      const first = socketOf('alice')
      expect(await attach(store, first)).toMatchObject({ isResumed: false })
      expect(await attach(store, socketOf('alice', first.sessionId))).toMatchObject({ isResumed: true })
      const again = await connect(store, 'alice', { sessionId: first.sessionId })
      await detach(store, again)
      expect(await attach(store, socketOf('alice', first.sessionId))).toMatchObject({ isResumed: true })
      await goOffline(store, 'alice')
      expect(await attach(store, socketOf('alice', first.sessionId))).toMatchObject({ isResumed: false })
    })

    rule('is no after the grace, and its rooms are gone', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await store.join({ ...socket, room: 'hall' })
      await detach(store, socket)
      await pass(300)
      const answer = await attach(store, socketOf('alice', socket.sessionId))
      expect(answer).toMatchObject({ isResumed: false, session: { rooms: [] } })
    })

    rule('is yes where a beat over HTTP had started it', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      expect(await attach(store, socketOf('alice', sessionId))).toMatchObject({ isResumed: true })
    })
  })

  describe('a socket whose session went offline', () => {
    async function parted(store: PresenceStore, details: { readonly nodeId?: string } = {}): Promise<Socket> {
      const socket = await connect(store, 'alice', details)
      await goOffline(store, 'alice', socket.sessionId)
      return socket
    }

    async function expectNoReturn(store: PresenceStore, was: Socket): Promise<void> {
      const before = await store.viewer(was.userId)
      const mark = await markOf(store)
      await expectNothingShown(store, [was.userId], ['hall'], async () => {
        expect((await tryReturn(store, was)).answer).toEqual({ kind: 'moved' })
      })
      expect(await store.viewer(was.userId)).toEqual(before)
      expect(await mark.records()).toEqual([])
    }

    rule('takes over from the beats that came since, and nobody sees anything', async ({ store }) => {
      const was = await parted(store)
      await beatOverHttp(store, 'alice', null, { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const { socket, answer } = await tryReturn(store, was)
        expect(answer).toMatchObject({ kind: 'attached', isResumed: false, replacedFence: null })
        expect((await viewerOf(store, 'alice')).sessions).toMatchObject([{ id: was.sessionId, fence: socket.fence }])
      })
      expect(await rowOf(store, ALICES_DEFAULT)).toMatchObject({ endReason: 'TAKEN_OVER' })
    })

    rule('takes its own session where the beats named it', async ({ store }) => {
      const was = await parted(store)
      await beatOverHttp(store, 'alice', was.sessionId, { rooms: ['hall'] })
      await expectNothingShown(store, ['alice'], ['hall'], async () => {
        const { socket, answer } = await tryReturn(store, was)
        expect(answer).toMatchObject({ kind: 'attached', isResumed: true, replacedFence: null })
        expect(await sessionOf(store, socket)).toMatchObject({ fence: socket.fence, leaseEndsAtMs: null })
      })
    })

    rule('asked for its own session alone, leaves beats that named none to a newer tab', async ({ store }) => {
      const was = await parted(store)
      await beatOverHttp(store, 'alice')
      const before = await store.viewer('alice')
      await expectNothingShown(store, ['alice'], [], async () => {
        expect((await tryReturn(store, was, 'own')).answer).toEqual({ kind: 'moved' })
      })
      expect(await store.viewer('alice')).toEqual(before)
      await beatOverHttp(store, 'alice', was.sessionId)
      expect((await tryReturn(store, was, 'own')).answer).toMatchObject({ kind: 'attached', isResumed: true })
      expect(await sessionIds(store, 'alice')).toEqual([was.sessionId])
    })

    rule('takes its own session where the beats named it, beside another tab', async ({ store }) => {
      const was = await parted(store)
      await connect(store, 'alice')
      await beatOverHttp(store, 'alice', was.sessionId)
      expect((await tryReturn(store, was)).answer).toMatchObject({ kind: 'attached' })
    })

    rule('has nothing to return to without beats, and the store may have forgotten its user', async ({ store }) => {
      await expectNoReturn(store, await parted(store))
      const stranger = socketOf('stranger')
      expect((await tryReturn(store, stranger)).answer).toEqual({ kind: 'moved' })
      expect(await store.viewer('stranger')).toBeNull()
    })

    rule('does not return by beats without activity, but by the first with it', async ({ store }) => {
      for (const sessionId of [null, 'own']) {
        const was = await parted(store)
        const beaten = sessionId === null ? null : was.sessionId
        await beatOverHttp(store, 'alice', beaten, { isActive: false })
        await expectNoReturn(store, was)
        await beatOverHttp(store, 'alice', beaten)
        expect((await tryReturn(store, was)).answer).toMatchObject({ kind: 'attached' })
        await goOffline(store, 'alice')
      }
    })

    rule('does not return by beats that are older than its end', async ({ store, pass }) => {
      const was = await connect(store, 'alice')
      await beatOverHttp(store, 'alice', DEFAULT_SESSION_ID)
      await pass(SETTLE_MS)
      await goOffline(store, 'alice', was.sessionId)
      await expectNoReturn(store, was)
      await pass(SETTLE_MS)
      await beatOverHttp(store, 'alice', DEFAULT_SESSION_ID)
      await expectNoReturn(store, was)
    })

    rule('does not return while another tab is there, or in its grace', async ({ store, pass }) => {
      const was = await parted(store)
      const other = await connect(store, 'alice')
      await beatOverHttp(store, 'alice', DEFAULT_SESSION_ID)
      await expectNoReturn(store, was)
      await detach(store, other)
      await pass(SETTLE_MS)
      await expectNoReturn(store, was)
    })

    rule('returns after the other tab has gone as well', { closeGraceMs: 100 }, async ({ store, pass }) => {
      const was = await connect(store, 'alice')
      const other = await connect(store, 'alice')
      await goOffline(store, 'alice', was.sessionId)
      await detach(store, other)
      await pass(300)
      await beatOverHttp(store, 'alice')
      expect((await tryReturn(store, was)).answer).toMatchObject({ kind: 'attached' })
    })

    rule('takes nothing from a socket that has its session, or had it a moment ago', async ({ store }) => {
      const was = await parted(store)
      const other = await connect(store, 'alice', { sessionId: was.sessionId })
      await expectNoReturn(store, was)
      await detach(store, other)
      await expectNoReturn(store, was)
    })

    rule('returns once, whichever of two nodes comes first', async ({ store }) => {
      const [one, other] = [await connect(store, 'alice'), await connect(store, 'alice', { nodeId: 'node-2' })]
      await goOffline(store, 'alice')
      await beatOverHttp(store, 'alice')
      const answers = await Promise.all([tryReturn(store, one), tryReturn(store, other)])
      expect(answers.map(({ answer }) => answer.kind).sort()).toEqual(['attached', 'moved'])
      expect((await viewerOf(store, 'alice')).sessions).toHaveLength(1)
    })

    rule('is made known to its node at once where the word came from elsewhere', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const renewal = { nodeId: 'node-1', seenLossCount: 0, seenDismissalCount: null, isReturning: false }
      await store.renewNode(renewal)
      let newsCount = 0
      const unlisten = store.nodes.listen({
        news() {
          newsCount += 1
        },
        startAnew() {},
      })
      await goOffline(store, 'alice')
      await eventually(pass, () => expect(newsCount).toBe(1))
      expect((await store.renewNode(renewal)).losses).toEqual([{ fence: socket.fence, cause: 'WENT_OFFLINE' }])

      // What a socket says of its own session its node knows by the answer, and of others there is nothing to tell.
      const own = await connect(store, 'alice')
      await store.end({ ...own, reason: 'WENT_OFFLINE' })
      await beatOverHttp(store, 'alice')
      await goOffline(store, 'alice')
      await pass(SETTLE_MS)
      expect(newsCount).toBe(1)
      unlisten()
    })
  })

  describe('a heartbeat without a session id', () => {
    rule('counts for the user alone once a socket took over', async ({ store }) => {
      await beatOverHttp(store, 'alice')
      await connect(store, 'alice')
      const answer = await sendBeat(store, { userId: 'alice', sessionId: null, fence: null })
      expect(answer).toMatchObject({ kind: 'counted', session: null })
    })
  })
}
