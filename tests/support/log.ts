/** A log that a test reads: each line with all that the process's own log would say. */
import { pino } from 'pino'
import type { Log } from '../../src/presence/operator-log.ts'

export interface ReadLog {
  readonly log: Log
  readonly lines: readonly string[]
  /** What an operator would take for a fault of the server's, since this was asked last. */
  takeFaults(): readonly string[]
}

export function createReadLog(): ReadLog {
  const lines: string[] = []
  let taken = 0
  const log = pino({ level: 'debug', base: null }, { write: (line) => lines.push(line) })
  return {
    log,
    lines,
    takeFaults() {
      const fresh = lines.slice(taken)
      taken = lines.length
      // 20 is `debug`, for an operator who looks for it, and 50 `error`.
      return fresh.filter((line) => /"level":[56]0/.test(line) || (!/"level":20/.test(line) && /"stack"/.test(line)))
    },
  }
}
