/**
 * A second implementation of the rules of presence, which shares no code with the first and is meant to be obviously
 * right: plain arrays, everything computed anew from what happened, at any cost.
 *
 * Time is counted in whole steps. Lengths of time end between two steps (`2.5`), so that no deadline meets a step.
 */

export interface ModelTiming {
  readonly sessionTtl: number
  readonly closeGrace: number
  readonly reconnectGrace: number
  readonly awayAfter: number
  readonly idleTimeout: number
  readonly nodeTtl: number
  readonly sessionsPerUser: number
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
  readonly startedAt: number
  device: string | null
  rooms: readonly string[]
  lastActive: number
  fence: string | null
  nodeId: string | null
  hadSocket: boolean
  /** Without a socket: what the session lives on, and why it ends when that is used up. */
  lease: { readonly endsAt: number; readonly isGrace: boolean; readonly reason: string } | null
  end: { readonly from: number; readonly to: number; readonly reason: string } | null
}

/** What was true of a user after a step. */
interface Truth {
  readonly at: number
  readonly isVisible: boolean
  readonly isOnline: boolean
  readonly lastActive: number | null
  /** How often the user had been active by then. */
  readonly activityCount: number
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
  readonly activities: number[]
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
  const users: ModelUser[] = [...rows].map(([id, settings]) => ({
    id,
    settings,
    profile: null,
    isPending: false,
    isInStore: false,
    storedSettings: settings,
    isActivityOver: false,
    activities: [],
    sessions: [],
    history: [],
  }))
  const nodes = new Map<string, number>()

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
    return user.activities.length === 0 ? null : Math.max(...user.activities)
  }

  /** Rule 2. */
  function isOnline(user: ModelUser): boolean {
    const lastActive = lastActiveOf(user)
    return (
      liveSessions(user).length > 0 &&
      lastActive !== null &&
      !user.isActivityOver &&
      now < lastActive + timing.idleTimeout
    )
  }

  /** Rule 3. */
  function statusOf(user: ModelUser): string {
    if (!isOnline(user)) return 'OFFLINE'
    if (!user.isPending && user.settings.statusChoice !== 'AUTOMATIC') return user.settings.statusChoice
    return now < Number(lastActiveOf(user)) + timing.awayAfter ? 'ONLINE' : 'AWAY'
  }

  /** Rule 8. */
  function isVisible(user: ModelUser): boolean {
    return !user.isPending && user.settings.visibility === 'EVERYONE'
  }

  /** Rule 8: what the whole history lets everyone know. */
  function shownMoments(user: ModelUser): { onlineSince: number | null; lastActive: number | null } {
    let onlineSince: number | null = null
    let lastActive: number | null = null
    let previous: Truth = { at: 0, isVisible: true, isOnline: false, lastActive: null, activityCount: 0 }
    for (const truth of user.history) {
      const isShown = truth.isVisible && truth.isOnline
      const wasShown = previous.isVisible && previous.isOnline
      if (!isShown) onlineSince = null
      if (isShown && !wasShown) onlineSince = truth.at
      // Whoever comes out of hiding is dated then; what they did before stays theirs.
      if (isShown && !previous.isVisible) lastActive = truth.at
      if (truth.isVisible && previous.isVisible && truth.activityCount > previous.activityCount)
        lastActive = truth.lastActive
      previous = truth
    }
    return { onlineSince, lastActive }
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

  function beActive(user: ModelUser, session: ModelSession | null): void {
    user.activities.push(now)
    user.isActivityOver = false
    if (session !== null) session.lastActive = now
  }

  function touch(session: ModelSession, { rooms, device }: Touch): void {
    if (rooms !== undefined) session.rooms = rooms
    if (device !== undefined) session.device = device
  }

  function endSession(session: ModelSession, from: number, reason: string): void {
    session.end = { from, to: now, reason }
    session.fence = null
    session.lease = null
  }

  /** Rule 5: a socket is gone, and its session lives on its grace. */
  function letGo(session: ModelSession, graceLength: number, reason: string): void {
    session.fence = null
    session.lease = { endsAt: now + graceLength, isGrace: true, reason }
    if (graceLength <= 0) endSession(session, Math.floor(now + graceLength), reason)
  }

  /** Who has to give way, by the end of their lease: several where they end at once. */
  function firstToGo(user: ModelUser): readonly ModelSession[] {
    const leased = liveSessions(user).filter(({ lease }) => lease !== null)
    const firstEnd = Math.min(...leased.map(({ lease }) => Number(lease?.endsAt)))
    return leased.filter(({ lease }) => lease?.endsAt === firstEnd)
  }

  function hasRoomFor(user: ModelUser, sessionId: string): 'yes' | 'full' | 'displacing' | 'tie' {
    if (liveSession(user, sessionId) !== undefined) return 'yes'
    if (liveSessions(user).length < timing.sessionsPerUser) return 'yes'
    const count = firstToGo(user).length
    return count === 0 ? 'full' : count === 1 ? 'displacing' : 'tie'
  }

  /** A session that starts without activity has that of its user, so that it does not look as if there had been some. */
  function start(
    user: ModelUser,
    sessionId: string,
    startedAt = now,
    lastActive = lastActiveOf(user) ?? now,
  ): ModelSession {
    if (hasRoomFor(user, sessionId) === 'displacing') {
      for (const session of firstToGo(user)) endSession(session, now, 'DISPLACED')
    }
    const session: ModelSession = {
      sessionId,
      startedAt,
      device: null,
      rooms: [],
      lastActive,
      fence: null,
      nodeId: null,
      hadSocket: false,
      lease: null,
      end: null,
    }
    user.sessions.push(session)
    return session
  }

  function hang(session: ModelSession, { fence, nodeId }: ModelSocket): void {
    session.fence = fence
    session.nodeId = nodeId
    session.hadSocket = true
    session.lease = null
  }

  function liveOnHttp(session: ModelSession): void {
    session.lease = { endsAt: now + timing.sessionTtl, isGrace: false, reason: 'EXPIRED' }
  }

  /** Ends a step: what became true of each user is history. */
  function settle(): void {
    for (const user of users) {
      user.history.push({
        at: now,
        isVisible: isVisible(user),
        isOnline: isOnline(user),
        lastActive: lastActiveOf(user),
        activityCount: user.activities.length,
      })
      if (user.isInStore && !user.isPending) user.storedSettings = user.settings
    }
  }

  return {
    users,
    userOf,
    liveSession,
    liveSessions,
    lastActiveOf,
    isOnline,
    statusOf,
    isVisible,
    shownMoments,
    hasRoomFor,
    standings: () => users.map(standingOf),
    now: () => now,

    attach(socket: ModelSocket, details: Touch & { readonly isPending: boolean }) {
      const user = userOf(socket.userId)
      if (hasRoomFor(user, socket.sessionId) === 'full') return { kind: 'full' }
      if (!user.isInStore) user.isPending = details.isPending
      user.isInStore = true
      bringProfile(user, details.profile)
      const live = liveSession(user, socket.sessionId)
      const session = live ?? start(user, socket.sessionId)
      const replacedFence = session.fence === socket.fence ? null : session.fence
      hang(session, socket)
      touch(session, details)
      if (live === undefined && details.isActive) beActive(user, session)
      settle()
      return { kind: 'attached', replacedFence }
    },

    /** What a node that was thought dead brings back by itself: no activity that is not known. */
    comeBack(socket: ModelSocket, ages: { readonly startedFor: number; readonly lastActiveFor: number }) {
      const user = userOf(socket.userId)
      const live = liveSession(user, socket.sessionId)
      if (live !== undefined && live.fence !== null && live.fence !== socket.fence) return { kind: 'moved' }
      if (hasRoomFor(user, socket.sessionId) === 'full') return { kind: 'full' }
      user.isInStore = true
      const session = live ?? start(user, socket.sessionId, now - ages.startedFor, now - ages.lastActiveFor)
      hang(session, socket)
      settle()
      return { kind: 'attached', replacedFence: null }
    },

    startOverHttp(userId: string, sessionId: string | null, details: Touch & { readonly isPending: boolean }) {
      const user = userOf(userId)
      const id = sessionId ?? 'default'
      if (hasRoomFor(user, id) === 'full') return { kind: 'full' }
      if (!user.isInStore) user.isPending = details.isPending
      user.isInStore = true
      bringProfile(user, details.profile)
      const session = start(user, id)
      liveOnHttp(session)
      touch(session, details)
      if (details.isActive) beActive(user, session)
      settle()
      return { kind: 'attached', replacedFence: null }
    },

    detach({ userId, sessionId, fence }: ModelSocket, cause: 'closed' | 'ended' | 'silent', silentFor: number): void {
      const session = liveSession(userOf(userId), sessionId)
      if (session === undefined || session.fence !== fence) return
      if (cause === 'closed') letGo(session, timing.closeGrace, 'CLOSED')
      if (cause === 'ended') letGo(session, timing.reconnectGrace, 'LOST')
      if (cause === 'silent') letGo(session, timing.reconnectGrace - silentFor, 'LOST')
      settle()
    },

    /** @returns `alone` where it counted for the user and for no session */
    beat(userId: string, sessionId: string | null, fence: string | null, details: Touch) {
      const user = userOf(userId)
      const isOnSocket = liveSessions(user).some((one) => one.fence !== null || one.lease?.isGrace === true)
      if (sessionId === null && isOnSocket) {
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
      for (const session of meant) endSession(session, now, reason)
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
      if (brought.settings !== undefined && brought.settings.version > user.settings.version) {
        user.settings = brought.settings
        user.isPending = false
      }
      if (brought.profile !== undefined) bringProfile(user, brought.profile)
      settle()
    },

    /** The row comes that an attach had to do without. */
    bringRow(userId: string): void {
      userOf(userId).isPending = false
      settle()
    },

    renewNode(nodeId: string): void {
      nodes.set(nodeId, now + timing.nodeTtl)
    },

    /** One step of time, with what is due at its end. */
    pass(renewing: readonly string[]): void {
      now += 1
      for (const nodeId of renewing) nodes.set(nodeId, now + timing.nodeTtl)
      for (const user of users) {
        for (const session of liveSessions(user)) {
          if (session.lease !== null && session.lease.endsAt <= now) {
            endSession(session, Math.floor(session.lease.endsAt), session.lease.reason)
          }
        }
      }
      for (const [nodeId, endsAt] of nodes) {
        if (endsAt > now) continue
        nodes.delete(nodeId)
        for (const session of users.flatMap(liveSessions)) {
          if (session.fence !== null && session.nodeId === nodeId) letGo(session, timing.reconnectGrace, 'NODE_LOST')
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
