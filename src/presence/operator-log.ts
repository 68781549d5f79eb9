/** The log that an operator reads. Details come first; an error is under `err`, as pino and others expect it. */
export interface OperatorLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** The part of a logger that the server uses: pino's, or an app's own. */
export interface Log extends OperatorLog {
  debug(details: object, message: string): void
}
