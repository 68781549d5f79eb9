/**
 * Rebuilds the database from the live store, where the records do not go on from the checkpoint: in a new epoch, or after
 * some of them were lost.
 *
 * What can be told of a session comes before what is guessed: first the records that are there, then the state of everybody
 * in the store, and only then the end of what is open in the database and nowhere else, as `UNRECORDED`.
 */
import type { UserDirectory } from '../presence/directory.ts'
import type { PresenceRecord } from '../presence/model.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { AdoptedUser, RecordBatch, RecordLog } from '../presence/store.ts'
import { type Checkpoint, type Unrecorded, unrecordedEnds, unrecordedStatement } from './record-batch.ts'
import type { Ask } from './set-aside.ts'

export interface RepairOptions {
  readonly records: RecordLog
  /** Reads the records after a number, while others are written. */
  readonly readAhead: (afterSeq: number) => Promise<RecordBatch>
  readonly leftOpen: UserDirectory['leftOpen']
  readonly ask: Ask
  /** Writes records, and leaves the checkpoint where it is. @returns false where another process has moved it */
  readonly write: (batch: readonly PresenceRecord[]) => Promise<boolean>
  readonly checkpoint: Checkpoint
  /** When the checkpoint moved last, by the database's clock; null: not known. */
  readonly movedAtMs: number | null
  /** The starts of sessions that this repair or one before, which had to begin again, ended as `UNRECORDED`. */
  readonly guessed: Set<string>
  readonly log: OperatorLog
}

/** Users of one page. */
const PAGE_COUNT = 500

/**
 * Says in the log how much of the history is missing, if any is.
 *
 * @param first - the first records that are there
 * @returns the number of the last record that is written; null where it has to begin again
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
  // Sessions that ended while this went on have their records now, and those replace what was guessed here.
  const rest = await readAhead(seq)
  const lastSeq = rest.epoch === first.epoch ? await replay(rest, options) : null
  if (lastSeq === null) return null
  const unrecorded = await options.ask<UnrecordedAnswer>(unrecordedStatement([...guessed]))
  sayLost(first, unrecorded ?? { count: 0, since_ms: null }, options)
  guessed.clear()
  return lastSeq
}

/** @returns the number of the last record that was there; null where the repair has to begin again */
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

/** What is open in the database and not in the live store, of the users behind `after` and up to `until`. */
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
  // Numbers go on in the next epoch, unless the store lost them as well.
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
