/** Tokens of requests for which a page cannot set headers. */
import { badRequest } from '../presence/errors.ts'
import { namesEventStream } from './accept.ts'
import { type Params, paramsOfBody } from './params.ts'

/**
 * Reads the token of an `EventSource`, for which a page cannot set headers. Only event streams accept a token in the
 * URL: other responses may be cached, and their URLs are shared and logged more often.
 */
export function tokenInQuery(search: URLSearchParams, accept: string | null): string | null {
  const token = search.get('token')
  if (token === null) return null
  if (!namesEventStream(accept)) throw badRequest('token in the query is only for event streams.')
  return token
}

/**
 * Reads the token of a `sendBeacon` request, for which a page cannot set headers, from `extensions` in the body. A
 * beacon without a token is refused, because credentials that a browser adds by itself, such as cookies, give no
 * rights.
 *
 * @returns null if the body contains no token
 */
export function beaconOf(body: string): { readonly params: Params; readonly authorization: string } | null {
  let params: Params
  try {
    params = paramsOfBody(body)
  } catch {
    return null
  }
  const { extensions } = params
  if (typeof extensions !== 'object' || extensions === null || !('authorization' in extensions)) return null
  const { authorization } = extensions
  return typeof authorization === 'string' ? { params, authorization } : null
}
