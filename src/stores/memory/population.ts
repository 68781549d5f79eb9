/**
 * Everybody in the memory store, and all that follows from a user's state: lists, change log, records, deadlines and
 * bells. Whoever changes a user commits the change here.
 */
import { randomBytes } from 'node:crypto'
import { listenIn } from '../../presence/listeners.ts'
import type { EndReason, LogEntry, PresenceRecord, Settings, UserSeed } from '../../presence/model.ts'
import { createNumberedLog } from '../../presence/numbered-log.ts'
import type { Position } from '../../presence/position.ts'
import { hasSamePublicFields, isOnline, isVisible, nextFlipAtMs, publicUser, statusOf } from '../../presence/rules.ts'
import { type ChangeListener, type PresenceStore, SEED_MEMORY_MS } from '../../presence/store.ts'
import type { Clock, PresenceTiming } from '../../presence/timing.ts'
import { createDeadlines } from './deadlines.ts'
import { columnsOf, createLiveUser, type LiveSession, type LiveUser, roomsOf, sessionRow } from './live-user.ts'
import { createOrder, createRoster, membersAfter, mergedInOrder } from './roster.ts'

/** When a session ended, and why. */
export interface End {
  readonly atMs: number
  readonly reason: EndReason
}

/** What one step did to a user, beside their state. */
export interface Step {
  readonly nowMs: number
  /** Sessions whose row changed, with the end of those that ended. */
  readonly touched?: ReadonlyMap<LiveSession, End | null>
  readonly isViewerChanged?: boolean
  readonly mustRecord?: boolean
}

