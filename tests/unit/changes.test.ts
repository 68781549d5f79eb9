import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Change, type ChangeFilter, changeOf, mergedChanges } from '../../src/presence/changes.ts'
import type { LogEntry, PublicStanding, PublicUser } from '../../src/presence/model.ts'
import { RoomSet } from '../../src/presence/room-set.ts'

const ALICE: PublicUser = {
  id: 'alice',
  name: 'Alice',
  avatarUrl: null,
  isOnline: true,
  status: 'ONLINE',
  statusMessage: null,
  onlineSinceMs: 1000,
  lastActiveAtMs: 2000,
  lastSeenAtMs: null,
}

const EVERYONE: ChangeFilter = { kind: 'everyone' }
const HALL: ChangeFilter = { kind: 'room', room: 'hall' }
const watching = (...userIds: string[]): ChangeFilter => ({ kind: 'users', userIds: new Set(userIds) })

function online(details: Partial<PublicUser> = {}, ...rooms: string[]): PublicStanding {
  return { user: { ...ALICE, ...details }, rooms: RoomSet.of(rooms) }
}

function offline(details: Partial<PublicUser> = {}): PublicStanding {
  const gone = { isOnline: false, status: 'OFFLINE', statusMessage: null, onlineSinceMs: null } as const
  return { user: { ...ALICE, ...details, ...gone }, rooms: RoomSet.empty }
}

function entryOf(seq: number, atMs: number, before: PublicStanding, after: PublicStanding): LogEntry {
  const left = [...before.rooms].filter((room) => !after.rooms.has(room))
  const entered = [...after.rooms].filter((room) => !before.rooms.has(room))
  return { seq, atMs, before, after, movedRooms: [...left, ...entered] }
}

/** A log of steps of one user, each from where the one before ended. */
function logOf(...standings: PublicStanding[]): LogEntry[] {
  return standings
    .slice(1)
    .map((after, index) => entryOf(index + 1, 10 * (index + 1), standings[index] as PublicStanding, after))
}

function between(before: PublicStanding, after: PublicStanding, filter: ChangeFilter): Change | null {
  return changeOf(entryOf(7, 70, before, after), filter)
}

describe('a change', () => {
  it('says who, what they were, where, when and in which place of the log', () => {
    expect(between(online({}, 'hall'), online({ status: 'BUSY' }, 'hall'), HALL)).toEqual({
      kind: 'UPDATE',
      user: { ...ALICE, status: 'BUSY' },
      previousStatus: 'ONLINE',
      room: 'hall',
      seq: 7,
      atMs: 70,
    })
    expect(between(offline(), online(), EVERYONE)).toMatchObject({
      kind: 'JOIN',
      previousStatus: 'OFFLINE',
      room: null,
    })
    expect(between(online(), offline(), EVERYONE)).toMatchObject({ kind: 'LEAVE', user: { isOnline: false } })
  })

  it('is none where only lastActive or nothing changed', () => {
    expect(between(online(), online({ lastActiveAtMs: 9999 }), EVERYONE)).toBeNull()
    expect(between(offline(), offline({ name: 'Alicia' }), EVERYONE)).toBeNull()
  })

  it('of rooms is one in those rooms only, with the status that the user has all along', () => {
    const before = online({}, 'hall')
    const after = online({}, 'bar')
    expect(between(before, after, EVERYONE)).toBeNull()
    expect(between(before, after, watching('alice'))).toBeNull()
    expect(between(before, after, HALL)).toMatchObject({
      kind: 'LEAVE',
      previousStatus: 'ONLINE',
      user: { isOnline: true },
    })
    expect(between(before, after, { kind: 'room', room: 'bar' })).toMatchObject({
      kind: 'JOIN',
      previousStatus: 'ONLINE',
    })
    expect(between(before, after, { kind: 'room', room: 'attic' })).toBeNull()
  })

  it('in a room with an entering is a JOIN there, and an UPDATE for everyone', () => {
    const before = online()
    const after = online({ status: 'BUSY' }, 'hall')
    expect(between(before, after, HALL)?.kind).toBe('JOIN')
    expect(between(before, after, EVERYONE)?.kind).toBe('UPDATE')
  })

  it('comes to a watch list for those on it', () => {
    expect(between(offline(), online(), watching('bob', 'alice'))?.kind).toBe('JOIN')
    expect(between(offline(), online(), watching('bob'))).toBeNull()
    expect(between(offline(), online(), watching())).toBeNull()
  })
})

