/** Which database this is: the same after a restart, a failover and a restored backup, another one for each that is made. */
import { sql } from 'drizzle-orm'
import type { Database } from './client.ts'
import { databaseIdentity } from './tables.ts'

/** @throws PresenceError `UNAVAILABLE`; Error where the migrations have not made it */
export async function readDatabaseId(database: Database): Promise<string> {
  const [row] = await database.run(async (drizzle) => [
    ...(await drizzle.execute(sql`select database_id from ${databaseIdentity}`)),
  ])
  if (row === undefined) throw new Error('rollcall.database_identity has no row: run the migrations.')
  return String(row.database_id)
}
