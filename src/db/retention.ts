/**
 * Deletes sessions from the history when `HISTORY_RETENTION` has passed since their end, and revocations that can
 * affect no token any more.
 *
 * Each batch is one short statement that waits for no lock: a later run deletes the rows that another transaction has
 * locked. A run is limited in time, so a history of years is deleted in many small steps.
 */
import { type SQL, sql } from 'drizzle-orm'
import type { Database } from './client.ts'
import { hiddenSpans, presenceSessions, revocations, users } from './tables.ts'

export interface Retention {
  /**
   * Deletes expired rows in batches. Call it repeatedly.
   *
   * @throws PresenceError `UNAVAILABLE` if the database does not answer: the next run continues
   */
  run(): Promise<void>
}

export interface RetentionOptions {
  readonly database: Database
  /** 0: no session is ever deleted. */
  readonly retentionMs: number
  readonly tokenMaxAgeMs: number
  readonly monotonicMs: () => number
  /** Smaller in tests of what happens between two batches. */
  readonly batchCount?: number
}

/** Sessions per statement: about 20 ms, so that a batch of the recorder never waits for long. */
const BATCH_COUNT = 1000
/** The longest time of one run: a process that stops waits for it. */
const RUN_MS = 1000
const SMALL_RUN_EVERY_MS = 60_000

export function createRetention(options: RetentionOptions): Retention {
  const { database, retentionMs, tokenMaxAgeMs, monotonicMs, batchCount = BATCH_COUNT } = options

  async function deleteBatch(): Promise<number> {
    const statement = deleteStatement(retentionMs, batchCount)
    const [row] = await database.run(async (drizzle) => [...(await drizzle.execute(statement))])
    return Number(row?.count ?? 0)
  }

  let nextSmallRunMs = Number.NEGATIVE_INFINITY

  /** Deletes from tables with few rows, for which once a minute is enough. */
  async function deleteFewRows(): Promise<void> {
    if (monotonicMs() < nextSmallRunMs) return
    await database.run((drizzle) => drizzle.execute(deleteRevocationsStatement(tokenMaxAgeMs)))
    if (retentionMs > 0) {
      await database.run((drizzle) => drizzle.execute(deleteSpansStatement(retentionMs, batchCount)))
    }
    nextSmallRunMs = monotonicMs() + SMALL_RUN_EVERY_MS
  }

  return {
    async run() {
      const untilMs = monotonicMs() + RUN_MS
      let count = retentionMs === 0 ? 0 : batchCount
      while (count === batchCount && monotonicMs() < untilMs) count = await deleteBatch()
      await deleteFewRows()
    },
  }
}

/** A hidden span stays as long as a session that overlaps it: without the span, the session would be shown. */
function deleteSpansStatement(retentionMs: number, count: number): SQL {
  return sql`
    with old as (
      select user_id, started_at from ${hiddenSpans} as span
      where ended_at < now() - ${retentionMs}::float8 * interval '1 millisecond'
        and not exists (select from ${presenceSessions} as session
          where session.user_id = span.user_id and session.started_at < span.ended_at
            and (session.ended_at is null or session.ended_at > span.started_at))
      order by ended_at limit ${count}::bigint for update skip locked
    )
    delete from ${hiddenSpans} as span using old where span.user_id = old.user_id and span.started_at = old.started_at`
}

/** Keeps a day more than a token may live, for clocks that disagree. */
function deleteRevocationsStatement(tokenMaxAgeMs: number): SQL {
  return sql`delete from ${revocations}
    where tokens_valid_after < now() - ${tokenMaxAgeMs}::float8 * interval '1 millisecond' - interval '1 day'`
}

/**
 * Deletes the sessions that ended first, and returns `{ count }`.
 *
 * A user who hides, or hides `last_active`, may have their last activity in their sessions only. So if no remaining
 * session has a later one, the same statement saves it in the user's row. A session whose user's row another
 * transaction has locked stays until the next run.
 */
function deleteStatement(retentionMs: number, count: number): SQL {
  const cutoff = sql`now() - ${retentionMs}::float8 * interval '1 millisecond'`
  const later = sql`select from ${presenceSessions} as later
    where later.user_id = latest.user_id and later.last_active >= latest.last_active`
  return sql`
    with old as (
      select id, user_id, last_active from ${presenceSessions}
      where ended_at < ${cutoff} order by ended_at limit ${count}::bigint
      for update skip locked
    ),
    latest as (select user_id, max(last_active) as last_active from old group by user_id),
    lacking as (
      select * from latest
      where not exists (${later} and later.ended_at >= ${cutoff})
        and not exists (${later} and later.ended_at is null)
        -- By the key of each: as a join it would read all users.
        and coalesce((
          select stored.past_last_active < latest.last_active from ${users} as stored where stored.id = latest.user_id
        ), true)
    ),
    locked as (
      select id from ${users} where id in (select user_id from lacking) for no key update skip locked
    ),
    remembered as (
      update ${users} as stored set past_last_active = lacking.last_active
      from lacking join locked on locked.id = lacking.user_id
      where stored.id = lacking.user_id
    ),
    gone as (
      delete from ${presenceSessions} where id in (
        select id from old where user_id not in (select user_id from lacking) or user_id in (select id from locked)
      )
      returning 1
    )
    select count(*)::integer as count from gone`
}
