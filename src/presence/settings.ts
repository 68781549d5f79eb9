/**
 * The settings of users, in two places that have to agree: the users' rows in Postgres, which are written first, and
 * the live store, which decides what everyone sees.
 *
 * Either place may go back (a standby that lacks the last commits, an older backup, an older snapshot), and a change
 * may stop half-way (the other place is unavailable, the process dies). So a change builds on the newer of the two, and
 * holds only when both have it. A user whose change did not get that far is in doubt until a later round has made both
 * agree.
 */
import type { SettingsChange, UserDirectory } from './directory.ts'
import { isUnavailable, unavailable } from './errors.ts'
import type { Settings } from './model.ts'
import { hasSameSettings } from './rules.ts'
import type { PresenceStore } from './store.ts'

/** Limits the retries: each one means that another request changed the settings first. */
const MOST_ROUNDS = 5
/** About 1 MB. A doubt that does not fit is found by the user's next record. */
const MAX_DOUBTS = 10_000
const BATCH_DOUBTS = 500
/** Longer than an abandoned statement may still be under way in Postgres. */
const DOUBTED_FOR_MS = 30_000

export interface UserSettings {
  /**
   * Changes the given settings. When the promise resolves, the change holds in the row and in the live store.
   *
   * @param makeRow - called if the user has no row
   * @returns false if there is no such user
   * @throws PresenceError `UNAVAILABLE`: whether the change took effect is not known, and `settle` finds out
   */
  change(userId: string, change: SettingsChange, makeRow: () => Promise<unknown>): Promise<boolean>

  /** Notes that the row and the live store of these users may differ: the next `settle` checks them. */
  doubt(userIds: readonly string[]): void

  /**
   * Makes the row and the live store of users in doubt agree.
   *
   * @throws PresenceError `UNAVAILABLE`: the next call continues
   */
  settle(): Promise<void>
}

export interface UserSettingsOptions {
  readonly store: Pick<PresenceStore, 'setUser'>
  readonly directory: Pick<UserDirectory, 'setSettings' | 'settings'>
  readonly monotonicMs: () => number
}

export function createUserSettings({ store, directory, monotonicMs }: UserSettingsOptions): UserSettings {
  /** By user: until when an abandoned change may still arrive in the row. The oldest doubt comes first. */
  const doubts = new Map<string, { readonly untilMs: number }>()

  function doubt(userId: string, forMs: number): void {
    doubts.delete(userId)
    doubts.set(userId, { untilMs: monotonicMs() + forMs })
    if (doubts.size <= MAX_DOUBTS) return
    for (const oldest of doubts.keys()) {
      doubts.delete(oldest)
      return
    }
  }

  async function write(userId: string, change: SettingsChange, makeRow: () => Promise<unknown>): Promise<boolean> {
    // The settings of the live store may be newer than a row that went back.
    let base = await store.setUser({ userId })
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      let written: Settings | null
      try {
        written = await directory.setSettings(userId, change, base)
        if (written === null) {
          await makeRow()
          written = await directory.setSettings(userId, change, base)
        }
        if (written === null) return false
        base = await store.setUser({ userId, settings: written })
      } catch (error) {
        if (isUnavailable(error)) doubt(userId, DOUBTED_FOR_MS)
        throw error
      }
      if (base === null || hasSameSettings(base, written) || holds(change, base)) return true
    }
    doubt(userId, 0)
    throw unavailable('store', 'Other requests keep changing these settings: try again.')
  }

  /** Brings the row's settings to the live store, and those that only the live store has back to the row. */
  async function agree(userId: string, row: Settings): Promise<void> {
    const live = await store.setUser({ userId, settings: row })
    if (live === null || hasSameSettings(live, row)) return
    const settings = await directory.setSettings(userId, {}, live)
    if (settings !== null) await store.setUser({ userId, settings })
  }

  return {
    change: write,

    doubt(userIds) {
      for (const userId of userIds) if (!doubts.has(userId)) doubt(userId, 0)
    },

    async settle() {
      const page = [...doubts].slice(0, BATCH_DOUBTS)
      if (page.length === 0) return
      const rows = await directory.settings(page.map(([userId]) => userId))
      for (const [index, [userId, known]] of page.entries()) {
        // The user moves to the end of the line: a locked row holds up the others for one round at most.
        if (doubts.get(userId) === known) {
          doubts.delete(userId)
          doubts.set(userId, known)
        }
        const row = rows[index] ?? null
        if (row !== null) await agree(userId, row)
        if (doubts.get(userId) === known && monotonicMs() >= known.untilMs) doubts.delete(userId)
      }
    },
  }
}

function holds(change: SettingsChange, settings: Settings): boolean {
  return Object.entries(change).every(
    ([name, value]) => value === undefined || settings[name as keyof SettingsChange] === value,
  )
}
