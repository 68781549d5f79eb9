/** Users who were dismissed: every node has to close their sockets, and is told of each exactly once. */
import { describe, expect } from 'vitest'
import type { PresenceStore } from '../../../src/presence/store.ts'
import { connect, eventually, expectNothingShown, goOffline, type Rule, SETTLE_MS } from './harness.ts'

/** More than any store keeps of them. */
const TOO_MANY = 10_050
const AT_ONCE = 500

async function dismiss(store: PresenceStore, userId: string, tokensIssuedUpToMs: number): Promise<void> {
  await store.end({ userId, sessionId: null, fence: null, reason: 'DISCONNECTED', tokensIssuedUpToMs })
}

async function renew(store: PresenceStore, nodeId: string, seenDismissalCount: number | null) {
  const { dismissals, dismissalCount } = await store.renewNode({
    nodeId,
    seenLossCount: 0,
    seenDismissalCount,
    isReturning: false,
  })
  return { dismissals, dismissalCount }
}

export function describeDismissals(rule: Rule): void {
  describe('a dismissal', () => {
    rule('is told to every node, each since what it has seen, oldest first', async ({ store }) => {
      await connect(store, 'alice')
      const one = await renew(store, 'node-1', null)
      const other = await renew(store, 'node-2', null)
      await dismiss(store, 'alice', 1000)
      const alice = { userId: 'alice', issuedUpToMs: 1000 }
      const first = await renew(store, 'node-1', one.dismissalCount)
      expect(first.dismissals).toEqual([alice])

      await dismiss(store, 'bob', 2000)
      const bob = { userId: 'bob', issuedUpToMs: 2000 }
      const second = await renew(store, 'node-1', first.dismissalCount)
      expect(second.dismissals).toEqual([bob])
      expect((await renew(store, 'node-2', other.dismissalCount)).dismissals).toEqual([alice, bob])
      expect(await renew(store, 'node-1', second.dismissalCount)).toEqual({ ...second, dismissals: [] })
    })

    rule('is told again to a node whose renewal was not answered', async ({ store }) => {
      const { dismissalCount } = await renew(store, 'node-1', null)
      await dismiss(store, 'alice', 1000)
      const lost = await renew(store, 'node-1', dismissalCount)
      expect(await renew(store, 'node-1', dismissalCount)).toEqual(lost)
    })

    rule('from before a node began is not told to it', async ({ store }) => {
      await dismiss(store, 'alice', 1000)
      const first = await renew(store, 'node-1', null)
      expect(first.dismissals).toEqual([])
      expect((await renew(store, 'node-1', first.dismissalCount)).dismissals).toEqual([])
    })

    rule('concerns sockets without a session as well, so it is told of who has none', async ({ store }) => {
      const { dismissalCount } = await renew(store, 'node-1', null)
      await expectNothingShown(store, ['observer'], [], () => dismiss(store, 'observer', 1000))
      expect((await renew(store, 'node-1', dismissalCount)).dismissals).toEqual([
        { userId: 'observer', issuedUpToMs: 1000 },
      ])
    })

    rule('is told each time that its user was dismissed', async ({ store }) => {
      const { dismissalCount } = await renew(store, 'node-1', null)
      for (const issuedUpToMs of [1000, 2000]) await dismiss(store, 'alice', issuedUpToMs)
      expect((await renew(store, 'node-1', dismissalCount)).dismissals).toEqual([
        { userId: 'alice', issuedUpToMs: 1000 },
        { userId: 'alice', issuedUpToMs: 2000 },
      ])
    })

    rule('is not what an end without a word about tokens is', async ({ store }) => {
      const before = await renew(store, 'node-1', null)
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      await connect(store, 'bob')
      await store.end({ userId: 'bob', sessionId: null, fence: null, reason: 'DISCONNECTED' })
      expect(await renew(store, 'node-1', before.dismissalCount)).toEqual(before)
    })

    rule('that the store cannot tell is unknown to a node that has seen another history', async ({ store }) => {
      expect((await renew(store, 'node-1', -1)).dismissals).toBe('unknown')
      await dismiss(store, 'alice', 1000)
      const { dismissals, dismissalCount } = await renew(store, 'node-1', -1)
      expect(dismissals).toBe('unknown')
      expect((await renew(store, 'node-1', dismissalCount + 1)).dismissals).toBe('unknown')
      // From here on the node knows as much as all others.
      await dismiss(store, 'bob', 2000)
      expect((await renew(store, 'node-1', dismissalCount)).dismissals).toEqual([{ userId: 'bob', issuedUpToMs: 2000 }])
    })

    rule('is unknown to a node that missed more than the store keeps', async ({ store }) => {
      const { dismissalCount } = await renew(store, 'node-1', null)
      for (let done = 0; done < TOO_MANY; done += AT_ONCE) {
        await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => dismiss(store, `user-${done + index}`, 1)))
      }
      const missed = await renew(store, 'node-1', dismissalCount)
      expect(missed.dismissals).toBe('unknown')
      expect((await renew(store, 'node-1', missed.dismissalCount)).dismissals).toEqual([])
      expect((await renew(store, 'node-1', missed.dismissalCount - 2)).dismissals).toHaveLength(2)
    })

    rule('is news that does not wait for a renewal, and ends with its listener', async ({ store, pass }) => {
      let newsCount = 0
      const unlisten = store.nodes.listen({
        news() {
          newsCount += 1
        },
        startAnew: () => expect.unreachable(),
      })
      const socket = await connect(store, 'alice')
      await store.end({ ...socket, reason: 'WENT_OFFLINE' })
      await pass(SETTLE_MS)
      expect(newsCount).toBe(0)
      await dismiss(store, 'alice', 1000)
      await eventually(pass, () => expect(newsCount).toBe(1))
      unlisten()
      await dismiss(store, 'alice', 2000)
      await pass(2 * SETTLE_MS)
      expect(newsCount).toBe(1)
    })
  })
}
