/**
 * Writes the records to the database, in order, each exactly once: a batch commits only by moving the checkpoint, in
 * the same statement, from the number that it expects.
 *
 * One process writes, the holder (hold.ts). Two processes that both believe they are the holder do no harm here: one of
 * them finds the checkpoint elsewhere, writes nothing, and asks again which process has the work.
 */
import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import { PresenceError } from '../presence/errors.ts'
import type { PresenceRecord } from '../presence/model.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import type { Recorder } from '../presence/recorder.ts'
import type { RecordBatch, RecordLog } from '../presence/store.ts'
import type { Clock } from '../presence/timing.ts'
import type { Database } from './client.ts'
import { createDirectory } from './directory.ts'
import { away, LockedError, QueryRefusedError } from './failures.ts'
import { Hold, type LossOfHold } from './hold.ts'
import { whoLocks } from './lock-holders.ts'
import { type Checkpoint, prepareRows, type StoredCheckpoint } from './record-batch.ts'
import { RecordWriter } from './record-writer.ts'
import { repair } from './repair.ts'
import { SetAside } from './set-aside.ts'
import { createSignal } from './signal.ts'

export interface RecorderOptions {
  readonly database: Database
  readonly records: RecordLog
  readonly timing: { readonly nodeTtlMs: number; readonly nodeRenewMs: number }
  readonly log: OperatorLog
  /** Names this process among possible holders; a new name for each start. */
  readonly holder?: string
  /** Called with users whose rows have settings that their records lack, so that the live store can take them over. */
  readonly onNewerSettings?: (userIds: readonly string[]) => void
  /** Whether no other process may serve while this one does, because the records are those of its own live state. */
  readonly isFenced?: boolean
  /** The clocks with which a fenced holder measures its hold. */
  readonly clock?: Clock
  /** How long to gather records before a write. */
  readonly gatherMs?: number
}

