/** Brings the database to the newest schema without starting a server: `npm run db:migrate`. */
import { pino } from 'pino'
import { parseConfig, settingsOfEnvironment } from '../src/config.ts'
import { openDatabase } from '../src/db/client.ts'
import { migrate } from '../src/db/migrate.ts'

const log = pino({ base: null })
const database = await openDatabase(parseConfig(settingsOfEnvironment()), log)
try {
  await migrate(database)
  log.info({}, 'The database has the newest schema.')
} finally {
  await database.close()
}
