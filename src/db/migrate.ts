/**
 * Migrates the tables: applies the files of /drizzle in order, each once.
 *
 * Any number of processes may do it at once: a transaction-level lock lets one work, and the others then find it done.
 * It is one statement, so one transaction on one connection, whatever pooler is in between. The journal has Drizzle's
 * format and lies in Rollcall's schema. Drizzle's own migrator creates schema and journal outside the transaction, so
 * two at once fail.
 */
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { type MigrationMeta, readMigrationFiles } from 'drizzle-orm/migrator'
import type { Database } from './client.ts'
import { QueryRefusedError, takesNoWrites } from './failures.ts'

/** The same path from src/db and from dist/db. */
const FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))
/** The bytes of `rollcall`: all programs on a database share the key space of advisory locks. */
const LOCK_KEY = BigInt('0x726f6c6c63616c6c')
/** An index on a large table takes minutes, and other processes wait for it. */
const TIME_LIMIT_MS = 15 * 60_000
const INSUFFICIENT_PRIVILEGE = '42501'

/**
 * @throws PresenceError `UNAVAILABLE`: the database is out of reach
 * @throws Error that names a cause that waiting does not fix: the encoding, or the rights of the role
 */
export async function migrate(database: Database): Promise<void> {
  // Check first, with the usual time limit: a silent server should not take as long as a migration may.
  await requireUsable(database)
  const statement = sql.raw(migrationStatement(readMigrationFiles({ migrationsFolder: FOLDER })))
  try {
    await database.run((drizzle) => drizzle.execute(statement), TIME_LIMIT_MS)
  } catch (error) {
    if (!(error instanceof QueryRefusedError) || error.code !== INSUFFICIENT_PRIVILEGE) throw error
    throw new Error(
      'The role of DATABASE_URL may not bring the tables of Rollcall up to date, or not read them. Migrate with a role ' +
        'that may (`rollcall migrate`), and give this one the grants of docs/operations.md.',
      { cause: error },
    )
  }
}

/**
 * Checks the encoding and that the server takes writes. In an encoding other than UTF8, names with missing characters
 * would fail, and SQL_ASCII would check nothing. On a standby whose tables are up to date, the migration would find
 * nothing to do and succeed.
 */
async function requireUsable(database: Database): Promise<void> {
  const [row] = await database.run(async (drizzle) => [
    ...(await drizzle.execute<{ encoding: string; takesNoWrites: boolean }>(sql`
      select current_setting('server_encoding') as encoding,
        current_setting('transaction_read_only') = 'on' as "takesNoWrites"`)),
  ])
  if (row?.takesNoWrites === true) throw takesNoWrites()
  if (row?.encoding === 'UTF8') return
  throw new Error(
    `The database of DATABASE_URL has the encoding ${row?.encoding}, and Rollcall needs UTF8: names are in every script. ` +
      "Make another one: create database … encoding 'UTF8' template template0.",
  )
}

function migrationStatement(migrations: readonly MigrationMeta[]): string {
  // `if not exists` would require the right to create, which the server's role may not have.
  return `do ${quoted(`
    begin
      perform pg_advisory_xact_lock(${LOCK_KEY});
      if to_regnamespace('rollcall') is null then create schema rollcall; end if;
      if to_regclass('rollcall.migrations') is null then
        create table rollcall.migrations (id serial primary key, hash text not null, created_at bigint not null unique);
      end if;
      ${migrations.map(stepOf).join('')}
      if not exists (select from rollcall.database_identity) then insert into rollcall.database_identity default values; end if;
    end`)}`
}

function stepOf({ sql: statements, folderMillis, hash }: MigrationMeta): string {
  return `
      if not exists (select from rollcall.migrations where created_at = ${folderMillis}) then
        ${statements.map((statement) => `execute ${quoted(statement)};`).join('\n')}
        insert into rollcall.migrations (hash, created_at) values ('${hash}', ${folderMillis});
      end if;`
}

/** Dollar-quotes a text, with a tag that the text does not contain. */
function quoted(text: string): string {
  let tag = '$rollcall$'
  for (let count = 1; text.includes(tag); count += 1) tag = `$rollcall${count}$`
  return `${tag}${text}${tag}`
}
