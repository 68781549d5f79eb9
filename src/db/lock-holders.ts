/** Finds the transactions that a statement of Rollcall waits for, for the operator's log. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type SQL, sql } from 'drizzle-orm'

/** A database session. Its query is omitted, because it may contain text that an app's users wrote. */
export interface LockHolder {
  readonly pid: number
  readonly user: string | null
  readonly application: string | null
  /** How long its transaction has been open; null if Rollcall's role may not see it. */
  readonly openForMs: number | null
}

/**
 * Looks while the statement waits, because the lock cannot be seen afterwards.
 *
 * @param afterMs - how long the statement may run before the lookup
 * @returns an empty list if the statement ended before, or waits for no lock
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
    // The lookup only adds detail to an error that is logged anyway.
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
