/**
 * A second implementation of the rules of presence, which shares no code with the first and is meant to be obviously
 * right: plain arrays, everything computed anew from what happened, at any cost.
 *
 * Time is counted in whole steps. Lengths of time end between two steps (`2.5`), so that no deadline meets a step.
 *
 * What passes is counted (`now`); what is told is a moment by a wall clock, which is ahead of that or behind it
 * (`offset`), and is set from time to time.
 */

export interface ModelTiming {
  readonly sessionTtl: number
  readonly closeGrace: number
  readonly reconnectGrace: number
  readonly awayAfter: number
  readonly idleTimeout: number
  readonly nodeTtl: number
  readonly sessionsPerUser: number
  /** What a store does not do after a great step of its clock, for so long; null where it knows better. */
  readonly pause: { readonly noLease: number; readonly noReaping: number } | null
}

export interface ModelSettings {
  readonly version: number
  readonly statusChoice: 'AUTOMATIC' | 'AWAY' | 'BUSY'
  readonly statusMessage: string | null
  readonly visibility: 'EVERYONE' | 'NOBODY'
  readonly hideLastActive: boolean
}

export interface ModelProfile {
  readonly name: string | null
  readonly avatarUrl: string | null
  readonly issuedAtMs: number
}

/** One start of a session, from then on for good. */
export interface ModelSession {
  readonly sessionId: string
  /** Moments, and beside them when it was by what passed. */
  readonly startedAt: number
  readonly startedTime: number
  device: string | null
  rooms: readonly string[]
  lastActive: number
  lastActiveTime: number
  fence: string | null
  /** By which its node lost it, as long as nobody else has it. */
  reapedFence: string | null
  nodeId: string | null
  hadSocket: boolean
  /** Without a socket: what the session lives on, and why it ends when that is used up. */
  lease: { readonly endsAt: number; readonly isGrace: boolean; readonly reason: string } | null
  end: { readonly at: number; readonly reason: string } | null
}

/** What was true of a user after a step. */
interface Truth {
  readonly at: number
  readonly isVisible: boolean
  readonly isOnline: boolean
  /** What the user chose, whether or not the store knows it. */
  readonly visibility: 'EVERYONE' | 'NOBODY'
  readonly hideLastActive: boolean
  /** The last moment at which the user was active since the truth before, null where they were not. */
  readonly active: number | null
  /** Moments of the future were cut to this one, null where none was. */
  readonly cutTo: number | null
}

/** Before every moment. */
const NEVER = Number.NEGATIVE_INFINITY

/** When it was by what passed, and the moment that it was dated. */
interface Activity {
  readonly time: number
  readonly moment: number
}

export interface ModelUser {
  readonly id: string
  settings: ModelSettings
  profile: ModelProfile | null
  /** Whether the store had to do without the user's row. */
  isPending: boolean
  /** Whether the store still knows the user: somebody who has no session may have left it. */
  isInStore: boolean
  /** The settings that the store knew when it last knew the user. */
  storedSettings: ModelSettings
  isActivityOver: boolean
  /** The moment when `goOffline` ended a session the last time. */
  wentOfflineAt: number
  activities: readonly Activity[]
  /** Those that the store knows by itself begin here: it had to do without the row. */
  knownFrom: number
  /** What the next truth has to tell. */
  active: number | null
  cutTo: number | null
  /** Nothing of theirs is dated before it. */
  latest: number
  /** When the user, or anything of theirs, was active last. */
  touchedTime: number
  readonly sessions: ModelSession[]
  readonly history: Truth[]
}

/** What everyone sees, without the moments that are no change. */
export interface Standing {
  readonly id: string
  readonly name: string
  readonly avatarUrl: string | null
  readonly isOnline: boolean
  readonly status: string
  readonly statusMessage: string | null
  readonly onlineSince: number | null
  readonly rooms: readonly string[]
}

export interface Touch {
  readonly isActive: boolean
  readonly rooms?: readonly string[]
  readonly device?: string | null
  readonly profile: ModelProfile | null
}

export interface ModelSocket {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  readonly nodeId: string
}

export type Model = ReturnType<typeof createModel>