describe('merging', () => {
  it('goes from before the first entry to after the last', () => {
    const log = logOf(offline(), online(), online({ status: 'AWAY' }), online({ status: 'BUSY' }))
    expect(mergedChanges(log, EVERYONE)).toEqual([
      { kind: 'JOIN', user: { ...ALICE, status: 'BUSY' }, previousStatus: 'OFFLINE', room: null, seq: 3, atMs: 30 },
    ])
    expect(mergedChanges(log.slice(1), EVERYONE)).toMatchObject([{ kind: 'UPDATE', previousStatus: 'ONLINE', seq: 3 }])
  })

  it('tells nothing where all public fields are equal again', () => {
    expect(mergedChanges(logOf(online(), online({ status: 'BUSY' }), online()), EVERYONE)).toEqual([])
    expect(mergedChanges(logOf(offline(), online(), offline()), EVERYONE)).toEqual([])
    expect(mergedChanges(logOf(online({}, 'hall'), online(), online({}, 'hall')), HALL)).toEqual([])
  })

  it('tells a reader who may have seen later where such a user ended', () => {
    const seen = { mayHaveSeenLater: true }
    expect(mergedChanges(logOf(online(), online({ status: 'BUSY' }), online()), EVERYONE, seen)).toMatchObject([
      { kind: 'UPDATE', user: { status: 'ONLINE' }, seq: 2 },
    ])
    expect(mergedChanges(logOf(offline(), online(), offline()), EVERYONE, seen)).toMatchObject([
      { kind: 'LEAVE', seq: 2 },
    ])
    expect(mergedChanges(logOf(online({}, 'hall'), online(), online({}, 'hall')), HALL, seen)).toMatchObject([
      { kind: 'UPDATE', seq: 2 },
    ])
  })

  it('is an UPDATE, never a leave and a join, for who left and came back', () => {
    const log = logOf(online(), offline(), online({ onlineSinceMs: 5000 }))
    expect(mergedChanges(log, EVERYONE)).toMatchObject([{ kind: 'UPDATE', user: { onlineSinceMs: 5000 }, seq: 2 }])
  })

  it('carries the number of the last entry that the filter shows', () => {
    const log = logOf(offline(), online({}, 'hall'), online({}, 'hall', 'bar'), online({}, 'hall'))
    expect(mergedChanges(log, HALL)).toMatchObject([{ kind: 'JOIN', seq: 1 }])
  })

  it('comes in the order of those numbers, at most one a user', () => {
    const bob = { id: 'bob', name: 'Bob' }
    const log: LogEntry[] = [
      entryOf(1, 1, offline(), online()),
      entryOf(2, 2, offline(bob), online(bob)),
      entryOf(3, 3, online(), online({ status: 'BUSY' })),
    ]
    expect(mergedChanges(log, EVERYONE).map(({ user, seq }) => [user.id, seq])).toEqual([
      ['bob', 2],
      ['alice', 3],
    ])
  })

  it('of nothing is nothing', () => {
    expect(mergedChanges([], EVERYONE)).toEqual([])
  })
})

