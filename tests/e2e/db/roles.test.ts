/** The roles of docs/operations.md, made by the SQL of that page: one migrates by the command, the other one serves. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { createReadLog } from '../../support/log.ts'
import { freshDatabase } from '../../support/postgres.ts'
import { LONG_LEASE, startServer } from '../../support/server.ts'
import { until } from '../../support/wait.ts'

const page = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8')
const [, chapter = ''] = page.split('### Its roles\n')
const [makeRoles = '', grant = ''] = [...chapter.matchAll(/^```sql\n(.*?)^```$/gms)].map((match) => String(match[1]))
const MIGRATE = fileURLToPath(new URL('../../../dist/migrate.js', import.meta.url))
const cleanups = cleanupsAfterEach()

/** A database with both roles, as the page has them made. */
async function prepare() {
  const { url, drop } = await freshDatabase()
  cleanups.push(drop)
  const address = new URL(url)
  const suffix = address.pathname.slice(-8)
  // Roles are the server's, not the database's.
  const own = (text: string): string =>
    text
      .replaceAll(/rollcall_(migrator|app)/g, `$&_${suffix}`)
      .replaceAll('database app', `database ${address.pathname.slice(1)}`)
  const urlOf = (role: string): string => {
    const its = new URL(url)
    its.username = own(role)
    its.password = 'change-me'
    return its.href
  }
  const administration = postgres(url, { max: 1, onnotice: () => {} })
  await administration.unsafe(own(makeRoles))
  // On this server every role could connect without it, and in `public` of an old one make tables.
  await administration.unsafe(`revoke all on database ${address.pathname.slice(1)} from public`)
  cleanups.push(async () => {
    for (const role of ['rollcall_app', 'rollcall_migrator'].map(own)) {
      await administration.unsafe(`drop owned by ${role} cascade; drop role ${role}`)
    }
    await administration.end()
  })
  return { migrator: urlOf('rollcall_migrator'), app: urlOf('rollcall_app'), administration, own }
}

async function migrateAs(url: string): Promise<{ readonly code: number; readonly output: string }> {
  const child = spawn(process.execPath, [MIGRATE], {
    // No key, as a job that migrates has none.
    env: { PATH: process.env.PATH, NODE_ENV: 'production', DATABASE_URL: url },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const [code] = await once(child, 'close')
  return { code: Number(code), output }
}

async function runAs(url: string, text: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} })
  try {
    await sql.unsafe(text)
  } finally {
    await sql.end()
  }
}

it('are enough: one migrates, and the other one serves', async () => {
  const { migrator, app, administration, own } = await prepare()
  const migrated = await migrateAs(migrator)
  expect(migrated).toEqual({ code: 0, output: expect.stringContaining('The database has the newest schema.') })
  expect((await migrateAs(migrator)).code).toBe(0)
  await runAs(migrator, own(grant))

  const { log, takeFaults } = createReadLog()
  const server = await startServer({ ...LONG_LEASE, DATABASE_URL: app }, log)
  cleanups.push(server.stop, async () => closeTabs())
  const tab = await openTab(server, 'alice', { rooms: ['hall'] })
  for (const question of [
    'mutation { setStatus(status: BUSY, message: "Here") { viewer { user { id } } } }',
    'mutation { setVisibility(visibility: NOBODY) { viewer { user { id } } } }',
    'mutation { goOffline { viewer { isOnline } } }',
  ]) {
    expect((await tab.ask(question)).errors).toBeUndefined()
  }
  expect((await post(server, 'dev:bob', '{ users(ids: ["alice", "carol"]) { id name } }')).errors).toBeUndefined()
  await until(
    async () =>
      (await administration`select from rollcall.presence_sessions where end_reason = 'WENT_OFFLINE'`).length === 1,
    { what: 'the record of a session' },
  )
  expect(takeFaults()).toEqual([])
  // It could not have made anything.
  await expect(runAs(app, 'create table rollcall.mine ()')).rejects.toThrow('permission denied')
  await expect(runAs(app, 'create schema mine')).rejects.toThrow('permission denied')
  // Tables of a later version are the migrator's, and open to it.
  await runAs(migrator, 'create table rollcall.later (id int)')
  await runAs(app, 'insert into rollcall.later values (1)')
})

it('are needed: each says what it lacks', async () => {
  const { app, migrator, own, administration } = await prepare()
  const refused = await migrateAs(app)
  expect(refused.code).toBe(1)
  expect(refused.output).toContain('may not bring the tables of Rollcall up to date')
  expect(refused.output).not.toContain('change-me')
  await expect(startServer({ DATABASE_URL: app })).rejects.toThrow('give this one the grants of docs/operations.md')
  await administration.unsafe(own(`revoke create on database app from rollcall_migrator`))
  expect((await migrateAs(migrator)).code).toBe(1)
})

it('or what keeps the database away, in words', async () => {
  const { app } = await prepare()
  const away = new URL(app)
  away.port = '1'
  const refused = await migrateAs(away.href)
  expect(refused.code).toBe(1)
  expect(refused.output).toContain('Postgres cannot be used: nothing listens at its address (ECONNREFUSED).')
  const wrong = await migrateAs('postgres://app:change-me@db/app?work_mem=1')
  expect(wrong.code).toBe(1)
  expect(wrong.output).toContain('has the parameter `work_mem`')
})
