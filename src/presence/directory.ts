/**
 * The port of what outlives presence: who the users are, what they chose, and what an earlier run left open.
 *
 * Every method throws PresenceError `UNAVAILABLE` (`part: postgres`) where the database does not answer in time.
 */
import type { Profile, PublicUser, Settings, UserSeed } from './model.ts'
import type { AdoptedUser, InheritedUser } from './store.ts'

export interface UserDirectory {
  /**
   * What everyone sees of users who are not in the live store: always offline, for the live store knows better.
   *
   * @returns one a id, in order, null for a user never seen
   */
  read(userIds: readonly string[]): Promise<readonly (PublicUser | null)[]>

  /** Reads the row of a user who is here now, and makes it at first sight. A newer profile is written. */
  ensure(userId: string, profile: Profile | null): Promise<StoredUser>

  /**
   * Writes what is given, keeps the rest, and raises the version in the same statement.
   *
   * @param base - what the live store goes by. Where the row is older, the rest is kept of this, by `newerSettings`,
   *   and the version rises above both. A change that is empty raises it only where the two differ under one version
   * @returns the settings as they stand now; null where there is no such user
   */
  setSettings(userId: string, change: SettingsChange, base: Settings | null): Promise<Settings | null>

  /** @returns the settings of the row of each user, in order, null where there is no such user */
  settings(userIds: readonly string[]): Promise<readonly (Settings | null)[]>

  /**
   * Counts as issued now, so that tokens issued before do not win over it. What is left out stays.
   *
   * @returns the profile as it stands now; null where there is no such user
   */
  setProfile(userId: string, change: { readonly name?: string; readonly avatarUrl?: string }): Promise<Profile | null>

  /**
   * From now on tokens whose `iat` (whole seconds) is not after the moment returned are refused.
   *
   * @returns null where there is no such user
   */
  revokeTokens(userId: string): Promise<number | null>

  /** @returns the moment that `revokeTokens` gave last, null where it never did. Kept in memory: others' have to be told. */
  tokensValidAfterMs(userId: string): Promise<number | null>

  /** Another process revoked them: from now on `tokensValidAfterMs` knows. */
  learnRevocation(userId: string, validAfterMs: number): void

  /** Other processes may have revoked anybody's: what is in memory is read again. */
  forgetRevocations(): void

  /**
   * Who an earlier run left online or with open sessions, ordered by id.
   *
   * @param after - the id after which to go on, null at first
   */
  leftOpen(after: string | null, limit: number): Promise<readonly AdoptedUser[]>

  /**
   * What the database has of users whom the live store inherited: the sessions that are open, and of the starts that
   * are named those that have ended.
   *
   * @returns one a user, in order; without a row it has neither settings nor sessions
   */
  recorded(users: readonly InheritedUser[]): Promise<readonly AdoptedUser[]>
}

export type SettingsChange = Partial<Omit<Settings, 'version'>>

export interface StoredUser {
  readonly userId: string
  readonly seed: UserSeed & { readonly settings: Settings }
  readonly tokensValidAfterMs: number | null
}
