/** The port of whoever brings the records to the database. */

export interface Recorder {
  /** Takes the work, and waits for it where another process has it. From then on it follows the records. */
  start(): Promise<void>

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
  /** Records read and not yet written, at the last look. */
  readonly waitingCount: number
}
