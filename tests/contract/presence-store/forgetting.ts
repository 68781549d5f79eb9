/** Users who are erased: nothing of them stays in the store, and others see them leave. */
import { describe, expect } from 'vitest'
import {
  acknowledge,
  beatOverHttp,
  connect,
  eventually,
  expectNothingShown,
  goOffline,
  HIDDEN,
  isOnline,
  markOf,
  onlineIds,
  profileOf,
  type Rule,
  renewNode,
  rowsOf,
  seedOf,
  seen,
  told,
  tryAttach,
  VISIBLE,
} from './harness.ts'

const ISSUED_UP_TO_MS = 1000
const forgetting = (userId: string) => ({ userId, tokensIssuedUpToMs: ISSUED_UP_TO_MS })

export function describeForgetting(rule: Rule): void {
  describe('forgetting', () => {
    rule('ends every session of the user, and others see a LEAVE', async ({ store }) => {
      await connect(store, 'bob')
      await connect(store, 'alice', { rooms: ['hall'] })
      await connect(store, 'alice', { rooms: ['yard'], nodeId: 'node-2' })
      const mark = await markOf(store)

      expect(await store.forget(forgetting('alice'))).toBe(2)

      expect(told(await mark.changes())).toEqual(['alice LEAVE'])
      expect(await onlineIds(store)).toEqual(['bob'])
      for (const room of ['hall', 'yard'])
        expect([await onlineIds(store, room), await store.count(room)]).toEqual([[], 0])
      expect([await seen(store, 'alice'), await store.viewer('alice')]).toEqual([null, null])
      expect(await store.stats()).toMatchObject({ onlineCount: 1, sessionCount: 1 })
    })

    rule('shows nothing of a user who hides, or is not there', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(HIDDEN), rooms: ['hall'] })
      await expectNothingShown(store, ['bob'], ['hall'], async () => {
        expect(await store.forget(forgetting('alice'))).toBe(1)
        expect(await store.forget(forgetting('alice'))).toBe(0)
        expect(await store.forget(forgetting('bob'))).toBe(0)
      })
      expect(await store.viewer('alice')).toBeNull()
    })

    rule('tells every node to close the sockets, those without a session as well', async ({ store, pass }) => {
      await connect(store, 'alice')
      const before = await store.renewNode({
        nodeId: 'node-1',
        seenLossCount: 0,
        seenDismissalCount: null,
        isReturning: false,
      })
      let newsCount = 0
      store.nodes.listen({ news: () => (newsCount += 1), startAnew: () => expect.unreachable() })
      for (const userId of ['alice', 'observer']) await store.forget(forgetting(userId))
      await eventually(pass, () => expect(newsCount).toBeGreaterThan(0))
      const { dismissals } = await store.renewNode({
        nodeId: 'node-1',
        seenLossCount: 0,
        seenDismissalCount: before.dismissalCount,
        isReturning: false,
      })
      expect(dismissals).toEqual(['alice', 'observer'].map((userId) => ({ userId, issuedUpToMs: ISSUED_UP_TO_MS })))
    })

    rule('blanks the records that wait, and leaves their numbers and those of others', async ({ store }) => {
      await connect(store, 'alice', { profile: profileOf('Alice', null, 1), rooms: ['hall'] })
      await connect(store, 'bob')
      await store.forget(forgetting('alice'))
      await connect(store, 'carol')

      const { records, isGap, lastSeq } = await store.records.read(0, 100)
      expect(isGap).toBe(false)
      expect(records.map(({ seq }) => seq)).toEqual(records.map((_, index) => index + 1))
      expect(records.at(-1)?.seq).toBe(lastSeq)
      for (const record of records.filter(({ userId }) => userId === 'alice')) {
        expect(record).toMatchObject({ isForgotten: true, profile: null, columns: null, settings: null, sessions: [] })
      }
      for (const userId of ['bob', 'carol']) expect(rowsOf(records, userId)).toHaveLength(1)
      expect((await store.records.snapshot(null, 100)).map(({ userId }) => userId)).toEqual(['bob', 'carol'])
    })

    rule('lets who comes afterwards begin as a new user, with records of their own', async ({ store }) => {
      await connect(store, 'alice', { profile: profileOf('Alice', null, 1), seed: seedOf({ ...HIDDEN, version: 7 }) })
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 8, statusMessage: 'away' } })
      await store.forget(forgetting('alice'))

      expect(
        await tryAttach(store, { userId: 'alice', sessionId: 'default', fence: null, nodeId: null }),
      ).toMatchObject({
        kind: 'attached',
        isResumed: false,
      })
      expect(await seen(store, 'alice')).toMatchObject({ name: 'alice', isOnline: true, statusMessage: null })
      const { records, lastSeq } = await store.records.read(0, 100)
      expect(records.at(-1)).toMatchObject({ userId: 'alice', seq: lastSeq, profile: null, settings: VISIBLE })
      expect(rowsOf(records, 'alice')).toHaveLength(1)

      // What was forgotten is in the database by now, so nothing of it is looked for any more.
      await acknowledge(store, lastSeq)
      const mark = await markOf(store)
      await goOffline(store, 'alice')
      expect((await mark.records()).every(({ isForgotten }) => isForgotten === undefined)).toBe(true)
    })

    rule('remembers no settings of who was not there', async ({ store }) => {
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 5 } })
      await store.forget(forgetting('alice'))
      await beatOverHttp(store, 'alice')
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('names the lost sockets to their node', async ({ store }) => {
      const socket = await connect(store, 'alice')
      await renewNode(store, 'node-1')
      await store.forget(forgetting('alice'))
      expect(await renewNode(store, 'node-1')).toEqual([{ fence: socket.fence, cause: 'DISCONNECTED' }])
    })

    rule('is over for a comeback and a beat of before: the store asks for the row', async ({ store }) => {
      const socket = await connect(store, 'alice')
      await store.forget(forgetting('alice'))
      expect(await store.beat({ ...socket, isActive: true, profile: null })).toEqual({ kind: 'unknown' })
      expect(
        await store.attach({
          ...socket,
          isActive: false,
          profile: null,
          seed: null,
          comeback: { startedForMs: 1000, lastActiveForMs: 0, startId: null, formerFences: [socket.fence] },
        }),
      ).toEqual({ kind: 'unseeded' })
      await store.detach({ ...socket, cause: 'closed', silentForMs: 0 })
      expect(await store.viewer('alice')).toBeNull()
    })
  })
}
