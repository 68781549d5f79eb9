/** The tokens of requests that can have no header of their page's. */
import { badRequest } from '../presence/errors.ts'
import { namesEventStream } from './accept.ts'
import { type Params, paramsOfBody } from './params.ts'

/**
 * `EventSource` sends no header of its page's. Only streams take a token from an address: others may be cached, and their
 * addresses are passed on and logged more often.
 */
export function tokenInQuery(search: URLSearchParams, accept: string | null): string | null {
  const token = search.get('token')
  if (token === null) return null
  if (!namesEventStream(accept)) throw badRequest('token in the query is only for event streams.')
  return token
}

/**
 * `sendBeacon` sends no header of its page's, so the token is in `extensions` of its body. Without one it is refused:
 * nothing that a browser adds by itself gives rights.
 *
 * @returns null if the body brings no token
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
