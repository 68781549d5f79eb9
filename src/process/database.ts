/** The database of a process: opened, migrated, and waited for where Postgres is not there yet. */
import type { Config } from '../config.ts'
import { type Database, openDatabase } from '../db/client.ts'
import { whyAway } from '../db/failures.ts'
import { migrate } from '../db/migrate.ts'
import { unavailable } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'
import type { Health } from '../server/health.ts'

export interface OwnDatabase {
  /** Opens and migrates it. It stays open until `close`, over all starts of the process. */
  ready(): Promise<Database>
  /**
   * Whether a start that failed so may succeed later, because an operator can mend at Postgres what keeps it away. Then
   * the log and `/readyz` say what it waits for.
   */
  mayComeBack(error: unknown): boolean
  /** A `ready` that is under way fails. */
  giveUp(): Promise<void>
  close(): Promise<void>
}

export function createOwnDatabase(config: Config, health: Health, log: Log): OwnDatabase {
  let opened: Database | null = null
  /** Whether it is asked for the first time: nothing else waits for it yet. */
  let isMigrating = false
  let isGivenUp = false
  /** Why it cannot be used, as the log had it last. */
  let waitedFor: string | null = null

  async function close(): Promise<void> {
    await opened?.close()
    opened = null
  }

  return {
    async ready() {
      if (opened !== null) return opened
      const database = await openDatabase(config, log)
      opened = database
      if (isGivenUp) throw unavailable('server', 'The server stops.')
      isMigrating = true
      try {
        await migrate(database)
      } finally {
        isMigrating = false
      }
      if (waitedFor !== null) {
        health.notReady('The server is starting.')
        log.info({}, 'Postgres answers.')
      }
      waitedFor = null
      return database
    },

    mayComeBack(error) {
      const reason = whyAway(error)
      if (reason === null) return false
      const sentence = `Postgres cannot be used: ${reason}. The server waits for it.`
      health.notReady(sentence)
      // Once for each reason, however often it is tried.
      if (reason !== waitedFor) log.warn({}, sentence)
      waitedFor = reason
      return true
    },

    async giveUp() {
      isGivenUp = true
      if (isMigrating) await close()
    },

    close,
  }
}
