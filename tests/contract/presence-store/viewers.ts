import { describe, expect } from 'vitest'
import {
  attach,
  beat,
  connect,
  detach,
  eventually,
  type Rule,
  SETTLE_MS,
  seedOf,
  socketOf,
  VISIBLE,
  viewerOf,
} from './harness.ts'

export function describeViewers(rule: Rule): void {
  describe('the bell of viewers', () => {
    rule(
      'rings for each session that starts, ends, moves, or changes its rooms or its device',
      async ({ store, pass }) => {
        const rung: string[] = []
        const unlisten = store.viewers.listen((userId) => rung.push(userId ?? 'anyone'))
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
        store.viewers.listen((userId) => rung.push(userId ?? 'anyone'))
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
      store.viewers.listen((userId) => rung.push(userId ?? 'anyone'))
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
