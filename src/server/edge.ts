/**
 * The layer in front of every route: answers have one form whatever happens, even before the server is ready.
 *
 * Answers of `/graphql` are JSON with a code, and a page of an allowed origin may read each of them.
 */
import type { IncomingMessage } from 'node:http'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { unavailable } from '../presence/errors.ts'
import { NOT_SERVING, ORIGIN_REFUSED, problem, problemOf, problemOfMasked, text } from './answers.ts'
import type { ErrorMask } from './client-errors.ts'
import type { Health } from './health.ts'
import { GRAPHQL_PATH } from './http.ts'
import type { Origins } from './origins.ts'

export interface EdgeOptions {
  readonly origins: Origins
  readonly health: Pick<Health, 'notReadyBecause'>
  readonly mask: ErrorMask
  /** @returns the function that serves the routes, null if there is none */
  readonly serving: () => ((request: Request, peer: string | null) => Promise<Response>) | null
}

const METHODS = ['GET', 'POST', 'OPTIONS']
const PREFLIGHT_AGE_S = 600

/** @returns `fetch`: `from` is `{ req }`, Node's own request, if there is one */
export function createEdge({
  origins,
  health,
  mask,
  serving,
}: EdgeOptions): (request: Request, from?: object) => Promise<Response> {
  async function answer(request: Request, path: string, peer: string | null): Promise<Response> {
    if (path === GRAPHQL_PATH) return withOrigin(request, conforming(await graphql(request, peer)))
    const serve = serving()
    if (serve !== null) return serve(request, peer)
    return path === '/healthz' ? text(200, 'ok\n') : text(503, `${health.notReadyBecause()}\n`)
  }

  async function graphql(request: Request, peer: string | null): Promise<Response> {
    const { method } = request
    if (!origins.allows(request.headers.get('origin'), request.headers.get('host'))) {
      return problem('FORBIDDEN', ORIGIN_REFUSED)
    }
    if (method === 'OPTIONS') return preflight()
    if (!METHODS.includes(method)) {
      const refusal = problem('BAD_REQUEST', `method must be GET or POST, not ${method}.`, { status: 405 })
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
    }
    return response
  }

  return async function fetch(request, from) {
    try {
      return await answer(request, new URL(request.url).pathname, peerOf(from))
    } catch (error) {
      return failure(request, error)
    }
  }
}

function peerOf(from: object | undefined): string | null {
  const { req } = (from ?? {}) as { readonly req?: Pick<IncomingMessage, 'socket'> }
  return req?.socket.remoteAddress ?? null
}

function preflight(): Response {
  return new Response(null, {
    status: 204,
    headers: {
      allow: METHODS.join(', '),
      'access-control-allow-methods': METHODS.join(', '),
      'access-control-allow-headers': ['authorization', 'content-type', SESSION_HEADER.toLowerCase()].join(', '),
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
