/** GraphQL over HTTP by Yoga, the pages, and what load balancers ask. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ExecutionArgs, GraphQLError } from 'graphql'
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga'
import type { Config } from '../config.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { badInput, badRequest, unavailable } from '../presence/errors.ts'
import type { ChangeFeed } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence } from '../presence/presence.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { NOT_SERVING, problemOf, text } from './answers.ts'
import type { Authenticator } from './auth.ts'
import { type ErrorMask, httpStatusOf, located } from './client-errors.ts'
import type { Health } from './health.ts'
import type { Metrics } from './metrics.ts'
import type { Operations } from './operations.ts'
import type { Pages } from './pages.ts'
import { type Params, paramsOfBody, paramsOfQuery } from './params.ts'
import type { Streams } from './streams.ts'

export const GRAPHQL_PATH = '/graphql'

export interface HttpOptions {
  readonly config: Pick<Config, 'MAX_FRAME_BYTES' | 'METRICS_TOKEN' | 'NODE_ENV'>
  readonly authenticator: Authenticator
  readonly presence: Presence
  readonly feed: ChangeFeed
  readonly operations: Operations
  readonly streams: Streams
  readonly pages: Pages
  readonly health: Health
  readonly metrics: Pick<Metrics, 'read'>
  readonly mask: ErrorMask
}

export function createHttp(options: HttpOptions): (request: Request) => Promise<Response> {
  const { config, authenticator, presence, feed, operations, streams, pages, health, metrics, mask } = options

  const yoga = createYoga<ParamsContext, RequestContext>({
    schema: operations.schema,
    graphqlEndpoint: GRAPHQL_PATH,
    graphiql: false,
    landingPage: false,
    logging: false,
    // Both are ours: one cache and one set of limits for HTTP and sockets.
    parserAndValidationCache: false,
    plugins: [sharedOperations(operations, streams)],
    multipart: false,
    // The edge's: its answers have the same headers.
    cors: false,
    maskedErrors: {
      maskError(error) {
        const masked = mask(error)
        // Without a path it concerns the whole request.
        return masked.path === undefined ? withStatus(masked) : masked
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
    if (!health.isServing() && !(await health.willServe())) return problemOf(unavailable('server', NOT_SERVING))
    const { method, headers, url, signal } = request
    if (method !== 'POST') {
      const params = paramsOfQuery(new URL(url).searchParams)
      return yoga.fetch(url, { method, headers, signal }, { params })
    }
    // A form of another page could send any other type without asking first.
    if (!/^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '')) {
      return problemOf(badInput('content-type', 'application/json'), 415)
    }
    const body = await readBody(request, config.MAX_FRAME_BYTES)
    if (body === null) return problemOf(badInput('body', `at most ${config.MAX_FRAME_BYTES} bytes`), 413)
    const params = paramsOfBody(body)
    return yoga.fetch(url, { method, headers, body: '', signal }, { params })
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
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(404, 'Not found\n')
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

/** What a request asks for, parsed before Yoga sees it. */
interface ParamsContext {
  readonly params: Params
}

/** Yoga's steps, done by the functions that sockets use. */
function sharedOperations(
  operations: Operations,
  streams: Streams,
): Plugin<
  RequestContext & { params?: { query?: string; operationName?: string; variables?: Record<string, unknown> } },
  ParamsContext
> {
  return {
    // Yoga looks at the form of each by itself.
    onRequestParse: ({ serverContext, setRequestParser }) =>
      setRequestParser(() => ({ ...serverContext.params }) as GraphQLParams),
    onParse({ context, params, setParseFn }) {
      setParseFn(() => {
        const prepared = operations.prepare({ ...context.params, query: String(params.source) })
        if ('errors' in prepared) throw new AggregateError(prepared.errors.map(ofDocument))
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
        if (!(Symbol.asyncIterator in results)) return { ...results, errors: results.errors?.map(withStatus) }
        return caller === null ? results : streams.add(caller, results)
      }),
  }
}

/**
 * For who looks at the status of an answer alone, where there is no data at all. A copy: what is wrong with a document
 * is kept, and sent to sockets too.
 */
function withStatus(error: GraphQLError): GraphQLError {
  const own = error.extensions.http as { readonly status?: number; readonly spec?: boolean } | undefined
  // Yoga takes a request without a query for a well-formed one.
  const spec = own?.spec === true && error.extensions.code !== 'BAD_REQUEST'
  const http = { status: httpStatusOf(error), ...own, spec }
  return located(error.message, { ...error.extensions, http }, error)
}

/**
 * GraphQL over HTTP: the request was well-formed, and its document or variables are not. Its status is 400 where the
 * client takes `application/graphql-response+json`, and 200 where it takes only `application/json`.
 */
function ofDocument(error: GraphQLError): GraphQLError {
  return located(error.message, { ...error.extensions, http: { status: httpStatusOf(error), spec: true } }, error)
}

/** @returns null where it is too long */
async function readBody(request: Request, mostBytes: number): Promise<string | null> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      // Read on for a while: cut off in the middle of its words, a client would not hear the answer.
      if (bytes > 16 * mostBytes) return null
      if (bytes <= mostBytes) chunks.push(chunk)
    }
  } catch {
    throw badRequest('body must come to its end.')
  }
  return bytes > mostBytes ? null : Buffer.concat(chunks).toString()
}
