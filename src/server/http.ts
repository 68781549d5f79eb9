/** GraphQL over HTTP by Yoga, the pages, and what load balancers ask. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { setTimeout as pass } from 'node:timers/promises'
import type { ExecutionArgs, GraphQLError, GraphQLErrorExtensions } from 'graphql'
import { createYoga, type Plugin } from 'graphql-yoga'
import type { Config } from '../config.ts'
import type { Caller } from '../presence/access.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { badInput, type PresenceError, rateLimited, unavailable } from '../presence/errors.ts'
import type { ChangeFeed } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence } from '../presence/presence.ts'
import { withinTime } from '../presence/time-limit.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { type ErrorMask, httpStatusOf, located } from './client-errors.ts'
import type { Health } from './health.ts'
import type { Addresses } from './limits/addresses.ts'
import type { Admission } from './limits/admission.ts'
import { type Limits, type Payer, payerOf, UNITS } from './limits/limits.ts'
import type { Metrics } from './metrics.ts'
import type { Operations } from './operations.ts'
import type { Origins } from './origins.ts'
import type { Pages } from './pages.ts'
import type { Results, Streams } from './streams.ts'

export const GRAPHQL_PATH = '/graphql'

/** No longer than a client waits at least before it asks again: `Retry-After` has whole seconds. */
const REFUSAL_WAIT_MS = 1000

