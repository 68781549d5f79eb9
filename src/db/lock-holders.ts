/** Names the transactions that a statement of ours waits for, for the operator's log. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type SQL, sql } from 'drizzle-orm'

/** A session of the database. What it runs is left out: it may hold what an app's users wrote. */
export interface LockHolder {
  readonly pid: number
  readonly user: string | null
  readonly application: string | null
  /** How long its transaction has been open; null if our role may not see it. */
  readonly openForMs: number | null
}

/**
 * Looks while the statement waits, because nobody can tell afterwards.
 *
 * @param afterMs - how long the statement may take before it is looked up
 * @returns none if it ended before, or waits for no lock
 */
export async function whoLocks(
  askAll: <Row extends object>(statement: SQL) => Promise<readonly Row[]>,
  statement: Promise<unknown>,
  afterMs: number,
): Promise<readonly LockHolder[]> {
  const isOver = statement.then(
    () => true,
    () => true,
  )
  const noLonger = new AbortController()
  const isSlow = sleep(afterMs, false, { ref: false, signal: noLonger.signal }).catch(() => true)
  try {
    if (await Promise.race([isOver, isSlow])) return []
    return await askAll<LockHolder>(lockHoldersStatement)
  } catch {
    // It only explains what is said anyway.
    return []
  } finally {
    noLonger.abort()
  }
}

/** `pg_stat_activity` shows the transactions of others only to members of `pg_read_all_stats`. */
const lockHoldersStatement = sql`
  select distinct holder.pid, holder.usename as user, holder.application_name as application,
    round(extract(epoch from clock_timestamp() - holder.xact_start) * 1000)::float8 as "openForMs"
  from pg_stat_activity as waiting
  cross join lateral unnest(pg_blocking_pids(waiting.pid)) as blocking(pid)
  join pg_stat_activity as holder on holder.pid = blocking.pid
  where waiting.datname = current_database() and waiting.application_name = current_setting('application_name')
    and waiting.wait_event_type = 'Lock' and holder.application_name <> waiting.application_name
  limit 5`
