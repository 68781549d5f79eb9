/** What the memory store keeps of a user who is there, and the views that it gives of them. */
import { randomUUID } from 'node:crypto'
import type {
  EndReason,
  PresenceStatus,
  Profile,
  PublicColumns,
  PublicUser,
  SessionRow,
  SessionView,
  Settings,
  UserSeed,
  ViewerState,
} from '../../presence/model.ts'
import { RoomSet } from '../../presence/room-set.ts'
import { hidesLastActive, publicUser, type UserFacts } from '../../presence/rules.ts'
import type { Now, PresenceTiming } from '../../presence/timing.ts'
import type { Due } from './deadlines.ts'

export interface LiveUser extends UserFacts, Due {
  /**
   * What everyone sees, as the log last said it: `shownNow` adds the activity since. Never changed in place. The first
   * fields, so that a page reads a single line of the machine's memory a user.
   */
  shown: PublicUser
  hasActivitySince: boolean
  /** The rooms that everyone sees the user in: `rooms`, or none. */
  shownRooms: RoomSet
  readonly id: string
  profile: Profile | null
  settings: Settings | null
  /** In the order of their starts. Never changed in place: most users have one, whose list is a third of a Map. */
  sessions: readonly LiveSession[]
  hasLiveSession: boolean
  /** The rooms of all sessions, whether or not anyone sees the user: as `countRooms` found them last. */
  rooms: RoomSet
  /** Of each room that more than one session is in, by how many sessions more. Null where there is none. */
  repeatedRooms: Map<string, number> | null
  /** The sessions whose rooms are counted in `rooms`. */
  countedSessions: readonly LiveSession[]
  /** An estimate of what `rooms` took since the last log entry of the user, for the log to count. */
  newRoomBytes: number
  lastActiveAtMs: number | null
  lastActiveSteadyMs: number | null
  isActivityOver: boolean
  /** When `goOffline` ended the last session. Means something only while `isActivityOver`. */
  activityOverSteadyMs: number
  /** When `goOffline` ended a session the last time; the row does not say, so where it is new, when it was taken in. */
  wentOfflineAtMs: number
  shownSinceMs: number | null
  shownLastActiveAtMs: number | null
  /** The latest moment that anything of the user was dated: their moments never go back. */
  latestAtMs: number

  /** What the records last said of the public columns. */
  recordedColumns: PublicColumns | null
  /** The user's own truth at the last step, to see when it flips. */
  ownStatus: PresenceStatus
  /** When activity that no record has yet must get one, null where there is none. */
  activityFlushSteadyMs: number | null
  lastRecordSeq: number
}

export interface LiveSession {
  readonly id: string
  readonly startId: string
  device: string | null
  /** Never changed in place. */
  rooms: readonly string[]
  /** The list that is counted in `rooms` of the user. */
  countedRooms: readonly string[]
  fence: string | null
  /** The one that was reaped from it, while nobody has told yet how that socket was lost. */
  reapedFence: string | null
  nodeId: string | null
  hadSocket: boolean
  readonly startedAtMs: number
  lastActiveAtMs: number
  lastActiveSteadyMs: number
  leaseEndsSteadyMs: number | null
  /** Why it will have ended when its lease passes. */
  leaseReason: EndReason
  /** Whether its lease is the grace after a socket: then a beat without a session id is not its end (rule 7). */
  isInGrace: boolean
  /** Whether no record has its last activity yet. */
  hasUnrecordedActivity: boolean
}

const NO_SESSIONS: readonly LiveSession[] = []
const NO_ROOM_IDS: readonly string[] = []

/** What everyone sees of a user until it is known. */
const NOBODY: PublicUser = {
  id: '',
  name: '',
  avatarUrl: null,
  isOnline: false,
  status: 'OFFLINE',
  statusMessage: null,
  onlineSinceMs: null,
  lastActiveAtMs: null,
}

export function createLiveUser(id: string, read: UserSeed, now: Now, timing: PresenceTiming): LiveUser {
  const seed = cutToNow(read, now)
  const user: LiveUser = {
    shown: NOBODY,
    hasActivitySince: false,
    shownRooms: RoomSet.empty,
    id,
    profile: seed.profile,
    settings: seed.settings,
    sessions: NO_SESSIONS,
    hasLiveSession: false,
    rooms: RoomSet.empty,
    repeatedRooms: null,
    countedSessions: NO_SESSIONS,
    newRoomBytes: 0,
    lastActiveAtMs: seed.lastActiveAtMs,
    lastActiveSteadyMs: seed.lastActiveAtMs === null ? null : steadyOf(seed.lastActiveAtMs, now),
    isActivityOver: seed.isActivityOver,
    activityOverSteadyMs: now.steadyMs,
    wentOfflineAtMs: now.wallMs,
    shownSinceMs: null,
    shownLastActiveAtMs: seed.shownLastActiveAtMs,
    latestAtMs: Math.max(seed.lastActiveAtMs ?? 0, seed.shownLastActiveAtMs ?? 0),
    recordedColumns: null,
    ownStatus: 'OFFLINE',
    activityFlushSteadyMs: null,
    lastRecordSeq: 0,
    dueSteadyMs: 0,
    heapIndex: -1,
  }
  user.shown = publicUser(user, now.steadyMs, timing)
  return user
}

export function createLiveSession(
  id: string,
  startedAtMs: number,
  lastActiveAtMs: number,
  lastActiveSteadyMs: number,
  startId: string = flatUuid(),
): LiveSession {
  return {
    id,
    startId,
    device: null,
    rooms: NO_ROOM_IDS,
    countedRooms: NO_ROOM_IDS,
    fence: null,
    reapedFence: null,
    nodeId: null,
    hadSocket: false,
    startedAtMs,
    lastActiveAtMs,
    lastActiveSteadyMs,
    leaseEndsSteadyMs: null,
    leaseReason: 'EXPIRED',
    isInGrace: false,
    hasUnrecordedActivity: false,
  }
}

