/** The port of whoever brings the records to the database. */

export interface Recorder {
  /**
   * Takes the work, and waits for it where another process has it. Nothing is written yet: who starts reads what an
   * earlier run left open first, brings it to the live store, and then calls `follow`.
   *
   * @throws PresenceError `UNAVAILABLE` where `stop` came first
   */
  start(): Promise<void>

  /**
   * Follows the records from now on, in the background. Where they are not those that the database knows (another
   * epoch, or a gap), the database is made anew from the live store first.
   */
  follow(): void

  /** Resolves when every record that was there at the call is in the database, or the time is over. */
  flush(withinMs: number): Promise<{ readonly isComplete: boolean }>

  /** What an operator has to know. */
  state(): RecorderState

  /** Ends the work and gives it up to others. Flush first. */
  stop(): Promise<void>
}

export interface RecorderState {
  /** Whether this process has the work. */
  readonly isHolder: boolean
  /** Whether the last write came through. */
  readonly isDatabaseUp: boolean
  /** Records that waited for the database at the last look. */
  readonly waitingCount: number
}
