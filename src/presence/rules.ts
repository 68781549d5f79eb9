/**
 * The rules of presence of docs/architecture.md, as decisions.
 *
 * Pure: the clock is an argument; nothing here waits, reads or writes. Time is that of the steady clock (`…SteadyMs`)
 * wherever something is decided by it; moments are only passed on.
 */
import type { EndReason, PresenceStatus, Profile, PublicUser, Settings, StatusChoice } from './model.ts'
import type { PresenceTiming } from './timing.ts'

/** What the rules need to know of a user. */
export interface UserFacts {
  readonly id: string
  readonly profile: Profile | null
  /** Null while they are not known: then the user counts as hidden (rule 8). */
  readonly settings: Settings | null
  readonly hasLiveSession: boolean
  /** By the steady clock. Null where there never was any activity. */
  readonly lastActiveSteadyMs: number | null
  /** Whether `goOffline` ended the last session, and no activity came since (rule 5). */
  readonly isActivityOver: boolean
}

/** Rule 2: a live session, and activity of the user within `IDLE_TIMEOUT`. */
export function isOnline(user: UserFacts, steadyMs: number, timing: PresenceTiming): boolean {
  if (!user.hasLiveSession) return false
  if (user.lastActiveSteadyMs === null || user.isActivityOver) return false
  // At the deadline itself it is due: the sweep looks then, and not again.
  return steadyMs < user.lastActiveSteadyMs + timing.idleTimeoutMs
}

/** Rule 3. Activity ends an automatic `AWAY` at once, never a chosen status. */
export function statusOf(user: UserFacts, steadyMs: number, timing: PresenceTiming): PresenceStatus {
  if (!isOnline(user, steadyMs, timing)) return 'OFFLINE'
  const choice = statusChoiceOf(user.settings)
  if (choice !== 'AUTOMATIC') return choice
  return steadyMs < (user.lastActiveSteadyMs ?? 0) + timing.awayAfterMs ? 'ONLINE' : 'AWAY'
}

/** Rule 8: whether everyone may see that the user is there. */
export function isVisible(settings: Settings | null): boolean {
  return settings !== null && settings.visibility === 'EVERYONE'
}

/**
 * When time alone changes what `isOnline` or `statusOf` say next, null where it never does.
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
  | 'closed' // by the client, who wished it
  | 'ended' // by the network, by us, or by a client that lost us
  | 'silent' // the connection or the page did not answer a ping

/** The codes of RFC 6455 with which a client closes by its own wish: done, leaving the page, and no code at all. */
const CODES_OF_A_WISH: ReadonlySet<number> = new Set([1000, 1001, 1005])
/** RFC 6455: the connection ended without a close frame. */
const NO_CLOSE_FRAME = 1006

/**
 * Rule 5: how a socket was lost.
 *
 * @param code - of the client's close frame, else 1006. A client that we told to close answers with our code
 * @param isSilent - we ended the connection because a ping was not answered
 */
export function detachCauseOf(
  code: number,
  { isClosedByUs, isSilent }: { readonly isClosedByUs: boolean; readonly isSilent: boolean },
): DetachCause {
  // A close frame that came unasked was the last thing that a client said, however the connection ended then.
  if (!isClosedByUs && code !== NO_CLOSE_FRAME) return CODES_OF_A_WISH.has(code) ? 'closed' : 'ended'
  return isSilent ? 'silent' : 'ended'
}

/**
 * Rule 5: how long a session without its socket stays live.
 *
 * @param silentForMs - since the last proof of life, by the node's monotonic clock
 * @returns 0 or less where it ends in this very step
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
 * The profile after a token or `updateUser` brought another: the newer one wins, and what it leaves out stays.
 *
 * @returns `current` itself where nothing changes
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
 * The settings after others came for the same user: the higher version wins.
 *
 * Two that differ under one version are of two histories, because one of the stores went back. Nobody knows which of
 * them the user asked for last, so the more private holds, field by field, until a higher version comes.
 *
 * @returns `current` itself where nothing changes
 */
export function newerSettings(current: Settings | null, brought: Settings | null): Settings | null {
  if (brought === null) return current
  if (current === null || brought.version > current.version) return brought
  if (brought.version < current.version) return current
  const merged: Settings = {
    version: current.version,
    statusChoice: current.statusChoice,
    // A message that one of them lacks is shown to nobody.
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
 * The last activity that everyone may see, after the settings changed. A step into hiding takes its `hideLastActive`
 * along; another one of a hidden user waits until they are seen again, for an offline user changes nothing that others see (rule 8).
 */
export function shownLastActiveAfter(shownAtMs: number | null, former: Settings | null, next: Settings | null) {
  const isStepIntoHiding = isVisible(former) && !isVisible(next)
  return isStepIntoHiding && next?.hideLastActive === true ? null : shownAtMs
}

/** Rule 8: whether everyone sees a user without their last activity. What is shown of a hidden one stands still. */
export function hidesLastActive(settings: Settings | null): boolean {
  return isVisible(settings) && settings?.hideLastActive === true
}

/** What everyone sees of a user. Who is hidden looks exactly like who is offline (rule 8). */
export function publicUser(
  user: UserFacts & {
    /** Since when everyone has seen the user online. */
    readonly shownSinceMs: number | null
    /** The last activity that everyone may see: it stands still while the user hides. */
    readonly shownLastActiveAtMs: number | null
  },
  steadyMs: number,
  timing: PresenceTiming,
): PublicUser {
  const status = isVisible(user.settings) ? statusOf(user, steadyMs, timing) : 'OFFLINE'
  const isShownOnline = status !== 'OFFLINE'
  return {
    id: user.id,
    // Who never had a name shows their id.
    name: user.profile?.name ?? user.id,
    avatarUrl: user.profile?.avatarUrl ?? null,
    isOnline: isShownOnline,
    status,
    statusMessage: isShownOnline ? (user.settings?.statusMessage ?? null) : null,
    onlineSinceMs: isShownOnline ? user.shownSinceMs : null,
    lastActiveAtMs: hidesLastActive(user.settings) ? null : user.shownLastActiveAtMs,
  }
}

/** Rule 9: `lastActive` alone is no change. */
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