export function createModel(timing: ModelTiming, rows: ReadonlyMap<string, ModelSettings>) {
  let now = 0
  let offset = 0
  let pause = { leasesFrom: 0, reapsFrom: 0, frozen: 0 }
  const users: ModelUser[] = [...rows].map(([id, settings]) => ({
    id,
    settings,
    profile: null,
    isPending: false,
    isInStore: false,
    storedSettings: settings,
    isActivityOver: false,
    wentOfflineAt: 0,
    activities: [],
    knownFrom: 0,
    active: null,
    cutTo: null,
    latest: NEVER,
    touchedTime: 0,
    sessions: [],
    history: [],
  }))
  /** What everyone saw of each after the step before. */
  const standingsBefore = new Map<string, Standing>()
  const nodes = new Map<string, number>()
  /** Nodes that have not heard yet that they were reaped. */
  const unheard = new Set<string>()
  /** When those that are not back with all of their sockets said so last. */
  const returning = new Map<string, number>()

  function renew(nodeId: string, isReturning: boolean): void {
    nodes.set(nodeId, now + timing.nodeTtl)
    if (isReturning || unheard.delete(nodeId)) returning.set(nodeId, now)
    else returning.delete(nodeId)
    unheard.delete(nodeId)
  }

  /** Until when a session that was reaped from its node is not ended. */
  function heldUntil({ lease, nodeId }: ModelSession): number {
    if (lease?.reason !== 'NODE_LOST') return 0
    return Number(returning.get(String(nodeId)) ?? Number.NEGATIVE_INFINITY) + timing.nodeTtl + timing.reconnectGrace
  }

  function userOf(userId: string): ModelUser {
    const user = users.find(({ id }) => id === userId)
    if (user === undefined) throw new Error(`The model has no user ${userId}.`)
    return user
  }

  function liveSessions(user: ModelUser): ModelSession[] {
    return user.sessions.filter(({ end }) => end === null)
  }

  function liveSession(user: ModelUser, sessionId: string): ModelSession | undefined {
    return liveSessions(user).find((session) => session.sessionId === sessionId)
  }

  function lastActiveOf(user: ModelUser): number | null {
    return user.activities.length === 0 ? null : Math.max(...user.activities.map(({ moment }) => moment))
  }

  function wall(): number {
    return now + offset
  }

  /** The moment of what happens to a user now. */
  function momentOf(user: ModelUser): number {
    return Math.max(user.latest, wall())
  }

  /** The same, for good. */
  function date(user: ModelUser): number {
    user.latest = momentOf(user)
    return user.latest
  }

  /** The store takes in a user by their row, in which nothing is of the future. */
  function takeRow(user: ModelUser): void {
    const known = user.activities.slice(user.knownFrom)
    user.knownFrom = 0
    const last = lastActiveOf(user)
    user.cutTo = wall()
    if (last === null) return
    const { lastActive, lastSeen } = shownMoments(user)
    const shown = Math.max(lastActive ?? NEVER, lastSeen ?? NEVER)
    if (last > wall() || shown > wall()) wasCut.add(user.id)
    const moment = Math.min(last, wall())
    user.activities = [...known, { moment, time: now - (wall() - moment) }]
    user.latest = Math.max(user.latest, moment, Math.min(shown, wall()))
  }

  const wasCut = new Set<string>()

  /** The store takes in a user, with their row or without. */
  function admit(user: ModelUser, isPending: boolean): void {
    if (user.isInStore) return
    user.isInStore = true
    user.isPending = isPending
    user.knownFrom = user.activities.length
    user.latest = NEVER
    // Who is taken in again has left before, whatever the clock said then.
    user.wentOfflineAt = momentOf(user)
    if (!isPending) takeRow(user)
  }

  function lastActiveTime(user: ModelUser): number {
    return Math.max(...user.activities.map(({ time }) => time))
  }

  /** By which time makes people away and idle: it stands still in a pause. */
  function judged(): number {
    return now < pause.leasesFrom ? Math.min(now, pause.frozen) : now
  }

  /** Rule 2. */
  function isOnline(user: ModelUser): boolean {
    return (
      liveSessions(user).length > 0 &&
      user.activities.length > 0 &&
      !user.isActivityOver &&
      judged() < lastActiveTime(user) + timing.idleTimeout
    )
  }

  /** Rule 3. */
  function statusOf(user: ModelUser): string {
    if (!isOnline(user)) return 'OFFLINE'
    if (!user.isPending && user.settings.statusChoice !== 'AUTOMATIC') return user.settings.statusChoice
    return judged() < lastActiveTime(user) + timing.awayAfter ? 'ONLINE' : 'AWAY'
  }

  /** Rule 8. */
  function isVisible(user: ModelUser): boolean {
    return !user.isPending && user.settings.visibility === 'EVERYONE'
  }

  /** Rule 8: what the whole history lets everyone know. */
  function shownMoments(user: ModelUser) {
    let onlineSince: number | null = null
    let lastActive: number | null = null
    let lastSeen: number | null = null
    let previous: Pick<Truth, 'isVisible' | 'isOnline' | 'visibility'> = {
      isVisible: true,
      isOnline: false,
      visibility: 'EVERYONE',
    }
    for (const truth of user.history) {
      if (truth.cutTo !== null && lastActive !== null) lastActive = Math.min(lastActive, truth.cutTo)
      if (truth.cutTo !== null && lastSeen !== null) lastSeen = Math.min(lastSeen, truth.cutTo)
      const isShown = truth.isVisible && truth.isOnline
      const wasShown = previous.isVisible && previous.isOnline
      if (!isShown) onlineSince = null
      if (isShown && !wasShown) onlineSince = truth.at
      // Whoever comes out of hiding is dated then; what they did before stays theirs.
      if (isShown && !previous.isVisible) lastActive = truth.at
      if (truth.isVisible && previous.isVisible && truth.active !== null)
        lastActive = Math.max(truth.active, lastActive ?? truth.active)
      // A step into hiding takes its hideLastActive along, and later ones wait until the user is seen again.
      const isStepIntoHiding = previous.visibility === 'EVERYONE' && truth.visibility === 'NOBODY'
      if (isStepIntoHiding && truth.hideLastActive) {
        lastActive = null
        lastSeen = null
      }
      if (isShown) lastSeen = null
      // Of whom no activity may be known it is not known either when they left.
      if (!isShown && wasShown) lastSeen = lastActive === null ? null : truth.at
      previous = truth
    }
    return { onlineSince, lastActive, lastSeen }
  }

  /** When everyone last saw them: hidden where their last activity is. */
  function lastSeenOf(user: ModelUser): number | null {
    return isVisible(user) && user.settings.hideLastActive ? null : shownMoments(user).lastSeen
  }

  function standingOf(user: ModelUser): Standing {
    const isShown = isVisible(user) && isOnline(user)
    return {
      id: user.id,
      name: user.profile?.name ?? user.id,
      avatarUrl: user.profile?.avatarUrl ?? null,
      isOnline: isShown,
      status: isShown ? statusOf(user) : 'OFFLINE',
      statusMessage: isShown ? user.settings.statusMessage : null,
      onlineSince: isShown ? shownMoments(user).onlineSince : null,
      rooms: isShown ? [...new Set(liveSessions(user).flatMap(({ rooms }) => rooms))].sort() : [],
    }
  }

  /** Rule: the newer one wins, and what it leaves out stays. */
  function bringProfile(user: ModelUser, profile: ModelProfile | null): void {
    if (profile === null || (profile.name === null && profile.avatarUrl === null)) return
    if (user.profile !== null && profile.issuedAtMs <= user.profile.issuedAtMs) return
    user.profile = {
      name: profile.name ?? user.profile?.name ?? null,
      avatarUrl: profile.avatarUrl ?? user.profile?.avatarUrl ?? null,
      issuedAtMs: profile.issuedAtMs,
    }
  }

  function beActive(user: ModelUser, session: ModelSession | null, ago = 0): void {
    const activity = { time: now - ago, moment: date(user) - ago }
    user.activities = [...user.activities, activity]
    user.active = Math.max(activity.moment, user.active ?? activity.moment)
    user.isActivityOver = false
    user.touchedTime = now
    if (session === null) return
    session.lastActive = Math.max(activity.moment, session.lastActive)
    session.lastActiveTime = Math.max(activity.time, session.lastActiveTime)
  }

  function touch(session: ModelSession, { rooms, device }: Touch): void {
    if (rooms !== undefined) session.rooms = rooms
    if (device !== undefined) session.device = device
  }

  function endSession(user: ModelUser, session: ModelSession, reason: string): void {
    session.end = { at: date(user), reason }
    session.fence = null
    session.lease = null
  }

  /** Rule 5: a socket is gone, and its session lives on its grace. */
  function letGo(user: ModelUser, session: ModelSession, graceLength: number, reason: string): void {
    session.fence = null
    session.lease = { endsAt: now + graceLength, isGrace: true, reason }
    if (graceLength <= 0) endSession(user, session, reason)
  }

  /** Who has to give way, by the end of their lease: several where they end at once. */
  function firstToGo(user: ModelUser): readonly ModelSession[] {
    const leased = liveSessions(user).filter(({ lease }) => lease !== null)
    const firstEnd = Math.min(...leased.map(({ lease }) => Number(lease?.endsAt)))
    return leased.filter(({ lease }) => lease?.endsAt === firstEnd)
  }

  function isOnSocket(session: ModelSession): boolean {
    return session.fence !== null || session.lease?.isGrace === true
  }

  /** Rule 7: the `default` that a socket of its user ends. */
  function takenOverBy(user: ModelUser, sessionId: string): ModelSession | undefined {
    const session = liveSession(user, 'default')
    return session === undefined || sessionId === 'default' || isOnSocket(session) ? undefined : session
  }

  /** Rule 7: whether who went offline is back by heartbeats over HTTP alone. */
  function isBackByBeats(user: ModelUser, sessionId: string, beats: 'own' | 'any'): boolean {
    if (!isOnline(user)) return false
    const own = liveSession(user, sessionId)
    if (own !== undefined) return !isOnSocket(own)
    if (beats === 'own') return false
    const other = liveSession(user, 'default')
    return other !== undefined && other.startedAt >= user.wentOfflineAt && !liveSessions(user).some(isOnSocket)
  }

  function hasRoomFor(
    user: ModelUser,
    sessionId: string,
    { isSocket = false } = {},
  ): 'yes' | 'full' | 'displacing' | 'tie' {
    if (liveSession(user, sessionId) !== undefined) return 'yes'
    const leavingCount = isSocket && takenOverBy(user, sessionId) !== undefined ? 1 : 0
    if (liveSessions(user).length - leavingCount < timing.sessionsPerUser) return 'yes'
    const count = firstToGo(user).length
    return count === 0 ? 'full' : count === 1 ? 'displacing' : 'tie'
  }

  /** A session that starts without activity has that of its user, so that it does not look as if there had been some. */
  function start(
    user: ModelUser,
    sessionId: string,
    ages: { readonly startedFor: number; readonly lastActiveFor: number } | null = null,
  ): ModelSession {
    if (hasRoomFor(user, sessionId) === 'displacing') {
      for (const session of firstToGo(user)) endSession(user, session, 'DISPLACED')
    }
    const at = date(user)
    const known = user.activities.slice(user.knownFrom)
    const last = known.length > 0 ? known : [{ time: now, moment: at }]
    const [moments, times] = [last.map(({ moment }) => moment), last.map(({ time }) => time)]
    const session: ModelSession = {
      sessionId,
      startedAt: at - (ages?.startedFor ?? 0),
      startedTime: now - (ages?.startedFor ?? 0),
      device: null,
      rooms: [],
      lastActive: ages === null ? Math.max(...moments) : at - ages.lastActiveFor,
      lastActiveTime: ages === null ? Math.max(...times) : now - ages.lastActiveFor,
      fence: null,
      reapedFence: null,
      nodeId: null,
      hadSocket: false,
      lease: null,
      end: null,
    }
    user.sessions.push(session)
    return session
  }

  /** The session of a socket, live or started, with what it takes over from `default`. */
  function sessionOfSocket(user: ModelUser, sessionId: string, starts: () => ModelSession): ModelSession {
    const takenOver = takenOverBy(user, sessionId)
    if (takenOver !== undefined) endSession(user, takenOver, 'TAKEN_OVER')
    const live = liveSession(user, sessionId)
    if (live !== undefined) return live
    const started = starts()
    if (takenOver !== undefined) touch(started, { ...takenOver, isActive: false, profile: null })
    return started
  }

  function hang(session: ModelSession, { fence, nodeId }: ModelSocket): void {
    session.reapedFence = null
    session.fence = fence
    session.nodeId = nodeId
    session.hadSocket = true
    session.lease = null
  }

  function liveOnHttp(session: ModelSession): void {
    session.reapedFence = null
    session.lease = { endsAt: now + timing.sessionTtl, isGrace: false, reason: 'EXPIRED' }
  }

  /** Ends a step: what became true of each user is history. */
  function settle(): void {
    for (const user of users) {
      user.history.push({
        at: momentOf(user),
        isVisible: isVisible(user),
        isOnline: isOnline(user),
        visibility: user.settings.visibility,
        hideLastActive: user.settings.hideLastActive,
        active: user.active,
        cutTo: user.cutTo,
      })
      user.active = null
      user.cutTo = null
      // A change is dated.
      const standing = standingOf(user)
      const before = standingsBefore.get(user.id)
      const isToBeSeen = standing.isOnline || before?.isOnline === true
      if (isToBeSeen && JSON.stringify(standing) !== JSON.stringify(before)) date(user)
      standingsBefore.set(user.id, standing)
      if (user.isInStore && !user.isPending) user.storedSettings = user.settings
    }
  }

  return {
    users,
    userOf,
    liveSession,
    liveSessions,
    lastActiveOf,
    lastSeenOf,
    isOnline,
    statusOf,
    isVisible,
    shownMoments,
    hasRoomFor,
    standings: () => users.map(standingOf),
    now: () => now,
    /** The moment of now. */
    wall,
    offset: () => offset,
    /** When the last pause is over. */
    pausedUntil: () => pause.leasesFrom,
    /** Whether moments of the user were cut since this was asked last: only then may they go back. */
    takeCut: (userId: string) => wasCut.delete(userId),

    /** The clock is set, forward or back. No time passes. */
    stepClock(by: number, isGreat: boolean): void {
      offset += by
      if (timing.pause === null || !isGreat) return
      const frozen = now < pause.leasesFrom ? pause.frozen : now
      pause = { leasesFrom: now + timing.pause.noLease, reapsFrom: now + timing.pause.noReaping, frozen }
    },

    attach(socket: ModelSocket, details: Touch & { readonly isPending: boolean }) {
      const user = userOf(socket.userId)
      if (hasRoomFor(user, socket.sessionId, { isSocket: true }) === 'full') return { kind: 'full' }
      admit(user, details.isPending)
      bringProfile(user, details.profile)
      const live = liveSession(user, socket.sessionId)
      const session = sessionOfSocket(user, socket.sessionId, () => start(user, socket.sessionId))
      const replacedFence = session.fence === socket.fence ? null : session.fence
      hang(session, socket)
      touch(session, details)
      if (live === undefined && details.isActive) beActive(user, session)
      settle()
      return { kind: 'attached', replacedFence, isResumed: live !== undefined }
    },

    /** What a node tries for a socket whose session went offline. */
    returnAfterBeats(socket: ModelSocket, beats: 'own' | 'any') {
      const user = userOf(socket.userId)
      if (!isBackByBeats(user, socket.sessionId, beats)) return { kind: 'moved' }
      const live = liveSession(user, socket.sessionId)
      const session = sessionOfSocket(user, socket.sessionId, () => start(user, socket.sessionId))
      hang(session, socket)
      settle()
      return { kind: 'attached', replacedFence: null, isResumed: live !== undefined }
    },

    /** What a node that was thought dead brings back by itself: no activity that is not known. */
    comeBack(socket: ModelSocket, ages: { readonly startedFor: number; readonly lastActiveFor: number }) {
      const user = userOf(socket.userId)
      const live = liveSession(user, socket.sessionId)
      if (live !== undefined && live.fence !== null && live.fence !== socket.fence) return { kind: 'moved' }
      if (hasRoomFor(user, socket.sessionId, { isSocket: true }) === 'full') return { kind: 'full' }
      admit(user, false)
      const session = sessionOfSocket(user, socket.sessionId, () => start(user, socket.sessionId, ages))
      if (live === undefined && !user.isActivityOver) beActive(user, session, ages.lastActiveFor)
      hang(session, socket)
      settle()
      return { kind: 'attached', replacedFence: null, isResumed: live !== undefined }
    },

    startOverHttp(userId: string, sessionId: string | null, details: Touch & { readonly isPending: boolean }) {
      const user = userOf(userId)
      const id = sessionId ?? 'default'
      if (hasRoomFor(user, id) === 'full') return { kind: 'full' }
      admit(user, details.isPending)
      bringProfile(user, details.profile)
      const session = start(user, id)
      liveOnHttp(session)
      touch(session, details)
      if (details.isActive) beActive(user, session)
      settle()
      return { kind: 'attached', replacedFence: null }
    },

    detach({ userId, sessionId, fence }: ModelSocket, cause: 'closed' | 'ended' | 'silent', silentFor: number): void {
      const user = userOf(userId)
      const session = liveSession(user, sessionId)
      if (session === undefined || (session.fence ?? session.reapedFence) !== fence) return
      session.reapedFence = null
      if (cause === 'closed') letGo(user, session, timing.closeGrace, 'CLOSED')
      if (cause === 'ended') letGo(user, session, timing.reconnectGrace, 'LOST')
      if (cause === 'silent') letGo(user, session, timing.reconnectGrace - silentFor, 'LOST')
      settle()
    },

    /** @returns `alone` where it counted for the user and for no session */
    beat(userId: string, sessionId: string | null, fence: string | null, details: Touch) {
      const user = userOf(userId)
      if (sessionId === null && liveSessions(user).some(isOnSocket)) {
        bringProfile(user, details.profile)
        if (details.isActive) beActive(user, null)
        settle()
        return 'alone'
      }
      const session = liveSession(user, sessionId ?? 'default')
      if (session === undefined) return 'unknown'
      if (fence !== null && fence !== session.fence) return 'late'
      bringProfile(user, details.profile)
      touch(session, details)
      if (session.fence === null) liveOnHttp(session)
      if (details.isActive) beActive(user, session)
      settle()
      return 'counted'
    },

    end(userId: string, sessionId: string | null, fence: string | null, reason: string) {
      const user = userOf(userId)
      const meant = liveSessions(user).filter((one) => sessionId === null || one.sessionId === sessionId)
      if (fence !== null && meant.some((one) => one.fence !== fence)) return { isLate: true, count: 0, fences: [] }
      const fences = meant.flatMap((one) => (one.fence === null ? [] : [one.fence]))
      for (const session of meant) endSession(user, session, reason)
      if (meant.length > 0 && reason === 'WENT_OFFLINE') user.wentOfflineAt = date(user)
      if (meant.length > 0 && liveSessions(user).length === 0 && reason === 'WENT_OFFLINE') user.isActivityOver = true
      settle()
      return { isLate: false, count: meant.length, fences }
    },

    setRoom(userId: string, sessionId: string, fence: string | null, room: string, isIn: boolean) {
      const session = liveSession(userOf(userId), sessionId)
      if (session === undefined) return 'unknown'
      if (fence !== null && fence !== session.fence) return 'late'
      const others = session.rooms.filter((one) => one !== room)
      session.rooms = isIn ? [...others, room] : others
      settle()
      return 'done'
    },

    setUser(userId: string, brought: { readonly settings?: ModelSettings; readonly profile?: ModelProfile }): void {
      const user = userOf(userId)
      if (brought.settings !== undefined) {
        if (brought.settings.version > user.settings.version) {
          user.settings = brought.settings
          if (user.isPending) takeRow(user)
          user.isPending = false
        } else if (brought.settings.version === user.settings.version) {
          // Of two histories: whatever either of them hides is hidden.
          const [one, other] = [user.settings, brought.settings]
          user.settings = {
            ...one,
            visibility: [one.visibility, other.visibility].includes('NOBODY') ? 'NOBODY' : 'EVERYONE',
            hideLastActive: [one.hideLastActive, other.hideLastActive].includes(true),
            statusMessage: [one.statusMessage, other.statusMessage].includes(null) ? null : one.statusMessage,
          }
        }
      }
      if (brought.profile !== undefined) bringProfile(user, brought.profile)
      settle()
    },

    /** The row comes that an attach had to do without. */
    bringRow(userId: string): void {
      const user = userOf(userId)
      takeRow(user)
      user.isPending = false
      settle()
    },

    renewNode(nodeId: string): void {
      renew(nodeId, false)
    },

    /** An attach is a lease for its node as well. The node learns by its renewals alone what was reaped from it. */
    leaseNode(nodeId: string): void {
      nodes.set(nodeId, now + timing.nodeTtl)
    },

    /** One step of time, with what is due at its end. */
    pass(renewing: readonly string[], notBack: readonly string[]): void {
      now += 1
      for (const nodeId of renewing) renew(nodeId, notBack.includes(nodeId))
      for (const user of users) {
        for (const session of liveSessions(user)) {
          if (session.lease === null || session.lease.endsAt > now || now < pause.leasesFrom) continue
          const endsAt = heldUntil(session)
          if (endsAt > now) session.lease = { ...session.lease, endsAt }
          else endSession(user, session, session.lease.reason)
        }
      }
      for (const [nodeId, endsAt] of nodes) {
        if (endsAt > now || now < pause.reapsFrom) continue
        nodes.delete(nodeId)
        for (const user of users) {
          for (const session of liveSessions(user)) {
            if (session.fence === null || session.nodeId !== nodeId) continue
            unheard.add(nodeId)
            session.reapedFence = session.fence
            letGo(user, session, timing.reconnectGrace, 'NODE_LOST')
          }
        }
      }
      settle()
    },

    /** The database has every record of these users: who has no session leaves the store. */
    acknowledge(userIds: readonly string[]): void {
      for (const user of users) {
        if (!userIds.includes(user.id) || liveSessions(user).length > 0) continue
        user.isInStore = false
        user.isPending = false
      }
      settle()
    },
  }
}
