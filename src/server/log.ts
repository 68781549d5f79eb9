/** The part of a logger that the server uses: pino's, or an app's own. Details come first. */
export interface Log {
  debug(details: object, message: string): void
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}