/** Records per write: it takes some tens of milliseconds, in which the rows of their users are locked. */
const BATCH_COUNT = 1000
/** The embedded database has one connection, and clients' requests wait behind a batch. */
const EMBEDDED_BATCH_COUNT = 100
/** A change reaches its columns after half of this on average, plus one write. */
const GATHER_MS = 40
/** Records that wait here are lost if the process is killed: no other process has the live state. */
const EMBEDDED_GATHER_MS = 20
const FIRST_RETRY_MS = 100
/** A statement that takes this long may be waiting for a lock. */
const LOCK_LOOK_UP_MS = 500
const LAST_RETRY_MS = 5000
/** A fallback: every real event rings the signal and so ends these waits. */
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
  gatherMs = database.isEmbedded ? EMBEDDED_GATHER_MS : GATHER_MS,
}: RecorderOptions): Recorder {
  const batchCount = database.isEmbedded ? EMBEDDED_BATCH_COUNT : BATCH_COUNT
  // No other process can open the embedded database.
  const isFencing = isFenced && !database.isEmbedded
  const bell = createSignal()
  const progress = createSignal()
  const guessed = new Set<string>()
  const { leftOpen } = createDirectory({ database })
  let checkpoint: Checkpoint = { epoch: '', seq: 0 }
  /** When the checkpoint last moved, by the database's clock; null: unknown. */
  let movedAtMs: number | null = null
  let forgottenCount = 0
  /** The last checkpoint that the live store was told of with `ack`. */
  let acknowledged: Checkpoint = { epoch: '', seq: 0 }
  /** The epoch of the live state that the records come from. */
  let recordsEpoch: string | null = null
  /**
   * `lost`: nothing is written until this process has the work again. `final`: another process has written since, so
   * this one never writes again.
   */
  let loss: 'none' | 'lost' | 'final' = 'none'
  let isFollowing = false
  let isStopped = false
  let isLockSaid = false
  let isDatabaseUp = true
  /** The records that are not in the database yet, as of the last read. */
  let waiting = { epoch: '', fromSeq: 1, lastSeq: 0 }
  let retryMs = 0
  /** Whether there may be records to read: the log changed, or the last step left some. */
  let isRung = true
  /** How many flushes are under way. While there are any, nothing is gathered and retries wait FIRST_RETRY_MS only. */
  let hurryCount = 0
  let unlisten = (): void => {}
  let working: Promise<void> | null = null

  let tellLoss = (_how: LossOfHold): void => {}
  const lost = new Promise<LossOfHold>((resolve) => {
    tellLoss = resolve
  })

  async function run<Row extends object>(statement: SQL, timeLimitMs?: number): Promise<readonly Row[]> {
    const rows = await database.run(async (drizzle) => [...(await drizzle.execute(statement))], timeLimitMs)
    return rows as unknown as Row[]
  }

  async function askAll<Row extends object>(statement: SQL, timeLimitMs?: number): Promise<readonly Row[]> {
    const running = run<Row>(statement, timeLimitMs)
    // The embedded database has no other sessions.
    const holders = database.isEmbedded ? Promise.resolve([]) : whoLocks(run, running, LOCK_LOOK_UP_MS)
    holders.then((lockedBy) => {
      if (lockedBy.length > 0) sayLocked({ relation: null, lockedBy })
    })
    try {
      const rows = await running
      if (!isDatabaseUp) log.info({ waitingCount: waitingCount() }, 'The database is back.')
      isDatabaseUp = true
      return rows
    } catch (error) {
      // A refused query still proves that the database is up.
      if (error instanceof LockedError || (error instanceof QueryRefusedError && error.isOfData)) throw error
      // A lock of a whole table is awaited before any of the statement runs, including its own `lock_timeout`.
      const lockedBy = await holders
      if (lockedBy.length > 0)
        throw new LockedError('the statement waited for a lock until its time was over', null, lockedBy)
      if (isDatabaseUp) log.warn({ err: error }, 'The database is away. Presence goes on, and records wait for it.')
      isDatabaseUp = false
      throw error
    }
  }

  async function ask<Row extends object>(statement: SQL, timeLimitMs?: number): Promise<Row | undefined> {
    return (await askAll<Row>(statement, timeLimitMs))[0]
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
        standAt(at)
        // Another process may have set records aside.
        isSetAsideLoaded = false
        isRung = true
        bell.ring({ isLoud: true })
        progress.ring()
      },
      seen(at) {
        if (!isFencing) standAt(at)
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

  const setAside = new SetAside({ ask, askAll, log, onNewerSettings })
  let isSetAsideLoaded = false

  const writer = new RecordWriter({
    ask,
    now: () => hold.now(),
    standing: () => ({ holder, holdsForMs: timing.nodeTtlMs, checkpoint, forgottenCount }),
    setAside,
    log,
    onNewerSettings,
    onWritten(to, extension) {
      checkpoint = to
      movedAtMs = extension.sentAt.wallMs
      hold.extended(extension)
      progress.ring()
    },
  })

  function standAt({ epoch, seq, moved_at_ms, forgotten_count }: StoredCheckpoint): void {
    checkpoint = { epoch, seq }
    movedAtMs = moved_at_ms
    forgottenCount = forgotten_count
  }

  function waitingCount(): number {
    const writtenSeq = waiting.epoch === checkpoint.epoch ? checkpoint.seq : waiting.fromSeq - 1
    return Math.max(0, waiting.lastSeq - writtenSeq)
  }

  /**
   * Whether no other process has written since. A write of this process that got no answer has the epoch of these
   * records.
   */
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
        isLockSaid = false
      } catch (error) {
        if (error instanceof LockedError) sayLocked(error)
        else if (!(error instanceof PresenceError)) log.error({ err: error }, 'Records could not be written.')
        if (isStopped) break
        retryMs = Math.min(Math.max(FIRST_RETRY_MS, 2 * retryMs), LAST_RETRY_MS)
        await bell.wait(hurryCount > 0 ? FIRST_RETRY_MS : retryMs, { isDeaf: true })
      }
    }
  }

  /** Logs once per lock. */
  function sayLocked({ relation, lockedBy }: Pick<LockedError, 'relation' | 'lockedBy'>): void {
    if (isLockSaid) return
    isLockSaid = true
    log.warn({ relation, lockedBy }, 'Another transaction locks what the recorder writes to. All records wait for it.')
  }

  async function step(): Promise<void> {
    if (!isHolder() || !isFollowing) return await bell.wait(IDLE_MS)
    if (!isSetAsideLoaded) {
      await setAside.load()
      isSetAsideLoaded = true
    }
    if (setAside.dueInMs() === 0) await setAside.retry()
    if (isRung) await gatherAndFollow()
    else await bell.wait(Math.min(IDLE_MS, setAside.dueInMs()))
  }

  async function gatherAndFollow(): Promise<void> {
    isRung = false
    // If more than one write is pending already, gathering gains nothing.
    if (hurryCount === 0 && waitingCount() === 0) await bell.wait(gatherMs, { isDeaf: true })
    try {
      await follow()
    } catch (error) {
      isRung = true
      throw error
    }
  }

  async function follow(): Promise<void> {
    let batch = await records.read(checkpoint.seq, batchCount)
    hold.sawLiveState()
    recordsEpoch = batch.epoch
    if (batch.epoch === checkpoint.epoch && batch.isGap) {
      // Another process may have written them while this one was cut off.
      if (!(await confirm())) return
      batch = await records.read(checkpoint.seq, batchCount)
    }
    if (batch.epoch !== checkpoint.epoch) {
      // The numbers of another epoch cannot be compared with these.
      return await repairFrom(await records.read(batch.epoch === acknowledged.epoch ? acknowledged.seq : 0, batchCount))
    }
    if (batch.isGap) return await repairFrom(batch)
    await writeOn(batch)
    if (waitingCount() > 0) isRung = true
    await acknowledge()
  }

  /** Reads a batch while another one is written, and builds its rows while the database works. */
  async function readAhead(afterSeq: number): Promise<RecordBatch> {
    const batch = await records.read(afterSeq, batchCount)
    // By the next turn of the event loop the other batch has been sent.
    await nextTurn()
    prepareRows(batch.records)
    return batch
  }

  /** Writes batch after batch. While one is written, it reads the next and acknowledges the last. */
  async function writeOn(first: RecordBatch): Promise<void> {
    const { epoch } = first
    let batch = first
    while (batch.epoch === epoch && !batch.isGap) {
      waiting = { epoch, fromSeq: checkpoint.seq + 1, lastSeq: batch.lastSeq }
      const lastSeq = batch.records.at(-1)?.seq
      if (lastSeq === undefined) return
      const reading = batch.lastSeq > lastSeq ? readAhead(lastSeq) : null
      // Awaited below, unless the write fails first.
      reading?.catch(() => {})
      if (!(await write(batch.records, (written) => positionAfter(epoch, written)))) return
      if (reading === null || isStopped || setAside.dueInMs() === 0) return
      ;[batch] = await Promise.all([reading, acknowledge()])
    }
    // The next step repairs it.
    isRung = true
  }

  /** The record that a flush has to reach. @returns null if the live state does not answer in time */
  async function readGoal(withinMs: number): Promise<Pick<RecordBatch, 'epoch' | 'lastSeq'> | null> {
    try {
      return await Promise.race([records.read(acknowledged.seq, 1), sleep(withinMs, null, { ref: false })])
    } catch (error) {
      if (!(error instanceof PresenceError)) throw error
      return null
    }
  }

  /** Asks the database for the checkpoint. @returns false if the work is lost */
  async function confirm(): Promise<boolean> {
    const at = await hold.confirm()
    if (at === null) return false
    standAt(at)
    progress.ring()
    return true
  }

  /** Tells the live store that users may leave it, since their records are written. Repeated if it fails. */
  async function acknowledge(): Promise<void> {
    if (!isHolder() || (acknowledged.epoch === checkpoint.epoch && acknowledged.seq >= checkpoint.seq)) return
    const { epoch, seq } = checkpoint
    await records.ack(epoch, seq)
    acknowledged = { epoch, seq }
  }

  /** @returns false if another process moved the checkpoint: the rest was not written */
  async function write(
    batch: readonly PresenceRecord[],
    positionOf: (batch: readonly PresenceRecord[]) => Checkpoint,
  ): Promise<boolean> {
    if (await writer.write(batch, positionOf)) return true
    isRung = true
    await confirm()
    return false
  }

  /** Rebuilds the database from the live store, then continues after the records that existed then. */
  async function repairFrom(first: RecordBatch): Promise<void> {
    const fromSeq = first.records[0]?.seq ?? first.lastSeq + 1
    waiting = { epoch: first.epoch, fromSeq, lastSeq: first.lastSeq }
    isRung = true
    const seq = await repair(first, {
      records,
      readAhead,
      leftOpen,
      ask,
      // Keep the checkpoint: if this process dies in between, the next one repairs again.
      write: (batch) => write(batch, () => checkpoint),
      checkpoint,
      movedAtMs,
      guessed,
      log,
    })
    if (seq !== null && (await write([], () => ({ epoch: first.epoch, seq })))) await acknowledge()
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
      // The recorder's timers are unref'd; this one keeps a stopping process alive until the flush ends.
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

    state: () => ({
      isHolder: isHolder(),
      isDatabaseUp,
      waitingCount: waitingCount(),
      setAsideCount: setAside.userCount,
    }),

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

function positionAfter(epoch: string, batch: readonly PresenceRecord[]): Checkpoint {
  return { epoch, seq: batch.at(-1)?.seq ?? 0 }
}
