/**
 * The rules of presence of docs/architecture.md, as decisions.
 *
 * Pure: the clock is an argument; nothing here waits, reads or writes. Decisions use the time of the steady clock
 * (`…SteadyMs`); moments are only passed on.
 */
import type { EndReason, PresenceStatus, Profile, PublicUser, Settings, StatusChoice } from './model.ts'
import type { PresenceTiming } from './timing.ts'

/** What the rules need to know of a user. */
export interface UserFacts {
  readonly id: string
  readonly profile: Profile | null
  /** Null while the settings are not known: the user then counts as hidden (rule 8). */
  readonly settings: Settings | null
  readonly hasLiveSession: boolean
  /** By the steady clock. Null if there never was any activity. */
  readonly lastActiveSteadyMs: number | null
  /** Whether `goOffline` ended the last session, and no activity came since (rule 5). */
  readonly isActivityOver: boolean
}

/** Rule 2: a live session, and activity of the user within `IDLE_TIMEOUT`. */
export function isOnline(user: UserFacts, steadyMs: number, timing: PresenceTiming): boolean {
  if (!user.hasLiveSession) return false
  if (user.lastActiveSteadyMs === null || user.isActivityOver) return false
  // At the deadline itself the user is already idle: the sweep checks at that time, and not again.
  return steadyMs < user.lastActiveSteadyMs + timing.idleTimeoutMs
}

/** Rule 3. Activity ends an automatic `AWAY` at once, never a chosen status. */
export function statusOf(user: UserFacts, steadyMs: number, timing: PresenceTiming): PresenceStatus {
  if (!isOnline(user, steadyMs, timing)) return 'OFFLINE'
  const choice = statusChoiceOf(user.settings)
  if (choice !== 'AUTOMATIC') return choice
  return steadyMs < (user.lastActiveSteadyMs ?? 0) + timing.awayAfterMs ? 'ONLINE' : 'AWAY'
}

/** Rule 8: whether everyone may see that the user is online. */
export function isVisible(settings: Settings | null): boolean {
  return settings !== null && settings.visibility === 'EVERYONE'
}

/**
 * When time alone next changes the result of `isOnline` or `statusOf`; null if it never does.
 *
 * An automatic status falls to `AWAY` first, and every online user falls idle.
 */
export function nextFlipSteadyMs(user: UserFacts, steadyMs: number, timing: PresenceTiming): number | null {
  if (!isOnline(user, steadyMs, timing)) return null
  const lastActiveSteadyMs = user.lastActiveSteadyMs ?? 0
  const awaySteadyMs = lastActiveSteadyMs + timing.awayAfterMs
  if (statusChoiceOf(user.settings) === 'AUTOMATIC' && steadyMs < awaySteadyMs) return awaySteadyMs
  return lastActiveSteadyMs + timing.idleTimeoutMs
}

/** How a session lost its socket (rule 5). */
export type DetachCause =
  | 'closed' // by the client, on purpose
  | 'ended' // by the network, by the server, or by a client that lost the server
  | 'silent' // the connection or the page did not answer a ping

/** The RFC 6455 codes with which a client closes on purpose: done, leaving the page, and no code at all. */
const CODES_OF_A_WISH: ReadonlySet<number> = new Set([1000, 1001, 1005])
/** RFC 6455: the connection ended without a close frame. */
const NO_CLOSE_FRAME = 1006

/**
 * Rule 5: how a socket was lost.
 *
 * @param code - of the client's close frame, else 1006. A client that the server told to close echoes the server's code
 * @param isSilent - whether the server ended the connection because a ping was not answered
 */
export function detachCauseOf(
  code: number,
  { isClosedByUs, isSilent }: { readonly isClosedByUs: boolean; readonly isSilent: boolean },
): DetachCause {
  // An unprompted close frame was the client's last message, no matter how the connection ended afterwards.
  if (!isClosedByUs && code !== NO_CLOSE_FRAME) return CODES_OF_A_WISH.has(code) ? 'closed' : 'ended'
  return isSilent ? 'silent' : 'ended'
}

/**
 * Rule 5: how long a session without its socket stays live.
 *
 * @param silentForMs - since the last proof of life, by the node's monotonic clock
 * @returns 0 or less if the session ends in this very step
 */
export function graceMs(cause: DetachCause, silentForMs: number, timing: PresenceTiming): number {
  if (cause === 'closed') return timing.closeGraceMs
  if (cause === 'ended') return timing.reconnectGraceMs
  return timing.reconnectGraceMs - silentForMs
}

export function endReasonOf(cause: DetachCause): EndReason {
  return cause === 'closed' ? 'CLOSED' : 'LOST'
}

/**
 * Merges the profile from a token or `updateUser`: the newer one wins, and the fields that it leaves out stay.
 *
 * @returns `current` itself if nothing changes
 */
export function newerProfile(current: Profile | null, brought: Profile | null): Profile | null {
  if (brought === null || (brought.name === null && brought.avatarUrl === null)) return current
  if (current === null) return brought
  if (brought.issuedAtMs <= current.issuedAtMs) return current
  return {
    name: brought.name ?? current.name,
    avatarUrl: brought.avatarUrl ?? current.avatarUrl,
    issuedAtMs: brought.issuedAtMs,
  }
}

