/** What can happen to one user or session of the memory store, before anything that follows from it is drawn. */
import type { Profile, Settings, UserSeed } from '../../presence/model.ts'
import { isOnline, isVisible, newerProfile } from '../../presence/rules.ts'
import type { PresenceTiming } from '../../presence/timing.ts'
import type { LiveSession, LiveUser } from './live-user.ts'

/** @param session - the one in which the user was active, null where no one knows */
export function countActivity(
  user: LiveUser,
  session: LiveSession | null,
  nowMs: number,
  timing: PresenceTiming,
): void {
  user.isActivityOver = false
  user.lastActiveAtMs = Math.max(nowMs, user.lastActiveAtMs ?? 0)
  if (isVisible(user.settings)) user.shownLastActiveAtMs = Math.max(nowMs, user.shownLastActiveAtMs ?? 0)
  if (session !== null) {
    session.lastActiveAtMs = Math.max(nowMs, session.lastActiveAtMs)
    session.hasUnrecordedActivity = true
  }
  user.activityFlushAtMs ??= nowMs + timing.lastActiveFlushMs
}

/** @returns whether they were newer */
export function takeSettings(
  user: LiveUser,
  settings: Settings | null,
  nowMs: number,
  timing: PresenceTiming,
): boolean {
  if (settings === null || (user.settings !== null && settings.version <= user.settings.version)) return false
  const wasVisible = isVisible(user.settings)
  user.settings = settings
  // Coming back is dated now, so that nothing tells of the time in hiding (rule 8).
  if (!wasVisible && isVisible(settings) && isOnline(user, nowMs, timing)) user.shownLastActiveAtMs = nowMs
  return true
}

/** What an attach had to do without, or read while the user became known. Its settings are `takeSettings`'. */
export function takeSeed(user: LiveUser, seed: UserSeed, nowMs: number): boolean {
  // Without any activity since, the row knows best whether the last one is over.
  if (user.lastActiveAtMs === null && seed.isActivityOver) endActivity(user, nowMs)
  user.lastActiveAtMs = later(user.lastActiveAtMs, seed.lastActiveAtMs)
  user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, seed.shownLastActiveAtMs)
  const former = user.profile
  // As if the row had been there first: an older token changes nothing of it, a newer one keeps what it leaves out.
  user.profile = newerProfile(seed.profile, former)
  return user.profile?.name !== former?.name || user.profile?.avatarUrl !== former?.avatarUrl
}

export function takeProfile(user: LiveUser, profile: Profile | null): boolean {
  const newer = newerProfile(user.profile, profile)
  if (newer === user.profile) return false
  user.profile = newer
  return true
}

/** The user went offline: only activity from now on brings them back. */
export function endActivity(user: LiveUser, nowMs: number): void {
  user.isActivityOver = true
  user.activityOverAtMs = nowMs
}

/** @returns whether anything of it is new */
export function describe(
  session: LiveSession,
  { device, rooms }: { device?: string | null; rooms?: readonly string[] },
): boolean {
  const isDeviceNew = device !== undefined && device !== session.device
  const areRoomsNew =
    rooms !== undefined &&
    (rooms.length !== session.rooms.length || rooms.some((room) => !session.rooms.includes(room)))
  if (isDeviceNew) session.device = device
  if (areRoomsNew) session.rooms = [...rooms]
  return isDeviceNew || areRoomsNew
}

/** Whether a beat without a session id is a word of one of these sessions' clients (rule 7). */
export function isOnSocket(user: LiveUser): boolean {
  for (const session of user.sessions) if (session.fence !== null || session.isInGrace) return true
  return false
}

/** The session without a socket whose lease ends first, null where all have one. */
export function firstToGiveWay(user: LiveUser): LiveSession | null {
  let first: LiveSession | null = null
  for (const session of user.sessions) {
    if (session.leaseEndsAtMs === null) continue
    if (first === null || session.leaseEndsAtMs < (first.leaseEndsAtMs ?? 0)) first = session
  }
  return first
}

/** A heartbeat over HTTP: it keeps the session for `SESSION_TTL`, and never for less than it had. */
export function renewLease(session: LiveSession, nowMs: number, timing: PresenceTiming): void {
  if (session.fence !== null) return
  const renewedMs = nowMs + timing.sessionTtlMs
  if (session.leaseEndsAtMs !== null && session.leaseEndsAtMs > renewedMs) return
  session.leaseEndsAtMs = renewedMs
  session.leaseReason = 'EXPIRED'
  session.isInGrace = false
}

export function newest(one: Settings | null, other: Settings | null): Settings | null {
  if (one === null || other === null) return one ?? other
  return one.version >= other.version ? one : other
}

function later(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other
  return Math.max(one, other)
}
