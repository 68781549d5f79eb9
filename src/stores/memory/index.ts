/**
 * The store for one process: the live state in memory, with its change log and its records.
 *
 * Each method does its whole work before it returns its promise, so that nothing comes between.
 */
import { randomBytes } from 'node:crypto'
import { BOUNDS, DEFAULT_SESSION_ID } from '../../presence/bounds.ts'
import type { EndReason, LogEntry, PresenceRecord, Profile, Settings, UserSeed } from '../../presence/model.ts'
import type { Position } from '../../presence/position.ts'
import {
  endReasonOf,
  graceMs,
  hasSamePublicFields,
  isOnline,
  isVisible,
  newerProfile,
  nextFlipAtMs,
  publicUser,
  statusOf,
} from '../../presence/rules.ts'
import {
  type AttachAnswer,
  type AttachRequest,
  type Beat,
  type BeatAnswer,
  type ChangeListener,
  type EndAnswer,
  type EndRequest,
  type PresenceStore,
  type RoomAnswer,
  type RoomRequest,
  SEED_MEMORY_MS,
} from '../../presence/store.ts'
import { type Clock, isLate, type PresenceTiming } from '../../presence/timing.ts'
import { createDeadlines } from './deadlines.ts'
import {
  columnsOf,
  createLiveSession,
  createLiveUser,
  type LiveSession,
  type LiveUser,
  roomsOf,
  sessionRow,
  sessionView,
  shownUser,
  viewerState,
} from './live-user.ts'
import { createNodes } from './nodes.ts'
import { createNumberedLog } from './numbered-log.ts'
import { createOrder, createRoster, membersAfter, mergedInOrder } from './roster.ts'

/** How many records wait for a database that is away: some 100 MB, an hour at 50 sessions a second. */
const RECORDS_KEPT = 200_000

/** When a session ended, and why. */
interface End {
  readonly atMs: number
  readonly reason: EndReason
}

/** What one step did to a user, beside their state. */
interface Step {
  readonly nowMs: number
  /** Sessions whose row changed, with the end of those that ended. */
  readonly touched?: ReadonlyMap<LiveSession, End | null>
  readonly isViewerChanged?: boolean
  readonly mustRecord?: boolean
}

export interface MemoryStoreOptions {
  readonly timing: PresenceTiming
  readonly clock: Clock
  /** Fewer, for a test of what happens beyond it. */
  readonly recordsKept?: number
}

