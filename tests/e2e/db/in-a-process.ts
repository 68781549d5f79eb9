/** What tests have a process of its own do in a folder, to kill it or to see it refused. */
import { sql } from 'drizzle-orm'
import { openDatabase } from '../../../src/db/client.ts'
import { migrate } from '../../../src/db/migrate.ts'

const [folder, what] = process.argv.slice(2)
const log = { info: () => {}, warn: console.warn, error: console.error }
const database = await openDatabase(
  { DATABASE_URL: null, DATABASE_PREPARE: true, DATABASE_TIME_LIMIT: 20_000, DATA_DIR: String(folder) },
  log,
)

if (what === 'open-and-close') {
  await migrate(database)
  await database.close()
  console.log('closed')
}

if (what === 'write-and-die') {
  await migrate(database)
  let answeredCount = 0
  const endsAtMs = performance.now() + 300
  await Promise.all(
    Array.from({ length: 4 }, async (_, writer) => {
      for (let n = 0; ; n += 1) {
        await database.run((drizzle) =>
          drizzle.execute(sql`insert into rollcall.users (id) values (${`${writer}-${n}`})`),
        )
        answeredCount += 1
        if (performance.now() < endsAtMs) continue
        process.stdout.write(`answered ${answeredCount}\n`, () => process.kill(process.pid, 'SIGKILL'))
        await new Promise(() => {})
      }
    }),
  )
}
