/**
 * All users of the memory store, and what `commit` derives from a user's state: lists, change log, records, deadlines
 * and notifications. Every function that changes a user calls `commit`.
 *
 * `lua/shared/commit.lua` of the Redis store is its counterpart: change both.
 */
import { randomBytes } from 'node:crypto'
import { BOUNDS } from '../../presence/bounds.ts'
import { listenIn } from '../../presence/listeners.ts'
import type { EndReason, LogEntry, PresenceRecord, PublicUser, Settings, UserSeed } from '../../presence/model.ts'
import { createNumberedLog } from '../../presence/numbered-log.ts'
import type { Position } from '../../presence/position.ts'
import { RoomSet } from '../../presence/room-set.ts'
import {
  hasSamePublicFields,
  isOnline,
  isVisible,
  lastSeenAfterLeaving,
  newerSettings,
  nextFlipSteadyMs,
  publicUser,
  shownMomentsAfter,
  statusOf,
} from '../../presence/rules.ts'
import { type ChangeListener, type PresenceStore, SEED_MEMORY_MS } from '../../presence/store.ts'
import type { Clock, Now, PresenceTiming } from '../../presence/timing.ts'
import { inSlices } from '../../slices.ts'
import { createDeadlines } from './deadlines.ts'
import {
  columnsOf,
  countRooms,
  createLiveUser,
  date,
  type LiveSession,
  type LiveUser,
  sessionRow,
  shownNow,
} from './live-user.ts'
import { compareUtf8, createOrder, createRoster, membersAfter, mergedInOrder } from './roster.ts'
import { createShardedMap } from './sharded-map.ts'

/** When a session ended, and why. */
export interface End {
  readonly atMs: number
  readonly reason: EndReason
}

/** A session whose row changed, with its end if it ended. */
export interface Touched {
  readonly session: LiveSession
  readonly end: End | null
}

/** What one step did to a user, apart from changing their state. */
export interface Step {
  readonly now: Now
  readonly touched?: readonly Touched[]
  readonly isViewerChanged?: boolean
  readonly mustRecord?: boolean
}

/** An entry, and when it was written on the steady clock. */
interface AgedEntry extends LogEntry {
  readonly writtenSteadyMs: number
  /** Estimated memory that the entry takes in the log. */
  readonly bytes: number
}

/**
 * Memory in bytes, measured on Node 20 (docs/operations.md), that an entry takes apart from its texts, and that one
 * listed room and a changed copy of a large room set take.
 */
const ENTRY_BYTES = 500
const ROOM_BYTES = 40
const COPY_BYTES = 1300

/** Memory that a record takes apart from its room names. */
const RECORD_BYTES = 600

/** Entries that one trim removes at most: after a burst, a hundred thousand can pass their age at once. */
const BATCH_TRIMMED = 10_000

/** Counts only the user after the step: the user before it is usually the object of the previous entry. */
function bytesOfEntry(after: PublicUser): number {
  const { id, name, avatarUrl, statusMessage } = after
  return ENTRY_BYTES + id.length + name.length + (avatarUrl?.length ?? 0) + (statusMessage?.length ?? 0)
}

/**
 * Estimated memory of a change of rooms in the log.
 *
 * @param changed - rooms that were entered or left
 * @param rooms - the rooms after that
 */
function bytesOfRoomChange(changed: readonly string[], rooms: RoomSet): number {
  if (changed.length === 0) return 0
  const textBytes = changed.reduce((bytes, room) => bytes + room.length + ROOM_BYTES, 0)
  return textBytes + Math.min(changed.length * COPY_BYTES, rooms.size * ROOM_BYTES)
}

function bytesOfRecord({ sessions }: PresenceRecord): number {
  let bytes = RECORD_BYTES
  for (const { rooms } of sessions) for (const room of rooms) bytes += room.length + ROOM_BYTES
  return bytes
}

function mostBytesOfRooms(rooms: RoomSet): number {
  return rooms.size * (BOUNDS.roomBytes + 2 * ROOM_BYTES)
}

export interface PopulationOptions {
  readonly timing: PresenceTiming
  readonly clock: Clock
  readonly monotonicMs: () => number
  readonly recordsKept: number
  readonly recordBytes: number
}

