/** The starts of a process: the first one, and one after each loss of the work. */
import { randomUUID } from 'node:crypto'
import { unavailable } from '../presence/errors.ts'
import { createClosers } from './closers.ts'
import type { Core } from './core.ts'
import type { OwnDatabase } from './database.ts'
import { type Parts, startParts } from './parts.ts'

/** A start that is under way, as its parts see it. */
export interface Start {
  /** Names this process among the possible holders of the work. */
  readonly holder: string
  isGivenUp(): boolean
  /**
   * Registers `stop`, which ends the wait that the start is about to begin.
   *
   * @throws PresenceError `UNAVAILABLE` if the start was given up before
   */
  waitsUntil(stop: () => Promise<void>): void
}

export interface Starts {
  /** Closes everything that it opened if it fails. */
  start(): Promise<Parts>
  /** Aborts a start that is under way, or the wait after a loss. */
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
