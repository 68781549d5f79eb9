/** The starts of a process: the first one, and one after each loss of the work. */
import { randomUUID } from 'node:crypto'
import { unavailable } from '../presence/errors.ts'
import { createClosers } from './closers.ts'
import type { Core } from './core.ts'
import type { OwnDatabase } from './database.ts'
import { type Parts, startParts } from './parts.ts'

/** A start that is under way, as its parts see it. */
export interface Start {
  /** The name of this process among those that may have the work. */
  readonly holder: string
  isGivenUp(): boolean
  /**
   * From now on the start waits for what `stop` ends.
   *
   * @throws PresenceError `UNAVAILABLE` if it was given up before
   */
  waitsUntil(stop: () => Promise<void>): void
}

export interface Starts {
  /** Closes what it opened where it fails. */
  start(): Promise<Parts>
  /** Gives up a start that is under way, or the wait after a loss. */
  giveUp(): Promise<void>
}

export function createStarts(core: Core, database: OwnDatabase): Starts {
  let isGivenUp = false
  let stopWaiting = async (): Promise<void> => {}
  const start: Start = {
    holder: randomUUID(),
    isGivenUp: () => isGivenUp,
    waitsUntil(stop) {
      stopWaiting = stop
      if (isGivenUp) throw unavailable('server', 'The server stops.')
    },
  }

  return {
    async start() {
      const closers = createClosers()
      try {
        return await startParts(core, await database.ready(), start, closers)
      } catch (error) {
        await closers.close()
        await database.close()
        throw error
      }
    },

    async giveUp() {
      isGivenUp = true
      await database.giveUp()
      await stopWaiting()
    },
  }
}
