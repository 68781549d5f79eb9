/**
 * Writes batches of records, each together with its step of the checkpoint. A record that fails stops no other: one
 * that the database refuses is skipped and logged, and the records of a user whose rows another transaction locks are
 * set aside (set-aside.ts).
 */
import type { PresenceRecord } from '../presence/model.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { Now } from '../presence/timing.ts'
import { LockedError } from './failures.ts'
import type { Extension } from './hold.ts'
import { writeInParts } from './in-parts.ts'
import { type Checkpoint, type Standing, writeStatement } from './record-batch.ts'
import type { Ask, SetAside, WriteAnswer } from './set-aside.ts'

export interface RecordWriterOptions {
  readonly ask: Ask
  readonly now: () => Now
  readonly standing: () => Standing
  readonly setAside: SetAside
  readonly log: OperatorLog
  readonly onWritten: (to: Checkpoint, extension: Extension) => void
  readonly onNewerSettings: (userIds: readonly string[]) => void
}

/** Longer than an app's transactions take. The whole batch waits this long. */
const LOCK_WAIT_MS = 100
/** The limit for a part of a batch that has a locked row: about ten parts are tried for each such row. */
const PART_LOCK_WAIT_MS = 10

export class RecordWriter {
  readonly #options: RecordWriterOptions

  constructor(options: RecordWriterOptions) {
    this.#options = options
  }

  /**
   * @param positionOf - returns the checkpoint that follows these records
   * @returns false if another process moved the checkpoint: the rest was not written
   */
  async write(
    batch: readonly PresenceRecord[],
    positionOf: (batch: readonly PresenceRecord[]) => Checkpoint,
  ): Promise<boolean> {
    const { setAside, log } = this.#options
    return await writeInParts(
      batch,
      (part, isPart) => this.#writeOnce(part, positionOf(part), isPart ? PART_LOCK_WAIT_MS : LOCK_WAIT_MS),
      async (record, error) => {
        const to = positionOf([record])
        if (error instanceof LockedError) {
          setAside.add(record.userId)
          return await this.#writeOnce([record], to, LOCK_WAIT_MS)
        }
        log.error(
          { err: error, userId: record.userId, seq: record.seq },
          'The database refused a record; the recorder skips it.',
        )
        return await this.#writeOnce([], to, LOCK_WAIT_MS)
      },
    )
  }

  async #writeOnce(batch: readonly PresenceRecord[], to: Checkpoint, lockWaitMs: number): Promise<boolean> {
    const { ask, now, standing, setAside, onWritten, onNewerSettings } = this.#options
    const isAside = ({ userId, isForgotten }: PresenceRecord) => isForgotten !== true && setAside.has(userId)
    const parts =
      setAside.userCount === 0
        ? { records: batch, setAside: [] }
        : { records: batch.filter((record) => !isAside(record)), setAside: batch.filter(isAside) }
    const sentAt = now()
    const answer = await ask<WriteAnswer>(writeStatement(parts, standing(), to, lockWaitMs))
    if (answer !== undefined && answer.newer.length > 0) onNewerSettings(answer.newer)
    if (answer?.moved !== true) return false
    onWritten(to, { sentAt, hasStandby: answer.has_standby })
    return true
  }
}
