/** What the memory store keeps of a user who is there, and the views that it gives of them. */
import { randomUUID } from 'node:crypto'
import type {
  EndReason,
  PresenceStatus,
  Profile,
  PublicColumns,
  PublicStanding,
  PublicUser,
  SessionRow,
  SessionView,
  Settings,
  UserSeed,
  ViewerState,
} from '../../presence/model.ts'
import { publicUser, type UserFacts } from '../../presence/rules.ts'
import type { PresenceTiming } from '../../presence/timing.ts'
import type { Due } from './deadlines.ts'

export interface LiveUser extends UserFacts, Due {
  readonly id: string
  profile: Profile | null
  settings: Settings | null
  readonly sessions: Map<string, LiveSession>
  hasLiveSession: boolean
  lastActiveAtMs: number | null
  isActivityOver: boolean
  /** When `goOffline` ended the last session. Means something only while `isActivityOver`. */
  activityOverAtMs: number
  shownSinceMs: number | null
  shownLastActiveAtMs: number | null

  /** What the log last said of the user. */
  standing: PublicStanding
  /** What the records last said of the public columns. */
  recordedColumns: PublicColumns | null
  /** The user's own truth at the last step, to see when it flips. */
  ownStatus: PresenceStatus
  /** When activity that no record has yet must get one, null where there is none. */
  activityFlushAtMs: number | null
  lastRecordSeq: number
}

export interface LiveSession {
  readonly id: string
  readonly startId: string
  device: string | null
  rooms: readonly string[]
  fence: string | null
  nodeId: string | null
  hadSocket: boolean
  readonly startedAtMs: number
  lastActiveAtMs: number
  leaseEndsAtMs: number | null
  /** Why it will have ended when its lease passes. */
  leaseReason: EndReason
  /** Whether its lease is the grace after a socket: then a beat without a session id is not its end (rule 7). */
  isInGrace: boolean
  /** Whether no record has its last activity yet. */
  hasUnrecordedActivity: boolean
}

const NO_ROOMS: ReadonlySet<string> = new Set()

/** The standing of a user until the first one is known. */
const NOWHERE: PublicStanding = {
  user: {
    id: '',
    name: '',
    avatarUrl: null,
    isOnline: false,
    status: 'OFFLINE',
    statusMessage: null,
    onlineSinceMs: null,
    lastActiveAtMs: null,
  },
  rooms: NO_ROOMS,
}

export function createLiveUser(id: string, seed: UserSeed, nowMs: number, timing: PresenceTiming): LiveUser {
  const user: LiveUser = {
    id,
    profile: seed.profile,
    settings: seed.settings,
    sessions: new Map(),
    hasLiveSession: false,
    lastActiveAtMs: seed.lastActiveAtMs,
    isActivityOver: seed.isActivityOver,
    activityOverAtMs: nowMs,
    shownSinceMs: null,
    shownLastActiveAtMs: seed.shownLastActiveAtMs,
    standing: NOWHERE,
    recordedColumns: null,
    ownStatus: 'OFFLINE',
    activityFlushAtMs: null,
    lastRecordSeq: 0,
    dueAtMs: 0,
    heapIndex: -1,
  }
  user.standing = { user: publicUser(user, nowMs, timing), rooms: NO_ROOMS }
  return user
}

export function createLiveSession(
  id: string,
  startedAtMs: number,
  lastActiveAtMs: number,
  startId: string = randomUUID(),
): LiveSession {
  return {
    id,
    startId,
    device: null,
    rooms: [],
    fence: null,
    nodeId: null,
    hadSocket: false,
    startedAtMs,
    lastActiveAtMs,
    leaseEndsAtMs: null,
    leaseReason: 'EXPIRED',
    isInGrace: false,
    hasUnrecordedActivity: false,
  }
}

/** The rooms that everyone sees the user in; `current` itself where they are the same. */
export function roomsOf(user: LiveUser, isShown: boolean, current: ReadonlySet<string>): ReadonlySet<string> {
  if (!isShown) return NO_ROOMS
  const rooms = new Set<string>()
  for (const session of user.sessions.values()) for (const room of session.rooms) rooms.add(room)
  if (rooms.size !== current.size) return rooms
  for (const room of rooms) if (!current.has(room)) return rooms
  return current
}

/** What everyone sees now: as the log last said it, with the activity since. */
export function shownUser(user: LiveUser): PublicUser {
  const shown = user.standing.user
  const lastActiveAtMs = shownLastActive(user)
  return shown.lastActiveAtMs === lastActiveAtMs ? shown : { ...shown, lastActiveAtMs }
}

export function shownLastActive(user: LiveUser): number | null {
  return user.settings?.hideLastActive === true ? null : user.shownLastActiveAtMs
}

export function columnsOf(user: LiveUser): PublicColumns | null {
  if (user.settings === null) return null
  const shown = user.standing.user
  return { isOnline: shown.isOnline, onlineSinceMs: shown.onlineSinceMs, lastActiveAtMs: shownLastActive(user) }
}

export function viewerState(user: LiveUser, settings: Settings): ViewerState {
  return {
    user: shownUser(user),
    isOnline: user.ownStatus !== 'OFFLINE',
    status: user.ownStatus,
    statusChoice: settings.statusChoice,
    statusMessage: settings.statusMessage,
    lastActiveAtMs: user.lastActiveAtMs,
    visibility: settings.visibility,
    hideLastActive: settings.hideLastActive,
    sessions: [...user.sessions.values()].map(sessionView),
  }
}

export function sessionView(session: LiveSession): SessionView {
  const { id, device, rooms, startedAtMs, lastActiveAtMs, fence, leaseEndsAtMs } = session
  return { id, device, rooms, startedAtMs, lastActiveAtMs, fence, leaseEndsAtMs }
}

export function sessionRow(
  session: LiveSession,
  end: { readonly atMs: number; readonly reason: EndReason } | null,
): SessionRow {
  return {
    startId: session.startId,
    sessionId: session.id,
    device: session.device,
    rooms: session.rooms,
    nodeId: session.nodeId,
    hadSocket: session.hadSocket,
    startedAtMs: session.startedAtMs,
    lastActiveAtMs: session.lastActiveAtMs,
    endedAtMs: end?.atMs ?? null,
    endReason: end?.reason ?? null,
  }
}
