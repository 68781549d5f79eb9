/**
 * An app holds a lock on the row that Rollcall's trigger writes for one user: for as long as it lasts, the columns of
 * everybody else follow, and nobody waits for an answer.
 *
 * `LOCK_SECONDS=90 npx vitest run tests/fault/held-lock.test.ts` is the long form.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { mirrorTrigger } from '../support/data-page.ts'
import { metricOf } from '../support/metrics.ts'
import { startProcess } from '../support/process.ts'
import { DEFAULTS, redisData } from '../support/server.ts'
import { until } from '../support/wait.ts'

const LOCK_MS = Number(process.env.LOCK_SECONDS ?? '4') * 1000
const OTHERS = Array.from({ length: 40 }, (_, index) => `other-${index}`)
const FOLLOWS_WITHIN_MS = 2000

const cleanups = cleanupsAfterEach()

it('40 others follow within 2 s while one row is locked', { timeout: LOCK_MS + 60_000 }, async () => {
  const data = await redisData()
  cleanups.push(data.drop)
  const sql = postgres(String(data.settings.DATABASE_URL), { max: 2, onnotice: () => {} })
  cleanups.push(() => sql.end())
  const server = await startProcess({ ...DEFAULTS, ...data.settings })
  cleanups.push(() => server.end('SIGKILL'))
  await sql.unsafe('drop table public.users; create table public.users (id text primary key)')
  await sql`insert into public.users (id) select unnest(${['alice', ...OTHERS]}::text[])`
  await sql.unsafe(mirrorTrigger())

  const locking = await sql.reserve()
  cleanups.push(async () => locking.release())
  await locking`begin`
  await locking`select from public.users where id = 'alice' for update`
  const untilMs = performance.now() + LOCK_MS
  const latenesses: number[] = []
  const answers: number[] = []
  for (let round = 0; performance.now() < untilMs; round += 1) {
    const isComing = round % 2 === 0
    await post(server, 'dev:alice', 'mutation { heartbeat { nextHeartbeatInMs } }')
    const fromMs = performance.now()
    await Promise.all(
      OTHERS.map(async (userId) => {
        const answer = await post(
          server,
          `dev:${userId}`,
          isComing ? 'mutation { heartbeat { nextHeartbeatInMs } }' : 'mutation { goOffline { viewer { id } } }',
        )
        expect(answer.errors).toBeUndefined()
      }),
    )
    const { errors } = await post(server, 'dev:other-0', 'mutation { setStatus(status: BUSY) { viewer { id } } }')
    expect(errors).toBeUndefined()
    answers.push(performance.now() - fromMs)
    await until(
      async () => {
        const [row] = await sql`
          select count(*)::int as count from rollcall.users as own join public.users as app using (id)
          where id = any(${OTHERS}) and own.is_online = ${isComing} and app.is_online = ${isComing}`
        return row?.count === OTHERS.length
      },
      { what: 'the columns of all others' },
    )
    latenesses.push(performance.now() - fromMs)
    await sleep(200)
  }
  console.log(
    `${latenesses.length} rounds while the row was locked: answers of all 40 within ${Math.max(...answers).toFixed(0)} ms, ` +
      `columns within ${Math.max(...latenesses).toFixed(0)} ms`,
  )
  expect(Math.max(...latenesses)).toBeLessThan(FOLLOWS_WITHIN_MS)
  const [before] = await sql`select is_online from public.users where id = 'alice'`
  expect(before?.is_online).toBe(false)
  expect(await metricOf(server, 'rollcall_users_set_aside')).toBe(1)
  expect(await metricOf(server, 'rollcall_postgres_up')).toBe(1)

  await locking`rollback`
  await until(async () => (await sql`select from public.users where id = 'alice' and is_online`).length === 1, {
    what: "alice's column",
  })
})
