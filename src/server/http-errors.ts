/** The status and the form of GraphQL errors over HTTP, by what their client accepts. */
import { GraphQLError } from 'graphql'
import type { ErrorCode } from '../presence/errors.ts'
import { namesEventStream } from './accept.ts'
import { retryHeadersOf } from './answers.ts'
import { httpStatusOf, located } from './client-errors.ts'

/**
 * Adds an HTTP status for clients that look only at the status, if there is no data at all. Returns a copy: the errors
 * of a document are cached and sent to sockets too.
 */
export function withStatus(error: GraphQLError): GraphQLError {
  const own = error.extensions.http as { readonly status?: number; readonly spec?: boolean } | undefined
  // Yoga treats a request without a query as well-formed.
  const spec = own?.spec === true && error.extensions.code !== 'BAD_REQUEST'
  const http = { status: httpStatusOf(error), headers: retryHeadersOf(error.extensions), ...own, spec }
  return located(error.message, { ...error.extensions, http }, error)
}

const DOCUMENT_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'BAD_USER_INPUT',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
])

/**
 * GraphQL over HTTP: the request is well-formed, but its document or variables are not. The status is 400 if the
 * client accepts `application/graphql-response+json`, and 200 if it accepts only `application/json`.
 */
export function ofDocument(error: GraphQLError): GraphQLError {
  // What the caller may not do, or not yet, is no fault of the document.
  if (!DOCUMENT_CODES.has(String(error.extensions.code))) return withStatus(error)
  return located(error.message, { ...error.extensions, http: { status: httpStatusOf(error), spec: true } }, error)
}

/** No retry of the same request mends these. */
const FINAL_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  'BAD_USER_INPUT',
  'FORBIDDEN',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
  'NOT_FOUND',
  'POSITION_EXPIRED',
])

export function isFinal({ extensions }: GraphQLError): boolean {
  return FINAL_CODES.has(String(extensions.code))
}

/**
 * graphql-sse 2.6.1 takes any status but 200 for a lost connection, tries again, and tells its app nothing
 * (findings/graphql-sse-tries-again-after-403.sh). So an error that is final comes as an event of a stream with status 200.
 */
export function forReader(error: GraphQLError, accept: string | null): GraphQLError {
  if (!isFinal(error) || !namesEventStream(accept)) return error
  return located(error.message, { ...error.extensions, http: { spec: true } }, error)
}

export function notAcceptable(): GraphQLError {
  return new GraphQLError('accept must include text/event-stream for a subscription over HTTP.', {
    extensions: { code: 'BAD_REQUEST' satisfies ErrorCode, http: { status: 406 } },
  })
}
