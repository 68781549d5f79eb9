/** The change log: numbers, reading, listening, and where it ends. */
import { describe, expect } from 'vitest'
import type { LogEntry } from '../../../src/presence/model.ts'
import type { Position } from '../../../src/presence/position.ts'
import { formatPosition, parsePosition } from '../../../src/presence/position.ts'
import type { PresenceStore } from '../../../src/presence/store.ts'
import {
  beat,
  connect,
  eventually,
  goOffline,
  HIDDEN,
  type Rule,
  SETTLE_MS,
  type Socket,
  seedOf,
  told,
  VISIBLE,
} from './harness.ts'

/** So many changes: the socket enters a room and leaves it, again and again. */
async function change(store: PresenceStore, socket: Socket, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    await (index % 2 === 0 ? store.join({ ...socket, room: 'hall' }) : store.leave({ ...socket, room: 'hall' }))
  }
}

async function read(store: PresenceStore, after: Position, limit = 10_000) {
  const answer = await store.changes.read(after, limit)
  if (answer === 'expired') throw new Error('Expected the log to reach back.')
  return answer
}

const nothing = () => undefined

export function describeChangeLog(rule: Rule): void {
  describe('the change log', () => {
    rule('numbers its entries without a hole, and its position is the last one', async ({ store }) => {
      const start = await store.changes.position()
      const socket = await connect(store, 'alice')
      await connect(store, 'bob')
      await change(store, socket, 4)
      await goOffline(store, 'alice')

      const { entries, position } = await read(store, start)
      expect(entries.map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7].map((step) => start.seq + step))
      expect(position).toEqual({ epoch: start.epoch, seq: start.seq + 7 })
      expect(await store.changes.position()).toEqual(position)
      expect(told(entries).slice(0, 2)).toEqual(['alice JOIN', 'bob JOIN'])
      const moments = entries.map(({ atMs }) => atMs)
      expect(moments).toEqual([...moments].sort((one, other) => one - other))
    })

    rule('gives positions that survive the way to a client and back', async ({ store }) => {
      await connect(store, 'alice')
      const position = await store.changes.position()
      expect(parsePosition('after', formatPosition(position))).toEqual(position)
    })

    rule('is read in pieces, each with the position of its last entry', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const start = await store.changes.position()
      await change(store, socket, 7)
      const all = (await read(store, start)).entries
      const pieces: LogEntry[] = []
      let after = start
      for (let count = 0; count < 4; count += 1) {
        const piece = await read(store, after, 3)
        expect(piece.entries.length).toBe([3, 3, 1, 0][count])
        expect(piece.position.seq).toBe(piece.entries.at(-1)?.seq ?? after.seq)
        pieces.push(...piece.entries)
        after = piece.position
      }
      expect(pieces).toEqual(all)
      expect(after).toEqual(await store.changes.position())
    })

    rule('has nothing after its own position', async ({ store }) => {
      await connect(store, 'alice')
      const position = await store.changes.position()
      expect(await store.changes.read(position, 10)).toEqual({ entries: [], position })
    })

    rule('links each entry of a user to the one before', async ({ store }) => {
      const start = await store.changes.position()
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      await beat(store, socket, { rooms: ['bar'] })
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3 } })
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 4 } })
      await goOffline(store, 'alice')
      const { entries } = await read(store, start)
      expect(told(entries).map((one) => one.split(' ')[1])).toEqual([
        'JOIN',
        'UPDATE',
        'UPDATE',
        'LEAVE',
        'JOIN',
        'LEAVE',
      ])
      for (const [index, { before }] of entries.slice(1).entries()) {
        const previous = entries[index]?.after
        const notLinked = { lastActiveAtMs: null, lastSeenAtMs: null }
        expect({ ...before.user, ...notLinked }).toEqual({ ...previous?.user, ...notLinked })
        expect([...before.rooms]).toEqual([...(previous?.rooms ?? [])])
      }
    })

    rule('tells entries that stand still, whatever happens later', async ({ store }) => {
      const start = await store.changes.position()
      const socket = await connect(store, 'alice', { rooms: ['hall'] })
      const { entries } = await read(store, start)
      const said = () =>
        entries.map(({ before, after }) => [before.user, [...before.rooms], after.user, [...after.rooms]])
      const before = structuredClone(said())
      await change(store, socket, 2)
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, statusChoice: 'BUSY' } })
      expect(said()).toEqual(before)
    })

    rule('does not know positions of another epoch, nor such as it has not reached', async ({ store }) => {
      await connect(store, 'alice')
      const { epoch, seq } = await store.changes.position()
      const foreign = epoch === '0123456789abcdef' ? 'fedcba9876543210' : '0123456789abcdef'
      expect(await store.changes.read({ epoch: foreign, seq }, 10)).toBe('expired')
      expect(await store.changes.read({ epoch: foreign, seq: 0 }, 10)).toBe('expired')
      expect(await store.changes.read({ epoch, seq: seq + 1 }, 10)).toBe('expired')
    })

    rule(
      'keeps CHANGE_LOG_COUNT entries, and what came before is expired',
      { logCount: 20 },
      async ({ store, pass }) => {
        const start = await store.changes.position()
        const socket = await connect(store, 'alice')
        await change(store, socket, 49)
        await pass(100)
        const { epoch, seq } = await store.changes.position()
        expect(seq).toBe(start.seq + 50)
        expect(await store.changes.read(start, 100)).toBe('expired')
        expect(await store.changes.read(start, 1)).toBe('expired')
        expect((await read(store, { epoch, seq: seq - 20 })).entries).toHaveLength(20)
        expect((await read(store, { epoch, seq: seq - 20 }, 5)).entries).toHaveLength(5)
      },
    )

    rule('keeps CHANGE_LOG_BYTES, and what came before is expired', { logBytes: 20_000 }, async ({ store, pass }) => {
      const start = await store.changes.position()
      const socket = await connect(store, 'alice')
      expect((await store.stats()).logBytes).toBeGreaterThan(0)
      await change(store, socket, 10)
      expect((await read(store, start)).entries).toHaveLength(11)
      await change(store, socket, 90)
      await pass(100)

      const { logBytes, logCount } = await store.stats()
      expect(logBytes).toBeLessThanOrEqual(20_000)
      expect(logBytes).toBeGreaterThan(15_000)
      expect(logCount).toBeGreaterThan(10)
      expect(logCount).toBeLessThan(101)
      const { epoch, seq } = await store.changes.position()
      expect(seq).toBe(start.seq + 101)
      expect(await store.changes.read(start, 100)).toBe('expired')
      expect(await store.changes.read({ epoch, seq: seq - logCount - 1 }, 100)).toBe('expired')
      expect((await read(store, { epoch, seq: seq - logCount })).entries).toHaveLength(logCount)
    })

    rule('keeps an entry for CHANGE_LOG_AGE, and then it is expired', { logAgeMs: 400 }, async ({ store, pass }) => {
      const start = await store.changes.position()
      const socket = await connect(store, 'alice')
      await pass(100)
      expect((await read(store, start)).entries).toHaveLength(1)
      await pass(500)
      const middle = await store.changes.position()
      await change(store, socket, 1)
      await pass(100)
      expect(await store.changes.read(start, 100)).toBe('expired')
      expect((await read(store, middle)).entries).toHaveLength(1)
    })

    rule('knows its own position however old it is', { logAgeMs: 200 }, async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(500)
      const position = await store.changes.position()
      expect(await store.changes.read(position, 10)).toEqual({ entries: [], position })
    })
  })

  describe('a listener of changes', () => {
    rule('is told each entry once, in order, from the next one on', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      const start = await store.changes.position()
      const heard: LogEntry[] = []
      const epochs = new Set<string>()
      store.changes.listen({
        entry(entry, epoch) {
          heard.push(entry)
          epochs.add(epoch)
        },
        newEpoch: nothing,
      })
      await pass(SETTLE_MS)
      await change(store, socket, 6)
      await goOffline(store, 'alice')
      await eventually(pass, () => expect(heard).toHaveLength(7))
      await pass(SETTLE_MS)
      expect(heard).toEqual((await read(store, start)).entries)
      expect([...epochs]).toEqual([start.epoch])
    })

    rule('hears what time brings as well', { awayAfterMs: 200, idleTimeoutMs: 400 }, async ({ store, pass }) => {
      const heard: LogEntry[] = []
      store.changes.listen({ entry: (entry) => heard.push(entry), newEpoch: nothing })
      await pass(SETTLE_MS)
      await connect(store, 'alice')
      await pass(600)
      await eventually(pass, () => expect(told(heard)).toEqual(['alice JOIN', 'alice UPDATE', 'alice LEAVE']))
    })

    rule('hears no more once it ended, and others go on', async ({ store, pass }) => {
      const first: LogEntry[] = []
      const second: LogEntry[] = []
      const unlisten = store.changes.listen({ entry: (entry) => first.push(entry), newEpoch: nothing })
      store.changes.listen({ entry: (entry) => second.push(entry), newEpoch: nothing })
      await pass(SETTLE_MS)
      const socket = await connect(store, 'alice')
      await eventually(pass, () => expect([first.length, second.length]).toEqual([1, 1]))
      unlisten()
      await change(store, socket, 2)
      await eventually(pass, () => expect(second).toHaveLength(3))
      expect(first).toHaveLength(1)
      unlisten()
    })

    rule('hears nothing of who hides', async ({ store, pass }) => {
      const heard: LogEntry[] = []
      store.changes.listen({ entry: (entry) => heard.push(entry), newEpoch: nothing })
      await pass(SETTLE_MS)
      const socket = await connect(store, 'alice', { seed: seedOf(HIDDEN), rooms: ['hall'] })
      await change(store, socket, 3)
      await beat(store, socket)
      await goOffline(store, 'alice')
      await pass(2 * SETTLE_MS)
      expect(heard).toEqual([])
    })

    rule('finds in the log what it is told, and may unsubscribe from within', async ({ store, pass }) => {
      const reads: ReturnType<PresenceStore['changes']['read']>[] = []
      const unlisten = store.changes.listen({
        entry({ seq }, epoch) {
          reads.push(store.changes.read({ epoch, seq: seq - 1 }, 1))
          unlisten()
        },
        newEpoch: nothing,
      })
      await pass(SETTLE_MS)
      const socket = await connect(store, 'alice')
      await change(store, socket, 2)
      await eventually(pass, () => expect(reads).toHaveLength(1))
      expect(await reads[0]).toMatchObject({ entries: [{ after: { user: { id: 'alice', isOnline: true } } }] })
    })
  })
}
