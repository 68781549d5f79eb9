/**
 * Brings the records to the database, in order, each exactly once: a batch commits only by moving the checkpoint in
 * the same statement from the number that it expects.
 *
 * One process works, the holder; that is economy. Two that both believe they are it do no harm: one of them finds
 * the checkpoint elsewhere, writes nothing, and looks again who has the work.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pass } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import { PresenceError } from '../presence/errors.ts'
import type { OperatorLog } from '../presence/log.ts'
import type { PresenceRecord } from '../presence/model.ts'
import type { Recorder } from '../presence/recorder.ts'
import type { RecordBatch, RecordLog } from '../presence/store.ts'
import type { Database } from './client.ts'
import { away, QueryRefusedError } from './failures.ts'
import {
  acquireStatement,
  type Checkpoint,
  closeRestStatement,
  releaseStatement,
  renewStatement,
  writeStatement,
} from './record-batch.ts'

export interface RecorderOptions {
  readonly database: Database
  readonly records: RecordLog
  readonly timing: { readonly nodeTtlMs: number; readonly nodeRenewMs: number }
  readonly log: OperatorLog
  /** The name of this process, of its own for each start. */
  readonly holder?: string
  /** Told which users' rows have settings that their records do not know: the live store has to learn them. */
  readonly onNewerSettings?: (userIds: readonly string[]) => void
  /** How long records are gathered, so that many become one write. */
  readonly gatherMs?: number
}

/** Records of one write, and users of one page of a repair: some milliseconds of work. */
const BATCH_COUNT = 500
const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000
/** How often a process that waits looks whether the work is free. */
const STANDBY_MS = 1000

