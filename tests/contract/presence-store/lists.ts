/** Pages, counts and look-ups. */
import { describe, expect } from 'vitest'
import {
  attach,
  beatOverHttp,
  connect,
  goOffline,
  HIDDEN,
  onlineIds,
  profileOf,
  type Rule,
  seedOf,
  seen,
  socketOf,
  VISIBLE,
  viewerOf,
} from './harness.ts'

/** In the order of their bytes in UTF-8; by UTF-16 units the last two change places. */
const IN_ORDER = ['A', 'B', 'a', 'aa', 'ab', 'b', '\u00e9', '\u20ac', '\uff5e', '\u{1f600}']
/** Names that objects, keys and separators trip over. */
const STRANGE = ['__proto__', 'constructor', 'a', 'a:b', 'a:b:c', 'hasOwnProperty', '0', '{x}', 'a b', '*', 'null']

export function describeLists(rule: Rule): void {
  describe('a page', () => {
    rule('is ordered by the bytes of the id in UTF-8', async ({ store }) => {
      for (const userId of [...IN_ORDER].reverse()) await connect(store, userId, { rooms: ['hall'] })
      expect(await onlineIds(store)).toEqual(IN_ORDER)
      expect(await onlineIds(store, 'hall')).toEqual(IN_ORDER)
    })

    rule('goes on after an id, says whether there is more, and how many there are in all', async ({ store }) => {
      for (const userId of IN_ORDER) await connect(store, userId)
      const listed: string[] = []
      let after: string | null = null
      for (;;) {
        const page = await store.page({ room: null, first: 3, after })
        expect(page.totalCount).toBe(IN_ORDER.length)
        expect(page.position).toEqual(await store.changes.position())
        listed.push(...page.users.map(({ id }) => id))
        expect(page.hasMore).toBe(listed.length < IN_ORDER.length)
        if (!page.hasMore) break
        after = page.users.at(-1)?.id ?? null
      }
      expect(listed).toEqual(IN_ORDER)
    })

    rule('that ends with the last user says that there is no more', async ({ store }) => {
      for (const userId of ['a', 'b']) await connect(store, userId)
      expect(await store.page({ room: null, first: 2, after: null })).toMatchObject({ hasMore: false, totalCount: 2 })
      expect(await store.page({ room: null, first: 1, after: 'a' })).toMatchObject({
        hasMore: false,
        users: [{ id: 'b' }],
      })
      expect(await store.page({ room: null, first: 1, after: 'b' })).toMatchObject({ hasMore: false, users: [] })
    })

    rule('goes on after an id that is not there', async ({ store }) => {
      for (const userId of ['a', 'c', 'e']) await connect(store, userId)
      await connect(store, 'd', { seed: seedOf(HIDDEN) })
      const idsAfter = async (after: string) =>
        (await store.page({ room: null, first: 10, after })).users.map(({ id }) => id)
      expect(await idsAfter('b')).toEqual(['c', 'e'])
      expect(await idsAfter('d')).toEqual(['e'])
      expect(await idsAfter('Z')).toEqual(['a', 'c', 'e'])
      expect(await idsAfter('\u{10ffff}')).toEqual([])
    })

    rule('of a room lists and counts who is in it', async ({ store }) => {
      for (const userId of ['a', 'b', 'c', 'd'])
        await connect(store, userId, { rooms: userId < 'd' ? ['hall'] : ['bar'] })
      const page = await store.page({ room: 'hall', first: 1, after: 'a' })
      expect(page).toMatchObject({ users: [{ id: 'b' }], hasMore: true, totalCount: 3 })
      expect([await store.count('hall'), await store.count('bar'), await store.count('attic')]).toEqual([3, 1, 0])
      expect(await store.page({ room: 'attic', first: 5, after: null })).toMatchObject({
        users: [],
        hasMore: false,
        totalCount: 0,
      })
      expect(await store.count(null)).toBe(4)
    })

    rule('shows of each user what a look-up shows, and the newest activity', async ({ store, pass }) => {
      await connect(store, 'alice')
      await beatOverHttp(store, 'bob')
      await pass(20)
      await beatOverHttp(store, 'bob')
      const { users } = await store.page({ room: null, first: 10, after: null })
      expect(users).toEqual(await store.lookup(['alice', 'bob']))
      expect(users[1]?.lastActiveAtMs).toBe((await viewerOf(store, 'bob')).lastActiveAtMs)
    })

    rule('that is asked for again and again shows what every step changed', async ({ store, pass }) => {
      const ids = ['alice', 'bob', 'carol']
      const shown = async () => (await store.page({ room: 'hall', first: 10, after: null })).users
      for (const userId of ids) await connect(store, userId, { rooms: ['hall'] })
      const steps: (() => Promise<unknown>)[] = [
        () => beatOverHttp(store, 'bob'),
        () => beatOverHttp(store, 'alice'),
        () => store.setUser({ userId: 'alice', profile: profileOf('Alice', null, 1) }),
        () => store.setUser({ userId: 'carol', settings: { ...VISIBLE, version: 2, hideLastActive: true } }),
        () => store.setUser({ userId: 'carol', settings: { ...VISIBLE, version: 3, hideLastActive: false } }),
        () => store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } }),
        () => goOffline(store, 'carol'),
        () => connect(store, 'dave', { rooms: ['hall'] }),
      ]
      for (const step of steps) {
        await shown()
        await pass(20)
        await step()
        const users = await shown()
        expect(users).toEqual(await store.lookup(users.map(({ id }) => id)))
      }
      expect((await shown()).map(({ id }) => id)).toEqual(['bob', 'dave'])
    })

    rule('that was read stands still, whatever happens to its users', async ({ store }) => {
      await connect(store, 'alice')
      const { users } = await store.page({ room: null, first: 10, after: null })
      const before = structuredClone(users)
      await goOffline(store, 'alice')
      expect(users).toEqual(before)
    })

    rule('stays right while people come and go', async ({ store }) => {
      const names = Array.from({ length: 60 }, (_, index) => `user-${String((index * 37) % 60).padStart(2, '0')}`)
      for (const name of names) await connect(store, name, { rooms: ['hall'] })
      for (const name of names.slice(0, 30)) await goOffline(store, name)
      for (const name of names.slice(10, 20)) await connect(store, name, { rooms: ['hall'] })
      const expected = [...names.slice(10, 20), ...names.slice(30)].sort()
      expect(await onlineIds(store)).toEqual(expected)
      expect(await onlineIds(store, 'hall')).toEqual(expected)
      expect([await store.count(null), await store.count('hall')]).toEqual([40, 40])
    })
  })

  describe('a look-up', () => {
    rule('answers for each id in order, null where the store does not know the user', async ({ store }) => {
      await connect(store, 'alice')
      await connect(store, 'bob')
      await goOffline(store, 'bob')
      expect(await store.lookup(['nobody', 'bob', 'alice', 'bob'])).toMatchObject([
        null,
        { id: 'bob', isOnline: false },
        { id: 'alice', isOnline: true },
        { id: 'bob', isOnline: false },
      ])
      expect(await store.lookup([])).toEqual([])
      expect(await store.viewer('nobody')).toBeNull()
    })

    rule('shows the id of who never had a name', async ({ store }) => {
      await connect(store, 'alice')
      expect((await seen(store, 'alice'))?.name).toBe('alice')
    })
  })

  describe('strange names', () => {
    rule('are users, sessions and rooms like any other', async ({ store }) => {
      expect(await store.lookup(STRANGE)).toEqual(STRANGE.map(() => null))
      expect(await Promise.all(STRANGE.map((room) => store.count(room)))).toEqual(STRANGE.map(() => 0))
      for (const name of STRANGE) {
        const socket = socketOf(name, name)
        const answer = await attach(store, socket, { rooms: [name] })
        expect(answer.session).toMatchObject({ id: name, rooms: [name] })
      }
      const inOrder = [...STRANGE].sort()
      expect(await onlineIds(store)).toEqual(inOrder)
      for (const name of STRANGE) {
        expect(await onlineIds(store, name)).toEqual([name])
        expect(await store.join({ userId: name, sessionId: name, fence: null, room: 'all' })).toMatchObject({
          kind: 'done',
        })
        expect((await viewerOf(store, name)).sessions).toHaveLength(1)
      }
      expect(await onlineIds(store, 'all')).toEqual(inOrder)
      const { records } = await store.records.read(0, 1000)
      expect(new Set(records.map(({ userId }) => userId))).toEqual(new Set(STRANGE))
    })

    rule('do not run into each other where they are put together', async ({ store }) => {
      await attach(store, socketOf('a:b', 'c'), { rooms: ['x:y'] })
      await attach(store, socketOf('a', 'b:c'), { rooms: ['x'] })
      await store.end({ userId: 'a', sessionId: 'b:c', fence: null, reason: 'WENT_OFFLINE' })
      expect(await onlineIds(store)).toEqual(['a:b'])
      expect([await onlineIds(store, 'x:y'), await onlineIds(store, 'x')]).toEqual([['a:b'], []])
      await store.setUser({ userId: 'a', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      expect((await seen(store, 'a:b'))?.status).toBe('ONLINE')
    })
  })
}
