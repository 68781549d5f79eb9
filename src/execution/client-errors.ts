/** What a client sees of an error: always a code, and nothing internal. */
import { randomUUID } from 'node:crypto'
import { type ExecutionResult, GraphQLError } from 'graphql'
import { ERROR_CODES, type ErrorCode, isErrorCode, PresenceError } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'

export type ErrorMask = (error: unknown) => GraphQLError

/** @param count - called with each error's code, and with the part that is unavailable */
export function createErrorMask(log: Log, count: (code: ErrorCode, part: string) => void = () => {}): ErrorMask {
  /** An error may be masked twice: from its execution, and with the whole answer. */
  const counted = new WeakSet<PresenceError>()

  return function mask(error) {
    const cause = causeOf(error)
    const place = error instanceof GraphQLError ? error : undefined
    if (cause instanceof PresenceError) {
      if (!counted.has(cause)) count(cause.code, String(cause.details.part ?? ''))
      counted.add(cause)
      return located(cause.message, { code: cause.code, ...cause.details }, place, cause)
    }
    if (error instanceof GraphQLError && (cause === error || cause instanceof GraphQLError)) {
      // GraphQL's own message about the request: a variable that cannot be coerced, an operation that does not exist.
      const { code } = error.extensions
      if (isErrorCode(code)) return error
      // Clients could not look up a library's own code.
      return located(
        error.message,
        { ...error.extensions, code: code === undefined ? 'BAD_USER_INPUT' : 'BAD_REQUEST' },
        error,
      )
    }
    count('INTERNAL', '')
    const requestId = randomUUID()
    log.error({ requestId, err: cause }, 'A request failed with an internal error.')
    return located(
      'Something went wrong inside. Tell the operator the requestId.',
      { code: 'INTERNAL', requestId },
      place,
    )
  }
}

/** The result with every error masked. */
export function maskedResult<Result extends ExecutionResult>(result: Result, mask: ErrorMask): Result {
  return result.errors === undefined ? result : { ...result, errors: result.errors.map(mask) }
}

/** The HTTP status of an error, if there is no data at all: for clients that look at nothing else. */
export function httpStatusOf({ extensions: { code } }: GraphQLError): number {
  return isErrorCode(code) ? ERROR_CODES[code].httpStatus : 400
}

function causeOf(error: unknown): unknown {
  let cause = error
  while (cause instanceof GraphQLError && cause.originalError !== undefined) cause = cause.originalError
  return cause
}

/** An error with another message or extensions, at the place of `place` in the document. */
export function located(
  message: string,
  extensions: Record<string, unknown>,
  place?: GraphQLError,
  cause?: Error,
): GraphQLError {
  return new GraphQLError(message, {
    nodes: place?.nodes ?? null,
    source: place?.source ?? null,
    positions: place?.positions ?? null,
    path: place?.path ?? null,
    originalError: cause ?? null,
    extensions,
  })
}