export function createRecorder({
  database,
  records,
  timing,
  log,
  holder = randomUUID(),
  onNewerSettings = () => {},
  gatherMs = 50,
}: RecorderOptions): Recorder {
  const holdsForMs = timing.nodeTtlMs
  const bell = createSignal()
  const progress = createSignal()
  let checkpoint: Checkpoint = { epoch: '', seq: 0 }
  /** What the live store was told is in the database. */
  let acknowledged: Checkpoint = { epoch: '', seq: 0 }
  let isHolder = false
  let isFollowing = false
  let isStopped = false
  let isDatabaseUp = true
  let hasToldOfWaiting = false
  let waitingCount = 0
  let renewAtMs = 0
  let retryMs = 0
  /** Whether the bell rang since the last read. */
  let isRung = true
  /** Flushes under way: nothing waits meanwhile. */
  let hurryCount = 0
  let unlisten = (): void => {}
  let working: Promise<void> | null = null

  async function ask<Row extends object>(statement: SQL): Promise<Row | undefined> {
    try {
      const [row] = await database.run(async (drizzle) => [...(await drizzle.execute(statement))])
      if (!isDatabaseUp) log.info({ waitingCount }, 'The database is back.')
      isDatabaseUp = true
      return row as Row | undefined
    } catch (error) {
      // Refused is answered.
      if (error instanceof QueryRefusedError && error.isOfData) throw error
      if (isDatabaseUp) log.warn({ err: error }, 'The database is away. Presence goes on, and records wait for it.')
      isDatabaseUp = false
      throw error
    }
  }

  async function acquire(): Promise<void> {
    const answer = await ask<Checkpoint & { readonly taken: boolean }>(
      acquireStatement(holder, holdsForMs, database.isEmbedded),
    )
    if (answer === undefined) return
    checkpoint = { epoch: answer.epoch, seq: answer.seq }
    isHolder = answer.taken
    if (isHolder) {
      held()
      isRung = true
      hasToldOfWaiting = false
    } else if (!hasToldOfWaiting) {
      hasToldOfWaiting = true
      log.info({}, 'Another process brings the records to this database. This one takes over should it stop.')
    }
    progress.ring()
  }

  function held(): void {
    renewAtMs = performance.now() + timing.nodeRenewMs
  }

  async function work(): Promise<void> {
    while (!isStopped) {
      try {
        await step()
        retryMs = 0
      } catch (error) {
        if (!(error instanceof PresenceError)) log.error({ err: error }, 'Records could not be written.')
        retryMs = Math.min(Math.max(FIRST_RETRY_MS, 2 * retryMs), LAST_RETRY_MS)
        await bell.wait(hurryCount > 0 ? FIRST_RETRY_MS : retryMs, { isDeaf: true })
      }
    }
  }

  async function step(): Promise<void> {
    if (!isHolder) {
      await acquire()
      if (!isHolder) await bell.wait(standbyMs(), { isDeaf: true })
      return
    }
    if (isFollowing && isRung) return await gatherAndFollow()
    if (performance.now() >= renewAtMs) return await renew()
    await bell.wait(renewAtMs - performance.now())
  }

  /** Until the next look at whether the work is free, and how far whoever has it has come. */
  function standbyMs(): number {
    return hurryCount > 0 ? FIRST_RETRY_MS : Math.min(STANDBY_MS, timing.nodeRenewMs)
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

  async function renew(): Promise<void> {
    const row = await ask(renewStatement(holder, holdsForMs))
    if (row === undefined) isHolder = false
    else held()
  }

  async function follow(): Promise<void> {
    let batch = await records.read(checkpoint.seq, BATCH_COUNT)
    if (batch.epoch === checkpoint.epoch && batch.isGap) {
      // Another process may have written them while this one was away.
      await acquire()
      if (!isHolder) return
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

  /** Whoever was written may leave the live store. Told again where it did not get through. */
  async function acknowledge(): Promise<void> {
    if (!isHolder || (acknowledged.epoch === checkpoint.epoch && acknowledged.seq >= checkpoint.seq)) return
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
      const answer = await ask<{ moved: boolean; newer: readonly string[] }>(
        writeStatement(rows, { holder, holdsForMs, checkpoint }, to),
      )
      if (answer !== undefined && answer.newer.length > 0) onNewerSettings(answer.newer)
      if (answer?.moved !== true) {
        isHolder = false
        isRung = true
        return false
      }
    } catch (error) {
      if (!(error instanceof QueryRefusedError && error.isOfData) || isLeftOut) throw error
      if (batch.length > 1) {
        const middle = Math.ceil(batch.length / 2)
        return (await write(batch.slice(0, middle), positionOf)) && (await write(batch.slice(middle), positionOf))
      }
      log.error({ err: error, userId: batch[0]?.userId, seq: batch[0]?.seq }, 'A record was refused, and is left out.')
      return await write(batch, positionOf, true)
    }
    checkpoint = to
    held()
    progress.ring()
    return true
  }

  /** Makes the database anew from the live store, then goes on with the first record that is there. */
  async function repair(batch: RecordBatch): Promise<void> {
    waitingCount = batch.lastSeq - (batch.records[0]?.seq ?? batch.lastSeq + 1) + 1
    const firstSeq = batch.records[0]?.seq ?? batch.lastSeq + 1
    if (batch.isGap) {
      log.warn(
        { afterSeq: checkpoint.epoch === batch.epoch ? checkpoint.seq : 0, beforeSeq: firstSeq, epoch: batch.epoch },
        'Records were lost: the history of sessions between these two is missing. The state is made anew.',
      )
    }
    const stays = (): Checkpoint => checkpoint
    let after: string | null = null
    for (;;) {
      const page: readonly PresenceRecord[] = await records.snapshot(after, BATCH_COUNT)
      const until: string | null = page.at(-1)?.userId ?? null
      if (!(await write(page, stays))) return
      const answer = await ask<{ moved: boolean }>(
        closeRestStatement(page, { holder, holdsForMs, checkpoint }, after, until),
      )
      if (answer?.moved !== true) {
        isHolder = false
        return
      }
      held()
      if (until === null) break
      after = until
    }
    isRung = true
    if (await write([], () => ({ epoch: batch.epoch, seq: firstSeq - 1 }))) await acknowledge()
  }

  async function release(): Promise<void> {
    if (!isHolder) return
    isHolder = false
    try {
      await ask(releaseStatement(holder))
    } catch {
      // Away: the others find it free when its time is over.
    }
  }

  return {
    async start() {
      while (!isHolder && !isStopped) {
        try {
          await acquire()
        } catch (error) {
          if (!(error instanceof PresenceError)) throw error
        }
        if (!isHolder && !isStopped) await bell.wait(standbyMs(), { isDeaf: true })
      }
      if (isStopped) {
        await release()
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
      hurryCount += 1
      bell.ring({ isLoud: true })
      try {
        const goal = await Promise.race([records.read(acknowledged.seq, 1), pass(withinMs, null, { ref: false })])
        while (goal !== null && !isStopped) {
          if (checkpoint.epoch === goal.epoch && checkpoint.seq >= goal.lastSeq) return { isComplete: true }
          const leftMs = untilMs - performance.now()
          if (leftMs <= 0) break
          await progress.wait(leftMs)
        }
        return { isComplete: false }
      } finally {
        hurryCount -= 1
      }
    },

    state: () => ({ isHolder, isDatabaseUp, waitingCount }),

    async stop() {
      if (isStopped) return
      isStopped = true
      unlisten()
      bell.ring({ isLoud: true })
      progress.ring()
      await working
      await release()
    },
  }
}

function positionAfter(epoch: string, batch: readonly PresenceRecord[]): Checkpoint {
  return { epoch, seq: batch.at(-1)?.seq ?? 0 }
}

interface Signal {
  /** @param isLoud - ends the waits of the deaf too */
  ring(options?: { readonly isLoud: boolean }): void
  /**
   * Resolves at the next ring, or when the time is over. Holds no process.
   *
   * @param isDeaf - waits for the time, whatever rings, unless it is loud
   */
  wait(forMs: number, options?: { readonly isDeaf: boolean }): Promise<void>
}

function createSignal(): Signal {
  const waits = new Map<() => void, boolean>()
  return {
    ring({ isLoud } = { isLoud: false }) {
      for (const [end, isDeaf] of waits) if (isLoud || !isDeaf) end()
    },
    async wait(forMs, { isDeaf } = { isDeaf: false }) {
      await new Promise<void>((resolve) => {
        const end = (): void => {
          clearTimeout(timer)
          waits.delete(end)
          resolve()
        }
        const timer = setTimeout(end, Math.max(0, forMs))
        timer.unref()
        waits.set(end, isDeaf)
      })
    },
  }
}
