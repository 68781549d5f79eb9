/**
 * Brings the records to the database, in order, each exactly once: a batch commits only by moving the checkpoint in
 * the same statement from the number that it expects.
 *
 * One process works, the holder (hold.ts). Two that both believe they are it do no harm here: one of them finds the
 * checkpoint elsewhere, writes nothing, and asks again who has the work.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import { PresenceError } from '../presence/errors.ts'
import type { PresenceRecord } from '../presence/model.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { Recorder } from '../presence/recorder.ts'
import type { RecordBatch, RecordLog } from '../presence/store.ts'
import type { Clock } from '../presence/timing.ts'
import type { Database } from './client.ts'
import { away, QueryRefusedError } from './failures.ts'
import { Hold, type LossOfHold } from './hold.ts'
import { type Checkpoint, closeRestStatement, writeStatement } from './record-batch.ts'
import { createSignal } from './signal.ts'

export interface RecorderOptions {
  readonly database: Database
  readonly records: RecordLog
  readonly timing: { readonly nodeTtlMs: number; readonly nodeRenewMs: number }
  readonly log: OperatorLog
  /** The name of this process, of its own for each start. */
  readonly holder?: string
  /** Told which users' rows have settings that their records do not know: the live store has to learn them. */
  readonly onNewerSettings?: (userIds: readonly string[]) => void
  /** Whether nobody else may serve while this process does: the records are those of a live state of its own. */
  readonly isFenced?: boolean
  /** The clocks by which a fenced holder counts its time. */
  readonly clock?: Clock
  /** How long records are gathered, so that many become one write. */
  readonly gatherMs?: number
}

/** Records of one write, and users of one page of a repair: some milliseconds of work. */
const BATCH_COUNT = 500
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000
/** A fallback: every real event ends these waits by ringing. */
const IDLE_MS = 60_000

