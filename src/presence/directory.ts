/**
 * The port of what outlives presence: who the users are, what they chose, and what an earlier run left open.
 *
 * Every method throws PresenceError `UNAVAILABLE` (`part: postgres`) if the database does not answer in time.
 */
import type { EndReason, Profile, PublicUser, SessionRow, Settings, UserSeed } from './model.ts'
import type { AdoptedUser, InheritedUser } from './store.ts'

/** A part of the live state, of the users up to an id. */
export interface LivePart {
  /** Null: of all users. */
  readonly until: string | null
  readonly startIds: readonly string[]
  readonly onlineIds: readonly string[]
}

export interface UserDirectory {
  /**
   * Reads what everyone sees of users who are not in the live store: always offline, because the live store decides.
   *
   * @returns one entry per id, in order; null for a user never seen
   */
  read(userIds: readonly string[]): Promise<readonly (PublicUser | null)[]>

  /**
   * Reads the row of a user who is here now, and creates it at first sight. Writes the profile if it is newer.
   *
   * @param issuedAtMs - when the caller's token was issued: a token that was revoked neither creates a row nor writes a
   *   profile. Left out, no token is behind it
   * @throws PresenceError `UNAUTHENTICATED` if there is no row and the token was revoked
   */
  ensure(userId: string, profile: Profile | null, issuedAtMs?: number): Promise<StoredUser>

  /**
   * Writes the given settings, keeps the others, and raises the version in the same statement.
   *
   * @param base - the settings of the live store. If the row is older, the other settings are kept from `base`, by
   *   `newerSettings`, and the version rises above both. An empty change raises it only if the two differ under one
   *   version
   * @returns the settings as they stand now; null if there is no such user
   */
  setSettings(userId: string, change: SettingsChange, base: Settings | null): Promise<Settings | null>

  /** @returns the settings in the row of each user, in order; null if there is no such user */
  settings(userIds: readonly string[]): Promise<readonly (Settings | null)[]>

  /**
   * Writes a profile that counts as issued now, so that no token issued before wins over it. Fields left out stay.
   *
   * @returns the profile as it stands now; null if there is no such user
   */
  setProfile(userId: string, change: { readonly name?: string; readonly avatarUrl?: string }): Promise<Profile | null>

  /**
   * From now on, tokens whose `iat` (whole seconds) is not after the returned moment are refused.
   *
   * @returns null if there is no such user
   */
  revokeTokens(userId: string): Promise<number | null>

  /**
   * The first step of forgetting a user: revokes their tokens as `revokeTokens` does, whether or not they have a row, and
   * in such a way that the revocation outlives the row.
   */
  revokeForGood(userId: string): Promise<number>

  /**
   * The last step, after the live store has forgotten the user: deletes the row, and the history with it. Records that
   * the recorder read before are not written any more.
   */
  forget(userId: string): Promise<void>

  /** @returns the last result of `revokeTokens`, null if none. Cached: `learnRevocation` reports those of others */
  tokensValidAfterMs(userId: string): Promise<number | null>

  /** Another process revoked the user's tokens: `tokensValidAfterMs` returns that moment from now on. */
  learnRevocation(userId: string, validAfterMs: number): void

  /** Other processes may have revoked anybody's tokens: the moments in memory are read again. */
  forgetRevocations(): void

  /**
   * Writes sessions that are over, and whose records may have been lost: rows that are not there, and the ends of those
   * that are open. What the database knows of an end stays, and a guess (`SERVER_RESTART`) ends no row.
   *
   * @param ends - `…AgoMs`: ages instead of moments, since the clocks of the process and the database differ
   */
  recordEnds(ends: readonly RecordedEnd[]): Promise<void>

  /**
   * Reads the users whom an earlier run left online or with open sessions, ordered by id.
   *
   * @param after - the id after which to continue, null at first
   * @param except - what is live, and so not left; all by default
   */
  leftOpen(after: string | null, limit: number, except?: LivePart): Promise<readonly AdoptedUser[]>

  /**
   * Reads what the database has of users whom the live store inherited: the open sessions, and those of the named
   * starts that have ended.
   *
   * @returns one entry per user, in order; the entry of a user without a row has neither settings nor sessions, and says
   *   whether the user was forgotten
   */
  recorded(users: readonly InheritedUser[]): Promise<readonly AdoptedUser[]>
}

export interface RecordedEnd extends Pick<SessionRow, 'startId' | 'sessionId' | 'device' | 'rooms' | 'nodeId'> {
  readonly userId: string
  readonly startedAgoMs: number
  readonly lastActiveAgoMs: number
  readonly endedAgoMs: number
  readonly endReason: EndReason
}

export type SettingsChange = Partial<Omit<Settings, 'version'>>

export interface StoredUser {
  readonly userId: string
  readonly seed: UserSeed & { readonly settings: Settings }
  readonly tokensValidAfterMs: number | null
}
