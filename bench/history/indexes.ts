/** Kinds of an index for "who was online at T", side by side: what it takes, and what it costs to write. */
import postgres, { type Sql } from 'postgres'
import { cpuMsOf } from '../measure/cpu.ts'
import { print } from './fill.ts'

const TABLE = 'rollcall.presence_sessions'
/** Sessions that ended, as a range. A session that ended before its start, by a clock that was set, is empty. */
const RANGE = 'tstzrange(started_at, greatest(started_at, ended_at))'

const KINDS = [
  { name: 'none', index: null, condition: null },
  { name: 'b-tree (ended_at)', index: `(ended_at) where ended_at is not null`, condition: null },
  {
    name: 'b-tree (ended_at, started_at)',
    index: `(ended_at, started_at) where ended_at is not null`,
    condition: null,
  },
  { name: 'b-tree (started_at)', index: `(started_at)`, condition: null },
  {
    name: 'BRIN (started_at, ended_at)',
    index: `using brin (started_at, ended_at) with (pages_per_range = 32)`,
    condition: null,
  },
  { name: 'GiST (range)', index: `using gist (${RANGE}) where ended_at is not null`, condition: RANGE },
  { name: 'SP-GiST (range)', index: `using spgist (${RANGE}) where ended_at is not null`, condition: RANGE },
] as const

const DAYS_AGO = [0.5, 7, 60] as const
/** A migration waits for it, and the recorder with it. */
const BUILD_LIMIT_SECONDS = 90
const WRITTEN_SESSIONS = 40_000

export async function comparisons(sql: Sql): Promise<void> {
  await sql.unsafe('drop index if exists rollcall.presence_sessions_ended, rollcall.presence_sessions_moments')
  print(
    '\nindex | build s | size | online at 0.5, 7, 60 days ago, ms | µs of the server’s processor for a session that starts and ends',
  )
  for (const { name, index, condition } of KINDS) {
    const buildStartMs = performance.now()
    if (index !== null && !(await isBuilt(sql, `create index candidate on ${TABLE} ${index}`))) {
      print(`${name} | more than ${BUILD_LIMIT_SECONDS}`)
      continue
    }
    const buildSeconds = (performance.now() - buildStartMs) / 1000
    await sql.unsafe(`analyze ${TABLE}`)
    const [size] = await sql.unsafe(
      `select pg_size_pretty(pg_relation_size(to_regclass('rollcall.candidate'))) as size`,
    )
    const times: string[] = []
    for (const days of DAYS_AGO) times.push((await onlineAt(sql, days, condition)).toFixed(1))
    const perSession = await writePrice(sql)
    print(
      `${name} | ${buildSeconds.toFixed(1)} | ${size?.size ?? '-'} | ${times.join(', ')} | ${perSession.toFixed(1)}`,
    )
    await sql.unsafe('drop index if exists rollcall.candidate')
  }
  await sql.unsafe(`create index presence_sessions_ended on ${TABLE} (ended_at) where ended_at is not null`)
  await sql.unsafe(
    `create index presence_sessions_moments on ${TABLE} using brin (started_at, ended_at) with (pages_per_range = 32)`,
  )
}

async function isBuilt(sql: Sql, statement: string): Promise<boolean> {
  await sql.unsafe(`set statement_timeout = '${BUILD_LIMIT_SECONDS}s'`)
  try {
    await sql.unsafe(statement)
    return true
  } catch (error) {
    if (error instanceof postgres.PostgresError && error.code === '57014') return false
    throw error
  } finally {
    await sql.unsafe('reset statement_timeout')
  }
}

export async function onlineAt(sql: Sql, daysAgo: number, range: string | null): Promise<number> {
  const moment = `(now() - interval '${daysAgo} days')`
  const ended =
    range === null
      ? `select user_id from ${TABLE} where started_at <= ${moment} and ended_at > ${moment}`
      : `select user_id from ${TABLE} where ${range} @> ${moment} and ended_at is not null`
  const query = `select count(distinct user_id) from (${ended} union all
    select user_id from ${TABLE} where started_at <= ${moment} and ended_at is null) as online`
  await sql.unsafe(query)
  const times: number[] = []
  for (let run = 0; run < 3; run += 1) {
    const startedAtMs = performance.now()
    await sql.unsafe(query)
    times.push(performance.now() - startedAtMs)
  }
  return Math.min(...times)
}

/** Sessions that start and then end, 500 at a time, as the recorder writes them; the rows are taken out again. */
async function writePrice(sql: Sql): Promise<number> {
  await sql.unsafe(`create temporary table written as
    select gen_random_uuid() as id, 'user-' || (1 + number % 1000) as user_id, number from generate_series(1, ${WRITTEN_SESSIONS}) as number`)
  // A batch finds its rows by their key, as the recorder's statement does.
  await sql.unsafe('analyze written; set enable_hashjoin = off; set enable_mergejoin = off')
  const [backend] = await sql`select pg_backend_pid() as pid`
  const startCpuMs = cpuMsOf(Number(backend?.pid))
  for (let from = 0; from < WRITTEN_SESSIONS; from += 500) {
    const slice = `number > ${from} and number <= ${from + 500}`
    await sql.unsafe(`insert into ${TABLE} (id, user_id, client_session_id, has_socket, started_at, last_active)
      select id, user_id, 'default', true, now(), now() from written where ${slice}`)
    await sql.unsafe(`update ${TABLE} as session set ended_at = now(), end_reason = 'CLOSED'
      from written where session.id = written.id and ${slice}`)
  }
  const microseconds = ((cpuMsOf(Number(backend?.pid)) - startCpuMs) * 1000) / WRITTEN_SESSIONS
  await sql.unsafe('reset enable_hashjoin; reset enable_mergejoin')
  await sql.unsafe(`delete from ${TABLE} using written where presence_sessions.id = written.id; drop table written`)
  await sql.unsafe(`vacuum ${TABLE}`)
  return microseconds
}