describe('replaying a random log', () => {
  const USERS = ['a', 'b', 'c']
  const ROOMS = ['hall', 'bar']
  const FILTERS = [EVERYONE, HALL, watching('a', 'c')]

  const standing = fc.record({
    isOnline: fc.boolean(),
    status: fc.constantFrom('ONLINE', 'AWAY', 'BUSY'),
    rooms: fc.subarray(ROOMS),
  })
  const history = fc.array(fc.record({ userId: fc.constantFrom(...USERS), standing }), { minLength: 1, maxLength: 25 })

  function logFrom(
    steps: readonly {
      readonly userId: string
      readonly standing: { isOnline: boolean; status: string; rooms: string[] }
    }[],
  ) {
    const now = new Map(USERS.map((id) => [id, offline({ id, name: id })]))
    return steps.map(({ userId, standing: { isOnline, status, rooms } }, index): LogEntry => {
      const before = now.get(userId) as PublicStanding
      const details = { id: userId, name: userId, status: status as PublicUser['status'] }
      const after = isOnline ? online(details, ...rooms) : offline(details)
      now.set(userId, after)
      return entryOf(index + 1, index, before, after)
    })
  }

  function isIn({ user, rooms }: PublicStanding, filter: ChangeFilter): boolean {
    if (!user.isOnline) return false
    if (filter.kind === 'room') return rooms.has(filter.room)
    return filter.kind === 'everyone' || filter.userIds.has(user.id)
  }

  /** The list at a place of the log, from what every user was then. */
  function listAt(log: readonly LogEntry[], seq: number, filter: ChangeFilter): Map<string, PublicUser> {
    const standings = new Map(log.filter((entry) => entry.seq <= seq).map(({ after }) => [after.user.id, after]))
    return new Map([...standings].filter(([, one]) => isIn(one, filter)).map(([id, { user }]) => [id, user]))
  }

  function apply(list: Map<string, PublicUser>, changes: readonly Change[]): void {
    for (const { kind, user } of changes) {
      if (kind === 'LEAVE') list.delete(user.id)
      else list.set(user.id, user)
    }
  }

  it('one by one or merged, from any place, ends in the same list', () => {
    fc.assert(
      fc.property(history, fc.nat(25), fc.constantFrom(...FILTERS), fc.boolean(), (steps, from, filter, flag) => {
        const log = logFrom(steps)
        const missed = log.filter(({ seq }) => seq > from)
        const live = listAt(log, from, filter)
        apply(
          live,
          missed.map((entry) => changeOf(entry, filter)).filter((change) => change !== null),
        )
        const replayed = listAt(log, from, filter)
        const changes = mergedChanges(missed, filter, { mayHaveSeenLater: flag })
        apply(replayed, changes)

        expect(live).toEqual(listAt(log, log.length, filter))
        expect(replayed).toEqual(live)
        expect(new Set(changes.map(({ user }) => user.id)).size).toBe(changes.length)
        const numbers = changes.map(({ seq }) => seq)
        expect(numbers).toEqual([...numbers].sort((one, other) => one - other))
      }),
      { numRuns: 500 },
    )
  })

  it('cut after any change and resumed from its number ends in the same list', () => {
    fc.assert(
      fc.property(
        history,
        fc.array(fc.nat(25), { minLength: 1, maxLength: 3 }),
        fc.nat(25),
        fc.constantFrom(...FILTERS),
        (steps, cuts, from, filter) => {
          const log = logFrom(steps)
          const list = listAt(log, from, filter)
          let after = from
          for (const [round, cut] of cuts.entries()) {
            // Each reader sees some more of the log than the one before.
            const end = Math.ceil((log.length * (round + 1)) / cuts.length)
            const changes = mergedChanges(
              log.filter(({ seq }) => seq > after && seq <= end),
              filter,
              // Who resumes may have stopped in the middle of a merged replay.
              { mayHaveSeenLater: round > 0 },
            )
            const taken = changes.slice(0, changes.length === 0 ? 0 : cut % (changes.length + 1))
            apply(list, taken)
            after = taken.at(-1)?.seq ?? after
          }
          apply(
            list,
            mergedChanges(
              log.filter(({ seq }) => seq > after),
              filter,
              { mayHaveSeenLater: true },
            ),
          )
          expect(list).toEqual(listAt(log, log.length, filter))
        },
      ),
      { numRuns: 1000 },
    )
  })

  it('over pages that were read one after the other ends in the same list, cut or not', () => {
    fc.assert(
      fc.property(
        history,
        fc.tuple(fc.nat(25), fc.nat(25), fc.nat(25)),
        fc.nat(25),
        fc.constantFrom(...FILTERS),
        (steps, moments, cut, filter) => {
          const log = logFrom(steps)
          // One user a page, each page read later than the one before; the position is that of the first.
          const readAt = [...moments].sort((one, other) => one - other)
          const list = new Map<string, PublicUser>()
          for (const [index, id] of USERS.entries()) {
            const user = listAt(log, Number(readAt[index]), filter).get(id)
            if (user !== undefined) list.set(id, user)
          }
          const seen = { mayHaveSeenLater: true }
          const position = Number(readAt[0])
          const changes = mergedChanges(
            log.filter(({ seq }) => seq > position),
            filter,
            seen,
          )
          const taken = changes.slice(0, cut % (changes.length + 1))
          apply(list, taken)
          const after = taken.at(-1)?.seq ?? position
          apply(
            list,
            mergedChanges(
              log.filter(({ seq }) => seq > after),
              filter,
              seen,
            ),
          )
          expect(list).toEqual(listAt(log, log.length, filter))
        },
      ),
      { numRuns: 1000 },
    )
  })
})
