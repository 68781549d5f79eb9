/** Brings the database to the newest schema without starting a server: `node dist/migrate.js`. */
import { pino } from 'pino'
import { ConfigError, parseConfig, type SettingTexts, settingsOfEnvironment } from './config.ts'
import { parseAddress } from './db/address.ts'
import { openDatabase } from './db/client.ts'
import { whyAway } from './db/failures.ts'
import { migrate } from './db/migrate.ts'

const settings = settingsOfEnvironment()
const log = pino({ level: settings.LOG_LEVEL ?? 'info', base: null })

/** A job that migrates has neither keys nor origins, so only the settings of the database are looked at. */
function databaseSettings(): SettingTexts {
  const { DATABASE_URL, DATABASE_PREPARE, DATABASE_TIME_LIMIT, DATA_DIR } = settings
  return { DATABASE_URL, DATABASE_PREPARE, DATABASE_TIME_LIMIT, DATA_DIR }
}

async function run(): Promise<void> {
  const config = parseConfig(databaseSettings())
  const leftOut = config.DATABASE_URL === null ? [] : parseAddress(config.DATABASE_URL).leftOut
  if (leftOut.length > 0) {
    log.warn({ parameters: leftOut }, 'DATABASE_URL has parameters that mean nothing here: they are left out.')
  }
  const database = await openDatabase(config, log)
  try {
    await migrate(database)
    log.info({}, 'The database has the newest schema.')
  } finally {
    await database.close()
  }
}

run().catch((error: unknown) => {
  process.exitCode = 1
  const reason = whyAway(error)
  if (error instanceof ConfigError) process.stderr.write(`${error.message}\n`)
  else if (reason !== null) log.error({}, `The database was not migrated. Postgres cannot be used: ${reason}.`)
  else log.error({ err: error }, 'The database was not migrated.')
})
