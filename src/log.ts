/** The log of a process, and of an app that brings none: a line of JSON an entry, on the standard output. */
import { pino } from 'pino'
import type { Config } from './config.ts'
import type { Log } from './presence/operator-log.ts'

export function createLog(level: Config['LOG_LEVEL']): Log {
  return pino({ level, base: null })
}