export function createMemoryStore({ timing, clock, recordsKept = RECORDS_KEPT }: MemoryStoreOptions): PresenceStore {
  const epoch = randomBytes(8).toString('hex')
  const users = new Map<string, LiveUser>()
  const roster = createRoster<LiveUser>()
  /** Whoever is in the store and in no list: with the roster, everybody in order. */
  const unlisted = createOrder<LiveUser>()
  /** Whoever has no session left, in the order of their last record: they go when it is acknowledged. */
  const departing = new Map<string, LiveUser>()
  const deadlines = createDeadlines<LiveUser>()
  const nodes = createNodes(timing.nodeTtlMs)
  const changes = createNumberedLog<LogEntry>()
  const records = createNumberedLog<PresenceRecord>()
  /** Settings of who was not there when they came, oldest first. */
  const settingsAhead = new Map<string, { readonly settings: Settings; readonly untilMs: number }>()
  const changeListeners = new Set<ChangeListener>()
  const viewerListeners = new Set<(userId: string) => void>()
  const recordBells = new Set<() => void>()
  let lastSweepAtMs = clock()
  let lastReapAtMs = clock()

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
      append({ seq: changes.lastSeq() + 1, atMs: nowMs, before, after })
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
    changes.push(entry)
    trimChanges(entry.atMs)
    for (const listener of changeListeners) listener.entry(entry, epoch)
  }

  function trimChanges(nowMs: number): void {
    while (changes.size() > timing.logCount) changes.dropOldest()
    for (let oldest = changes.oldest(); oldest !== undefined; oldest = changes.oldest()) {
      if (nowMs - oldest.atMs < timing.logAgeMs) break
      changes.dropOldest()
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
    user.lastRecordSeq = records.lastSeq() + 1
    records.push({
      seq: user.lastRecordSeq,
      userId: user.id,
      profile: user.profile,
      columns: user.recordedColumns,
      sessions: rows,
    })
    while (records.size() > recordsKept) records.dropOldest()
    // Deleted first: `departing` is in the order of the last records.
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

  function countActivity(user: LiveUser, session: LiveSession | null, nowMs: number): void {
    user.isActivityOver = false
    user.lastActiveAtMs = Math.max(nowMs, user.lastActiveAtMs ?? 0)
    if (isVisible(user.settings)) user.shownLastActiveAtMs = Math.max(nowMs, user.shownLastActiveAtMs ?? 0)
    if (session !== null) {
      session.lastActiveAtMs = Math.max(nowMs, session.lastActiveAtMs)
      session.hasUnrecordedActivity = true
    }
    user.activityFlushAtMs ??= nowMs + timing.lastActiveFlushMs
  }

  function takeSettings(user: LiveUser, settings: Settings | null, nowMs: number): boolean {
    if (settings === null || (user.settings !== null && settings.version <= user.settings.version)) return false
    const wasVisible = isVisible(user.settings)
    user.settings = settings
    // Coming back is dated now, so that nothing tells of the time in hiding (rule 8).
    if (!wasVisible && isVisible(settings) && isOnline(user, nowMs, timing)) user.shownLastActiveAtMs = nowMs
    return true
  }

  /** What an attach had to do without, or read while the user became known. Its settings are `takeSettings`'. */
  function takeSeed(user: LiveUser, seed: UserSeed, nowMs: number): boolean {
    // Without any activity since, the row knows best whether the last one is over.
    if (user.lastActiveAtMs === null && seed.isActivityOver) endActivity(user, nowMs)
    user.lastActiveAtMs = later(user.lastActiveAtMs, seed.lastActiveAtMs)
    user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, seed.shownLastActiveAtMs)
    const former = user.profile
    // What a newer token left out is still as the row has it.
    const isSeedNewer = seed.profile !== null && former !== null && seed.profile.issuedAtMs > former.issuedAtMs
    user.profile = isSeedNewer ? newerProfile(former, seed.profile) : newerProfile(seed.profile, former)
    return user.profile?.name !== former?.name || user.profile?.avatarUrl !== former?.avatarUrl
  }

  function takeProfile(user: LiveUser, profile: Profile | null): boolean {
    const newer = newerProfile(user.profile, profile)
    if (newer === user.profile) return false
    user.profile = newer
    return true
  }

  function admit(userId: string, seed: UserSeed, nowMs: number): LiveUser {
    const ahead = settingsAhead.get(userId)?.settings
    const settings = ahead !== undefined && ahead.version > (seed.settings?.version ?? 0) ? ahead : seed.settings
    const user = createLiveUser(userId, { ...seed, settings }, nowMs, timing)
    users.set(userId, user)
    unlisted.set(userId, user)
    return user
  }

  function endSession(user: LiveUser, session: LiveSession, reason: EndReason, nowMs: number): End {
    user.sessions.delete(session.id)
    if (session.fence !== null) nodes.lost(session.nodeId, { fence: session.fence, cause: reason })
    // Nobody was there after a restart, so it ended when its user was last known to be.
    return { atMs: reason === 'SERVER_RESTART' ? session.lastActiveAtMs : nowMs, reason }
  }

  function describe(
    session: LiveSession,
    { device, rooms }: { device?: string | null; rooms?: readonly string[] },
  ): boolean {
    const isSame =
      (device === undefined || device === session.device) &&
      (rooms === undefined ||
        (rooms.length === session.rooms.length && rooms.every((room) => session.rooms.includes(room))))
    if (isSame) return false
    if (device !== undefined) session.device = device
    if (rooms !== undefined) session.rooms = [...rooms]
    return true
  }

  /** Whether a beat without a session id is a word of one of these sessions' clients (rule 7). */
  function isOnSocket(user: LiveUser): boolean {
    for (const session of user.sessions.values()) if (session.fence !== null || session.isInGrace) return true
    return false
  }

  function attach(request: AttachRequest): AttachAnswer {
    const nowMs = clock()
    const known = users.get(request.userId)
    if (known === undefined && request.seed === null) return { kind: 'unseeded' }
    const isForUserAlone = request.sessionId === null && known !== undefined && isOnSocket(known)
    const sessionId = request.sessionId ?? DEFAULT_SESSION_ID
    const live = isForUserAlone ? undefined : known?.sessions.get(sessionId)
    const heldElsewhere = live !== undefined && live.fence !== request.fence ? live.fence : null
    if (request.comeback !== null && heldElsewhere !== null) return { kind: 'moved' }
    const isOneTooMany = !isForUserAlone && live === undefined && (known?.sessions.size ?? 0) >= timing.sessionsPerUser
    const displaced = isOneTooMany && known !== undefined ? firstToGiveWay(known) : null
    if (isOneTooMany && displaced === null) return { kind: 'full' }

    const user = known ?? admit(request.userId, request.seed as UserSeed, nowMs)
    const isSeedNew = known !== undefined && request.seed !== null && takeSeed(user, request.seed, nowMs)
    const areSettingsNew = known !== undefined && takeSettings(user, request.seed?.settings ?? null, nowMs)
    const isProfileNew = takeProfile(user, request.profile) || isSeedNew || areSettingsNew
    if (isForUserAlone) {
      if (request.isActive) countActivity(user, null, nowMs)
      commit(user, { nowMs, isViewerChanged: isProfileNew, mustRecord: isProfileNew })
      return { kind: 'attached', session: null, replacedFence: null, lastActiveAtMs: user.lastActiveAtMs }
    }

    const touched = new Map<LiveSession, End | null>()
    if (displaced !== null) touched.set(displaced, endSession(user, displaced, 'DISPLACED', nowMs))
    const session = live ?? startSession(user, sessionId, request, nowMs)
    // Over HTTP this was a beat that found no session: where one has come since, the beat counts.
    if (live !== undefined && request.fence === null && request.isActive) countActivity(user, session, nowMs)
    const isDescribed = describe(session, request)
    if (request.fence === null) renewLease(session, nowMs)
    else hang(user, session, request.fence, request.nodeId as string, nowMs)
    touched.set(session, null)
    commit(user, { nowMs, touched, isViewerChanged: isDescribed || isProfileNew || live?.fence !== null })
    return {
      kind: 'attached',
      session: sessionView(session),
      replacedFence: heldElsewhere,
      lastActiveAtMs: user.lastActiveAtMs,
    }
  }

  function startSession(
    user: LiveUser,
    sessionId: string,
    { comeback, isActive }: AttachRequest,
    nowMs: number,
  ): LiveSession {
    const startedAtMs = nowMs - (comeback?.startedForMs ?? 0)
    // Without activity of its own it must not look as if there had been some.
    const session = createLiveSession(sessionId, startedAtMs, Math.min(startedAtMs, user.lastActiveAtMs ?? startedAtMs))
    user.sessions.set(sessionId, session)
    if (comeback === null) {
      if (isActive) countActivity(user, session, nowMs)
      return session
    }
    // What a node brings back may be older than a `goOffline` meanwhile.
    const activeAtMs = nowMs - comeback.lastActiveForMs
    if (!user.isActivityOver || activeAtMs > user.activityOverAtMs) countActivity(user, session, activeAtMs)
    return session
  }

  /** Hangs a session on a socket; the socket that it hung on loses it. */
  function hang(user: LiveUser, session: LiveSession, fence: string, nodeId: string, nowMs: number): void {
    if (session.fence !== null && session.fence !== fence) {
      nodes.lost(session.nodeId, { fence: session.fence, cause: 'replaced' })
    }
    session.fence = fence
    session.nodeId = nodeId
    session.hadSocket = true
    session.leaseEndsAtMs = null
    session.isInGrace = false
    nodes.renew(nodeId, nowMs)
    nodes.attached(nodeId, fence, { user, session })
  }

  function firstToGiveWay(user: LiveUser): LiveSession | null {
    let first: LiveSession | null = null
    for (const session of user.sessions.values()) {
      if (session.leaseEndsAtMs === null) continue
      if (first === null || session.leaseEndsAtMs < (first.leaseEndsAtMs ?? 0)) first = session
    }
    return first
  }

  function renewLease(session: LiveSession, nowMs: number): void {
    if (session.fence !== null) return
    const renewedMs = nowMs + timing.sessionTtlMs
    if (session.leaseEndsAtMs !== null && session.leaseEndsAtMs > renewedMs) return
    session.leaseEndsAtMs = renewedMs
    session.leaseReason = 'EXPIRED'
    session.isInGrace = false
  }

  function beat(one: Beat): BeatAnswer {
    const nowMs = clock()
    const user = users.get(one.userId)
    if (user === undefined) return { kind: 'unknown' }
    const isForUserAlone = one.sessionId === null && isOnSocket(user)
    const session = isForUserAlone ? null : (user.sessions.get(one.sessionId ?? DEFAULT_SESSION_ID) ?? null)
    if (session === null && !isForUserAlone) return { kind: 'unknown' }
    if (one.fence !== null && session?.fence !== one.fence) return { kind: 'late' }

    if (one.isActive) countActivity(user, session, nowMs)
    if (session !== null && one.fence === null) renewLease(session, nowMs)
    const isDescribed = session !== null && describe(session, one)
    const isProfileNew = takeProfile(user, one.profile)
    if (isDescribed || isProfileNew || statusOf(user, nowMs, timing) !== user.ownStatus) {
      commit(user, {
        nowMs,
        touched: new Map(isDescribed ? [[session, null]] : []),
        isViewerChanged: isDescribed || isProfileNew,
        mustRecord: isProfileNew,
      })
    } else {
      schedule(user, nowMs)
    }
    return {
      kind: 'counted',
      session: session === null ? null : sessionView(session),
      lastActiveAtMs: user.lastActiveAtMs,
    }
  }

  function end({ userId, sessionId, fence, reason }: EndRequest): EndAnswer {
    const nowMs = clock()
    const user = users.get(userId)
    const ending =
      user === undefined ? [] : sessionId === null ? [...user.sessions.values()] : [user.sessions.get(sessionId)]
    const sessions = ending.filter((session) => session !== undefined)
    if (user === undefined || sessions.length === 0) return { kind: 'ended', sessionCount: 0, fences: [] }
    if (fence !== null && sessions.some((session) => session.fence !== fence)) {
      return { kind: 'late', sessionCount: 0, fences: [] }
    }
    const fences = sessions.map((session) => session.fence).filter((held) => held !== null)
    const touched = new Map(sessions.map((session) => [session, endSession(user, session, reason, nowMs)]))
    if (reason === 'WENT_OFFLINE' && user.sessions.size === 0) endActivity(user, nowMs)
    commit(user, { nowMs, touched, isViewerChanged: true })
    return { kind: 'ended', sessionCount: sessions.length, fences }
  }

  function changeRoom({ userId, sessionId, fence, room }: RoomRequest, isJoin: boolean): RoomAnswer {
    const nowMs = clock()
    const user = users.get(userId)
    const session = user?.sessions.get(sessionId)
    if (user === undefined || session === undefined) return { kind: 'unknown' }
    if (fence !== null && session.fence !== fence) return { kind: 'late' }
    if (session.rooms.includes(room) !== isJoin) {
      if (isJoin && session.rooms.length >= BOUNDS.roomsPerSession) return { kind: 'full' }
      session.rooms = isJoin ? [...session.rooms, room] : session.rooms.filter((other) => other !== room)
      commit(user, { nowMs, touched: new Map([[session, null]]), isViewerChanged: true })
    }
    return { kind: 'done', session: sessionView(session) }
  }

  /** Does what is due of one user. */
  function settle(user: LiveUser, nowMs: number): void {
    const touched = new Map<LiveSession, End>()
    for (const session of user.sessions.values()) {
      if (session.leaseEndsAtMs === null || nowMs < session.leaseEndsAtMs) continue
      touched.set(session, endSession(user, session, session.leaseReason, nowMs))
    }
    const mustRecord = user.activityFlushAtMs !== null && nowMs >= user.activityFlushAtMs
    commit(user, { nowMs, touched, isViewerChanged: touched.size > 0, mustRecord })
  }

  function giveGrace(user: LiveUser, session: LiveSession, grace: number, reason: EndReason, nowMs: number): void {
    session.fence = null
    let ended: End | null = null
    if (grace <= 0) {
      ended = endSession(user, session, reason, nowMs)
    } else {
      session.leaseEndsAtMs = nowMs + grace
      session.leaseReason = reason
      session.isInGrace = true
    }
    // A row does not say whether its socket is there just now, so only an end is one for the records.
    commit(user, { nowMs, touched: new Map(ended === null ? [] : [[session, ended]]), isViewerChanged: true })
  }

  return {
    attach: async (request) => attach(request),
    beat: async (beats) => beats.map(beat),
    end: async (request) => end(request),
    join: async (request) => changeRoom(request, true),
    leave: async (request) => changeRoom(request, false),

    async detach({ userId, sessionId, fence, cause, silentForMs }) {
      const user = users.get(userId)
      const session = user?.sessions.get(sessionId)
      if (user === undefined || session === undefined || session.fence !== fence) return
      nodes.detached(session.nodeId, fence)
      giveGrace(user, session, graceMs(cause, silentForMs, timing), endReasonOf(cause), clock())
    },

    async setUser({ userId, settings, profile, seed }) {
      const nowMs = clock()
      const user = users.get(userId)
      if (user === undefined) {
        if (settings === undefined || settings.version <= (settingsAhead.get(userId)?.settings.version ?? -1)) return
        settingsAhead.delete(userId)
        settingsAhead.set(userId, { settings, untilMs: nowMs + SEED_MEMORY_MS })
        return
      }
      const isSeedNew = seed !== undefined && takeSeed(user, seed, nowMs)
      // The newest at once: what an older version shows must not come in between.
      const areSettingsNew = takeSettings(user, newest(settings ?? null, seed?.settings ?? null), nowMs)
      const isProfileNew = profile !== undefined && takeProfile(user, profile)
      if (isSeedNew || areSettingsNew || isProfileNew) commit(user, { nowMs, isViewerChanged: true, mustRecord: true })
    },

    async adopt(adopted) {
      const nowMs = clock()
      for (const { userId, seed, onlineSinceMs, sessions } of adopted) {
        const user = users.get(userId) ?? admit(userId, seed, nowMs)
        if (!user.standing.user.isOnline) user.shownSinceMs = onlineSinceMs
        for (const row of sessions) {
          if (user.sessions.has(row.sessionId)) continue
          const session = createLiveSession(row.sessionId, row.startedAtMs, row.lastActiveAtMs, row.startId)
          session.device = row.device
          session.rooms = row.rooms
          session.nodeId = row.nodeId
          session.hadSocket = row.hadSocket
          session.isInGrace = row.hadSocket
          session.leaseEndsAtMs = nowMs + (row.hadSocket ? timing.reconnectGraceMs : timing.sessionTtlMs)
          session.leaseReason = 'SERVER_RESTART'
          user.sessions.set(session.id, session)
        }
        commit(user, { nowMs, mustRecord: true, isViewerChanged: true })
      }
    },

    async renewNode({ nodeId, seenLossCount }) {
      nodes.renew(nodeId, clock())
      return nodes.losses(nodeId, seenLossCount)
    },

    async reapNodes(limit) {
      const nowMs = clock()
      const wasLate = isLate(nowMs - lastReapAtMs, timing.sweepIntervalMs)
      lastReapAtMs = nowMs
      if (wasLate) return { count: 0, hasMore: false, wasLate }
      let count = 0
      for (const [fence, { user, session }] of nodes.orphans(nowMs)) {
        if (count === limit) return { count, hasMore: true, wasLate }
        count += 1
        nodes.lost(session.nodeId, { fence, cause: 'reaped' })
        giveGrace(user, session, timing.reconnectGraceMs, 'NODE_LOST', nowMs)
      }
      return { count, hasMore: false, wasLate }
    },

    async sweep(limit) {
      const nowMs = clock()
      const wasLate = isLate(nowMs - lastSweepAtMs, timing.sweepIntervalMs)
      lastSweepAtMs = nowMs
      if (wasLate) return { count: 0, hasMore: false, wasLate }
      trimChanges(nowMs)
      for (const [userId, { untilMs }] of settingsAhead) {
        if (nowMs < untilMs) break
        settingsAhead.delete(userId)
      }
      let count = 0
      for (let user = deadlines.first(); user !== undefined && user.dueAtMs <= nowMs; user = deadlines.first()) {
        if (count === limit) return { count, hasMore: true, wasLate }
        count += 1
        settle(user, nowMs)
      }
      return { count, hasMore: false, wasLate }
    },

    async page({ room, first, after }) {
      const page: LiveUser[] = []
      let hasMore = false
      for (const user of roster.from(room, after)) {
        hasMore = page.length === first
        if (hasMore) break
        page.push(user)
      }
      return {
        users: page.map(shownUser),
        hasMore,
        totalCount: roster.count(room),
        position: { epoch, seq: changes.lastSeq() },
      }
    },

    count: async (room) => roster.count(room),

    async lookup(userIds) {
      return userIds.map((userId) => {
        const user = users.get(userId)
        return user === undefined ? null : shownUser(user)
      })
    },

    async viewer(userId) {
      const user = users.get(userId)
      if (user === undefined) return null
      return user.settings === null ? 'pending' : viewerState(user, user.settings)
    },

    changes: {
      position: async (): Promise<Position> => ({ epoch, seq: changes.lastSeq() }),

      async read(after, limit) {
        trimChanges(clock())
        if (after.epoch !== epoch || !changes.reaches(after.seq)) return 'expired'
        const entries = changes.after(after.seq, limit)
        return { entries, position: { epoch, seq: entries.at(-1)?.seq ?? after.seq } }
      },

      listen: (listener) => listenIn(changeListeners, listener),
    },

    viewers: { listen: (listener) => listenIn(viewerListeners, listener) },

    records: {
      async read(afterSeq, limit) {
        return {
          epoch,
          records: records.after(afterSeq, limit),
          isGap: !records.reaches(afterSeq),
          lastSeq: records.lastSeq(),
        }
      },

      async ack(seq) {
        while ((records.oldest()?.seq ?? Number.POSITIVE_INFINITY) <= seq) records.dropOldest()
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
          seq: records.lastSeq(),
          userId: user.id,
          profile: user.profile,
          columns: columnsOf(user),
          sessions: [...user.sessions.values()].map((session) => sessionRow(session, null)),
        }))
      },

      listen: (bell) => listenIn(recordBells, bell),
    },

    async close() {
      changeListeners.clear()
      viewerListeners.clear()
      recordBells.clear()
    },
  }
}

function listenIn<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  listeners.add(listener)
  return () => void listeners.delete(listener)
}

function endActivity(user: LiveUser, nowMs: number): void {
  user.isActivityOver = true
  user.activityOverAtMs = nowMs
}

function newest(one: Settings | null, other: Settings | null): Settings | null {
  if (one === null || other === null) return one ?? other
  return one.version >= other.version ? one : other
}

function later(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other
  return Math.max(one, other)
}
