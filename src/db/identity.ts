/**
 * The database's id: it survives a restart, a failover and a restored backup, and every new database has another one.
 */
import { sql } from 'drizzle-orm'
import type { Database } from './client.ts'
import { databaseIdentity } from './tables.ts'

/** @throws PresenceError `UNAVAILABLE`; Error if the migrations have not created the id */
export async function readDatabaseId(database: Database): Promise<string> {
  const [row] = await database.run(async (drizzle) => [
    ...(await drizzle.execute(sql`select database_id from ${databaseIdentity}`)),
  ])
  if (row === undefined) throw new Error('rollcall.database_identity has no row: run the migrations.')
  return String(row.database_id)
}
