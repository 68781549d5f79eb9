/** What the server refused, or what became of a request. Branch on `code`: docs/errors.md lists them. */
export class RollcallError extends Error {
  override readonly name = 'RollcallError'
  /** `extensions.code` of the server's error; `CLOSED` where the connection ended before the answer. */
  readonly code: string
  /** How long to wait before asking again, in milliseconds, where the server said so. */
  readonly retryAfterMs: number | null

  constructor(code: string, message: string, retryAfterMs: number | null = null) {
    super(message)
    this.code = code
    this.retryAfterMs = retryAfterMs
  }
}

/** Codes for which asking again may help. */
const PASSING_CODES = ['UNAVAILABLE', 'RATE_LIMITED', 'INTERNAL']

export function isPassing(error: RollcallError): boolean {
  return PASSING_CODES.includes(error.code)
}

export function closed(message: string): RollcallError {
  return new RollcallError('CLOSED', message)
}

/** @param cause - errors of GraphQL, as `next` and `error` of the protocol bring them; anything else is a lost connection */
export function errorOf(cause: unknown): RollcallError {
  if (!Array.isArray(cause)) return closed('The connection was lost.')
  const [first] = cause as { message?: string; extensions?: { code?: string; retryAfterMs?: number } }[]
  const { code = 'INTERNAL', retryAfterMs = null } = first?.extensions ?? {}
  return new RollcallError(code, first?.message ?? code, retryAfterMs)
}
