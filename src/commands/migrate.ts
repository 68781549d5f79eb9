/** `rollcall migrate`: brings the database to the newest schema without starting a server. */
import { parseConfig, type SettingTexts, settingsOfEnvironment } from '../config.ts'
import { parseAddress } from '../db/address.ts'
import { openDatabase } from '../db/client.ts'
import { whyAway } from '../db/failures.ts'
import { migrate as migrateDatabase } from '../db/migrate.ts'
import { createLog } from '../log.ts'

/** @throws ConfigError; whatever fails later is in the log, and the exit code is 1 */
export async function migrate(): Promise<void> {
  const config = parseConfig(settingsOfMigration())
  const log = createLog(config.LOG_LEVEL)
  const leftOut = config.DATABASE_URL === null ? [] : parseAddress(config.DATABASE_URL).leftOut
  if (leftOut.length > 0) {
    log.warn({ parameters: leftOut }, 'DATABASE_URL has parameters that mean nothing here: they are left out.')
  }
  try {
    const database = await openDatabase(config, log)
    try {
      await migrateDatabase(database)
      log.info({}, 'The database has the newest schema.')
    } finally {
      await database.close()
    }
  } catch (error) {
    process.exitCode = 1
    const reason = whyAway(error)
    if (reason === null) log.error({ err: error }, 'The database was not migrated.')
    else log.error({}, `The database was not migrated. Postgres cannot be used: ${reason}.`)
  }
}

/** A job that migrates has neither keys nor origins, so the other settings are not looked at. */
function settingsOfMigration(): SettingTexts {
  const { DATABASE_URL, DATABASE_PREPARE, DATABASE_TIME_LIMIT, DATA_DIR, LOG_LEVEL } = settingsOfEnvironment()
  return { DATABASE_URL, DATABASE_PREPARE, DATABASE_TIME_LIMIT, DATA_DIR, LOG_LEVEL }
}
