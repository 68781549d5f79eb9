/** The HTTP status and format of GraphQL errors, depending on what the client accepts. */
import { GraphQLError } from 'graphql'
import { httpStatusOf, located } from '../execution/client-errors.ts'
import type { ErrorCode } from '../presence/errors.ts'
import { namesEventStream } from './accept.ts'
import { retryHeadersOf } from './answers.ts'

/**
 * Adds an HTTP status, which applies if there is no data at all, for clients that check only the status. Returns a
 * copy, because errors of a document are cached and sent to sockets too.
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
 * For a request that is well-formed, but whose document or variables are not. GraphQL over HTTP: the status is 400 if
 * the client accepts `application/graphql-response+json`, and 200 if it accepts only `application/json`.
 */
export function ofDocument(error: GraphQLError): GraphQLError {
  // A missing permission or an exceeded limit is no fault of the document.
  if (!DOCUMENT_CODES.has(String(error.extensions.code))) return withStatus(error)
  return located(error.message, { ...error.extensions, http: { status: httpStatusOf(error), spec: true } }, error)
}

/** Codes of errors that no retry of the same request fixes. */
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
 * graphql-sse 2.6.1 treats any status but 200 as a lost connection, retries, and reports nothing to its app
 * (findings/graphql-sse-tries-again-after-403.sh). So it gets a final error as an event of a stream with status 200.
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
