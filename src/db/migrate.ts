/**
 * Brings the tables up to date: the files of /drizzle in their order, each once.
 *
 * Any number of processes may do it at once: a lock of the transaction lets one work, and the others find it done.
 * It is one statement, and so one transaction on one connection, whatever pooler is in between. The journal is
 * Drizzle's, in our schema; its own migrator makes schema and journal outside of the transaction, where two at once
 * fail.
 */
import { fileURLToPath } from 'node:url'
import { sql } from 'drizzle-orm'
import { type MigrationMeta, readMigrationFiles } from 'drizzle-orm/migrator'
import type { Database } from './client.ts'

/** The same from src/db and from dist/db. */
const FOLDER = fileURLToPath(new URL('../../drizzle', import.meta.url))
/** The bytes of `rollcall`: the locks of a database have one space for all programs. */
const LOCK_KEY = BigInt('0x726f6c6c63616c6c')
/** An index on a large table takes minutes, and other processes wait for it. */
const TIME_LIMIT_MS = 15 * 60_000

export async function migrate(database: Database): Promise<void> {
  const statement = sql.raw(migrationStatement(readMigrationFiles({ migrationsFolder: FOLDER })))
  await database.run((drizzle) => drizzle.execute(statement), TIME_LIMIT_MS)
}

function migrationStatement(migrations: readonly MigrationMeta[]): string {
  // `if not exists` would ask for the right to create, which the server's role may not have.
  return `do ${quoted(`
    begin
      perform pg_advisory_xact_lock(${LOCK_KEY});
      if to_regnamespace('rollcall') is null then create schema rollcall; end if;
      if to_regclass('rollcall.migrations') is null then
        create table rollcall.migrations (id serial primary key, hash text not null, created_at bigint not null unique);
      end if;
      ${migrations.map(stepOf).join('')}
    end`)}`
}

function stepOf({ sql: statements, folderMillis, hash }: MigrationMeta): string {
  return `
      if not exists (select from rollcall.migrations where created_at = ${folderMillis}) then
        ${statements.map((statement) => `execute ${quoted(statement)};`).join('\n')}
        insert into rollcall.migrations (hash, created_at) values ('${hash}', ${folderMillis});
      end if;`
}

/** Between dollar signs, with a tag that the text does not hold. */
function quoted(text: string): string {
  let tag = '$rollcall$'
  for (let count = 1; text.includes(tag); count += 1) tag = `$rollcall${count}$`
  return `${tag}${text}${tag}`
}