export function createPopulation(timing: PresenceTiming, clock: Clock, recordsKept: number) {
  const epoch = randomBytes(8).toString('hex')
  const users = new Map<string, LiveUser>()
  const roster = createRoster<LiveUser>()
  /** Whoever is in the store and in no list: with the roster, everybody in order. */
  const unlisted = createOrder<LiveUser>()
  /** Whoever has no session left, in the order of their last record: they go when it is acknowledged. */
  const departing = new Map<string, LiveUser>()
  const deadlines = createDeadlines<LiveUser>()
  const entries = createNumberedLog<LogEntry>()
  const waiting = createNumberedLog<PresenceRecord>()
  /** Settings of who was not there when they came, oldest first. */
  const settingsAhead = new Map<string, { readonly settings: Settings; readonly untilMs: number }>()
  const changeListeners = new Set<ChangeListener>()
  const viewerListeners = new Set<(userId: string | null) => void>()
  const recordBells = new Set<() => void>()

  /** Brings everything that follows from a user's state in line with it: lists, log, records, deadlines, bells. */
  function commit(
    user: LiveUser,
    { nowMs, touched = new Map(), isViewerChanged = false, mustRecord = false }: Step,
  ): void {
    const before = user.standing
    user.hasLiveSession = user.sessions.size > 0
    const isShown = isVisible(user.settings) && isOnline(user, nowMs, timing)
    user.shownSinceMs = isShown ? (user.shownSinceMs ?? nowMs) : null
    const after = {
      user: publicUser(user, nowMs, timing),
      rooms: roomsOf(user, isShown, before.rooms),
    }
    const isChanged = !hasSamePublicFields(before.user, after.user) || before.rooms !== after.rooms
    if (isChanged) {
      user.standing = after
      list(user, before.user.isOnline, before.rooms)
    }

    const ownStatus = statusOf(user, nowMs, timing)
    const isOwnStatusFlipped = ownStatus !== user.ownStatus
    user.ownStatus = ownStatus

    const columns = columnsOf(user)
    const areColumnsChanged =
      columns?.isOnline !== user.recordedColumns?.isOnline ||
      columns?.onlineSinceMs !== user.recordedColumns?.onlineSinceMs ||
      (columns?.lastActiveAtMs === null) !== (user.recordedColumns?.lastActiveAtMs === null)
    if (mustRecord || touched.size > 0 || areColumnsChanged) record(user, touched)

    schedule(user, nowMs)
    // Told last: whoever listens may look at the store.
    if (isChanged && (before.user.isOnline || after.user.isOnline)) {
      append({ seq: entries.lastSeq() + 1, atMs: nowMs, before, after })
    }
    if (isViewerChanged || isOwnStatusFlipped || isChanged) for (const listener of viewerListeners) listener(user.id)
  }

  function list(user: LiveUser, wasListed: boolean, formerRooms: ReadonlySet<string>): void {
    const { user: shown, rooms } = user.standing
    if (shown.isOnline && !wasListed) {
      unlisted.delete(user.id)
      roster.add(user)
    }
    if (!shown.isOnline && wasListed) {
      roster.remove(user)
      unlisted.set(user.id, user)
    }
    for (const room of formerRooms) if (!rooms.has(room)) roster.removeFromRoom(room, user)
    for (const room of rooms) if (!formerRooms.has(room)) roster.addToRoom(room, user)
  }

  function append(entry: LogEntry): void {
    entries.push(entry)
    trimEntries(entry.atMs)
    for (const listener of changeListeners) listener.entry(entry, epoch)
  }

  function trimEntries(nowMs: number): void {
    while (entries.size() > timing.logCount) entries.dropOldest()
    for (let oldest = entries.oldest(); oldest !== undefined; oldest = entries.oldest()) {
      if (nowMs - oldest.atMs < timing.logAgeMs) break
      entries.dropOldest()
    }
  }

  function record(user: LiveUser, touched: NonNullable<Step['touched']>): void {
    const rows = [...touched].map(([session, end]) => sessionRow(session, end))
    for (const session of touched.keys()) session.hasUnrecordedActivity = false
    for (const session of user.sessions.values()) {
      if (!session.hasUnrecordedActivity) continue
      session.hasUnrecordedActivity = false
      rows.push(sessionRow(session, null))
    }
    user.activityFlushAtMs = null
    user.recordedColumns = columnsOf(user)
    user.lastRecordSeq = waiting.lastSeq() + 1
    waiting.push({
      seq: user.lastRecordSeq,
      userId: user.id,
      profile: user.profile,
      columns: user.recordedColumns,
      sessions: rows,
    })
    while (waiting.size() > recordsKept) waiting.dropOldest()
    // Deleted first: `departing` is in the order of the last waiting.
    departing.delete(user.id)
    if (user.sessions.size === 0) departing.set(user.id, user)
    for (const bell of recordBells) bell()
  }

  function schedule(user: LiveUser, nowMs: number): void {
    let dueAtMs = nextFlipAtMs(user, nowMs, timing) ?? Number.POSITIVE_INFINITY
    if (user.activityFlushAtMs !== null) dueAtMs = Math.min(dueAtMs, user.activityFlushAtMs)
    for (const { leaseEndsAtMs } of user.sessions.values()) {
      if (leaseEndsAtMs !== null) dueAtMs = Math.min(dueAtMs, leaseEndsAtMs)
    }
    if (dueAtMs === Number.POSITIVE_INFINITY) deadlines.remove(user)
    // What is due later than the heap says is seen when the sweep comes by: a heartbeat moves nothing in it.
    else if (user.heapIndex === -1 || dueAtMs < user.dueAtMs || user.dueAtMs <= nowMs) deadlines.set(user, dueAtMs)
  }

  const changes: PresenceStore['changes'] = {
    position: async (): Promise<Position> => ({ epoch, seq: entries.lastSeq() }),

    async read(after, limit) {
      trimEntries(clock())
      if (after.epoch !== epoch || !entries.reaches(after.seq)) return 'expired'
      const found = entries.after(after.seq, limit)
      return { entries: found, position: { epoch, seq: found.at(-1)?.seq ?? after.seq } }
    },

    listen: (listener) => listenIn(changeListeners, listener),
  }

  const viewers: PresenceStore['viewers'] = { listen: (listener) => listenIn(viewerListeners, listener) }

  const records: PresenceStore['records'] = {
    async read(afterSeq, limit) {
      return {
        epoch,
        records: waiting.after(afterSeq, limit),
        isGap: !waiting.reaches(afterSeq),
        lastSeq: waiting.lastSeq(),
      }
    },

    async ack(of, seq) {
      if (of !== epoch) return
      while ((waiting.oldest()?.seq ?? Number.POSITIVE_INFINITY) <= seq) waiting.dropOldest()
      for (const user of departing.values()) {
        if (user.lastRecordSeq > seq) break
        departing.delete(user.id)
        users.delete(user.id)
        unlisted.delete(user.id)
        deadlines.remove(user)
      }
    },

    async snapshot(after, limit) {
      return mergedInOrder(membersAfter(unlisted, after), roster.from(null, after), limit).map((user) => ({
        seq: waiting.lastSeq(),
        userId: user.id,
        profile: user.profile,
        columns: columnsOf(user),
        sessions: [...user.sessions.values()].map((session) => sessionRow(session, null)),
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
    schedule,
    position: (): Position => ({ epoch, seq: entries.lastSeq() }),

    stats: () => ({
      onlineCount: roster.count(null),
      logCount: entries.size(),
      recordCount: waiting.size(),
    }),

    /** Takes in a user who was not there. */
    admit(userId: string, seed: UserSeed, nowMs: number): LiveUser {
      const ahead = settingsAhead.get(userId)?.settings
      const settings = ahead !== undefined && ahead.version > (seed.settings?.version ?? 0) ? ahead : seed.settings
      const user = createLiveUser(userId, { ...seed, settings }, nowMs, timing)
      users.set(userId, user)
      unlisted.set(userId, user)
      return user
    },

    /** Keeps settings of who is not there, for an attach under way with an older row. */
    remember(userId: string, settings: Settings, nowMs: number): void {
      if (settings.version <= (settingsAhead.get(userId)?.settings.version ?? -1)) return
      // Deleted first: the map is in the order of their ends.
      settingsAhead.delete(userId)
      settingsAhead.set(userId, { settings, untilMs: nowMs + SEED_MEMORY_MS })
    },

    /** Lets go of what is past its age. */
    forget(nowMs: number): void {
      trimEntries(nowMs)
      for (const [userId, { untilMs }] of settingsAhead) {
        if (nowMs < untilMs) break
        settingsAhead.delete(userId)
      }
    },

    /** The user who is due first, undefined where nobody is due yet. */
    firstDue(nowMs: number): LiveUser | undefined {
      const user = deadlines.first()
      return user !== undefined && user.dueAtMs <= nowMs ? user : undefined
    },

    close(): void {
      changeListeners.clear()
      viewerListeners.clear()
      recordBells.clear()
    },
  }
}
