#!/usr/bin/env node
/** The command line of the package. It loads a command only when it runs it: `rollcall --version` needs no server. */
import { parseArguments, run, UsageError } from './commands/command-line.ts'
import { OWN_VERSION } from './own-version.ts'

const HELP = `Rollcall ${OWN_VERSION}: who is online, right now. A GraphQL presence server.

Usage:
  rollcall [start]         starts the server, at http://localhost:4000
  rollcall token USER_ID   prints a token for a user; \`rollcall token --help\` has its options
  rollcall migrate         brings the tables in the database up to date, without a server
  rollcall --help, --version

Settings are environment variables. The most important ones:
  PORT            where the server listens, 4000 if left out
  HOST            the address that it listens on; left out, this machine alone, and every address in production
  DATABASE_URL    postgres://…; left out, an embedded Postgres in ./data
  REDIS_URL       redis://…, to run many processes; left out, one process has it all in its memory
  JWT_SECRET      signs the tokens of your users; or JWKS_URL, where the public keys of their issuer are
  NODE_ENV        production refuses \`dev:\` tokens, and all that nobody allowed

docs/settings.md in Rollcall's repository has all settings, and docs/operations.md says how to run it.
`

await run(() => runCommand(process.argv.slice(2)))

async function runCommand(args: readonly string[]): Promise<void> {
  const [first = ''] = args
  // Options may come without a command.
  if (args.length === 0 || first.startsWith('-')) return runPlain('start', args)
  const rest = args.slice(1)
  if (first === 'start' || first === 'migrate') return runPlain(first, rest)
  if (first === 'token') return (await import('./commands/token.ts')).token(rest)
  throw new UsageError(`\`${first}\` is no command: there are start, token and migrate. See \`rollcall --help\`.`)
}

/** Runs a command that has no arguments of its own. */
async function runPlain(command: 'start' | 'migrate', args: readonly string[]): Promise<void> {
  const { values, positionals } = parseArguments({
    args: [...args],
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } },
  })
  if (values.help) process.stdout.write(HELP)
  else if (values.version) process.stdout.write(`${OWN_VERSION}\n`)
  else if (positionals.length > 0) {
    throw new UsageError(`\`rollcall ${command}\` takes no \`${positionals[0]}\`. See \`rollcall --help\`.`)
  } else if (command === 'start') (await import('./commands/start.ts')).start()
  else await (await import('./commands/migrate.ts')).migrate()
}
