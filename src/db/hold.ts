/**
 * Who of all processes on one database has the work.
 *
 * Where many share the live state in Redis, this is economy: one brings the records, the others need not. A holder that
 * cannot read the live state for `NODE_TTL` releases the work to one that can.
 *
 * Where each has a live state of its own (`isFenced`), the one that has the work is the one that serves, and there must
 * never be two. No clock is compared with another's for that:
 *
 * - The holder counts its hold from the moment before it sent the statement that extended it. By its own clocks that
 *   is over no later than by anyone's.
 * - A process that waits takes the work from another one only where it has watched the very same hold for longer than
 *   `NODE_TTL`, without a failed look in between. In that time a holder that can reach the database has extended it,
 *   and one that cannot has found its own time to be over.
 * - A process that waits makes that known with each look, and the holder learns it with each extension. A holder that
 *   cannot reach the database, and knows of nobody who waits, goes on: the database is away, or so it seems.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SQL } from 'drizzle-orm'
import { PresenceError } from '../presence/errors.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import { type Clock, type Now, processClock } from '../presence/timing.ts'
import { away } from './failures.ts'
import {
  acquireStatement,
  releaseStatement,
  renewStatement,
  type SeenHold,
  type StoredCheckpoint,
  type Takeover,
} from './record-batch.ts'
import type { Signal } from './signal.ts'

export interface HoldOptions {
  readonly holder: string
  readonly timing: { readonly nodeTtlMs: number; readonly nodeRenewMs: number }
  /** Whether nobody else may serve while this process does. */
  readonly isFenced: boolean
  /** Whether no other process can have the database. */
  readonly isForced: boolean
  /** Rejects where the live state cannot be read. Asked only where it is shared: a process can read its own. */
  readonly checkLiveState: () => Promise<unknown>
  /** @param timeLimitMs - left out: the database's own */
  readonly ask: <Row extends object>(statement: SQL, timeLimitMs?: number) => Promise<Row | undefined>
  /** Whether somebody waits for what the holder does: then nothing waits between two looks. */
  readonly isHurried: () => boolean
  /** Ends the waits between two looks, where it is loud. */
  readonly bell: Signal
  readonly events: HoldEvents
  readonly log: OperatorLog
  /** The steady one may stand still while the host sleeps, the other one can be set. */
  readonly clock?: Clock
}

export interface HoldEvents {
  taken(checkpoint: StoredCheckpoint): void
  /** Another process has it. */
  seen(checkpoint: StoredCheckpoint): void
  lost(how: LossOfHold): void
}

/** `taken`: another process has the work. `unknown`: whether one has cannot be asked, and one was waiting. */
export type LossOfHold = 'taken' | 'unknown'

/** What a statement that extends the hold has to say of it. */
export interface Extension {
  readonly sentAt: Now
  readonly hasStandby: boolean
}

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000
/** How often a process that waits looks whether the work is free. */
const STANDBY_MS = 1000
/** A failure that took so much longer than its limit is one of this process, which stood still. */
const STALL_MS = 1000

export class Hold {
  readonly #options: HoldOptions
  readonly #now: Clock
  readonly #ttlMs: number
  /**
   * Of one statement: so short that one which fails can be sent again before a hold is over, and twice before a process
   * that waits takes it. Else the database's own: the embedded one would be started again for a query that is longer.
   */
  readonly #timeLimitMs: number | undefined
  #state: 'waiting' | 'held' | 'stopped' = 'waiting'
  /** Whether the database has this process for the holder, as far as that is known. */
  #isOwn = false
  /** It may serve for NODE_TTL from here without another answer of the database. */
  #servesFrom: Now | null = null
  #renewAtMs = 0
  #hasStandby = false
  /** Whether the database did not answer since the last extension, while this process was awake. */
  #isAway = false
  /** Since when the shared live state cannot be read; null: it can. */
  #cutOffSinceMs: number | null = null
  #retryMs = 0
  /** The hold of another process, unchanged since. */
  #watched: { readonly hold: SeenHold; readonly sinceMs: number; readonly lookedAt: Now } | null = null
  #hasToldOfWaiting = false
  #running: Promise<void> | null = null

  constructor(options: HoldOptions) {
    this.#options = options
    this.#now = options.clock ?? processClock()
    this.#ttlMs = options.timing.nodeTtlMs
    this.#timeLimitMs = options.isFenced ? this.#ttlMs / 3 : undefined
  }

  run(): void {
    this.#running ??= this.#run()
  }

  isHeld(): boolean {
    return this.#state === 'held'
  }

