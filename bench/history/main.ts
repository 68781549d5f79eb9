/**
 * The history at 3,000,000 sessions: what the questions of docs/data.md take, with their plans, what a start and a first
 * heartbeat take, what retention and a migration take, and what an index more costs the recorder. The server that starts
 * is the one that `npm run build` made last.
 *
 * `node --import tsx bench/history/main.ts [--sessions 3000000] [--users 100000] [--only indexes,queries,starts,retention]`
 *
 * It starts a Postgres of its own, with `fsync` off, and ends it; `--url` names one on this machine that it filled before.
 * The whole takes some minutes. Linux only: what a question takes is the processor time of its backend.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import postgres, { type Sql } from 'postgres'
import { openDatabase } from '../../src/db/client.ts'
import { migrate } from '../../src/db/migrate.ts'
import { createRetention } from '../../src/db/retention.ts'
import { startPostgres } from '../../tests/support/postgres.ts'
import { cpuMsOf } from '../measure/cpu.ts'
import { toBeUndone, undoAll, undoOnSignals } from '../processes.ts'
import { fill, print } from './fill.ts'
import { comparisons, onlineAt } from './indexes.ts'
import { starts } from './starts.ts'

const DAY_MS = 86_400_000
/** Of each question: the first one warms up. */
const RUNS = 2
const { values } = parseArgs({
  options: {
    sessions: { type: 'string', default: '3000000' },
    users: { type: 'string', default: '100000' },
    url: { type: 'string' },
    only: { type: 'string', default: 'indexes,queries,starts,retention' },
  },
})
const steps = new Set(values.only.split(','))

undoOnSignals()
const server = values.url === undefined ? await startPostgres() : { url: values.url, stop: async () => {} }
const stop = toBeUndone(() => server.stop())
const silent = { info() {}, warn() {}, error() {} }
const database = await openDatabase(
  { DATABASE_URL: server.url, DATABASE_PREPARE: true, DATABASE_TIME_LIMIT: 120_000, DATA_DIR: '' },
  silent,
)
const sql = postgres(server.url, { max: 1, onnotice: () => {} })
try {
  await migrate(database)
  const size = { sessionCount: Number(values.sessions), userCount: Number(values.users) }
  print(`${size.sessionCount} sessions of ${size.userCount} users, ${await version(sql)}`)
  if (values.url === undefined) print(`filled in ${await secondsOf(() => fill(sql, size))} s`)
  print(await sizes(sql))
  if (steps.has('indexes')) await comparisons(sql)
  if (steps.has('queries')) await queries(sql)
  if (steps.has('starts')) await starts(server.url)
  if (steps.has('retention')) await retention()
  if (steps.has('retention')) await reuse(sql)
} finally {
  await sql.end()
  await database.close()
  await stop()
  await undoAll()
}

async function version(client: Sql): Promise<string> {
  const [row] = await client`show server_version`
  return `Postgres ${row?.server_version}`
}

async function sizes(client: Sql): Promise<string> {
  const rows = await client`
    select relname as name, pg_size_pretty(pg_relation_size(oid)) as size from pg_class
    where relnamespace = 'rollcall'::regnamespace and relname like 'presence_sessions%' order by relname`
  return rows.map(({ name, size }) => `  ${name}: ${size}`).join('\n')
}

/** The questions are those of the page: what a reader runs is what is measured. */
async function queries(client: Sql): Promise<void> {
  const page = readFileSync(new URL('../../docs/data.md', import.meta.url), 'utf8')
  const section = page.split('\n## ').find((part) => part.startsWith('Questions to the history')) ?? ''
  const [backend] = await client`select pg_backend_pid() as pid`
  // In one process, so that all that a question takes is counted.
  await client.unsafe('set max_parallel_workers_per_gather = 0')
  for (const [, question, text] of section.matchAll(/^\*\*(.+?)\*\*.*?```sql\n(.*?)```/gms)) {
    const times: number[] = []
    for (let run = 0; run < RUNS; run += 1) {
      const startCpuMs = cpuMsOf(Number(backend?.pid))
      await client.unsafe(String(text))
      times.push(cpuMsOf(Number(backend?.pid)) - startCpuMs)
    }
    const rows = await client.unsafe(`explain (costs off) ${text}`)
    print(`\n${question}: ${Math.min(...times).toFixed(0)} ms of the processor, the least of ${RUNS}`)
    print(`${rows.map((row) => `  ${row['QUERY PLAN']}`).join('\n')}`)
  }
}

async function retention(): Promise<void> {
  const run = createRetention({
    database,
    retentionMs: 90 * DAY_MS,
    tokenMaxAgeMs: 365 * DAY_MS,
    monotonicMs: () => performance.now(),
  })
  let [before, runs, ms] = [await countOf(), 0, 0]
  const first = before
  for (;;) {
    const startedAtMs = performance.now()
    await run.run()
    ms += performance.now() - startedAtMs
    runs += 1
    const after = await countOf()
    if (after === before) break
    before = after
  }
  print(`\nretention: ${first - before} sessions deleted in ${runs} runs, ${(ms / 1000).toFixed(1)} s`)
}

/** As after some months: the space of sessions that were deleted has those that came since. */
async function reuse(client: Sql): Promise<void> {
  await client.unsafe('vacuum rollcall.presence_sessions')
  await client.unsafe(`
    insert into rollcall.presence_sessions
      (id, user_id, client_session_id, has_socket, started_at, last_active, ended_at, end_reason)
    select gen_random_uuid(), user_id, client_session_id, has_socket, started_at + interval '30 days',
      last_active + interval '30 days', ended_at + interval '30 days', end_reason
    from rollcall.presence_sessions where ended_at > now() - interval '30 days' order by ended_at`)
  await client.unsafe('vacuum analyze rollcall.presence_sessions')
  const at = async () => (await onlineAt(client, 20, null)).toFixed(1)
  print(`\nonline 20 days ago, when the space was used again: ${await at()} ms`)
  const seconds = await secondsOf(() => client.unsafe('reindex index concurrently rollcall.presence_sessions_moments'))
  print(`the same after \`reindex index concurrently\` (${seconds} s): ${await at()} ms`)
  // Postgres takes the start and the end for independent, and would read the whole table.
  await client.unsafe('set enable_seqscan = off; set enable_indexscan = off')
  print(`the same, by the index: ${await at()} ms`)
}

async function countOf(): Promise<number> {
  const [row] = await sql`select count(*)::integer as count from rollcall.presence_sessions`
  return Number(row?.count)
}

async function secondsOf(work: () => Promise<unknown>): Promise<string> {
  const startedAtMs = performance.now()
  await work()
  return ((performance.now() - startedAtMs) / 1000).toFixed(1)
}
