/** GraphQL over HTTP by Yoga, the pages, and what load balancers ask. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ExecutionArgs } from 'graphql'
import { createYoga, type Plugin } from 'graphql-yoga'
import type { Config } from '../config.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { badInput, unavailable } from '../presence/errors.ts'
import type { ChangeFeed } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence } from '../presence/presence.ts'
import type { RequestContext } from '../resolvers/context.ts'
import type { Authenticator } from './auth.ts'
import { type ErrorMask, httpStatusOf, located } from './client-errors.ts'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'
import type { Operations } from './operations.ts'
import type { Origins } from './origins.ts'
import type { Pages } from './pages.ts'
import type { Streams } from './streams.ts'

export const GRAPHQL_PATH = '/graphql'

export interface HttpOptions {
  readonly config: Pick<Config, 'MAX_FRAME_BYTES' | 'METRICS_TOKEN' | 'NODE_ENV'>
  readonly authenticator: Authenticator
  readonly presence: Presence
  readonly feed: ChangeFeed
  readonly operations: Operations
  readonly streams: Streams
  readonly origins: Origins
  readonly pages: Pages
  readonly health: Health
  readonly metrics: Pick<Metrics, 'read'>
  readonly mask: ErrorMask
}

export function createHttp(options: HttpOptions): (request: Request) => Promise<Response> {
  const { config, authenticator, presence, feed, operations, streams, origins, pages, health, metrics, mask } = options

  const yoga = createYoga<object, RequestContext>({
    schema: operations.schema,
    graphqlEndpoint: GRAPHQL_PATH,
    graphiql: false,
    landingPage: false,
    logging: false,
    // Both are ours: one cache and one set of limits for HTTP and sockets.
    parserAndValidationCache: false,
    plugins: [sharedOperations(operations, streams)],
    multipart: false,
    cors: (request) => {
      const origin = request.headers.get('origin')
      return origins.allows(origin, request.headers.get('host')) && origin !== null
        ? {
            origin,
            credentials: false,
            methods: ['GET', 'POST', 'OPTIONS'],
            allowedHeaders: ['authorization', 'content-type', SESSION_HEADER.toLowerCase()],
            maxAge: 600,
          }
        : { origin: [] }
    },
    maskedErrors: {
      maskError(error) {
        const masked = mask(error)
        if (masked.path !== undefined) return masked
        // Without a path it concerns the whole request, and whoever looks at the status alone should know. A copy: what
        // is wrong with a document is kept, and sent to sockets too.
        return located(masked.message, { ...masked.extensions, http: { status: httpStatusOf(masked) } }, masked)
      },
    },
    async context({ request }) {
      let position: Promise<Position> | null = null
      return {
        caller: await authenticator.authenticate(request.headers.get('authorization')),
        presence,
        feed,
        channel: null,
        namedSessionId: presence.parseSessionId(SESSION_HEADER, request.headers.get(SESSION_HEADER)),
        group: null,
        position() {
          position ??= presence.position()
          return position
        },
      }
    },
  })

  async function graphql(request: Request): Promise<Response> {
    if (!origins.allows(request.headers.get('origin'), request.headers.get('host'))) {
      return problem(403, 'FORBIDDEN', 'This origin is not allowed: see ALLOWED_ORIGINS.')
    }
    if (!health.isServing() && !(await health.willServe())) {
      const { message, details } = unavailable('server', health.notReadyBecause())
      return problem(503, 'UNAVAILABLE', message, details)
    }
    const { method, headers, url, signal } = request
    if (method !== 'POST') return yoga.fetch(url, { method, headers, signal })
    // A form of another page could send any other type without asking first.
    if (!/^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '')) {
      return problem(415, 'BAD_USER_INPUT', 'content-type must be application/json.', {
        argument: 'content-type',
        bound: 'application/json',
      })
    }
    const body = await readBody(request, config.MAX_FRAME_BYTES)
    if (body === null) {
      const { code, message, details } = badInput('body', `at most ${config.MAX_FRAME_BYTES} bytes`)
      return problem(413, code, message, details)
    }
    return yoga.fetch(url, { method, headers, body, signal })
  }

  async function readMetrics(request: Request): Promise<Response> {
    if (config.METRICS_TOKEN === null && config.NODE_ENV === 'production') return text(404, 'Not found\n')
    if (config.METRICS_TOKEN !== null && !isBearer(request, config.METRICS_TOKEN)) {
      return text(401, 'METRICS_TOKEN is asked for, as a bearer token.\n')
    }
    const { text: page, contentType } = await metrics.read()
    return new Response(page, { headers: { 'content-type': contentType, 'cache-control': 'no-store' } })
  }

  return async function fetch(request) {
    const { pathname } = new URL(request.url)
    if (pathname === GRAPHQL_PATH) {
      const wantsPage = request.method === 'GET' && /\btext\/html\b/.test(request.headers.get('accept') ?? '')
      return (wantsPage ? await pages.serve(pathname) : null) ?? graphql(request)
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return new Response('Not found\n', { status: 404 })
    if (pathname === '/healthz') return text(200, 'ok\n')
    if (pathname === '/readyz')
      return health.isReady() ? text(200, 'ready\n') : text(503, `${health.notReadyBecause()}\n`)
    if (pathname === '/metrics') return readMetrics(request)
    return (await pages.serve(pathname)) ?? text(404, 'Not found\n')
  }
}

/** Compared in a time that says nothing of where they differ. */
function isBearer(request: Request, token: string): boolean {
  const hashed = (value: string) => createHash('sha256').update(value).digest()
  return timingSafeEqual(hashed(request.headers.get('authorization') ?? ''), hashed(`Bearer ${token}`))
}

/** Yoga's steps, done by the functions that sockets use. */
function sharedOperations(
  operations: Operations,
  streams: Streams,
): Plugin<
  RequestContext & { params?: { query?: string; operationName?: string; variables?: Record<string, unknown> } }
> {
  return {
    onParse({ context, params, setParseFn }) {
      setParseFn(() => {
        const prepared = operations.prepare({ ...context.params, query: String(params.source) })
        if ('errors' in prepared) throw new AggregateError(prepared.errors)
        return prepared.document
      })
    },
    // Done with the parsing.
    onValidate: ({ setValidationFn }) => setValidationFn(() => []),
    onExecute: ({ setExecuteFn }) => setExecuteFn(operations.execute),
    onSubscribe: ({ setSubscribeFn }) =>
      setSubscribeFn(async (args: ExecutionArgs) => {
        const results = await operations.subscribe(args, null)
        const { caller } = args.contextValue as RequestContext
        return caller !== null && Symbol.asyncIterator in results ? streams.add(caller, results) : results
      }),
  }
}

/** @returns null where it is too long */
async function readBody(request: Request, mostBytes: number): Promise<string | null> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    // Read on for a while: cut off in the middle of its words, a client would not hear the answer.
    if (bytes > 16 * mostBytes) return null
    if (bytes <= mostBytes) chunks.push(chunk)
  }
  return bytes > mostBytes ? null : Buffer.concat(chunks).toString()
}

function problem(status: number, code: string, message: string, details: object = {}): Response {
  return Response.json({ errors: [{ message, extensions: { code, ...details } }] }, { status })
}

function text(status: number, body: string): Response {
  return new Response(body, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
  })
}