export function createPopulation({ timing, clock, monotonicMs, recordsKept, recordBytes }: PopulationOptions) {
  const epoch = randomBytes(8).toString('hex')
  const users = createShardedMap<LiveUser>()
  const roster = createRoster<LiveUser>()
  /** The users in the store who are in no list. Together with the roster: all users, in order. */
  const unlisted = createOrder<string, LiveUser>(compareUtf8)
  /** Users without sessions, by the number of their last record. They leave when that record is acknowledged. */
  const departing = createOrder<number, LiveUser>((one, other) => one - other)
  const deadlines = createDeadlines<LiveUser>()
  const entries = createNumberedLog<AgedEntry>()
  let logBytes = 0
  const waiting = createNumberedLog<PresenceRecord>()
  let waitingBytes = 0
  /** Settings that arrived for users who were not in the store, oldest first. */
  const settingsAhead = new Map<string, { readonly settings: Settings; readonly untilSteadyMs: number }>()
  /** Maps each forgotten user to the last record that can be theirs, until that record is acknowledged. */
  const forgottenThrough = new Map<string, number>()
  const changeListeners = new Set<ChangeListener>()
  const viewerListeners = new Set<(userId: string | null) => void>()
  const recordBells = new Set<() => void>()
  let changeCount = 0
  let activityCount = 0

  /** Updates all that is derived from a user's state: lists, log, records, deadlines, and notifies the listeners. */
  function commit(user: LiveUser, { now, touched = [], isViewerChanged = false, mustRecord = false }: Step): void {
    changeCount += 1
    const before = { user: shownNow(user), rooms: user.shownRooms }
    user.hasLiveSession = user.sessions.length > 0
    const isShown = isVisible(user.settings) && isOnline(user, now.steadyMs, timing)
    if (isShown) user.shownLastSeenAtMs = null
    else if (user.shownSinceMs !== null) {
      user.shownLastSeenAtMs = lastSeenAfterLeaving(user, before.user.isOnline ? date(user, now) : null)
    }
    user.shownSinceMs = isShown ? (user.shownSinceMs ?? date(user, now)) : null
    const changedRooms = countRooms(user)
    user.newRoomBytes += bytesOfRoomChange(changedRooms, user.rooms)
    // Changes of a hidden user make no entry, so their next entry adds each room to the log at most once.
    if (!before.user.isOnline) user.newRoomBytes = Math.min(user.newRoomBytes, mostBytesOfRooms(user.rooms))
    const after = { user: publicUser(user, now.steadyMs, timing), rooms: isShown ? user.rooms : RoomSet.empty }
    const movedRooms = before.user.isOnline && isShown ? changedRooms : isShown ? after.rooms : before.rooms
    user.shown = after.user
    user.shownRooms = after.rooms
    const isChanged = !hasSamePublicFields(before.user, after.user) || before.rooms !== after.rooms
    if (isChanged) list(user, before.user.isOnline, movedRooms)

    const ownStatus = statusOf(user, now.steadyMs, timing)
    const isOwnStatusFlipped = ownStatus !== user.ownStatus
    user.ownStatus = ownStatus

    const columns = columnsOf(user)
    const areColumnsChanged =
      columns?.isOnline !== user.recordedColumns?.isOnline ||
      columns?.onlineSinceMs !== user.recordedColumns?.onlineSinceMs ||
      columns?.lastSeenAtMs !== user.recordedColumns?.lastSeenAtMs ||
      (columns?.lastActiveAtMs === null) !== (user.recordedColumns?.lastActiveAtMs === null)
    if (mustRecord || touched.length > 0 || areColumnsChanged) record(user, touched)

    schedule(user, now)
    // Notify last: a listener may read the store.
    if (isChanged && (before.user.isOnline || after.user.isOnline)) {
      append({
        seq: entries.lastSeq() + 1,
        atMs: date(user, now),
        writtenSteadyMs: now.steadyMs,
        before,
        after,
        movedRooms,
        bytes: bytesOfEntry(after.user) + user.newRoomBytes,
      })
      user.newRoomBytes = 0
    }
    if (isViewerChanged || isOwnStatusFlipped || isChanged) for (const listener of viewerListeners) listener(user.id)
  }

  function list(user: LiveUser, wasListed: boolean, movedRooms: LogEntry['movedRooms']): void {
    const { shown, shownRooms } = user
    if (shown.isOnline && !wasListed) {
      unlisted.delete(user.id)
      roster.add(user)
    }
    if (!shown.isOnline && wasListed) {
      roster.remove(user)
      unlisted.set(user.id, user)
    }
    for (const room of movedRooms) {
      if (shownRooms.has(room)) roster.addToRoom(room, user)
      else roster.removeFromRoom(room, user)
    }
  }

  function append(entry: AgedEntry): void {
    entries.push(entry)
    logBytes += entry.bytes
    trimEntries(entry.writtenSteadyMs)
    for (const listener of changeListeners) listener.entry(entry, epoch)
  }

  function trimEntries(steadyMs: number): void {
    let goneSeq = entries.firstSeq() - 1
    // Entries past their age that remain do no harm; the next trim removes them.
    const furthestSeq = goneSeq + BATCH_TRIMMED
    while (goneSeq < furthestSeq) {
      const next = entries.at(goneSeq + 1)
      if (next === undefined) break
      const isOverCount = entries.lastSeq() - goneSeq > timing.logCount
      const isTooOld = steadyMs - next.writtenSteadyMs >= timing.logAgeMs
      if (!isOverCount && logBytes <= timing.logBytes && !isTooOld) break
      logBytes -= next.bytes
      goneSeq += 1
    }
    entries.dropThrough(goneSeq)
  }

  function record(user: LiveUser, touched: readonly Touched[]): void {
    const rows = touched.map(({ session, end }) => sessionRow(session, end))
    for (const { session } of touched) session.hasUnrecordedActivity = false
    for (const session of user.sessions) {
      if (!session.hasUnrecordedActivity) continue
      session.hasUnrecordedActivity = false
      rows.push(sessionRow(session, null))
    }
    user.activityFlushSteadyMs = null
    user.recordedColumns = columnsOf(user)
    departing.delete(user.lastRecordSeq)
    user.lastRecordSeq = waiting.lastSeq() + 1
    if (user.sessions.length === 0) departing.set(user.lastRecordSeq, user)
    const record: PresenceRecord = {
      seq: user.lastRecordSeq,
      userId: user.id,
      profile: user.profile,
      columns: user.recordedColumns,
      settings: user.settings,
      sessions: rows,
    }
    waiting.push(record)
    waitingBytes += bytesOfRecord(record)
    dropRecords(waiting.lastSeq() - recordsKept)
    while (waitingBytes > recordBytes) dropRecords(waiting.firstSeq())
    for (const bell of recordBells) bell()
  }

  function dropRecords(throughSeq: number): void {
    for (let seq = waiting.firstSeq(); seq <= throughSeq; seq += 1) {
      const record = waiting.at(seq)
      if (record !== undefined) waitingBytes -= bytesOfRecord(record)
    }
    waiting.dropThrough(throughSeq)
    for (const [userId, seq] of forgottenThrough) if (seq <= throughSeq) forgottenThrough.delete(userId)
  }

  function readable(record: PresenceRecord): PresenceRecord {
    const { seq, userId } = record
    if (seq > (forgottenThrough.get(userId) ?? 0)) return record
    return { seq, userId, profile: null, columns: null, settings: null, sessions: [], isForgotten: true }
  }

  function remove(user: LiveUser): void {
    departing.delete(user.lastRecordSeq)
    users.delete(user.id)
    unlisted.delete(user.id)
    deadlines.remove(user)
  }

  function schedule(user: LiveUser, { steadyMs }: Now): void {
    let dueSteadyMs = nextFlipSteadyMs(user, steadyMs, timing) ?? Number.POSITIVE_INFINITY
    if (user.activityFlushSteadyMs !== null) dueSteadyMs = Math.min(dueSteadyMs, user.activityFlushSteadyMs)
    for (const { leaseEndsSteadyMs } of user.sessions) {
      if (leaseEndsSteadyMs !== null) dueSteadyMs = Math.min(dueSteadyMs, leaseEndsSteadyMs)
    }
    if (dueSteadyMs === Number.POSITIVE_INFINITY) deadlines.remove(user)
    // A deadline that moved later stays where it is in the heap, so a heartbeat moves nothing; the sweep corrects it.
    else if (user.heapIndex === -1 || dueSteadyMs < user.dueSteadyMs || user.dueSteadyMs <= steadyMs)
      deadlines.set(user, dueSteadyMs)
  }

  /** Yields the users whose last record is at most `seq`. The caller must remove each one before it takes the next. */
  function* departed(seq: number): Iterable<LiveUser> {
    for (let first = departing.minKey(); first !== undefined && first <= seq; first = departing.minKey()) {
      yield departing.get(first) as LiveUser
    }
  }

  const changes: PresenceStore['changes'] = {
    position: async (): Promise<Position> => ({ epoch, seq: entries.lastSeq() }),

    async read(after, limit) {
      trimEntries(clock().steadyMs)
      if (after.epoch !== epoch || !entries.reaches(after.seq)) return 'expired'
      const found = entries.after(after.seq, limit)
      return { entries: found, position: { epoch, seq: found.at(-1)?.seq ?? after.seq } }
    },

    listen: (listener) => listenIn(changeListeners, listener),
  }

  const viewers: PresenceStore['viewers'] = { listen: (listener) => listenIn(viewerListeners, listener) }

  const records: PresenceStore['records'] = {
    async read(afterSeq, limit) {
      const found = waiting.after(afterSeq, limit)
      return {
        epoch,
        records: forgottenThrough.size === 0 ? found : found.map(readable),
        isGap: !waiting.reaches(afterSeq),
        lastSeq: waiting.lastSeq(),
      }
    },

    async ack(of, seq) {
      if (of !== epoch) return
      dropRecords(Math.min(seq, waiting.lastSeq()))
      await inSlices(departed(seq), monotonicMs, remove)
    },

    async snapshot(after, limit) {
      return mergedInOrder(membersAfter(unlisted, after), roster.from(null, after), limit).map((user) => ({
        seq: waiting.lastSeq(),
        userId: user.id,
        profile: user.profile,
        columns: columnsOf(user),
        settings: user.settings,
        sessions: user.sessions.map((session) => sessionRow(session, null)),
      }))
    },

    listen: (bell) => listenIn(recordBells, bell),
  }

  return {
    users,
    roster,
    changes,
    viewers,
    records,
    commit,
    position: (): Position => ({ epoch, seq: entries.lastSeq() }),
    /** How often something changed in anybody, and how often there was activity that changed nothing else. */
    changeCount: () => changeCount,
    activityCount: () => activityCount,

    stats: () => ({
      onlineCount: roster.count(null),
      logCount: entries.size(),
      logBytes,
      recordCount: waiting.size(),
    }),

    /** Adds a user who is not in the store. */
    admit(userId: string, seed: UserSeed, now: Now): LiveUser {
      const settings = newerSettings(seed.settings, settingsAhead.get(userId)?.settings ?? null)
      const { shownLastActiveAtMs, shownLastSeenAtMs } = shownMomentsAfter(seed, seed.settings, settings)
      const user = createLiveUser(userId, { ...seed, settings, shownLastActiveAtMs, shownLastSeenAtMs }, now, timing)
      users.set(userId, user)
      unlisted.set(userId, user)
      return user
    },

    /** Removes a user whose sessions have ended, and the content of their pending records. */
    forgetUser(userId: string): void {
      settingsAhead.delete(userId)
      const user = users.get(userId)
      if (user !== undefined) remove(user)
      if (waiting.size() > 0) forgottenThrough.set(userId, waiting.lastSeq())
    },

    /**
     * Remembers settings of a user who is not in the store, for an attach that may be under way with an older row.
     *
     * @returns the settings that are remembered now
     */
    remember(userId: string, brought: Settings, { steadyMs }: Now): Settings {
      const known = settingsAhead.get(userId)?.settings ?? null
      const settings = newerSettings(known, brought) ?? brought
      if (settings === known) return known
      // Delete first, so that the map stays in the order of expiry.
      settingsAhead.delete(userId)
      settingsAhead.set(userId, { settings, untilSteadyMs: steadyMs + SEED_MEMORY_MS })
      return settings
    },

    remembered: (userId: string): Settings | null => settingsAhead.get(userId)?.settings ?? null,

    /** Removes log entries and remembered settings that are past their age. */
    forget({ steadyMs }: Now): void {
      trimEntries(steadyMs)
      for (const [userId, { untilSteadyMs }] of settingsAhead) {
        if (steadyMs < untilSteadyMs) break
        settingsAhead.delete(userId)
      }
    },

    /** Counts activity that changes no other public field (rule 9). The sweep records it later. */
    counted(user: LiveUser, now: Now): void {
      activityCount += 1
      user.hasActivitySince = true
      schedule(user, now)
    },

    /** Yields the users with activity that is in no record yet. */
    *withUnrecordedActivity(): Generator<LiveUser, void> {
      for (const [, user] of users.entries()) if (user.activityFlushSteadyMs !== null) yield user
    },

    /** The user with the earliest passed deadline; undefined if no deadline has passed. */
    firstDue({ steadyMs }: Now): LiveUser | undefined {
      const user = deadlines.first()
      return user !== undefined && user.dueSteadyMs <= steadyMs ? user : undefined
    },

    close(): void {
      changeListeners.clear()
      viewerListeners.clear()
      recordBells.clear()
    },
  }
}
