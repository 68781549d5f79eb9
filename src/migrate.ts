/** The same as `rollcall migrate`: `node dist/migrate.js`. */
import { run } from './commands/command-line.ts'
import { migrate } from './commands/migrate.ts'

await run(migrate)
