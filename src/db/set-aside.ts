/**
 * Sets aside the records of users whose rows another transaction locks: for example an app's transaction that stays
 * open on a user's row, or on a table that a trigger on Rollcall's tables writes to. The records wait in a table of
 * their own, in order, until the lock is free. No other user waits for them, and a process that dies loses none.
 */
import type { SQL } from 'drizzle-orm'
import type { OperatorLog } from '../presence/operator-log.ts'
import { LockedError } from './failures.ts'
import { writeInParts } from './in-parts.ts'
import { whoLocks } from './lock-holders.ts'
import { type SetAsideRow, setAsideStatement, setAsideUsersStatement, writeSetAsideStatement } from './record-batch.ts'

export type Ask = <Row extends object>(statement: SQL, timeLimitMs?: number) => Promise<Row | undefined>

export interface WriteAnswer {
  readonly moved: boolean
  readonly has_standby: boolean
  readonly newer: readonly string[]
}

export interface SetAsideOptions {
  readonly ask: Ask
  readonly askAll: <Row extends object>(statement: SQL) => Promise<readonly Row[]>
  readonly log: OperatorLog
  readonly onNewerSettings: (userIds: readonly string[]) => void
}

/** The pause before locked rows are tried again. */
const RETRY_MS = 500
/** The limit of one retry: everybody's records wait this long in each round. */
const MAX_ROUND_MS = 100
const LOCK_WAIT_MS = 5
/** The lock wait of the first retry, in which the lock holders are looked up. */
const FIRST_LOCK_WAIT_MS = 200
const LOOK_UP_AFTER_MS = 50
const BATCH_COUNT = 500

export class SetAside {
  readonly #options: SetAsideOptions
  /** In the order in which they are retried. */
  readonly #userIds = new Set<string>()
  #retryAtMs = 0
  /** How many set-aside records have been written since the log reported a lock; null: no lock is reported. */
  #writtenSinceSaid: number | null = null

  constructor(options: SetAsideOptions) {
    this.#options = options
  }

  get userCount(): number {
    return this.#userIds.size
  }

  has(userId: string): boolean {
    return this.#userIds.has(userId)
  }

  add(userId: string): void {
    this.#userIds.add(userId)
  }

  /** Loads the users who have records here, which an earlier holder of the work may have set aside. */
  async load(): Promise<void> {
    for (const { user_id } of await this.#options.askAll<{ user_id: string }>(setAsideUsersStatement())) {
      this.#userIds.add(user_id)
    }
  }

  /** The time until `retry` has something to do. */
  dueInMs(): number {
    if (this.#userIds.size === 0) return Number.POSITIVE_INFINITY
    return Math.max(0, this.#retryAtMs - performance.now())
  }

  /** Writes the records of users whose rows are free again, for MAX_ROUND_MS at most. */
  async retry(): Promise<void> {
    const untilMs = performance.now() + MAX_ROUND_MS
    for (const userId of [...this.#userIds]) {
      const isFree = await this.#writeUser(userId)
      this.#userIds.delete(userId)
      // Move the user behind those who were not retried yet.
      if (!isFree) this.#userIds.add(userId)
      if (performance.now() >= untilMs) break
    }
    this.#retryAtMs = performance.now() + RETRY_MS
    if (this.#userIds.size > 0 || this.#writtenSinceSaid === null) return
    this.#options.log.info(
      { recordCount: this.#writtenSinceSaid },
      'The locked rows are free again, and the records that were set aside are written.',
    )
    this.#writtenSinceSaid = null
  }

  /** @returns false if another transaction still locks a row */
  async #writeUser(userId: string): Promise<boolean> {
    for (;;) {
      const rows = await this.#options.askAll<SetAsideRow>(setAsideStatement(userId, BATCH_COUNT))
      if (rows.length === 0) return true
      let isLocked = false
      await writeInParts(
        rows,
        async (part) => await this.#write(userId, part),
        async (row, error) => {
          isLocked = error instanceof LockedError
          if (isLocked) return false
          this.#options.log.error(
            { err: error, userId, seq: row.record.seq },
            'The database refused a record; the recorder skips it.',
          )
          await this.#options.ask(writeSetAsideStatement(userId, row.id, [], LOCK_WAIT_MS))
          return true
        },
      )
      if (isLocked) return false
    }
  }

  async #write(userId: string, rows: readonly SetAsideRow[]): Promise<boolean> {
    const { ask, askAll, onNewerSettings } = this.#options
    const isSaid = this.#writtenSinceSaid !== null
    const writing = ask<WriteAnswer>(
      writeSetAsideStatement(
        userId,
        rows.at(-1)?.id ?? 0,
        rows.map(({ record }) => record),
        isSaid ? LOCK_WAIT_MS : FIRST_LOCK_WAIT_MS,
      ),
    )
    const holders = isSaid ? null : whoLocks(askAll, writing, LOOK_UP_AFTER_MS)
    try {
      const answer = await writing
      if (answer !== undefined && answer.newer.length > 0) onNewerSettings(answer.newer)
      if (this.#writtenSinceSaid !== null) this.#writtenSinceSaid += rows.length
    } catch (error) {
      if (error instanceof LockedError && holders !== null) {
        this.#writtenSinceSaid = 0
        this.#options.log.warn(
          { userId, relation: error.relation, lockedBy: await holders },
          'Another transaction locks rows of this user. Their records are set aside, and those of all others are written.',
        )
      }
      throw error
    }
    return true
  }
}
