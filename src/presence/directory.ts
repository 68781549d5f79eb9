/**
 * The port of what outlives presence: who the users are, what they chose, and what an earlier run left open.
 *
 * Every method throws PresenceError `UNAVAILABLE` (`part: postgres`) if the database does not answer in time.
 */
import type { Profile, PublicUser, Settings, UserSeed } from './model.ts'
import type { AdoptedUser, InheritedUser } from './store.ts'

export interface UserDirectory {
  /**
   * Reads what everyone sees of users who are not in the live store: always offline, because the live store decides.
   *
   * @returns one entry per id, in order; null for a user never seen
   */
  read(userIds: readonly string[]): Promise<readonly (PublicUser | null)[]>

  /** Reads the row of a user who is here now, and creates it at first sight. Writes the profile if it is newer. */
  ensure(userId: string, profile: Profile | null): Promise<StoredUser>

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

  /** @returns the last result of `revokeTokens`, null if none. Cached: `learnRevocation` reports those of others */
  tokensValidAfterMs(userId: string): Promise<number | null>

  /** Another process revoked the user's tokens: `tokensValidAfterMs` returns that moment from now on. */
  learnRevocation(userId: string, validAfterMs: number): void

  /** Other processes may have revoked anybody's tokens: the moments in memory are read again. */
  forgetRevocations(): void

  /**
   * Reads the users whom an earlier run left online or with open sessions, ordered by id.
   *
   * @param after - the id after which to continue, null at first
   */
  leftOpen(after: string | null, limit: number): Promise<readonly AdoptedUser[]>

  /**
   * Reads what the database has of users whom the live store inherited: the open sessions, and those of the named
   * starts that have ended.
   *
   * @returns one entry per user, in order; the entry of a user without a row has neither settings nor sessions
   */
  recorded(users: readonly InheritedUser[]): Promise<readonly AdoptedUser[]>
}

export type SettingsChange = Partial<Omit<Settings, 'version'>>

export interface StoredUser {
  readonly userId: string
  readonly seed: UserSeed & { readonly settings: Settings }
  readonly tokensValidAfterMs: number | null
}
