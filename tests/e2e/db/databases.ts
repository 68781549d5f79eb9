/** Both databases that Rollcall runs on, for suites that hold them against the same expectations. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type SQL, sql } from 'drizzle-orm'
import { type Database, type DatabaseConfig, openDatabase } from '../../../src/db/client.ts'
import { migrate } from '../../../src/db/migrate.ts'
import type { OperatorLog } from '../../../src/presence/operator-log.ts'
import { freshDatabase } from '../../support/postgres.ts'

export interface OpenedDatabase {
  readonly database: Database
  readonly config: DatabaseConfig
  readonly log: TestLog
  close(): Promise<void>
}

export interface TestLog extends OperatorLog {
  readonly lines: { readonly level: string; readonly message: string; readonly details: object }[]
}

export const DATABASES = [
  { name: 'the embedded database', open: openEmbeddedDatabase },
  { name: 'Postgres', open: openPostgresDatabase },
] as const

export async function openEmbeddedDatabase(settings: Partial<DatabaseConfig> = {}): Promise<OpenedDatabase> {
  const folder = temporaryFolder()
  return await open({ ...defaults, DATA_DIR: folder, ...settings }, async () => {
    rmSync(folder, { recursive: true, force: true })
  })
}

export async function openPostgresDatabase(settings: Partial<DatabaseConfig> = {}): Promise<OpenedDatabase> {
  const { url, drop } = await freshDatabase()
  return await open({ ...defaults, DATABASE_URL: url, ...settings }, drop)
}

export const defaults: DatabaseConfig = {
  DATABASE_URL: null,
  DATABASE_PREPARE: true,
  DATABASE_TIME_LIMIT: 20_000,
  DATA_DIR: './data',
}

async function open(config: DatabaseConfig, remove: () => Promise<void>): Promise<OpenedDatabase> {
  const log = createTestLog()
  const database = await openDatabase(config, log)
  await migrate(database)
  return {
    database,
    config,
    log,
    async close() {
      await database.close()
      await remove()
    },
  }
}

export function temporaryFolder(): string {
  return mkdtempSync(join(tmpdir(), 'rollcall-test-'))
}

export function createTestLog(): TestLog {
  const lines: TestLog['lines'] = []
  const line = (level: string) => (details: object, message: string) => void lines.push({ level, message, details })
  return { lines, info: line('info'), warn: line('warn'), error: line('error') }
}

export async function rows<Row extends object>(database: Database, query: SQL): Promise<Row[]> {
  return await database.run(async (drizzle) => [...(await drizzle.execute(query))] as unknown as Row[])
}

export async function empty(database: Database): Promise<void> {
  await rows(
    database,
    sql`truncate rollcall.users, rollcall.presence_sessions, rollcall.recorder_checkpoint, rollcall.revocations, rollcall.hidden_spans`,
  )
}

/** Waits for what happens in its own time. */
export async function eventually<Answer>(
  look: () => Answer | Promise<Answer>,
  withinMs = 15_000,
): Promise<NonNullable<Answer>> {
  const untilMs = performance.now() + withinMs
  for (;;) {
    const answer = await look()
    if (answer !== null && answer !== undefined && answer !== false) return answer as NonNullable<Answer>
    if (performance.now() > untilMs) throw new Error(`Not within ${withinMs} ms: ${String(look)}`)
    await sleep(10)
  }
}
