/**
 * The state of one user in the memory store, and the views of it.
 *
 * `lua/shared/user.lua` of the Redis store is its counterpart: change both.
 */
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
   * What everyone sees, as of the last log entry; `shownNow` adds the activity since then. Never changed in place.
   * `shown` and the next field come first so that a page reads one cache line per user.
   */
  shown: PublicUser
  hasActivitySince: boolean
  /** The rooms in which everyone sees the user: `rooms` while the user is shown, else none. */
  shownRooms: RoomSet
  readonly id: string
  profile: Profile | null
  settings: Settings | null
  /** In order of start. Never changed in place. An array: with one session, as for most users, a third of a Map. */
  sessions: readonly LiveSession[]
  hasLiveSession: boolean
  /** The rooms of all sessions, also while the user is hidden, as of the last call of `countRooms`. */
  rooms: RoomSet
  /** Maps each room with more than one session to the number of sessions beyond the first. Null if there is none. */
  repeatedRooms: Map<string, number> | null
  /** The sessions that `rooms` counts. */
  countedSessions: readonly LiveSession[]
  /** Estimated memory of the changes of `rooms` since the user's last log entry. The next entry counts it. */
  newRoomBytes: number
  lastActiveAtMs: number | null
  lastActiveSteadyMs: number | null
  isActivityOver: boolean
  /** When `goOffline` ended the last session. Valid only while `isActivityOver`. */
  activityOverSteadyMs: number
  /** When `goOffline` last ended a session. The row does not contain it, so it starts as the time of admission. */
  wentOfflineAtMs: number
  shownSinceMs: number | null
  shownLastActiveAtMs: number | null
  /** When everyone last saw the user go offline: null while they see the user online, and frozen while hidden. */
  shownLastSeenAtMs: number | null
  /** The latest moment given to anything of the user: moments of one user never go back. */
  latestAtMs: number

  /** The public columns in the last record. */
  recordedColumns: PublicColumns | null
  /** The user's status at the last step, regardless of visibility. The next step compares it to detect a flip. */
  ownStatus: PresenceStatus
  /** When unrecorded activity must be recorded; null if all activity is recorded. */
  activityFlushSteadyMs: number | null
  lastRecordSeq: number
}

export interface LiveSession {
  readonly id: string
  readonly startId: string
  device: string | null
  /** Never changed in place. */
  rooms: readonly string[]
  /** The list of rooms that the user's `rooms` counts. */
  countedRooms: readonly string[]
  fence: string | null
  /** The fence of the socket that was reaped from the session, until a detach reports how that socket was lost. */
  reapedFence: string | null
  nodeId: string | null
  hadSocket: boolean
  readonly startedAtMs: number
  lastActiveAtMs: number
  lastActiveSteadyMs: number
  leaseEndsSteadyMs: number | null
  /** The end reason if the lease passes. */
  leaseReason: EndReason
  /** The lease is the grace after a socket: a beat without a session id then counts for the user alone (rule 7). */
  isInGrace: boolean
  /** Whether the last activity is in no record yet. */
  hasUnrecordedActivity: boolean
}

const NO_SESSIONS: readonly LiveSession[] = []
const NO_ROOM_IDS: readonly string[] = []

/** Placeholder for `shown` until `createLiveUser` derives it. */
const NOBODY: PublicUser = {
  id: '',
  name: '',
  avatarUrl: null,
  isOnline: false,
  status: 'OFFLINE',
  statusMessage: null,
  onlineSinceMs: null,
  lastActiveAtMs: null,
  lastSeenAtMs: null,
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
    shownLastSeenAtMs: seed.shownLastSeenAtMs,
    latestAtMs: latestOf(seed),
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
 * Replaces moments of the future by now. A row may contain some: written while the clock was ahead, or by another
 * host's clock.
 */
export function cutToNow(seed: UserSeed, { wallMs }: Now): UserSeed {
  const cut = (atMs: number | null): number | null => (atMs === null ? null : Math.min(atMs, wallMs))
  return {
    ...seed,
    lastActiveAtMs: cut(seed.lastActiveAtMs),
    shownLastActiveAtMs: cut(seed.shownLastActiveAtMs),
    shownLastSeenAtMs: cut(seed.shownLastSeenAtMs),
  }
}

/** The latest moment that a row has of its user; 0 if it has none. */
export function latestOf({ lastActiveAtMs, shownLastActiveAtMs, shownLastSeenAtMs }: UserSeed): number {
  return Math.max(lastActiveAtMs ?? 0, shownLastActiveAtMs ?? 0, shownLastSeenAtMs ?? 0)
}

/** Converts a moment from before this process to the steady clock. */
export function steadyOf(atMs: number, { steadyMs, wallMs }: Now): number {
  return steadyMs - Math.max(0, wallMs - atMs)
}

/** The moment of a step of this user now: the wall clock, but never before an earlier moment of the user. */
export function momentOf(user: LiveUser, { wallMs }: Now): number {
  return Math.max(user.latestAtMs, wallMs)
}

/** Returns `momentOf` for something that keeps this date, and stores it as the user's latest moment. */
export function date(user: LiveUser, now: Now): number {
  user.latestAtMs = momentOf(user, now)
  return user.latestAtMs
}

/** Flattens the UUID: Node joins it from twenty pieces, which stay fourteen objects until the string is read. */
function flatUuid(): string {
  return Buffer.from(randomUUID(), 'latin1').toString('latin1')
}

export function sessionOf(user: LiveUser, sessionId: string): LiveSession | undefined {
  return user.sessions.find(({ id }) => id === sessionId)
}

/**
 * Updates `rooms` from the sessions. The cost grows with what changed since the last call.
 *
 * @returns the rooms that the user entered or left
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

/** Adds before it removes, so that a room which one session leaves and another enters does not change. */
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

/** @returns false if no other session is in the room */
function takeRepeat(user: LiveUser, room: string): boolean {
  const count = user.repeatedRooms?.get(room)
  if (count === undefined) return false
  if (count > 1) user.repeatedRooms?.set(room, count - 1)
  else user.repeatedRooms?.delete(room)
  if (user.repeatedRooms?.size === 0) user.repeatedRooms = null
  return true
}

/** What everyone sees of a user. Built on demand, because most heartbeats are never read. */
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
  const { isOnline, onlineSinceMs, lastActiveAtMs, lastSeenAtMs } = shownNow(user)
  return { isOnline, onlineSinceMs, lastActiveAtMs, lastSeenAtMs }
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
