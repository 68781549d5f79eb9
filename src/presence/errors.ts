/**
 * Every error that a client may see, each with a stable code, and the functions that create them.
 *
 * Any other error than a `PresenceError` is masked as `INTERNAL` at the edge.
 */

/** Clients branch on the code, never on the message: a code is never renamed or reused. */
export const ERROR_CODES = {
  UNAUTHENTICATED: { retry: 'with a fresh token', httpStatus: 401 },
  FORBIDDEN: { retry: 'never with this token', httpStatus: 403 },
  BAD_USER_INPUT: { retry: 'never: mend the argument that the error names', httpStatus: 400 },
  BAD_REQUEST: { retry: 'never: mend the request', httpStatus: 400 },
  GRAPHQL_PARSE_FAILED: { retry: 'never: mend the document', httpStatus: 400 },
  GRAPHQL_VALIDATION_FAILED: { retry: 'never: mend the document', httpStatus: 400 },
  // Its clients expect 200, and send the document.
  PERSISTED_QUERY_NOT_FOUND: { retry: 'with the text of the document', httpStatus: 200 },
  NOT_FOUND: { retry: 'never, unless what is named was created since', httpStatus: 404 },
  RATE_LIMITED: { retry: 'after retryAfterMs', httpStatus: 429 },
  POSITION_EXPIRED: { retry: 'after reading the list again', httpStatus: 410 },
  UNAVAILABLE: { retry: 'with backoff', httpStatus: 503 },
  INTERNAL: { retry: 'once; then report the requestId', httpStatus: 500 },
} as const satisfies Record<string, { readonly retry: string; readonly httpStatus: number }>

export type ErrorCode = keyof typeof ERROR_CODES

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(ERROR_CODES, code)
}

type Details = Readonly<Record<string, string | number>>

/** The only error that a client sees unmasked. A class, because the mask checks `instanceof`. */
export class PresenceError extends Error {
  override readonly name = 'PresenceError'
  readonly code: ErrorCode
  readonly details: Details

  constructor(code: ErrorCode, message: string, details: Details = {}, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.details = details
  }
}

/** Whether the error says that a part is out of reach, so that the request may be retried. */
export function isUnavailable(error: unknown): boolean {
  return error instanceof PresenceError && error.code === 'UNAVAILABLE'
}

/** @param bound - what the argument has to be: it completes "<argument> must be …" */
export function badInput(argument: string, bound: string): PresenceError {
  return new PresenceError('BAD_USER_INPUT', `${argument} must be ${bound}.`, { argument, bound })
}

/** @param reason - what is wrong with the form of the request, which is checked before any of its content */
export function badRequest(reason: string): PresenceError {
  return new PresenceError('BAD_REQUEST', reason)
}

export function unauthenticated(reason: string): PresenceError {
  return new PresenceError('UNAUTHENTICATED', reason)
}

/** For a token that was issued before its user was disconnected or forgotten. */
export function revoked(): PresenceError {
  return unauthenticated('The token was issued before its user was disconnected: a fresh one is needed.')
}

/**
 * @param claim - the path of the claim within the token
 * @param bound - what the claim has to be: it completes "The token's claim … must be …"
 */
export function badClaim(claim: string, bound: string): PresenceError {
  return new PresenceError('UNAUTHENTICATED', `The token's claim \`${claim}\` must be ${bound}.`, { claim, bound })
}

export function forbidden(reason: string): PresenceError {
  return new PresenceError('FORBIDDEN', reason)
}

/**
 * @param argument - the argument that named the missing thing
 * @param hint - what to send instead, as a sentence
 */
export function notFound(argument: string, what: string, hint?: string): PresenceError {
  const message = `There is no such ${what}.`
  return new PresenceError('NOT_FOUND', hint === undefined ? message : `${message} ${hint}`, { argument })
}

export function rateLimited(reason: string, retryAfterMs: number): PresenceError {
  return new PresenceError('RATE_LIMITED', reason, { retryAfterMs })
}

export function positionExpired(): PresenceError {
  return new PresenceError(
    'POSITION_EXPIRED',
    'The change log no longer reaches back to this position. Read the list again and follow from its position.',
  )
}

/** @param part - which part is down, for the operator and for the client's message */
export function unavailable(
  part: 'postgres' | 'store' | 'server',
  reason: string,
  options?: ErrorOptions,
): PresenceError {
  return new PresenceError('UNAVAILABLE', reason, { part }, options)
}