export interface HttpOptions {
  readonly config: Pick<
    Config,
    'BODY_TIME' | 'HEARTBEAT_INTERVAL' | 'MAX_FRAME_BYTES' | 'METRICS_TOKEN' | 'NODE_ENV' | 'SOCKETS_PER_USER'
  >
  readonly admission: Admission
  readonly addresses: Addresses
  readonly limits: Pick<Limits, 'charge'>
  /** How many sockets a user has open here. */
  readonly socketCountOf: (userId: string) => number
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

/** What is known of a request before its document is read. */
interface Admitted {
  readonly caller: Caller | null
  readonly payer: Payer
  readonly accept: string | null
  readonly signal: AbortSignal
  /** Written when its document was priced. */
  readonly cost: { units: number }
}

/** @returns answers a request; `peer`: the address of its connection, null where the server does not say */
export function createHttp(options: HttpOptions): (request: Request, peer?: string | null) => Promise<Response> {
  const {
    config,
    admission,
    addresses,
    limits,
    presence,
    feed,
    operations,
    streams,
    origins,
    pages,
    health,
    metrics,
    mask,
  } = options

  const yoga = createYoga<Admitted, RequestContext>({
    schema: operations.schema,
    graphqlEndpoint: GRAPHQL_PATH,
    graphiql: false,
    landingPage: false,
    logging: false,
    // Both are ours: one cache and one set of limits for HTTP and sockets.
    parserAndValidationCache: false,
    plugins: [sharedOperations(operations, addStream)],
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
        // Without a path it concerns the whole request.
        return masked.path === undefined ? withHttpStatus(masked) : masked
      },
    },
    context({ request, caller, payer }) {
      let position: Promise<Position> | null = null
      return {
        caller,
        presence,
        feed,
        channel: null,
        namedSessionId: presence.parseSessionId(SESSION_HEADER, request.headers.get(SESSION_HEADER)),
        group: null,
        charge: (units) => limits.charge(payer, units),
        position() {
          position ??= presence.position()
          return position
        },
      }
    },
  })

  /** @throws PresenceError where it may not begin; then it is ended */
  function addStream({ caller, accept, signal }: Admitted, results: Results): Results {
    if (caller === null) return results
    const isFull = options.socketCountOf(caller.userId) + streams.countOf(caller.userId) >= config.SOCKETS_PER_USER
    const refusal = !acceptsEventStream(accept)
      ? notAcceptable()
      : isFull
        ? rateLimited(
            `A user may have ${config.SOCKETS_PER_USER} sockets and event streams open at once.`,
            config.HEARTBEAT_INTERVAL,
          )
        : null
    if (refusal === null) return streams.add(caller, results, signal)
    // It has begun. What its end fails with concerns nobody any more.
    results.return().catch(() => {})
    throw refusal
  }

  async function graphql(request: Request, peer: string | null): Promise<Response> {
    if (!origins.allows(request.headers.get('origin'), request.headers.get('host'))) {
      return problem(403, 'FORBIDDEN', 'This origin is not allowed: see ALLOWED_ORIGINS.')
    }
    if (!health.isServing() && !(await health.willServe())) {
      const { message, details } = unavailable('server', health.notReadyBecause())
      return problem(503, 'UNAVAILABLE', message, details)
    }
    const { method, headers, url, signal } = request
    const origin = addresses.of(peer, headers.get('x-forwarded-for'))
    // A browser's question before the request brings no token.
    const token = method === 'OPTIONS' ? null : headers.get('authorization')
    let caller: Caller | null
    let payer: Payer
    try {
      caller = await admission.authenticate(token, origin)
      payer = payerOf(caller, origin)
      if (method !== 'OPTIONS') limits.charge(payer, UNITS.request)
    } catch (error) {
      return refusal(error)
    }
    const admitted: Admitted = {
      caller,
      payer,
      accept: headers.get('accept'),
      signal,
      cost: { units: 0 },
    }
    if (method !== 'POST') return yoga.fetch(url, { method, headers, signal }, admitted)
    // A form of another page could send any other type without asking first.
    if (!/^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '')) {
      return problem(415, 'BAD_USER_INPUT', 'content-type must be application/json.', {
        argument: 'content-type',
        bound: 'application/json',
      })
    }
    const body = await readBody(request, config.MAX_FRAME_BYTES, config.BODY_TIME)
    if (body === 'too long') {
      const { code, message, details } = badInput('body', `at most ${config.MAX_FRAME_BYTES} bytes`)
      return problem(413, code, message, details)
    }
    if (body === 'too late') {
      const { code, message, details } = badInput('body', `sent within ${config.BODY_TIME} ms`)
      return problem(408, code, message, details, { connection: 'close' })
    }
    return yoga.fetch(url, { method, headers, body: body.text, signal }, admitted)
  }

  function refusal(error: unknown): Response {
    const masked = mask(error)
    const { code, ...details } = masked.extensions
    return problem(httpStatusOf(masked), String(code), masked.message, details, retryHeadersOf(masked.extensions))
  }

  async function readMetrics(request: Request): Promise<Response> {
    if (config.METRICS_TOKEN === null && config.NODE_ENV === 'production') return text(404, 'Not found\n')
    if (config.METRICS_TOKEN !== null && !isBearer(request, config.METRICS_TOKEN)) {
      return text(401, 'METRICS_TOKEN is asked for, as a bearer token.\n')
    }
    const { text: page, contentType } = await metrics.read()
    return new Response(page, { headers: { 'content-type': contentType, 'cache-control': 'no-store' } })
  }

  /** Who asks for too much waits for the answer: a client that asks again at once is slowed down by it. */
  async function slowedDown(response: Response): Promise<Response> {
    if (response.status === 429) await pass(REFUSAL_WAIT_MS, undefined, { ref: false })
    return response
  }

  return async function fetch(request, peer = null) {
    const { pathname } = new URL(request.url)
    if (pathname === GRAPHQL_PATH) {
      const wantsPage = request.method === 'GET' && /\btext\/html\b/.test(request.headers.get('accept') ?? '')
      return (wantsPage ? await pages.serve(pathname) : null) ?? slowedDown(await graphql(request, peer))
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
  addStream: (admitted: Admitted, results: Results) => Results,
): Plugin<
  RequestContext &
    Admitted & { params?: { query?: string; operationName?: string; variables?: Record<string, unknown> } }
> {
  return {
    onParse({ context, params, setParseFn }) {
      setParseFn(() => {
        const prepared = operations.prepare({ ...context.params, query: String(params.source) }, context.payer)
        if ('errors' in prepared) throw new AggregateError(prepared.errors)
        context.cost.units = prepared.units
        return prepared.document
      })
    },
    // Done with the parsing.
    onValidate: ({ setValidationFn }) => setValidationFn(() => []),
    onExecute: ({ setExecuteFn }) =>
      setExecuteFn((args: ExecutionArgs) => {
        const { payer, cost } = args.contextValue as Admitted
        return operations.execute(args, { payer, units: cost.units })
      }),
    onSubscribe: ({ setSubscribeFn }) =>
      setSubscribeFn(async (args: ExecutionArgs) => {
        const results = await operations.subscribe(args, null)
        if (Symbol.asyncIterator in results) return addStream(args.contextValue as Admitted, results)
        // It did not begin.
        return { ...results, errors: results.errors?.map(withHttpStatus) }
      }),
  }
}

/** Whether the answer may be a stream of events. Without the header it may be anything. */
function acceptsEventStream(accept: string | null): boolean {
  return accept === null || /(?:^|,)\s*(?:text\/event-stream|text\/\*|\*\/\*)\s*(?:[;,]|$)/i.test(accept)
}

function notAcceptable(): PresenceError {
  return badInput('accept', '`text/event-stream` for a subscription over HTTP')
}

/** For clients that look at the status alone. A copy: what is wrong with a document is remembered, and sent to sockets. */
function withHttpStatus(error: GraphQLError): GraphQLError {
  const http = { status: httpStatusOf(error), headers: retryHeadersOf(error.extensions) }
  return located(error.message, { ...error.extensions, http }, error)
}

/** As a number of seconds, rounded up: RFC 9110, 10.2.3. */
function retryHeadersOf({ retryAfterMs }: GraphQLErrorExtensions): Record<string, string> {
  return typeof retryAfterMs === 'number' ? { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) } : {}
}

async function readBody(
  request: Request,
  mostBytes: number,
  withinMs: number,
): Promise<{ readonly text: string } | 'too long' | 'too late'> {
  if (request.body === null) return { text: '' }
  const chunks: Uint8Array[] = []
  let bytes = 0

  async function read(): Promise<{ readonly text: string } | 'too long'> {
    for await (const chunk of request.body as unknown as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      // Read on for a while: cut off in the middle of its words, a client would not hear the answer.
      if (bytes > 16 * mostBytes) return 'too long'
      if (bytes <= mostBytes) chunks.push(chunk)
    }
    return bytes > mostBytes ? 'too long' : { text: Buffer.concat(chunks).toString() }
  }

  const reading = read()
  // Given up for its time, it may fail later, when the connection is closed.
  reading.catch(() => {})
  return withinTime(reading, withinMs, 'too late' as const)
}

function problem(
  status: number,
  code: string,
  message: string,
  details: object = {},
  headers: Record<string, string> = {},
): Response {
  return Response.json({ errors: [{ message, extensions: { code, ...details } }] }, { status, headers })
}

function text(status: number, body: string): Response {
  return new Response(body, {
    status,
    headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' },
  })
}
