/** The server as a process: `node dist/main.js`, the same as `rollcall start`. */
import { run } from './commands/command-line.ts'
import { start } from './commands/start.ts'

await run(start)