  /** Whether no other process can serve: asked before anything is served, since the process may have stood still. */
  excludesOthers(): boolean {
    if (!this.#options.isFenced) return true
    return this.#state === 'held' && this.#lasts(this.#servesFrom)
  }

  now(): Now {
    return this.#now()
  }

  /** A statement of the holder went through. */
  extended({ sentAt, hasStandby }: Extension): void {
    this.#serve(sentAt)
    this.#hasStandby = hasStandby
    this.#isAway = false
    this.#renewAtMs = Math.max(this.#renewAtMs, sentAt.steadyMs + this.#options.timing.nodeRenewMs)
  }

  /** The recorder read the live state: this process is not cut off from it. */
  sawLiveState(): void {
    this.#cutOffSinceMs = null
  }

  /**
   * Asks whether the work is still this process's.
   *
   * @returns where the checkpoint stands; null where the work is lost
   */
  async confirm(): Promise<StoredCheckpoint | null> {
    if (this.#state !== 'held') return null
    const { holder, ask } = this.#options
    const sentAt = this.#now()
    const didExclude = this.#options.isFenced && this.excludesOthers()
    const row = await ask<StoredCheckpoint & { readonly has_standby: boolean }>(
      renewStatement(holder, this.#ttlMs),
      this.#timeLimitMs,
    )
    if (this.#state !== 'held') return null
    if (row === undefined) return didExclude ? await this.#takeBack() : this.#lose('taken')
    this.extended({ sentAt, hasStandby: row.has_standby })
    return checkpointOf(row)
  }

  /** Nobody can have taken it, and it is not ours: the database went back to what it was before. */
  async #takeBack(): Promise<StoredCheckpoint | null> {
    const { holder, ask, events, log } = this.#options
    const sentAt = this.#now()
    const row = await ask<LookAnswer>(
      acquireStatement(holder, this.#ttlMs, 'when it is over', false),
      this.#timeLimitMs,
    )
    if (this.#state !== 'held') return null
    if (row?.taken !== true) return this.#lose('taken')
    log.warn({}, 'The database went back to an earlier state. What this process knows is written again.')
    this.extended({ sentAt, hasStandby: row.has_standby })
    const checkpoint = checkpointOf(row)
    events.taken(checkpoint)
    return checkpoint
  }

  /** @param isKept - the same process goes on under the same name: nobody else gets it in between */
  async stop({ isKept }: { readonly isKept: boolean }): Promise<void> {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    this.#options.bell.ring({ isLoud: true })
    await this.#running
    if (!this.#isOwn || isKept) return
    try {
      await this.#options.ask(releaseStatement(this.#options.holder), this.#timeLimitMs)
    } catch {
      // Away: the others find it free when its time is over.
    }
  }

  async #run(): Promise<void> {
    while (!this.#isStopped()) {
      try {
        await (this.#state === 'held' ? this.#keep() : this.#look())
        this.#retryMs = 0
      } catch (error) {
        if (!(error instanceof PresenceError))
          this.#options.log.error({ err: error }, 'This process could not acquire or renew the recorder hold.')
        if (this.#isStopped()) break
        this.#retryMs = Math.min(Math.max(FIRST_RETRY_MS, 2 * this.#retryMs), this.#lastRetryMs())
        await this.#wait(this.#options.isHurried() ? FIRST_RETRY_MS : this.#retryMs)
      }
    }
  }

  #isStopped(): boolean {
    return this.#state === 'stopped'
  }

  async #keep(): Promise<void> {
    if (this.#isAway && !this.excludesOthers()) return void this.#lose('unknown')
    const dueInMs = this.#renewAtMs - this.#now().steadyMs
    if (dueInMs > 0 && this.excludesOthers()) return await this.#wait(dueInMs)
    if (!this.#options.isFenced) return await this.#keepShared()
    const sentAt = this.#now()
    const didServe = this.excludesOthers()
    try {
      await this.#withinHold(this.confirm())
    } catch (error) {
      if (elapsedMs(sentAt, this.#now()) < this.#ttlMs / 3 + STALL_MS) this.#isAway = true
      // It did not stand still, and nobody waits: the database is away, and presence goes on.
      if (didServe && !this.#hasStandby) this.#serve(sentAt)
      throw error
    } finally {
      // Before it waits: the time of a hold that was not extended may be over.
      if (this.#state === 'held' && this.#isAway && !this.excludesOthers()) this.#lose('unknown')
    }
  }

  /** A short failure of the live state changes nothing. In a long one, another process may still reach it. */
  async #keepShared(): Promise<void> {
    if (await this.#canReadLiveState()) return void (await this.confirm())
    if (this.#state !== 'held') return
    if (this.#now().steadyMs - (this.#cutOffSinceMs ?? 0) < this.#ttlMs) return void (await this.confirm())
    const { holder, ask, log } = this.#options
    await ask(releaseStatement(holder), this.#timeLimitMs)
    if (this.#state !== 'held') return
    log.warn({}, 'This process cannot read the live state: it leaves the recorder hold to a process that can.')
    this.#isOwn = false
    this.#stopHolding()
  }

  async #canReadLiveState(): Promise<boolean> {
    const sinceMs = this.#cutOffSinceMs ?? this.#now().steadyMs
    try {
      await this.#options.checkLiveState()
      this.sawLiveState()
      return true
    } catch (error) {
      if (!(error instanceof PresenceError)) throw error
      this.#cutOffSinceMs = sinceMs
      return false
    }
  }

  /** No longer than this process may serve: where another one waits, its sockets are to be closed then. */
  async #withinHold(asking: Promise<unknown>): Promise<void> {
    const leftMs = this.#leftMs()
    if (leftMs <= 0) return void (await asking)
    const noLonger = new AbortController()
    const over = sleep(leftMs, 'over', { ref: false, signal: noLonger.signal })
    // It goes on, and may still extend the hold.
    asking.catch(() => {})
    over.catch(() => {})
    try {
      if ((await Promise.race([asking, over])) === 'over')
        throw away("The database did not answer while the work was still this process's.")
    } finally {
      noLonger.abort()
    }
  }

  async #look(): Promise<void> {
    const { holder, isFenced, ask, events, log } = this.#options
    if (!isFenced && !(await this.#canReadLiveState())) return await this.#wait(this.#lookEveryMs())
    if (this.#state !== 'waiting') return
    const sentAt = this.#now()
    // What happened in a pause, of this process or of its host, was not watched.
    if (this.#watched !== null && elapsedMs(this.#watched.lookedAt, sentAt) > this.#ttlMs / 2) this.#watched = null
    let row: LookAnswer | undefined
    try {
      row = await ask<LookAnswer>(
        acquireStatement(holder, this.#ttlMs, this.#takeover(sentAt), isFenced),
        this.#timeLimitMs,
      )
    } catch (error) {
      this.#watched = null
      throw error
    }
    if (row === undefined) return
    if (row.taken) this.#isOwn = true
    if (this.#state !== 'waiting') return
    const checkpoint = checkpointOf(row)
    if (row.taken) {
      this.#state = 'held'
      this.#watched = null
      this.#hasToldOfWaiting = false
      this.extended({ sentAt, hasStandby: row.has_standby })
      events.taken(checkpoint)
      return
    }
    this.#watch({ holder: row.holder, heldUntilMs: row.held_until_ms }, sentAt)
    if (!this.#hasToldOfWaiting) {
      this.#hasToldOfWaiting = true
      log.info({}, 'Another process brings the records to this database. This one takes over should it stop.')
    }
    events.seen(checkpoint)
    await this.#wait(this.#lookEveryMs())
  }

  #watch(hold: SeenHold, lookedAt: Now): void {
    const isSame = this.#watched?.hold.holder === hold.holder && this.#watched.hold.heldUntilMs === hold.heldUntilMs
    const sinceMs = isSame && this.#watched !== null ? this.#watched.sinceMs : this.#now().steadyMs
    this.#watched = { hold, sinceMs, lookedAt }
  }

  #takeover(sentAt: Now): Takeover {
    const { isFenced, isForced } = this.#options
    if (isForced) return 'at once'
    if (!isFenced) return 'when it is over'
    if (this.#watched === null) return 'never'
    // A tenth more than the holder gives itself, for clocks that do not go alike and answers that are on their way.
    return sentAt.steadyMs - this.#watched.sinceMs > 1.1 * this.#ttlMs ? this.#watched.hold : 'never'
  }

  #lose(how: LossOfHold): null {
    if (how === 'taken') this.#isOwn = false
    this.#stopHolding()
    this.#options.events.lost(how)
    this.#options.bell.ring({ isLoud: true })
    return null
  }

  #stopHolding(): void {
    this.#state = 'waiting'
    this.#cutOffSinceMs = null
    this.#watched = null
    this.#hasStandby = false
    this.#isAway = false
  }

  #serve(from: Now): void {
    if (this.#servesFrom === null || from.steadyMs > this.#servesFrom.steadyMs) this.#servesFrom = from
  }

  #lasts(from: Now | null): boolean {
    return from !== null && elapsedMs(from, this.#now()) < this.#ttlMs
  }

  #leftMs(): number {
    return this.#servesFrom === null ? 0 : this.#ttlMs - elapsedMs(this.#servesFrom, this.#now())
  }

  #lastRetryMs(): number {
    return this.#options.isFenced ? Math.min(LAST_RETRY_MS, this.#ttlMs / 8) : LAST_RETRY_MS
  }

  #lookEveryMs(): number {
    const { isFenced, timing, isHurried } = this.#options
    if (isHurried()) return FIRST_RETRY_MS
    return Math.min(STANDBY_MS, timing.nodeRenewMs, isFenced ? this.#ttlMs / 8 : STANDBY_MS)
  }

  /** No longer than this process may serve. */
  async #wait(forMs: number): Promise<void> {
    const leftMs = this.#state === 'held' && this.#options.isFenced ? this.#leftMs() : forMs
    await this.#options.bell.wait(leftMs > 0 ? Math.min(forMs, leftMs) : forMs, { isDeaf: true })
  }
}

function checkpointOf({ epoch, seq, moved_at_ms, forgotten_count }: StoredCheckpoint): StoredCheckpoint {
  return { epoch, seq, moved_at_ms, forgotten_count }
}

interface LookAnswer extends StoredCheckpoint {
  readonly holder: string | null
  readonly held_until_ms: number | null
  readonly taken: boolean
  readonly has_standby: boolean
}

/** By the clock that says more. */
function elapsedMs(since: Now, now: Now): number {
  return Math.max(now.steadyMs - since.steadyMs, now.wallMs - since.wallMs)
}