export function createRecorder({
  database,
  records,
  timing,
  log,
  holder = randomUUID(),
  onNewerSettings = () => {},
  isFenced = false,
  clock,
  gatherMs = 50,
}: RecorderOptions): Recorder {
  // No other process can have the embedded one.
  const isFencing = isFenced && !database.isEmbedded
  const standing = () => ({ holder, holdsForMs: timing.nodeTtlMs, checkpoint })
  const bell = createSignal()
  const progress = createSignal()
  let checkpoint: Checkpoint = { epoch: '', seq: 0 }
  /** What the live store was told is in the database. */
  let acknowledged: Checkpoint = { epoch: '', seq: 0 }
  /** The life of the live state that the records are of. */
  let recordsEpoch: string | null = null
  /** Nothing is written for as long as the work is lost, and no more once another process has written. */
  let loss: 'none' | 'lost' | 'final' = 'none'
  let isFollowing = false
  let isStopped = false
  let isDatabaseUp = true
  let waitingCount = 0
  let retryMs = 0
  /** Whether the bell rang since the last read. */
  let isRung = true
  /** Flushes under way: nothing else waits for them. */
  let hurryCount = 0
  let unlisten = (): void => {}
  let working: Promise<void> | null = null

  let tellLoss = (_how: LossOfHold): void => {}
  const lost = new Promise<LossOfHold>((resolve) => {
    tellLoss = resolve
  })

  async function ask<Row extends object>(statement: SQL, timeLimitMs?: number): Promise<Row | undefined> {
    try {
      const [row] = await database.run(async (drizzle) => [...(await drizzle.execute(statement))], timeLimitMs)
      if (!isDatabaseUp) log.info({ waitingCount }, 'The database is back.')
      isDatabaseUp = true
      return row as Row | undefined
    } catch (error) {
      // A refused query still proves that the database is up.
      if (error instanceof QueryRefusedError && error.isOfData) throw error
      if (isDatabaseUp) log.warn({ err: error }, 'The database is away. Presence goes on, and records wait for it.')
      isDatabaseUp = false
      throw error
    }
  }

  const hold = new Hold({
    holder,
    timing,
    isFenced: isFencing,
    isForced: database.isEmbedded,
    checkLiveState: () => records.read(checkpoint.seq, 1),
    ask,
    isHurried: () => hurryCount > 0,
    bell,
    events: {
      taken(at) {
        if (loss !== 'none' && !isOurs(at)) loss = 'final'
        if (loss === 'final') return progress.ring()
        loss = 'none'
        checkpoint = at
        isRung = true
        bell.ring({ isLoud: true })
        progress.ring()
      },
      seen(at) {
        if (!isFencing) checkpoint = at
        else if (loss === 'lost' && !isOurs(at)) loss = 'final'
        progress.ring()
      },
      lost(how) {
        if (!isFencing) return
        loss = 'lost'
        tellLoss(how)
        progress.ring()
      },
    },
    log,
    ...(clock === undefined ? {} : { clock }),
  })

  /** Whether nobody else has written since. What was written without an answer is of the epoch of these records. */
  function isOurs(at: Checkpoint): boolean {
    return at.epoch === recordsEpoch || (at.epoch === checkpoint.epoch && at.seq === checkpoint.seq)
  }

  function isHolder(): boolean {
    return hold.isHeld() && loss === 'none'
  }

  async function work(): Promise<void> {
    while (!isStopped) {
      try {
        await step()
        retryMs = 0
      } catch (error) {
        if (!(error instanceof PresenceError)) log.error({ err: error }, 'Records could not be written.')
        if (isStopped) break
        retryMs = Math.min(Math.max(FIRST_RETRY_MS, 2 * retryMs), LAST_RETRY_MS)
        await bell.wait(hurryCount > 0 ? FIRST_RETRY_MS : retryMs, { isDeaf: true })
      }
    }
  }

  async function step(): Promise<void> {
    if (isHolder() && isFollowing && isRung) await gatherAndFollow()
    else await bell.wait(IDLE_MS)
  }

  async function gatherAndFollow(): Promise<void> {
    isRung = false
    if (hurryCount === 0) await bell.wait(gatherMs, { isDeaf: true })
    try {
      await follow()
    } catch (error) {
      isRung = true
      throw error
    }
  }

  async function follow(): Promise<void> {
    let batch = await records.read(checkpoint.seq, BATCH_COUNT)
    hold.sawLiveState()
    recordsEpoch = batch.epoch
    if (batch.epoch === checkpoint.epoch && batch.isGap) {
      // Another process may have written them while this one was away.
      if (!(await confirm())) return
      batch = await records.read(checkpoint.seq, BATCH_COUNT)
    }
    if (batch.epoch !== checkpoint.epoch) {
      // The numbers of another epoch say nothing here.
      return await repair(await records.read(batch.epoch === acknowledged.epoch ? acknowledged.seq : 0, BATCH_COUNT))
    }
    if (batch.isGap) return await repair(batch)
    waitingCount = batch.lastSeq - checkpoint.seq
    if (batch.records.length > 0 && (await write(batch.records, (written) => positionAfter(batch.epoch, written)))) {
      waitingCount = batch.lastSeq - checkpoint.seq
      if (waitingCount > 0) isRung = true
    }
    await acknowledge()
  }

  /** What a flush has to reach. @returns null where the live state does not say so in time */
  async function readGoal(withinMs: number): Promise<Pick<RecordBatch, 'epoch' | 'lastSeq'> | null> {
    try {
      return await Promise.race([records.read(acknowledged.seq, 1), sleep(withinMs, null, { ref: false })])
    } catch (error) {
      if (!(error instanceof PresenceError)) throw error
      return null
    }
  }

  /** Asks where the checkpoint stands. @returns false where the work is lost */
  async function confirm(): Promise<boolean> {
    const at = await hold.confirm()
    if (at === null) return false
    checkpoint = at
    progress.ring()
    return true
  }

  /** Users who are written may leave the live store. Repeated if it did not get through. */
  async function acknowledge(): Promise<void> {
    if (!isHolder() || (acknowledged.epoch === checkpoint.epoch && acknowledged.seq >= checkpoint.seq)) return
    const { epoch, seq } = checkpoint
    await records.ack(epoch, seq)
    acknowledged = { epoch, seq }
  }

  /**
   * Writes records. Those that the database refuses are left out, with a line in the log, and stop nothing.
   *
   * @param positionOf - where the checkpoint goes with these records
   * @returns false where somebody else moved the checkpoint: nothing was written
   */
  async function write(
    batch: readonly PresenceRecord[],
    positionOf: (batch: readonly PresenceRecord[]) => Checkpoint,
    isLeftOut = false,
  ): Promise<boolean> {
    const to = positionOf(batch)
    try {
      const rows = isLeftOut ? [] : batch
      const sentAt = hold.now()
      const answer = await ask<WriteAnswer>(writeStatement(rows, standing(), to))
      if (answer !== undefined && answer.newer.length > 0) onNewerSettings(answer.newer)
      if (answer?.moved !== true) {
        isRung = true
        await confirm()
        return false
      }
      hold.extended({ sentAt, hasStandby: answer.has_standby })
    } catch (error) {
      if (!(error instanceof QueryRefusedError && error.isOfData) || isLeftOut) throw error
      if (batch.length > 1) {
        const middle = Math.ceil(batch.length / 2)
        return (await write(batch.slice(0, middle), positionOf)) && (await write(batch.slice(middle), positionOf))
      }
      log.error(
        { err: error, userId: batch[0]?.userId, seq: batch[0]?.seq },
        'The database refused a record; the recorder skips it.',
      )
      return await write(batch, positionOf, true)
    }
    checkpoint = to
    progress.ring()
    return true
  }

  /** Rebuilds the database from the live store, then goes on with the first record that is there. */
  async function repair(batch: RecordBatch): Promise<void> {
    waitingCount = batch.lastSeq - (batch.records[0]?.seq ?? batch.lastSeq + 1) + 1
    const firstSeq = batch.records[0]?.seq ?? batch.lastSeq + 1
    if (batch.isGap) {
      log.warn(
        { afterSeq: checkpoint.epoch === batch.epoch ? checkpoint.seq : 0, beforeSeq: firstSeq, epoch: batch.epoch },
        'Records between these two were lost, so that session history is missing. The recorder rebuilds the current state.',
      )
    }
    const stays = (): Checkpoint => checkpoint
    let after: string | null = null
    for (;;) {
      const page: readonly PresenceRecord[] = await records.snapshot(after, BATCH_COUNT)
      const until: string | null = page.at(-1)?.userId ?? null
      if (!(await write(page, stays))) return
      const answer = await ask<{ moved: boolean }>(closeRestStatement(page, standing(), after, until))
      if (answer?.moved !== true) {
        isRung = true
        await confirm()
        return
      }
      if (until === null) break
      after = until
    }
    isRung = true
    if (await write([], () => ({ epoch: batch.epoch, seq: firstSeq - 1 }))) await acknowledge()
  }

  return {
    async start() {
      hold.run()
      while (!hold.isHeld() && !isStopped) await progress.wait(IDLE_MS)
      if (isStopped) {
        await hold.stop({ isKept: false })
        throw away('The server stops.')
      }
      working = work()
    },

    follow() {
      if (isFollowing || isStopped) return
      isFollowing = true
      unlisten = records.listen(() => {
        isRung = true
        bell.ring()
      })
      isRung = true
      bell.ring()
    },

    async flush(withinMs) {
      const untilMs = performance.now() + withinMs
      // The waits of the recorder hold no process, and here a process that stops waits for them.
      const holdingProcess = setTimeout(() => {}, withinMs)
      hurryCount += 1
      bell.ring({ isLoud: true })
      try {
        const goal = await readGoal(withinMs)
        while (goal !== null && !isStopped) {
          if (checkpoint.epoch === goal.epoch && checkpoint.seq >= goal.lastSeq) return { isComplete: true }
          const leftMs = untilMs - performance.now()
          if (leftMs <= 0) break
          await progress.wait(leftMs)
        }
        return { isComplete: false }
      } finally {
        hurryCount -= 1
        clearTimeout(holdingProcess)
      }
    },

    state: () => ({ isHolder: isHolder(), isDatabaseUp, waitingCount }),

    excludesOthers: () => loss === 'none' && hold.excludesOthers(),
    lost,

    async regain() {
      while (!isStopped) {
        if (loss === 'final') return 'another wrote'
        if (loss === 'none' && hold.isHeld()) return 'nobody wrote'
        await progress.wait(IDLE_MS)
      }
      throw away('The server stops.')
    },

    async stop({ isWorkKept = false } = {}) {
      if (isStopped) return
      isStopped = true
      unlisten()
      bell.ring({ isLoud: true })
      progress.ring()
      await working
      await hold.stop({ isKept: isWorkKept })
    },
  }
}

interface WriteAnswer {
  readonly moved: boolean
  readonly has_standby: boolean
  readonly newer: readonly string[]
}

function positionAfter(epoch: string, batch: readonly PresenceRecord[]): Checkpoint {
  return { epoch, seq: batch.at(-1)?.seq ?? 0 }
}
