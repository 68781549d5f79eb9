/** Answers to requests that never reach GraphQL: one form for all of them. */
import { STATUS_CODES } from 'node:http'
import type { GraphQLError } from 'graphql'
import { OWN_VERSION } from '../own-version.ts'
import { ERROR_CODES, type ErrorCode, type PresenceError } from '../presence/errors.ts'
import { namesJson } from './accept.ts'

/** The reason is for the operator: `/readyz` and the log give it. */
export const NOT_SERVING = 'The server does not serve just now.'

export const ORIGIN_REFUSED = 'This origin is not allowed: see ALLOWED_ORIGINS.'

/** @param code - a row of ERROR_CODES, which gives the status if none is passed */
export function problem(
  code: ErrorCode,
  message: string,
  {
    details = {},
    status = ERROR_CODES[code].httpStatus,
  }: { details?: Readonly<Record<string, unknown>>; status?: number } = {},
): Response {
  return Response.json(
    { errors: [{ message, extensions: { code, ...details } }] },
    { status, headers: retryHeadersOf(details) },
  )
}

/** @returns `Retry-After` as a number of seconds, rounded up (RFC 9110, 10.2.3), if there is something to wait for */
export function retryHeadersOf({ retryAfterMs }: { readonly [name: string]: unknown }): Record<string, string> {
  return typeof retryAfterMs === 'number' ? { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) } : {}
}

export function problemOf({ code, message, details }: PresenceError, status?: number): Response {
  return problem(code, message, status === undefined ? { details } : { details, status })
}

/** @param error - from the mask, so that its code is a row of ERROR_CODES */
export function problemOfMasked(error: GraphQLError): Response {
  const { code, ...details } = error.extensions
  return problem(code as ErrorCode, error.message, { details })
}

export function text(status: number, body: string): Response {
  return new Response(body, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
  })
}

/** Answers `/healthz`: a process that answers lives. Checks may compare the text, so only the JSON has the version. */
export function alive({ headers }: Request): Response {
  if (!namesJson(headers.get('accept'))) return text(200, 'ok\n')
  return Response.json({ status: 'ok', version: OWN_VERSION }, { headers: { 'cache-control': 'no-store' } })
}

/** A whole answer in HTTP/1.1 form, for a connection that Node has handed over. The connection closes after it. */
export async function rawAnswer(response: Response): Promise<string> {
  const body = await response.text()
  const { status, headers } = response
  headers.set('connection', 'close')
  headers.set('content-length', String(Buffer.byteLength(body)))
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`)
  return [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}`, ...lines, '', body].join('\r\n')
}
