import { BOUNDS, DEFAULT_SESSION_ID } from '../../presence/bounds.ts'
import type { EndReason, UserSeed } from '../../presence/model.ts'
import { endReasonOf, graceMs, newerSettings, statusOf } from '../../presence/rules.ts'
import {
  type AttachAnswer,
  type AttachRequest,
  type Beat,
  type BeatAnswer,
  type Comeback,
  type EndAnswer,
  type EndRequest,
  type ForgetRequest,
  MAX_RECORD_BYTES,
  type PresenceStore,
  type RoomAnswer,
  type RoomRequest,
} from '../../presence/store.ts'
import { type Clock, isLate, type Now, type PresenceTiming } from '../../presence/timing.ts'
import { inSlices, startSlice } from '../../slices.ts'
import {
  createLiveSession,
  date,
  type LiveSession,
  type LiveUser,
  momentOf,
  sessionOf,
  sessionView,
  shownNow,
  steadyOf,
  viewerState,
} from './live-user.ts'
import { createNodes } from './nodes.ts'
import { createPages } from './pages.ts'
import { createPopulation, type Touched } from './population.ts'
import {
  countActivity,
  defaultByBeats,
  describe,
  endActivity,
  firstToGiveWay,
  isBackByBeats,
  isOnOwnSocket,
  isOnSocket,
  renewLease,
  takeProfile,
  takeSeed,
  takeSettings,
} from './user-steps.ts'

/** Records kept while the database is unreachable: about 100 MB, one hour at 50 sessions a second. */
const MAX_RECORDS = 200_000

export interface MemoryStoreOptions {
  readonly timing: PresenceTiming
  readonly clock: Clock
  /** Measures slices of work. `clock` cannot: in a test it stands still, and it counts whole milliseconds. */
  readonly monotonicMs?: () => number
  /** A test lowers these two bounds to exceed them. */
  readonly recordsKept?: number
  readonly recordBytes?: number
}

/**
 * The store for one process: the live state is in this process's memory.
 *
 * Each step has a counterpart in a Lua script of the Redis store (`../redis/lua/`): change both.
 */
