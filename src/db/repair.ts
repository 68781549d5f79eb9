/**
 * Rebuilds the database from the live store if the records do not continue at the checkpoint: in a new epoch, or after
 * some records were lost.
 *
 * Known facts are written before guesses: first the records that exist, then the state of all users in the store, and
 * only then `UNRECORDED` ends for sessions that are open in the database only.
 */
import type { UserDirectory } from '../presence/directory.ts'
import type { PresenceRecord } from '../presence/model.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { AdoptedUser, RecordBatch, RecordLog } from '../presence/store.ts'
import { type Checkpoint, type Unrecorded, unrecordedEnds, unrecordedStatement } from './record-batch.ts'
import type { Ask } from './set-aside.ts'

export interface RepairOptions {
  readonly records: RecordLog
  /** Reads the records after a number while other records are written. */
  readonly readAhead: (afterSeq: number) => Promise<RecordBatch>
  readonly leftOpen: UserDirectory['leftOpen']
  readonly ask: Ask
  /** Writes records without moving the checkpoint. @returns false if another process has moved it */
  readonly write: (batch: readonly PresenceRecord[]) => Promise<boolean>
  readonly checkpoint: Checkpoint
  /** When the checkpoint last moved, by the database's clock; null: unknown. */
  readonly movedAtMs: number | null
  /** The starts of sessions that this repair, or an earlier attempt that had to begin again, ended as `UNRECORDED`. */
  readonly guessed: Set<string>
  readonly log: OperatorLog
}

/** Users per page. */
const PAGE_COUNT = 500

/**
 * Logs how much of the history is missing, if any is.
 *
 * @param first - the first records that exist
 * @returns the number of the last record written; null if the repair has to begin again
 */
export async function repair(first: RecordBatch, options: RepairOptions): Promise<number | null> {
  const { records, readAhead, write, guessed } = options
  const seq = await replay(first, options)
  if (seq === null) return null
  let after: string | null = null
  for (;;) {
    const page: readonly PresenceRecord[] = await records.snapshot(after, PAGE_COUNT)
    const until: string | null = page.at(-1)?.userId ?? null
    if (!(await write(page))) return null
    const ends = await unrecordedWithin(after, until, page, options)
    for (const startId of ends.startIds) guessed.add(startId)
    if (ends.records.length > 0 && !(await write(ends.records))) return null
    if (until === null) break
    after = until
  }
  if (guessed.size === 0) {
    sayLost(first, { count: 0, since_ms: null }, options)
    return seq
  }
  // Sessions that ended during the repair have records by now, which replace the guessed ends.
  const rest = await readAhead(seq)
  const lastSeq = rest.epoch === first.epoch ? await replay(rest, options) : null
  if (lastSeq === null) return null
  const unrecorded = await options.ask<UnrecordedAnswer>(unrecordedStatement([...guessed]))
  sayLost(first, unrecorded ?? { count: 0, since_ms: null }, options)
  guessed.clear()
  return lastSeq
}

/** @returns the number of the last record that existed; null if the repair has to begin again */
async function replay(first: RecordBatch, { readAhead, write }: RepairOptions): Promise<number | null> {
  let batch = first
  for (;;) {
    const seq = batch.records.at(-1)?.seq ?? first.lastSeq
    const reading = seq < first.lastSeq ? readAhead(seq) : null
    // Awaited below, unless the write fails first.
    reading?.catch(() => {})
    if (batch.records.length > 0 && !(await write(batch.records))) return null
    if (reading === null) return seq
    batch = await reading
    if (batch.epoch !== first.epoch) return null
  }
}

/** Sessions and users open in the database but not in the live store, for user ids after `after` and up to `until`. */
async function unrecordedWithin(
  after: string | null,
  until: string | null,
  page: readonly PresenceRecord[],
  { leftOpen }: RepairOptions,
): Promise<Unrecorded> {
  const live = new Map(page.map((record) => [record.userId, record]))
  const except = {
    until,
    startIds: page.flatMap(({ sessions }) => sessions.map(({ startId }) => startId)),
    onlineIds: page.filter(({ columns }) => columns?.isOnline).map(({ userId }) => userId),
  }
  const rows: AdoptedUser[] = []
  for (let from = after; ; ) {
    const found: readonly AdoptedUser[] = await leftOpen(from, PAGE_COUNT, except)
    rows.push(...found)
    if (found.length < PAGE_COUNT) return unrecordedEnds(rows, live)
    from = found.at(-1)?.userId ?? null
  }
}

interface UnrecordedAnswer {
  readonly count: number
  readonly since_ms: number | null
}

function sayLost(
  first: RecordBatch,
  unrecorded: UnrecordedAnswer,
  { checkpoint, movedAtMs, log }: RepairOptions,
): void {
  const beforeSeq = first.records[0]?.seq ?? first.lastSeq + 1
  // Numbers continue in the next epoch, unless the store lost them as well.
  const lostCount = first.isGap ? Math.max(0, beforeSeq - 1 - checkpoint.seq) : 0
  if (lostCount === 0 && unrecorded.count === 0) return
  const sinceMs = (lostCount > 0 ? movedAtMs : null) ?? unrecorded.since_ms
  log.warn(
    {
      afterSeq: checkpoint.seq,
      beforeSeq,
      lostCount,
      unrecordedCount: unrecorded.count,
      since: sinceMs === null ? null : new Date(sinceMs).toISOString(),
      epoch: first.epoch,
    },
    'Records were lost, so the session history since then is incomplete. The current state is right.',
  )
}