/**
 * Merges two settings of the same user: the higher version wins.
 *
 * Two settings that differ under one version belong to two histories, because one of the stores went back. Nobody knows
 * which of them the user chose last, so the more private value holds, field by field, until a higher version comes.
 *
 * @returns `current` itself if nothing changes
 */
export function newerSettings(current: Settings | null, brought: Settings | null): Settings | null {
  if (brought === null) return current
  if (current === null || brought.version > current.version) return brought
  if (brought.version < current.version) return current
  const merged: Settings = {
    version: current.version,
    statusChoice: current.statusChoice,
    // A message that one of the two lacks is shown to nobody.
    statusMessage: brought.statusMessage === null ? null : current.statusMessage,
    visibility: brought.visibility === 'NOBODY' ? 'NOBODY' : current.visibility,
    hideLastActive: brought.hideLastActive || current.hideLastActive,
  }
  return hasSameSettings(merged, current) ? current : merged
}

export function hasSameSettings(one: Settings, other: Settings): boolean {
  return (
    one.version === other.version &&
    one.statusChoice === other.statusChoice &&
    one.statusMessage === other.statusMessage &&
    one.visibility === other.visibility &&
    one.hideLastActive === other.hideLastActive
  )
}

/**
 * The moments that everyone may see, after the settings changed. A step into hiding applies its `hideLastActive` at
 * once. A later change of a hidden user applies when they are visible again, because an offline user changes nothing
 * that others see (rule 8).
 *
 * @returns `shown` itself if nothing changes
 */
export function shownMomentsAfter(shown: ShownMoments, former: Settings | null, next: Settings | null): ShownMoments {
  const isStepIntoHiding = isVisible(former) && !isVisible(next)
  return isStepIntoHiding && next?.hideLastActive === true ? NO_MOMENTS : shown
}

/** What everyone may know of when a user was there; neither changes while the user is hidden. */
export interface ShownMoments {
  readonly shownLastActiveAtMs: number | null
  readonly shownLastSeenAtMs: number | null
}

const NO_MOMENTS: ShownMoments = { shownLastActiveAtMs: null, shownLastSeenAtMs: null }

/**
 * When everyone last saw a user go offline, after a step that ends a time online.
 *
 * A user may have been online in an earlier life of the live state and be offline in this one: then nobody saw when
 * they left. Their last activity is the last moment that is known, as for sessions that end with `SERVER_RESTART` or
 * `UNRECORDED`, unless the user's row or an earlier step of this life has a later one.
 *
 * @param leaveAtMs - the moment of the step, as in its log entry; null if nobody saw it
 */
export function lastSeenAfterLeaving(
  { shownSinceMs, shownLastActiveAtMs, shownLastSeenAtMs }: ShownMoments & { readonly shownSinceMs: number | null },
  leaveAtMs: number | null,
): number | null {
  // A step into hiding has hidden the last activity, or nobody ever saw any: then nobody knows this moment either.
  if (shownLastActiveAtMs === null) return null
  if (leaveAtMs !== null) return leaveAtMs
  const isKnown = shownLastSeenAtMs !== null && shownLastSeenAtMs >= (shownSinceMs ?? 0)
  return isKnown ? shownLastSeenAtMs : shownLastActiveAtMs
}

/** Rule 8: whether everyone sees a user without their last activity. That of a hidden user stays as last shown. */
export function hidesLastActive(settings: Settings | null): boolean {
  return isVisible(settings) && settings?.hideLastActive === true
}

/** What everyone sees of a user. A hidden user looks exactly like an offline one (rule 8). */
export function publicUser(
  user: UserFacts &
    ShownMoments & {
      /** Since when everyone has seen the user online. */
      readonly shownSinceMs: number | null
    },
  steadyMs: number,
  timing: PresenceTiming,
): PublicUser {
  const status = isVisible(user.settings) ? statusOf(user, steadyMs, timing) : 'OFFLINE'
  const isShownOnline = status !== 'OFFLINE'
  const lastActiveAtMs = hidesLastActive(user.settings) ? null : user.shownLastActiveAtMs
  return {
    id: user.id,
    // A user who never had a name is shown by their id.
    name: user.profile?.name ?? user.id,
    avatarUrl: user.profile?.avatarUrl ?? null,
    isOnline: isShownOnline,
    status,
    statusMessage: isShownOnline ? (user.settings?.statusMessage ?? null) : null,
    onlineSinceMs: isShownOnline ? user.shownSinceMs : null,
    lastActiveAtMs,
    lastSeenAtMs: isShownOnline || lastActiveAtMs === null ? null : user.shownLastSeenAtMs,
  }
}

/** Rule 9: whether two views are equal. A difference in `lastActive` or `lastSeen` alone is no change. */
export function hasSamePublicFields(one: PublicUser, other: PublicUser): boolean {
  return (
    one.isOnline === other.isOnline &&
    one.status === other.status &&
    one.statusMessage === other.statusMessage &&
    one.onlineSinceMs === other.onlineSinceMs &&
    one.name === other.name &&
    one.avatarUrl === other.avatarUrl
  )
}

function statusChoiceOf(settings: Settings | null): StatusChoice {
  return settings?.statusChoice ?? 'AUTOMATIC'
}