export function createMemoryStore({
  timing,
  clock,
  monotonicMs = () => performance.now(),
  recordsKept = MAX_RECORDS,
  recordBytes = MAX_RECORD_BYTES,
}: MemoryStoreOptions): PresenceStore {
  const population = createPopulation({ timing, clock, monotonicMs, recordsKept, recordBytes })
  const { users, roster, commit } = population
  const page = createPages({
    changeCount: population.changeCount,
    activityCount: population.activityCount,
    from: roster.from,
    page: (room, users, hasMore) => ({
      users,
      hasMore,
      totalCount: roster.count(room),
      position: population.position(),
    }),
  })
  const nodes = createNodes(timing)
  let lastSweepSteadyMs = clock().steadyMs
  let lastReapSteadyMs = lastSweepSteadyMs
  let mustAdopt = true
  let reapedCount = 0
  let sessionCount = 0
  /** While the last node stops: the users whose activity `endNode` has not recorded yet. */
  let unflushed: Iterator<LiveUser> | null = null

  function endSession(user: LiveUser, session: LiveSession, reason: EndReason, now: Now): Touched {
    user.sessions = user.sessions.filter((other) => other !== session)
    sessionCount -= 1
    if (session.fence !== null) nodes.lost(session.nodeId, { fence: session.fence, cause: reason })
    // Nobody was connected after a restart, so the session ended at its last known activity.
    return { session, end: { atMs: reason === 'SERVER_RESTART' ? session.lastActiveAtMs : date(user, now), reason } }
  }

  function attach(request: AttachRequest): AttachAnswer {
    const now = clock()
    const known = users.get(request.userId)
    const isReturn = request.onlyAfterBeats !== undefined
    if (isReturn && !(known && isBackByBeats(known, request, now, timing))) return { kind: 'moved' }
    if (known === undefined && request.seed === null) return { kind: 'unseeded' }
    const isForUserAlone = request.sessionId === null && known !== undefined && isOnSocket(known)
    const sessionId = request.sessionId ?? DEFAULT_SESSION_ID
    const live = isForUserAlone || known === undefined ? undefined : sessionOf(known, sessionId)
    const heldElsewhere = live !== undefined && live.fence !== request.fence ? live.fence : null
    if (request.fence !== null && nodes.isRefused(request.fence)) return { kind: 'moved' }
    const isTheirs = heldElsewhere === null || request.comeback?.formerFences.includes(heldElsewhere)
    if (request.comeback !== null && !isTheirs) return { kind: 'moved' }
    const isTakeover = request.fence !== null && known !== undefined && sessionId !== DEFAULT_SESSION_ID
    const takenOver = isTakeover ? defaultByBeats(known) : undefined
    const otherCount = (known?.sessions.length ?? 0) - (takenOver === undefined ? 0 : 1)
    const isOneTooMany = !isForUserAlone && live === undefined && otherCount >= timing.sessionsPerUser
    const displaced = isOneTooMany && known !== undefined ? firstToGiveWay(known, takenOver) : null
    if (isOneTooMany && displaced === null) return { kind: 'full' }

    const user = known ?? population.admit(request.userId, request.seed as UserSeed, now)
    const isSeedNew = known !== undefined && request.seed !== null && takeSeed(user, request.seed, now)
    const areSettingsNew = known !== undefined && takeSettings(user, request.seed?.settings ?? null, now, timing)
    const isProfileNew = takeProfile(user, request.profile) || isSeedNew || areSettingsNew
    if (isForUserAlone) {
      if (request.isActive) countActivity(user, null, now, timing)
      commit(user, { now, isViewerChanged: isProfileNew, mustRecord: isProfileNew })
      const { lastActiveAtMs } = user
      return {
        kind: 'attached',
        session: null,
        startId: null,
        isResumed: false,
        replacedFence: null,
        lastActiveAtMs,
        lastActiveForMs: 0,
        atMs: momentOf(user, now),
      }
    }

    const touched: Touched[] = []
    if (displaced !== null) touched.push(endSession(user, displaced, 'DISPLACED', now))
    if (takenOver !== undefined) touched.push(endSession(user, takenOver, 'TAKEN_OVER', now))
    const session = live ?? startSession(user, sessionId, request, now)
    // Over HTTP this attach was a beat that found no session. If the session exists by now, the beat counts.
    if (live !== undefined && request.fence === null && request.isActive) countActivity(user, session, now, timing)
    if (live !== undefined && request.comeback !== null) bringActivity(user, session, request.comeback, now)
    if (live === undefined && takenOver !== undefined) describe(session, takenOver)
    const isDescribed = (live === undefined || request.comeback === null) && describe(session, request)
    if (request.fence === null) renewLease(session, now, timing)
    else hang(user, session, request.fence, request.nodeId as string, now)
    touched.push({ session, end: null })
    commit(user, { now, touched, isViewerChanged: isDescribed || isProfileNew || live?.fence !== null })
    return {
      kind: 'attached',
      session: sessionView(session, now),
      startId: session.startId,
      isResumed: live !== undefined,
      replacedFence: heldElsewhere,
      lastActiveAtMs: user.lastActiveAtMs,
      lastActiveForMs: now.steadyMs - session.lastActiveSteadyMs,
      atMs: momentOf(user, now),
    }
  }

  function startSession(
    user: LiveUser,
    sessionId: string,
    { comeback, isActive }: AttachRequest,
    now: Now,
  ): LiveSession {
    const atMs = date(user, now)
    const startedAtMs = atMs - (comeback?.startedForMs ?? 0)
    // A session that starts without activity must not appear to have had some.
    const lastActiveAtMs =
      comeback === null ? Math.min(startedAtMs, user.lastActiveAtMs ?? startedAtMs) : atMs - comeback.lastActiveForMs
    const lastActiveSteadyMs =
      comeback === null ? (user.lastActiveSteadyMs ?? now.steadyMs) : now.steadyMs - comeback.lastActiveForMs
    const startId = comeback?.startId ?? undefined
    const session = createLiveSession(sessionId, startedAtMs, lastActiveAtMs, lastActiveSteadyMs, startId)
    user.sessions = user.sessions.concat(session)
    sessionCount += 1
    if (comeback !== null && isNewsOf(user, comeback, now)) {
      countActivity(user, session, now, timing, comeback.lastActiveForMs)
    }
    if (comeback === null && isActive) countActivity(user, session, now, timing)
    return session
  }

  /** False if a `goOffline` came after the last activity of the session that the node attaches again. */
  function isNewsOf(user: LiveUser, comeback: Comeback, now: Now): boolean {
    return !user.isActivityOver || now.steadyMs - comeback.lastActiveForMs > user.activityOverSteadyMs
  }

  /** Counts the activity of a comeback for a live session, if it is newer than the session's last activity. */
  function bringActivity(user: LiveUser, session: LiveSession, comeback: Comeback, now: Now): void {
    const isNewer = now.steadyMs - comeback.lastActiveForMs > session.lastActiveSteadyMs
    if (isNewer && isNewsOf(user, comeback, now)) {
      countActivity(user, session, now, timing, comeback.lastActiveForMs)
    }
  }

  /** Attaches a session to a socket. The socket that had the session loses it. */
  function hang(user: LiveUser, session: LiveSession, fence: string, nodeId: string, now: Now): void {
    if (session.fence !== null && session.fence !== fence) {
      nodes.lost(session.nodeId, { fence: session.fence, cause: 'replaced' })
    }
    session.fence = fence
    session.nodeId = nodeId
    session.hadSocket = true
    session.reapedFence = null
    session.leaseEndsSteadyMs = null
    session.isInGrace = false
    nodes.renew(nodeId, now.steadyMs)
    nodes.attached(nodeId, fence, user)
  }

  function beat(one: Beat): BeatAnswer {
    const now = clock()
    const user = users.get(one.userId)
    if (user === undefined) return { kind: 'unknown' }
    const isForUserAlone = one.sessionId === null && isOnSocket(user)
    const session = isForUserAlone ? null : (sessionOf(user, one.sessionId ?? DEFAULT_SESSION_ID) ?? null)
    if (session === null && !isForUserAlone) return { kind: 'unknown' }
    if (one.fence !== null && session?.fence !== one.fence) return { kind: 'late' }

    if (one.isActive) countActivity(user, session, now, timing)
    if (session !== null && one.fence === null) renewLease(session, now, timing)
    const isDescribed = session !== null && describe(session, one)
    const isProfileNew = takeProfile(user, one.profile)
    if (isDescribed || isProfileNew || statusOf(user, now.steadyMs, timing) !== user.ownStatus) {
      commit(user, {
        now,
        touched: isDescribed ? [{ session, end: null }] : [],
        isViewerChanged: isDescribed || isProfileNew,
        mustRecord: isProfileNew,
      })
    } else {
      population.counted(user, now)
    }
    return {
      kind: 'counted',
      session: session === null ? null : sessionView(session, now),
      lastActiveAtMs: user.lastActiveAtMs,
    }
  }

  function end({ userId, sessionId, fence, reason, tokensIssuedUpToMs }: EndRequest): EndAnswer {
    const now = clock()
    if (tokensIssuedUpToMs !== undefined) nodes.dismiss({ userId, issuedUpToMs: tokensIssuedUpToMs })
    const user = users.get(userId)
    const ending = user === undefined ? [] : sessionId === null ? user.sessions : [sessionOf(user, sessionId)]
    const sessions = ending.filter((session) => session !== undefined)
    if (user === undefined || sessions.length === 0) return { kind: 'ended', sessionCount: 0, fences: [] }
    if (fence !== null && sessions.some((session) => session.fence !== fence)) {
      return { kind: 'late', sessionCount: 0, fences: [] }
    }
    const fences = sessions.map((session) => session.fence).filter((held) => held !== null)
    const touched = sessions.map((session) => endSession(user, session, reason, now))
    if (reason === 'WENT_OFFLINE') user.wentOfflineAtMs = date(user, now)
    if (reason === 'WENT_OFFLINE' && user.sessions.length === 0) endActivity(user, now)
    commit(user, { now, touched, isViewerChanged: true })
    // A dismissal notifies the nodes itself. If the socket ended its own session, its node learns that from the answer.
    if (fence === null && fences.length > 0 && tokensIssuedUpToMs === undefined) nodes.news()
    return { kind: 'ended', sessionCount: sessions.length, fences }
  }

  function forget({ userId, tokensIssuedUpToMs }: ForgetRequest): number {
    const now = clock()
    nodes.dismiss({ userId, issuedUpToMs: tokensIssuedUpToMs })
    const user = users.get(userId)
    const ending = user?.sessions ?? []
    if (user !== undefined) {
      for (const session of ending) endSession(user, session, 'DISCONNECTED', now)
      commit(user, { now, isViewerChanged: true })
    }
    population.forgetUser(userId)
    return ending.length
  }

  function changeRoom({ userId, sessionId, fence, room }: RoomRequest, isJoin: boolean): RoomAnswer {
    const now = clock()
    const user = users.get(userId)
    const session = user && sessionOf(user, sessionId)
    if (user === undefined || session === undefined) return { kind: 'unknown' }
    if (fence !== null && session.fence !== fence) return { kind: 'late' }
    if (session.rooms.includes(room) !== isJoin) {
      if (isJoin && session.rooms.length >= BOUNDS.roomsPerSession) return { kind: 'full' }
      session.rooms = isJoin ? [...session.rooms, room] : session.rooms.filter((other) => other !== room)
      commit(user, { now, touched: [{ session, end: null }], isViewerChanged: true })
    }
    return { kind: 'done', session: sessionView(session, now) }
  }

  /** Handles the passed deadlines of one user. */
  function settle(user: LiveUser, now: Now): void {
    const touched: Touched[] = []
    for (const session of user.sessions) {
      if (session.leaseEndsSteadyMs === null || now.steadyMs < session.leaseEndsSteadyMs) continue
      const heldUntilMs = session.leaseReason === 'NODE_LOST' ? nodes.heldUntil(session.nodeId) : null
      if (heldUntilMs !== null && heldUntilMs > now.steadyMs) {
        session.leaseEndsSteadyMs = heldUntilMs
        continue
      }
      touched.push(endSession(user, session, session.leaseReason, now))
    }
    const mustRecord = user.activityFlushSteadyMs !== null && now.steadyMs >= user.activityFlushSteadyMs
    commit(user, { now, touched, isViewerChanged: touched.length > 0, mustRecord })
  }

  function giveGrace(user: LiveUser, session: LiveSession, grace: number, reason: EndReason, now: Now): void {
    session.reapedFence = reason === 'NODE_LOST' ? session.fence : null
    session.fence = null
    const touched: Touched[] = []
    if (grace <= 0) {
      touched.push(endSession(user, session, reason, now))
    } else {
      session.leaseEndsSteadyMs = now.steadyMs + grace
      session.leaseReason = reason
      session.isInGrace = true
    }
    // A row does not contain whether a socket is attached, so only an end needs a record.
    commit(user, { now, touched, isViewerChanged: true })
  }

  return {
    attach: async (request) => attach(request),
    beat: async (one) => beat(one),
    end: async (request) => end(request),
    forget: async (request) => forget(request),
    join: async (request) => changeRoom(request, true),
    leave: async (request) => changeRoom(request, false),

    async detach({ userId, sessionId, fence, cause, silentForMs, isAttachUncertain }) {
      if (isAttachUncertain) nodes.refuse(fence, clock().steadyMs)
      const user = users.get(userId)
      const session = user && sessionOf(user, sessionId)
      if (user === undefined || session === undefined || (session.fence ?? session.reapedFence) !== fence) return
      nodes.detached(session.nodeId, fence)
      giveGrace(user, session, graceMs(cause, silentForMs, timing), endReasonOf(cause), clock())
    },

    async setUser({ userId, settings, profile, seed }) {
      const now = clock()
      const user = users.get(userId)
      if (user === undefined) {
        return settings === undefined ? population.remembered(userId) : population.remember(userId, settings, now)
      }
      const isSeedNew = seed !== undefined && takeSeed(user, seed, now)
      // Merge both first: applying the older version in between would show it to others.
      const read = seed?.settings ?? null
      const areSettingsNew = takeSettings(user, newerSettings(settings ?? null, read), now, timing, read)
      const isProfileNew = profile !== undefined && takeProfile(user, profile)
      if (isSeedNew || areSettingsNew || isProfileNew) commit(user, { now, isViewerChanged: true, mustRecord: true })
      return user.settings
    },

    // One process is one epoch, so no users are inherited.
    inherited: async () => [],

    async adopt(adopted) {
      await inSlices(adopted, monotonicMs, ({ userId, seed, onlineSinceMs, sessions }) => {
        const now = clock()
        const known = users.get(userId)
        const user = known ?? population.admit(userId, seed, now)
        if (known !== undefined) {
          takeSettings(known, seed.settings, now, timing)
          takeProfile(known, seed.profile)
        }
        const cut = (atMs: number): number => Math.min(atMs, now.wallMs)
        if (!user.shown.isOnline) user.shownSinceMs = onlineSinceMs === null ? null : cut(onlineSinceMs)
        const isHereBySocket = user.sessions.some(isOnOwnSocket)
        const touched: Touched[] = []
        for (const row of sessions) {
          if (row.endedAtMs !== null || sessionOf(user, row.sessionId) !== undefined) continue
          const lastActiveAtMs = cut(row.lastActiveAtMs)
          const session = createLiveSession(
            row.sessionId,
            cut(row.startedAtMs),
            lastActiveAtMs,
            steadyOf(lastActiveAtMs, now),
            row.startId,
          )
          session.device = row.device
          session.rooms = row.rooms
          session.nodeId = row.nodeId
          session.hadSocket = row.hadSocket
          session.isInGrace = row.hadSocket
          session.leaseEndsSteadyMs = now.steadyMs + (row.hadSocket ? timing.reconnectGraceMs : timing.sessionTtlMs)
          session.leaseReason = 'SERVER_RESTART'
          if (isHereBySocket && session.id === DEFAULT_SESSION_ID && !row.hadSocket) {
            touched.push({ session, end: { atMs: date(user, now), reason: 'TAKEN_OVER' } })
            continue
          }
          user.sessions = user.sessions.concat(session)
          user.latestAtMs = Math.max(user.latestAtMs, session.startedAtMs, session.lastActiveAtMs)
          sessionCount += 1
        }
        commit(user, { now, touched, mustRecord: true, isViewerChanged: true })
      })
    },

    async adopted() {
      mustAdopt = false
    },

    // One process is one epoch, so there is nothing to announce.
    async announced() {},

    async renewNode({ nodeId, seenLossCount, seenDismissalCount, isReturning }) {
      const { steadyMs } = clock()
      nodes.renew(nodeId, steadyMs)
      const { losses, lossCount } = nodes.losses(nodeId, seenLossCount)
      nodes.returns(nodeId, isReturning || losses.some(({ cause }) => cause === 'reaped') ? steadyMs : null)
      return { losses, lossCount, ...nodes.dismissals(seenDismissalCount), mustAdopt }
    },

    async endNode(nodeId, limit) {
      const now = clock()
      nodes.end(nodeId, now.steadyMs)
      if (nodes.aliveCount(now.steadyMs) > 0) return { count: 0, hasMore: false }
      const isSliceOver = startSlice(monotonicMs)
      let count = 0
      unflushed ??= population.withUnrecordedActivity()
      while (count < limit && !(count > 0 && isSliceOver())) {
        const next = unflushed.next()
        if (next.done === true) {
          unflushed = null
          return { count, hasMore: false }
        }
        count += 1
        commit(next.value, { now, mustRecord: true })
      }
      return { count, hasMore: true }
    },

    async reapNodes(limit) {
      const now = clock()
      const wasLate = isLate(now.steadyMs - lastReapSteadyMs, timing.sweepIntervalMs)
      lastReapSteadyMs = now.steadyMs
      if (wasLate) return { count: 0, hasMore: false, wasLate }
      const isSliceOver = startSlice(monotonicMs)
      let count = 0
      for (const [fence, user] of nodes.orphans(now.steadyMs)) {
        if (count === limit || (count > 0 && isSliceOver())) return { count, hasMore: true, wasLate }
        const session = user.sessions.find((one) => one.fence === fence) as LiveSession
        count += 1
        reapedCount += 1
        nodes.lost(session.nodeId, { fence, cause: 'reaped' })
        giveGrace(user, session, timing.reconnectGraceMs, 'NODE_LOST', now)
      }
      return { count, hasMore: false, wasLate }
    },

    async sweep(limit) {
      const now = clock()
      const wasLate = isLate(now.steadyMs - lastSweepSteadyMs, timing.sweepIntervalMs)
      lastSweepSteadyMs = now.steadyMs
      if (wasLate) return { count: 0, hasMore: false, wasLate }
      const isSliceOver = startSlice(monotonicMs)
      population.forget(now)
      let count = 0
      for (let user = population.firstDue(now); user !== undefined; user = population.firstDue(now)) {
        if (count === limit || (count > 0 && isSliceOver())) return { count, hasMore: true, wasLate }
        count += 1
        settle(user, now)
      }
      return { count, hasMore: false, wasLate }
    },

    page: async (request) => page(request),

    count: async (room) => roster.count(room),

    async lookup(userIds) {
      return userIds.map((userId) => {
        const user = users.get(userId)
        return user === undefined ? null : shownNow(user)
      })
    },

    async viewer(userId) {
      const user = users.get(userId)
      if (user === undefined) return null
      return user.settings === null ? 'pending' : viewerState(user, user.settings, clock())
    },

    changes: population.changes,
    viewers: population.viewers,
    nodes: { listen: nodes.listen },
    records: population.records,
    budgets: null,

    trouble: () => null,

    stats: async () => ({
      ...population.stats(),
      sessionCount,
      nodeCount: nodes.aliveCount(clock().steadyMs),
      epochCount: 1,
      gapFillCount: 0,
      bellGapCount: 0,
      reapedCount,
    }),

    close: async () => population.close(),
  }
}
