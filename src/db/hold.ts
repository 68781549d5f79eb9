/**
 * Decides which process on a database has the work.
 *
 * If many processes share the live state in Redis, this only saves effort: one writes the records and the others need
 * not. A holder that cannot read the live state for `NODE_TTL` releases the work to one that can.
 *
 * If each process has its own live state (`isFenced`), the holder of the work is the one that serves, and there must
 * never be two. This compares no clock with another process's clock:
 *
 * - The holder counts its hold from the moment before it sent the statement that extended it. So by its own clocks the
 *   hold expires no later than by any other clock.
 * - A waiting process takes the work from another one only after it has seen the same hold for longer than `NODE_TTL`,
 *   without a failed look in between. In that time a holder that can reach the database has extended the hold, and one
 *   that cannot has seen it expire.
 * - A waiting process records that it waits with each look, and the holder reads that with each extension. A holder
 *   that cannot reach the database and has seen no waiting process continues: the database seems to be away.
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
  /** Whether no other process may serve while this one does. */
  readonly isFenced: boolean
  /** Whether no other process can open the database. */
  readonly isForced: boolean
  /**
   * Rejects if the live state cannot be read. Called only if the live state is shared: a process can always read its
   * own.
   */
  readonly checkLiveState: () => Promise<unknown>
  /** @param timeLimitMs - default: the database's own */
  readonly ask: <Row extends object>(statement: SQL, timeLimitMs?: number) => Promise<Row | undefined>
  /** Whether a caller waits for the holder's work: then the pause between two looks is short. */
  readonly isHurried: () => boolean
  /** A loud ring ends the pause between two looks. */
  readonly bell: Signal
  readonly events: HoldEvents
  readonly log: OperatorLog
  /** The steady clock may stand still while the host sleeps, and the wall clock can be set. */
  readonly clock?: Clock
}

export interface HoldEvents {
  taken(checkpoint: StoredCheckpoint): void
  /** Another process has the work. */
  seen(checkpoint: StoredCheckpoint): void
  lost(how: LossOfHold): void
}

/** `taken`: another process has the work. `unknown`: the database cannot be asked, and another process was waiting. */
export type LossOfHold = 'taken' | 'unknown'

/** The result of a statement that extended the hold. */
export interface Extension {
  readonly sentAt: Now
  readonly hasStandby: boolean
}

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 5000
/** How often a waiting process looks whether the work is free. */
const STANDBY_MS = 1000
/** A failure that exceeds its time limit by this much means that this process stood still. */
const STALL_MS = 1000

export class Hold {
  readonly #options: HoldOptions
  readonly #now: Clock
  readonly #ttlMs: number
  /**
   * For one statement of a fenced hold: short enough to send a failed statement again before the hold expires, and
   * twice before a waiting process takes it. Otherwise the database's own: the embedded database restarts if a query
   * exceeds its time limit.
   */
  readonly #timeLimitMs: number | undefined
  #state: 'waiting' | 'held' | 'stopped' = 'waiting'
  /** Whether this process is the holder in the database, as of the last answer. */
  #isOwn = false
  /** This process may serve for NODE_TTL from here without another answer of the database. */
  #servesFrom: Now | null = null
  #renewAtMs = 0
  #hasStandby = false
  /** Whether the database has not answered since the last extension, although this process was awake. */
  #isAway = false
  /** Since when the shared live state cannot be read; null: it can be read. */
  #cutOffSinceMs: number | null = null
  #retryMs = 0
  /** The hold of another process, and since when it has not changed. */
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

  /** Whether no other process can serve. Checked before anything is served, since this process may have stood still. */
  excludesOthers(): boolean {
    if (!this.#options.isFenced) return true
    return this.#state === 'held' && this.#lasts(this.#servesFrom)
  }

  now(): Now {
    return this.#now()
  }

  /** Called after a statement of the holder succeeded. */
  extended({ sentAt, hasStandby }: Extension): void {
    this.#serve(sentAt)
    this.#hasStandby = hasStandby
    this.#isAway = false
    this.#renewAtMs = Math.max(this.#renewAtMs, sentAt.steadyMs + this.#options.timing.nodeRenewMs)
  }

  /** The recorder read the live state, so this process is not cut off from it. */
  sawLiveState(): void {
    this.#cutOffSinceMs = null
  }

  /**
   * Asks the database whether this process still has the work.
   *
   * @returns the checkpoint; null if the work is lost
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

  /**
   * No other process can have taken the work, yet this process is not the holder: the database went back to an earlier
   * state.
   */
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

  /** @param isKept - the same process continues under the same name, so the work is not released */
  async stop({ isKept }: { readonly isKept: boolean }): Promise<void> {
    if (this.#state === 'stopped') return
    this.#state = 'stopped'
    this.#options.bell.ring({ isLoud: true })
    await this.#running
    if (!this.#isOwn || isKept) return
    try {
      await this.#options.ask(releaseStatement(this.#options.holder), this.#timeLimitMs)
    } catch {
      // The database is away. Other processes take the work when the hold expires.
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
      // This process did not stand still and no other one waits: the database is away, and presence continues.
      if (didServe && !this.#hasStandby) this.#serve(sentAt)
      throw error
    } finally {
      // Before the next pause: the hold that was not extended may have expired.
      if (this.#state === 'held' && this.#isAway && !this.excludesOthers()) this.#lose('unknown')
    }
  }

  /** A short failure of the live state changes nothing. During a long one, another process may still reach it. */
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

  /** Stops waiting when this process may no longer serve: if another process waits, the sockets must be closed then. */
  async #withinHold(asking: Promise<unknown>): Promise<void> {
    const leftMs = this.#leftMs()
    if (leftMs <= 0) return void (await asking)
    const noLonger = new AbortController()
    const over = sleep(leftMs, 'over', { ref: false, signal: noLonger.signal })
    // The query continues, and may still extend the hold.
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
    // This process could not watch the hold during a pause of its own or of its host.
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
    // A tenth more than the holder gives itself, for clock drift and answers under way.
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

  /** Waits no longer than this process may serve. */
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

/** By the clock that measured more: the steady clock may have stood still, and the wall clock been set back. */
function elapsedMs(since: Now, now: Now): number {
  return Math.max(now.steadyMs - since.steadyMs, now.wallMs - since.wallMs)
}