/**
 * What a database knows may be of the future: written while the clock stood ahead, or by another host's clock. Nobody
 * was active after now.
 */
export function cutToNow(seed: UserSeed, { wallMs }: Now): UserSeed {
  const cut = (atMs: number | null): number | null => (atMs === null ? null : Math.min(atMs, wallMs))
  return { ...seed, lastActiveAtMs: cut(seed.lastActiveAtMs), shownLastActiveAtMs: cut(seed.shownLastActiveAtMs) }
}

/** Where a moment that is not of this process's life lies on the steady clock. */
export function steadyOf(atMs: number, { steadyMs, wallMs }: Now): number {
  return steadyMs - Math.max(0, wallMs - atMs)
}

/** The moment of what happens to a user now: that of the wall clock, but never before one that was told of them. */
export function momentOf(user: LiveUser, { wallMs }: Now): number {
  return Math.max(user.latestAtMs, wallMs)
}

/** The same, of something that is dated by it for good. */
export function date(user: LiveUser, now: Now): number {
  user.latestAtMs = momentOf(user, now)
  return user.latestAtMs
}

/** Node puts a UUID together from twenty pieces, which stay fourteen objects until somebody reads the text. */
function flatUuid(): string {
  return Buffer.from(randomUUID(), 'latin1').toString('latin1')
}

export function sessionOf(user: LiveUser, sessionId: string): LiveSession | undefined {
  return user.sessions.find(({ id }) => id === sessionId)
}

/**
 * Brings `rooms` in line with the sessions. Costs what changed since the last call.
 *
 * @returns the rooms that the user entered or left by it
 */
export function countRooms(user: LiveUser): readonly string[] {
  const entered: string[] = []
  const left: string[] = []
  if (user.countedSessions !== user.sessions) {
    const current = new Set(user.sessions)
    for (const session of user.countedSessions) {
      if (current.has(session) || session.countedRooms.length === 0) continue
      left.push(...new Set(session.countedRooms))
      session.countedRooms = NO_ROOM_IDS
    }
    user.countedSessions = user.sessions
  }
  for (const session of user.sessions) {
    if (session.countedRooms === session.rooms) continue
    const former = new Set(session.countedRooms)
    for (const room of new Set(session.rooms)) if (!former.delete(room)) entered.push(room)
    left.push(...former)
    session.countedRooms = session.rooms
  }
  if (entered.length === 0 && left.length === 0) return NO_ROOM_IDS
  return changeRooms(user, entered, left)
}

/** Entered first: a room that one session leaves and another enters does not change. */
function changeRooms(user: LiveUser, entered: readonly string[], left: readonly string[]): readonly string[] {
  const added = new Set<string>()
  const removed = new Set<string>()
  for (const room of entered) {
    if (user.rooms.has(room) || added.has(room)) addRepeat(user, room)
    else added.add(room)
  }
  for (const room of left) {
    if (takeRepeat(user, room)) continue
    if (!added.delete(room)) removed.add(room)
  }
  if (added.size === 0 && removed.size === 0) return NO_ROOM_IDS
  user.rooms = user.rooms.changed({ added, removed })
  return [...added, ...removed]
}

function addRepeat(user: LiveUser, room: string): void {
  user.repeatedRooms ??= new Map()
  user.repeatedRooms.set(room, (user.repeatedRooms.get(room) ?? 0) + 1)
}

/** @returns false where no other session is in the room */
function takeRepeat(user: LiveUser, room: string): boolean {
  const count = user.repeatedRooms?.get(room)
  if (count === undefined) return false
  if (count > 1) user.repeatedRooms?.set(room, count - 1)
  else user.repeatedRooms?.delete(room)
  if (user.repeatedRooms?.size === 0) user.repeatedRooms = null
  return true
}

/** What everyone sees of a user. Made when somebody looks: most heartbeats nobody looks at. */
export function shownNow(user: LiveUser): PublicUser {
  if (user.hasActivitySince) {
    const lastActiveAtMs = hidesLastActive(user.settings) ? null : user.shownLastActiveAtMs
    user.shown = { ...user.shown, lastActiveAtMs }
    user.hasActivitySince = false
  }
  return user.shown
}

export function columnsOf(user: LiveUser): PublicColumns | null {
  if (user.settings === null) return null
  const { isOnline, onlineSinceMs, lastActiveAtMs } = shownNow(user)
  return { isOnline, onlineSinceMs, lastActiveAtMs }
}

export function viewerState(user: LiveUser, settings: Settings, now: Now): ViewerState {
  return {
    user: shownNow(user),
    isOnline: user.ownStatus !== 'OFFLINE',
    status: user.ownStatus,
    statusChoice: settings.statusChoice,
    statusMessage: settings.statusMessage,
    lastActiveAtMs: user.lastActiveAtMs,
    visibility: settings.visibility,
    hideLastActive: settings.hideLastActive,
    sessions: user.sessions.map((session) => sessionView(session, now)),
  }
}

export function sessionView(session: LiveSession, { steadyMs, wallMs }: Now): SessionView {
  const { id, device, rooms, startedAtMs, lastActiveAtMs, fence, leaseEndsSteadyMs } = session
  const leaseEndsAtMs = leaseEndsSteadyMs === null ? null : wallMs + (leaseEndsSteadyMs - steadyMs)
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
