/** What all commands share: how they read their arguments, and how they end when the person who typed them erred. */
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { ConfigError } from '../config.ts'
import { PresenceError } from '../presence/errors.ts'

/** A command line that cannot be run. Its message is all that the person sees. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** @throws UsageError that names the first argument that cannot be used */
export function parseArguments<Options extends ParseArgsConfig>(
  options: Options,
): ReturnType<typeof parseArgs<Options>> {
  try {
    return parseArgs(options)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code?.startsWith('ERR_PARSE_ARGS') !== true) throw error
    // What follows its first sentence explains a convention of `parseArgs`.
    throw new UsageError(`${String(message.split('. ')[0]).replace(/\.$/, '')}. See \`rollcall --help\`.`, {
      cause: error,
    })
  }
}

/** Runs a command. Arguments and settings that cannot be used end it with a message and exit code 1. */
export async function run(command: () => unknown): Promise<void> {
  try {
    await command()
  } catch (error) {
    const isTheirs = error instanceof UsageError || error instanceof ConfigError || error instanceof PresenceError
    if (!isTheirs) throw error
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
}
