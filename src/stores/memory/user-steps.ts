/**
 * The steps of one user or session in the memory store. They change the state only; `commit` of population.ts derives
 * the rest.
 *
 * `lua/shared/steps.lua` of the Redis store is its counterpart: change both.
 */
import { DEFAULT_SESSION_ID } from '../../presence/bounds.ts'
import type { Profile, Settings, UserSeed } from '../../presence/model.ts'
import { isOnline, isVisible, newerProfile, newerSettings, shownMomentsAfter } from '../../presence/rules.ts'
import type { AttachRequest } from '../../presence/store.ts'
import type { Now, PresenceTiming } from '../../presence/timing.ts'
import { cutToNow, date, type LiveSession, type LiveUser, latestOf, sessionOf, steadyOf } from './live-user.ts'

/**
 * @param session - the session in which the user was active; null if unknown
 * @param agoMs - how long ago the activity was
 */
export function countActivity(
  user: LiveUser,
  session: LiveSession | null,
  now: Now,
  timing: PresenceTiming,
  agoMs = 0,
): void {
  const atMs = date(user, now) - agoMs
  const steadyMs = now.steadyMs - agoMs
  user.isActivityOver = false
  user.lastActiveSteadyMs = Math.max(steadyMs, user.lastActiveSteadyMs ?? steadyMs)
  user.lastActiveAtMs = Math.max(atMs, user.lastActiveAtMs ?? 0)
  if (isVisible(user.settings)) user.shownLastActiveAtMs = Math.max(atMs, user.shownLastActiveAtMs ?? 0)
  if (session !== null) {
    session.lastActiveAtMs = Math.max(atMs, session.lastActiveAtMs)
    session.lastActiveSteadyMs = Math.max(steadyMs, session.lastActiveSteadyMs)
    session.hasUnrecordedActivity = true
  }
  user.activityFlushSteadyMs ??= steadyMs + timing.lastActiveFlushMs
}

/**
 * @param read - the settings of the row, which decided what everyone saw while the store had none; null if the row was
 *   not read
 * @returns whether the settings changed
 */
export function takeSettings(
  user: LiveUser,
  settings: Settings | null,
  now: Now,
  timing: PresenceTiming,
  read: Settings | null = null,
): boolean {
  const newer = newerSettings(user.settings, settings)
  if (newer === user.settings) return false
  const wasVisible = isVisible(user.settings)
  const { shownLastActiveAtMs, shownLastSeenAtMs } = shownMomentsAfter(user, user.settings ?? read, newer)
  user.shownLastActiveAtMs = shownLastActiveAtMs
  user.shownLastSeenAtMs = shownLastSeenAtMs
  user.settings = newer
  // The last activity becomes now, so that it reveals nothing of the time in hiding (rule 8).
  if (!wasVisible && isVisible(newer) && isOnline(user, now.steadyMs, timing)) {
    user.shownLastActiveAtMs = date(user, now)
  }
  return true
}

/**
 * Applies a row that was read after the user was admitted without it, or at the same time. `takeSettings` applies its
 * settings.
 *
 * @returns whether the name or the avatar changed
 */
export function takeSeed(user: LiveUser, read: UserSeed, now: Now): boolean {
  const seed = cutToNow(read, now)
  // If there was no activity since, the row decides whether the user went offline.
  if (user.lastActiveAtMs === null && seed.isActivityOver) endActivity(user, now)
  if (seed.lastActiveAtMs !== null) {
    user.lastActiveSteadyMs = later(user.lastActiveSteadyMs, steadyOf(seed.lastActiveAtMs, now))
  }
  user.lastActiveAtMs = later(user.lastActiveAtMs, seed.lastActiveAtMs)
  user.shownLastActiveAtMs = later(user.shownLastActiveAtMs, seed.shownLastActiveAtMs)
  user.shownLastSeenAtMs = later(user.shownLastSeenAtMs, seed.shownLastSeenAtMs)
  user.latestAtMs = Math.max(user.latestAtMs, latestOf(seed))
  const former = user.profile
  // Merge as if the row had come first: an older token changes nothing, and a newer one keeps the fields it leaves out.
  user.profile = newerProfile(seed.profile, former)
  return user.profile?.name !== former?.name || user.profile?.avatarUrl !== former?.avatarUrl
}

export function takeProfile(user: LiveUser, profile: Profile | null): boolean {
  const newer = newerProfile(user.profile, profile)
  if (newer === user.profile) return false
  user.profile = newer
  return true
}

/** For `goOffline`: only later activity brings the user back online. */
export function endActivity(user: LiveUser, now: Now): void {
  user.isActivityOver = true
  user.activityOverSteadyMs = now.steadyMs
}

/** @returns whether the device or the rooms changed */
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

/** Whether the client of one of these sessions can have sent a beat without a session id (rule 7). */
export function isOnSocket(user: LiveUser): boolean {
  for (const session of user.sessions) if (session.fence !== null || session.isInGrace) return true
  return false
}

/** The session `default` if it lives by heartbeats. A socket of its user takes over from it (rule 7). */
export function defaultByBeats(user: LiveUser): LiveSession | undefined {
  const session = sessionOf(user, DEFAULT_SESSION_ID)
  return session !== undefined && livesByBeats(session) ? session : undefined
}

function livesByBeats(session: LiveSession): boolean {
  return session.fence === null && !session.isInGrace
}

/** Whether the client of a socket whose session went offline has come back over HTTP: `onlyAfterBeats`. */
export function isBackByBeats(
  user: LiveUser,
  { sessionId, onlyAfterBeats }: Pick<AttachRequest, 'sessionId' | 'onlyAfterBeats'>,
  now: Now,
  timing: PresenceTiming,
): boolean {
  if (!isOnline(user, now.steadyMs, timing)) return false
  const own = sessionId === null ? undefined : sessionOf(user, sessionId)
  if (own !== undefined || onlyAfterBeats === 'own') return own !== undefined && livesByBeats(own)
  const other = defaultByBeats(user)
  return other !== undefined && other.startedAtMs >= user.wentOfflineAtMs && !isOnSocket(user)
}

/** Whether a socket attached in this epoch has the session, or the session is in the grace after one. */
export function isOnOwnSocket({ fence, isInGrace, leaseReason }: LiveSession): boolean {
  return fence !== null || (isInGrace && leaseReason !== 'SERVER_RESTART')
}

/**
 * The session without a socket whose lease ends first; null if all sessions have a socket.
 *
 * @param except - a session that ends in this step anyway
 */
export function firstToGiveWay(user: LiveUser, except: LiveSession | undefined): LiveSession | null {
  let first: LiveSession | null = null
  for (const session of user.sessions) {
    if (session.leaseEndsSteadyMs === null || session === except) continue
    if (first === null || session.leaseEndsSteadyMs < (first.leaseEndsSteadyMs ?? 0)) first = session
  }
  return first
}

/** Applies a heartbeat over HTTP: extends the lease to `SESSION_TTL`, and never shortens it. */
export function renewLease(session: LiveSession, { steadyMs }: Now, timing: PresenceTiming): void {
  if (session.fence !== null) return
  const renewedMs = steadyMs + timing.sessionTtlMs
  if (session.leaseEndsSteadyMs !== null && session.leaseEndsSteadyMs > renewedMs) return
  session.leaseEndsSteadyMs = renewedMs
  session.leaseReason = 'EXPIRED'
  session.reapedFence = null
  session.isInGrace = false
}

function later(one: number | null, other: number | null): number | null {
  if (one === null || other === null) return one ?? other
  return Math.max(one, other)
}
