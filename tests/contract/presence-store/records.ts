/** Records, which bring the private truth to the database. */
import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import {
  acknowledge,
  beat,
  beatOverHttp,
  connect,
  detach,
  eventually,
  goOffline,
  HIDDEN,
  isOnline,
  markOf,
  profileOf,
  type Rule,
  rowOf,
  rowsOf,
  SETTLE_MS,
  seedOf,
  seen,
  sessionOf,
  socketOf,
  VISIBLE,
  viewerOf,
} from './harness.ts'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function describeRecords(rule: Rule): void {
  describe('records', () => {
    rule('say that a session started, as whole states', async ({ store }) => {
      const socket = await connect(store, 'alice', {
        rooms: ['hall'],
        device: 'phone',
        profile: profileOf('Alice', 'https://pictures.test/a.png', 4),
      })
      const alice = await seen(store, 'alice')
      const session = await sessionOf(store, socket)
      const { records, isGap, lastSeq } = await store.records.read(0, 100)
      expect(isGap).toBe(false)
      expect(records).toHaveLength(1)
      expect(records[0]).toEqual({
        seq: lastSeq,
        userId: 'alice',
        profile: { name: 'Alice', avatarUrl: 'https://pictures.test/a.png', issuedAtMs: 4 },
        columns: {
          isOnline: true,
          onlineSinceMs: alice?.onlineSinceMs,
          lastActiveAtMs: alice?.lastActiveAtMs,
          lastSeenAtMs: null,
        },
        settings: VISIBLE,
        sessions: [
          {
            startId: expect.stringMatching(UUID),
            sessionId: socket.sessionId,
            device: 'phone',
            rooms: ['hall'],
            nodeId: 'node-1',
            hadSocket: true,
            startedAtMs: session?.startedAtMs,
            lastActiveAtMs: session?.lastActiveAtMs,
            endedAtMs: null,
            endReason: null,
          },
        ],
      })
    })

    rule('say that it ended, with the columns after', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const started = await rowOf(store, socket)
      const mark = await markOf(store)
      await goOffline(store, 'alice')
      const records = await mark.records()
      expect(records).toHaveLength(1)
      expect(records[0]).toMatchObject({
        columns: { isOnline: false, onlineSinceMs: null, lastActiveAtMs: started.lastActiveAtMs },
        sessions: [{ startId: started.startId, endReason: 'WENT_OFFLINE' }],
      })
      expect(Number(records[0]?.sessions[0]?.endedAtMs)).toBeGreaterThanOrEqual(started.startedAtMs)
    })

    rule('say that its rooms, its device or its socket changed', async ({ store }) => {
      const socket = await connect(store, 'alice')
      const { startId } = await rowOf(store, socket)
      const mark = await markOf(store)
      await store.join({ ...socket, room: 'hall' })
      await beat(store, socket, { device: 'phone' })
      await connect(store, 'alice', { sessionId: socket.sessionId, nodeId: 'node-2' })
      const rows = (await mark.records()).map(({ sessions }) => sessions)
      expect(rows).toMatchObject([
        [{ startId, rooms: ['hall'], device: null, nodeId: 'node-1' }],
        [{ startId, rooms: ['hall'], device: 'phone', nodeId: 'node-1' }],
        [{ startId, rooms: ['hall'], device: 'phone', nodeId: 'node-2' }],
      ])
    })

    rule('say that a session over HTTP got a socket', async ({ store }) => {
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      expect(await rowOf(store, { userId: 'alice', sessionId })).toMatchObject({ hadSocket: false, nodeId: null })
      const socket = await connect(store, 'alice', { sessionId })
      await detach(store, socket)
      expect(await rowOf(store, socket)).toMatchObject({ hadSocket: true, nodeId: 'node-1' })
    })

    rule('say what the user chose, hid or was named', async ({ store }) => {
      await connect(store, 'alice')
      const mark = await markOf(store)
      await store.setUser({ userId: 'alice', profile: profileOf('Alice', null, 3) })
      await store.setUser({ userId: 'alice', settings: { ...VISIBLE, version: 2, hideLastActive: true } })
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 3 } })
      expect(await mark.records()).toMatchObject([
        { profile: { name: 'Alice', issuedAtMs: 3 }, columns: { isOnline: true }, settings: VISIBLE },
        { columns: { isOnline: true, lastActiveAtMs: null }, settings: { version: 2, hideLastActive: true } },
        { columns: { isOnline: false, onlineSinceMs: null }, settings: { ...HIDDEN, version: 3 } },
      ])
    })

    rule('of who is hidden are written, and show in the columns what everyone sees', async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await store.setUser({ userId: 'alice', settings: { ...HIDDEN, version: 2 } })
      const hidden = await seen(store, 'alice')
      await pass(SETTLE_MS)
      const mark = await markOf(store)
      await beat(store, socket)
      await store.join({ ...socket, room: 'hall' })
      const truth = (await viewerOf(store, 'alice')).lastActiveAtMs
      await pass(400)
      await goOffline(store, 'alice')

      const records = await mark.records()
      for (const { columns } of records) {
        expect(columns).toEqual({
          isOnline: false,
          onlineSinceMs: null,
          lastActiveAtMs: hidden?.lastActiveAtMs,
          lastSeenAtMs: hidden?.lastSeenAtMs,
        })
      }
      expect(rowsOf(records, 'alice')).toMatchObject([
        { rooms: ['hall'], endReason: 'WENT_OFFLINE', lastActiveAtMs: truth },
      ])
      expect(await mark.changes()).toEqual([])
    })

    rule(
      'of activity come at most once a user in LAST_ACTIVE_FLUSH',
      { lastActiveFlushMs: 200 },
      async ({ store, pass }) => {
        const first = await connect(store, 'alice')
        const second = await connect(store, 'alice')
        await pass(400)
        const mark = await markOf(store)
        for (let count = 0; count < 12; count += 1) {
          await pass(50)
          await beat(store, first)
          await beat(store, second)
        }
        const meanwhile = await mark.records()
        expect(meanwhile.length).toBeGreaterThanOrEqual(1)
        expect(meanwhile.length).toBeLessThanOrEqual(4)
        await pass(400)
        const alice = await seen(store, 'alice')
        const last = (await mark.records()).at(-1)
        expect(last?.columns?.lastActiveAtMs).toBe(alice?.lastActiveAtMs)
        for (const socket of [first, second]) {
          expect((await rowOf(store, socket)).lastActiveAtMs).toBe((await sessionOf(store, socket))?.lastActiveAtMs)
        }
        const rest = await markOf(store)
        await pass(600)
        expect(await rest.records()).toEqual([])
      },
    )

    rule('bring also activity that no session stands for', async ({ store, pass }) => {
      await connect(store, 'alice')
      await pass(400)
      await beatOverHttp(store, 'alice')
      await pass(400)
      const { records } = await store.records.read(0, 100)
      expect(records.at(-1)?.columns?.lastActiveAtMs).toBe((await seen(store, 'alice'))?.lastActiveAtMs)
    })

    rule(
      'say when time takes a user out of sight',
      { awayAfterMs: 200, idleTimeoutMs: 400 },
      async ({ store, pass }) => {
        const socket = await connect(store, 'alice')
        const mark = await markOf(store)
        await pass(600)
        expect((await mark.records()).at(-1)).toMatchObject({ columns: { isOnline: false, onlineSinceMs: null } })
        expect(await rowOf(store, socket)).toMatchObject({ endedAtMs: null })
      },
    )

    rule('are read in order and in pieces, until they are acknowledged', async ({ store }) => {
      for (const userId of ['a', 'b', 'c', 'd', 'e']) await connect(store, userId)
      const { records: all, epoch, lastSeq } = await store.records.read(0, 100)
      expect(all.map(({ userId }) => userId)).toEqual(['a', 'b', 'c', 'd', 'e'])
      const numbers = all.map(({ seq }) => seq)
      expect(numbers).toEqual([...new Set(numbers)].sort((one, other) => one - other))
      expect(lastSeq).toBe(numbers.at(-1))

      const first = await store.records.read(0, 2)
      expect(first).toMatchObject({ records: all.slice(0, 2), isGap: false, lastSeq, epoch })
      await acknowledge(store, Number(numbers[1]))
      const second = await store.records.read(Number(numbers[1]), 100)
      expect(second).toMatchObject({ records: all.slice(2), isGap: false })
      await acknowledge(store, lastSeq)
      expect(await store.records.read(lastSeq, 100)).toMatchObject({ records: [], isGap: false, lastSeq })
    })

    rule('have the epoch of the change log', async ({ store }) => {
      const { epoch } = await store.records.read(0, 1)
      expect(epoch).toBe((await store.changes.position()).epoch)
    })

    rule('of another history are told as a gap', async ({ store }) => {
      await connect(store, 'alice')
      const { lastSeq } = await store.records.read(0, 1)
      expect(await store.records.read(lastSeq + 1000, 10)).toMatchObject({ isGap: true })
    })

    rule('ring for whoever listens', async ({ store, pass }) => {
      let rung = 0
      const unlisten = store.records.listen(() => {
        rung += 1
      })
      await pass(SETTLE_MS)
      await connect(store, 'alice', { seed: seedOf(HIDDEN) })
      await eventually(pass, () => expect(rung).toBeGreaterThan(0))
      unlisten()
      await pass(SETTLE_MS)
      const before = rung
      await connect(store, 'bob')
      await pass(SETTLE_MS)
      expect(rung).toBe(before)
    })
  })

  describe('leaving the store', () => {
    rule('happens when the last record of who has no session is acknowledged', async ({ store }) => {
      await connect(store, 'alice')
      await connect(store, 'bob')
      await goOffline(store, 'alice')
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false })
      await acknowledge(store, (await store.records.read(0, 100)).lastSeq)
      expect(await seen(store, 'alice')).toBeNull()
      expect(await store.viewer('alice')).toBeNull()
      expect(await isOnline(store, 'bob')).toBe(true)
    })

    rule('does not happen by the number of another epoch', async ({ store }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      const { records, lastSeq } = await store.records.read(0, 100)
      await store.records.ack('another-epoch', lastSeq)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false })
      expect(await store.records.read(0, 100)).toMatchObject({ records, isGap: false })
    })

    rule('waits for the last record', async ({ store }) => {
      await connect(store, 'alice')
      const { lastSeq } = await store.records.read(0, 100)
      await goOffline(store, 'alice')
      await acknowledge(store, lastSeq)
      expect(await seen(store, 'alice')).toMatchObject({ isOnline: false })
    })

    rule('shows nothing, and the next attach asks for the row', async ({ store }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      const position = await store.changes.position()
      await acknowledge(store, (await store.records.read(0, 100)).lastSeq)
      expect(await store.changes.position()).toEqual(position)
      const request = { ...socketOf('alice'), isActive: true, profile: null, comeback: null, seed: null }
      expect(await store.attach(request)).toEqual({ kind: 'unseeded' })
    })

    rule('does not happen to who has a session, nor with a session that comes again', async ({ store }) => {
      await connect(store, 'alice')
      await goOffline(store, 'alice')
      const { lastSeq } = await store.records.read(0, 100)
      await connect(store, 'alice')
      await acknowledge(store, lastSeq)
      await acknowledge(store, (await store.records.read(lastSeq, 100)).lastSeq)
      expect(await isOnline(store, 'alice')).toBe(true)
    })

    rule('happens to who hides as well', async ({ store }) => {
      await connect(store, 'alice', { seed: seedOf(HIDDEN) })
      await goOffline(store, 'alice')
      await acknowledge(store, (await store.records.read(0, 100)).lastSeq)
      expect(await seen(store, 'alice')).toBeNull()
    })

    rule('happens without a record in sight where the acknowledgement came before the end', async ({ store, pass }) => {
      await connect(store, 'alice')
      await acknowledge(store, (await store.records.read(0, 100)).lastSeq)
      await goOffline(store, 'alice')
      const { records, lastSeq } = await store.records.read((await store.records.read(0, 100)).lastSeq - 1, 100)
      expect(records).toHaveLength(1)
      await acknowledge(store, lastSeq)
      await pass(SETTLE_MS)
      expect(await seen(store, 'alice')).toBeNull()
    })

    rule('takes no activity along that was not recorded', { lastActiveFlushMs: 60_000 }, async ({ store, pass }) => {
      const socket = await connect(store, 'alice')
      await pass(SETTLE_MS)
      const answer = await beat(store, socket)
      await goOffline(store, 'alice')
      const { records } = await store.records.read(0, 100)
      if (answer.kind !== 'counted') throw new Error(answer.kind)
      expect(records.at(-1)?.columns?.lastActiveAtMs).toBe(answer.lastActiveAtMs)
      expect(await rowOf(store, socket)).toMatchObject({ lastActiveAtMs: answer.lastActiveAtMs })
    })
  })

  describe('a snapshot', () => {
    rule('is the whole state of every user, page by page', async ({ store }) => {
      const alice = await connect(store, 'alice', { rooms: ['hall'] })
      const sessionId = randomUUID()
      await beatOverHttp(store, 'alice', sessionId)
      await connect(store, 'bob', { seed: seedOf(HIDDEN) })
      await connect(store, 'carol')
      await goOffline(store, 'carol')

      const first = await store.records.snapshot(null, 2)
      const rest = await store.records.snapshot(first.at(-1)?.userId ?? null, 2)
      expect([...first, ...rest].map(({ userId }) => userId)).toEqual(['alice', 'bob', 'carol'])
      const rows = rowsOf(first, 'alice').filter(({ endedAtMs }) => endedAtMs === null)
      expect(rows.map((row) => row.sessionId).sort()).toEqual([alice.sessionId, sessionId].sort())
      expect(rows.find((row) => row.sessionId === alice.sessionId)).toMatchObject({ rooms: ['hall'], nodeId: 'node-1' })
      const columns = [...first, ...rest].map((record) => record.columns?.isOnline)
      expect(columns).toEqual([true, false, false])
      expect(rowsOf(rest, 'carol').filter(({ endedAtMs }) => endedAtMs === null)).toEqual([])
      expect(await store.records.snapshot('carol', 2)).toEqual([])
    })
  })
}
