/**
 * Brings the tables up to date: the files of /drizzle in their order, each once, all in one transaction.
 *
 * Any number of processes may do it at once: a lock of the transaction lets one work, and the others find it done.
 * The journal is Drizzle's, in our schema. Its own migrator makes schema and journal outside of the transaction,
 * where two at once fail.
 */
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { readMigrationFiles } from 'drizzle-orm/migrator'
import type { Database } from './client.ts'

/** The same from src/db and from dist/db. */
const FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))
/** The bytes of `rollcall`: the locks of a database have one space for all programs. */
const LOCK_KEY = '0x726f6c6c63616c6c'
/** An index on a large table takes minutes, and other processes wait for it. */
const TIME_LIMIT_MS = 15 * 60_000

export async function migrate(database: Database): Promise<void> {
  const migrations = readMigrationFiles({ migrationsFolder: FOLDER })
  await database.run(
    (drizzle) =>
      drizzle.transaction(async (transaction) => {
        await transaction.execute(sql`select pg_advisory_xact_lock(${BigInt(LOCK_KEY).toString()}::bigint)`)
        // Asked first: `if not exists` too needs the right to create, which the server's role may not have.
        const [found] = await transaction.execute<{ schema: string | null; journal: string | null }>(
          sql`select to_regnamespace('rollcall')::text as schema, to_regclass('rollcall.migrations')::text as journal`,
        )
        if (found?.schema === null) await transaction.execute(sql`create schema rollcall`)
        if (found?.journal === null) {
          await transaction.execute(
            sql`create table rollcall.migrations (id serial primary key, hash text not null, created_at bigint not null unique)`,
          )
        }
        const applied = await transaction.execute<{ created_at: string }>(
          sql`select created_at::text from rollcall.migrations`,
        )
        const appliedAt = new Set([...applied].map((row) => Number(row.created_at)))
        for (const migration of migrations) {
          if (appliedAt.has(migration.folderMillis)) continue
          for (const statement of migration.sql) await transaction.execute(sql.raw(statement))
          await transaction.execute(
            sql`insert into rollcall.migrations (hash, created_at) values (${migration.hash}, ${migration.folderMillis})`,
          )
        }
      }),
    TIME_LIMIT_MS,
  )
}
