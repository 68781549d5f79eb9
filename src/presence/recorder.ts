/** The port of the recorder, which brings the records to the database. */

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
   * epoch, or a gap), the database is rebuilt from the live store first.
   */
  follow(): void

  /** Resolves when every record that was there at the call is in the database, or the time is over. */
  flush(withinMs: number): Promise<{ readonly isComplete: boolean }>

  /**
   * Whether no other process can have the work, as far as this one can know at this very moment: it may have stood
   * still since it asked last. Always, where many processes share the live state, for there nothing hangs on it.
   */
  excludesOthers(): boolean

  /**
   * Resolves when the work is lost where only its holder may serve: another process has it (`taken`), or waits for it
   * while the database cannot be asked (`unknown`). From then on nothing is written until `regain` says so.
   */
  readonly lost: Promise<'taken' | 'unknown'>

  /**
   * Waits after a loss. `nobody wrote`: the work is this process's again, and its records are written on. `another
   * wrote`: the records of before will never be written, and nobody has taken the work for this process.
   *
   * @throws PresenceError `UNAVAILABLE` where `stop` came first
   */
  regain(): Promise<'nobody wrote' | 'another wrote'>

  /** What an operator has to know. */
  state(): RecorderState

  /**
   * Ends the work and gives it up to others. Flush first.
   *
   * @param options.isWorkKept - to the next recorder of the same holder instead: nobody else gets it in between
   */
  stop(options?: { readonly isWorkKept?: boolean }): Promise<void>
}

export interface RecorderState {
  /** Whether this process has the work. */
  readonly isHolder: boolean
  /** Whether the last write came through. */
  readonly isDatabaseUp: boolean
  /** Records that waited for the database at the last look. */
  readonly waitingCount: number
}
