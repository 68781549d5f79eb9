/** The database of a process: opens it, migrates it, and waits for Postgres if it is not up yet. */
import type { Config } from '../config.ts'
import { type Database, openDatabase } from '../db/client.ts'
import { whyAway } from '../db/failures.ts'
import { migrate } from '../db/migrate.ts'
import { unavailable } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'
import type { Health } from '../server/health.ts'

export interface OwnDatabase {
  /** Opens and migrates the database. It stays open until `close`, across all starts of the process. */
  ready(): Promise<Database>
  /**
   * Whether a start that failed with this error may succeed later, because an operator can fix Postgres. If so, the log
   * and `/readyz` name the reason.
   */
  mayComeBack(error: unknown): boolean
  /** Fails a call of `ready` that is under way. */
  giveUp(): Promise<void>
  close(): Promise<void>
}

export function createOwnDatabase(config: Config, health: Health, log: Log): OwnDatabase {
  let opened: Database | null = null
  /** Whether the migration is running: nothing else uses the database yet. */
  let isMigrating = false
  let isGivenUp = false
  /** Why the database cannot be used, as last logged. */
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
      // Log once per reason, however often the start is retried.
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
