/**
 * The layer in front of every route: answers have one form whatever happens, even before the server is ready.
 *
 * Answers of `/graphql` are JSON with a code, and a page of an allowed origin may read each of them.
 */

import type { ErrorMask } from '../execution/client-errors.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { unavailable } from '../presence/errors.ts'
import { alive, NOT_SERVING, ORIGIN_REFUSED, problem, problemOf, problemOfMasked, text } from './answers.ts'
import type { Health } from './health.ts'
import type { Origins } from './origins.ts'
import { type Peer, peerOf } from './peer.ts'
import { GRAPHQL, type Routes } from './routes.ts'

export interface EdgeOptions {
  readonly origins: Origins
  /** Whether the app authenticates by itself: a cookie goes with what any page sends. */
  readonly usesCookies: boolean
  readonly health: Pick<Health, 'notReadyBecause'>
  readonly mask: ErrorMask
  readonly routes: Pick<Routes, 'below'>
  /** @returns the function that serves the routes, null if there is none */
  readonly serving: () => ((request: Request, peer: Peer) => Promise<Response>) | null
}

/** PUT and DELETE are of graphql-sse's single connection mode. */
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'OPTIONS']
const PREFLIGHT_AGE_S = 600
const OWN_HEADERS = ['authorization', 'content-type', SESSION_HEADER.toLowerCase()]
/** Names with commas between (RFC 9110, 5.6.2). */
const HEADER_NAMES = /^[\w!#$%&'*+.^`|~-]+(?: *, *[\w!#$%&'*+.^`|~-]+)*$/

/** @returns `fetch`: `from` is `{ req }`, Node's own request, if there is one */
export function createEdge({
  origins,
  usesCookies,
  health,
  mask,
  routes,
  serving,
}: EdgeOptions): (request: Request, from?: object) => Promise<Response> {
  async function answer(request: Request, path: string | null, peer: Peer): Promise<Response> {
    if (path === GRAPHQL) return withOrigin(request, conforming(await graphql(request, peer)))
    const serve = serving()
    if (serve !== null) return serve(request, peer)
    return path === '/healthz' ? alive(request) : text(503, `${health.notReadyBecause()}\n`)
  }

  async function graphql(request: Request, peer: Peer): Promise<Response> {
    const { method } = request
    const isAllowed = origins.allows(request.headers.get('origin'), request.headers.get('host'))
    if (!isAllowed || (usesCookies && isFromElsewhere(request))) {
      return problem('FORBIDDEN', ORIGIN_REFUSED)
    }
    if (method === 'OPTIONS') return preflight(request)
    if (!METHODS.includes(method)) {
      const refusal = problem('BAD_REQUEST', `method must be GET, POST, PUT or DELETE, not ${method}.`, { status: 405 })
      refusal.headers.set('allow', METHODS.join(', '))
      return refusal
    }
    const serve = serving()
    return serve === null
      ? problemOf(unavailable('server', NOT_SERVING))
      : serve(request, peer).catch((error) => failure(request, error))
  }

  function failure(request: Request, error: unknown): Response {
    // The client has gone: nobody reads the answer, and the work in progress was ended on purpose.
    if (request.signal.aborted) return problem('BAD_REQUEST', 'The client went away.')
    return problemOfMasked(mask(error))
  }

  /** A browser shows an answer to a page only if the answer names the page's origin. */
  function withOrigin(request: Request, response: Response): Response {
    const origin = request.headers.get('origin')
    response.headers.append('vary', 'Origin')
    if (origin !== null && origins.allows(origin, request.headers.get('host'))) {
      response.headers.set('access-control-allow-origin', origin)
      response.headers.set('access-control-expose-headers', 'retry-after')
      if (origins.allowsCookies(origin)) response.headers.set('access-control-allow-credentials', 'true')
    }
    // Caches know that an answer to `Authorization` is one person's, and do not know it of a cookie.
    if (usesCookies && !response.headers.has('cache-control')) response.headers.set('cache-control', 'no-store')
    return response
  }

  return async function fetch(request, from) {
    try {
      return await answer(request, routes.below(new URL(request.url).pathname), peerOf(from))
    } catch (error) {
      return failure(request, error)
    }
  }
}

/**
 * A page that loads an address as a picture or a script names no origin, and its cookies go with it. Browsers say by
 * `Sec-Fetch-Site` that it is another site's page. Somebody who follows a link sees the answer themselves.
 */
function isFromElsewhere({ headers }: Request): boolean {
  if (headers.get('origin') !== null || headers.get('sec-fetch-mode') === 'navigate') return false
  return ['cross-site', 'same-site'].includes(headers.get('sec-fetch-site') ?? '')
}

/**
 * Allows every header that is asked for. Tracing and client libraries add their own to each request, and a header gives
 * no rights here: a page sends no cookie to another origin, and a token only if it has one.
 */
function preflight({ headers }: Request): Response {
  const asked = headers.get('access-control-request-headers') ?? ''
  return new Response(null, {
    status: 204,
    headers: {
      allow: METHODS.join(', '),
      vary: 'Access-Control-Request-Headers',
      'access-control-allow-methods': METHODS.join(', '),
      'access-control-allow-headers': HEADER_NAMES.test(asked) ? asked : OWN_HEADERS.join(', '),
      'access-control-max-age': String(PREFLIGHT_AGE_S),
    },
  })
}

/** Gives a code to Yoga's refusals, some of which have only a status. */
function conforming(response: Response): Response {
  const { status, headers } = response
  if (status < 400 || headers.has('content-type')) return response
  const message =
    status === 406
      ? `accept must include a type that this operation is answered with: ${headers.get('accept')}.`
      : `The request was refused with ${status}.`
  return problem(status < 500 ? 'BAD_REQUEST' : 'INTERNAL', message, { status })
}
