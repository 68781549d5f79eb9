/** The port of the recorder, which writes the records to the database. */

export interface Recorder {
  /**
   * Takes the work, and waits for it if another process has it. Nothing is written yet: the caller first reads what an
   * earlier run left open, brings it to the live store, and then calls `follow`.
   *
   * @throws PresenceError `UNAVAILABLE` if `stop` came first
   */
  start(): Promise<void>

  /**
   * Follows the records from now on, in the background. If they do not continue those in the database (another epoch,
   * or a gap), the database is rebuilt from the live store first.
   */
  follow(): void

  /** Resolves when every record that was there at the call is in the database, or after `withinMs`. */
  flush(withinMs: number): Promise<{ readonly isComplete: boolean }>

  /**
   * Whether no other process can have the work, as far as this process can know at this moment: it may have stalled
   * since it last asked. Always true if many processes share the live state, because nothing then depends on it.
   */
  excludesOthers(): boolean

  /**
   * Resolves when the work is lost, if only its holder may serve: another process has it (`taken`), or waits for it
   * while the database does not answer (`unknown`). Nothing is written until `regain` says `nobody wrote`.
   */
  readonly lost: Promise<'taken' | 'unknown'>

  /**
   * Waits after a loss. `nobody wrote`: this process has the work again, and continues to write its records. `another
   * wrote`: the earlier records will never be written, and this process has not taken the work.
   *
   * @throws PresenceError `UNAVAILABLE` if `stop` came first
   */
  regain(): Promise<'nobody wrote' | 'another wrote'>

  /** The state of the recorder, for an operator. */
  state(): RecorderState

  /**
   * Ends the work and releases it to other processes. Call `flush` first.
   *
   * @param options.isWorkKept - keeps the work for the next recorder of the same holder: nobody else gets it in between
   */
  stop(options?: { readonly isWorkKept?: boolean }): Promise<void>
}

export interface RecorderState {
  /** Whether this process has the work. */
  readonly isHolder: boolean
  /** Whether the last write succeeded. */
  readonly isDatabaseUp: boolean
  /** The number of records that waited for the database at the last check. */
  readonly waitingCount: number
  /** The number of users whose records are set aside because another transaction locks their rows. */
  readonly setAsideCount: number
}
