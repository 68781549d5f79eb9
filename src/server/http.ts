/** GraphQL over HTTP by Yoga, the pages, and the endpoints for load balancers. */
import { createHash, timingSafeEqual } from 'node:crypto'
import { type ExecutionArgs, GraphQLError } from 'graphql'
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga'
import type { Config } from '../config.ts'
import type { Caller } from '../presence/access.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { badInput, badRequest, type ErrorCode, PresenceError, rateLimited, unavailable } from '../presence/errors.ts'
import type { ChangeFeed } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence } from '../presence/presence.ts'
import { withinTime } from '../presence/time-limit.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { NOT_SERVING, problemOf, problemOfMasked, retryHeadersOf, text } from './answers.ts'
import { type ErrorMask, httpStatusOf, located } from './client-errors.ts'
import type { Health } from './health.ts'
import type { Addresses, Origin } from './limits/addresses.ts'
import type { Admission } from './limits/admission.ts'
import { callerOf, type Limits, type Payer, payerOf, UNITS } from './limits/limits.ts'
import type { Metrics } from './metrics.ts'
import type { Operations } from './operations.ts'
import type { Pages } from './pages.ts'
import { type Params, paramsOfBody, paramsOfQuery } from './params.ts'
import type { Results, Streams } from './streams.ts'

export const GRAPHQL_PATH = '/graphql'

export interface HttpOptions {
  readonly config: Pick<
    Config,
    'BODY_TIME' | 'HEARTBEAT_INTERVAL' | 'MAX_FRAME_BYTES' | 'METRICS_TOKEN' | 'NODE_ENV' | 'SOCKETS_PER_USER'
  >
  readonly admission: Admission
  readonly addresses: Addresses
  readonly limits: Pick<Limits, 'charge' | 'refusalDelay' | 'spend' | 'turns'>
  /** How many sockets a user has open on this node. */
  readonly socketCountOf: (userId: string) => number
  readonly presence: Presence
  readonly feed: ChangeFeed
  readonly operations: Operations
  readonly streams: Streams
  readonly pages: Pages
  readonly health: Health
  readonly metrics: Pick<Metrics, 'read'>
  readonly mask: ErrorMask
}

/** What is known about a request before its document is read. */
interface Admitted {
  readonly caller: Caller | null
  readonly payer: Payer
  readonly accept: string | null
  readonly signal: AbortSignal
  /** The request's GraphQL parameters, parsed before Yoga sees them. */
  readonly params: Params
  /** Set when its document has been priced. */
  readonly cost: { units: number }
}

/** @returns a function that answers requests; `peer`: the address of the connection, null if the server lacks it */
export function createHttp(options: HttpOptions): (request: Request, peer: string | null) => Promise<Response> {
  const { config, admission, addresses, limits, presence, feed, operations, streams } = options
  const { pages, health, metrics, mask } = options

  const yoga = createYoga<Admitted, RequestContext>({
    schema: operations.schema,
    graphqlEndpoint: GRAPHQL_PATH,
    graphiql: false,
    landingPage: false,
    logging: false,
    // We do both: one cache and one set of limits for HTTP and sockets.
    parserAndValidationCache: false,
    plugins: [sharedOperations(operations, addStream)],
    multipart: false,
    // The edge does CORS: its own answers have the same headers.
    cors: false,
    maskedErrors: {
      maskError(error) {
        const masked = mask(error)
        // An error without a path concerns the whole request.
        return masked.path === undefined ? withStatus(masked) : masked
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

  /** @throws if the stream may not begin; then it is ended */
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
    // The stream has begun: an error while it ends concerns nobody.
    results.return().catch(() => {})
    throw refusal
  }

  async function graphql(request: Request, origin: Origin): Promise<Response> {
    if (!health.isServing() && !(await health.willServe())) return problemOf(unavailable('server', NOT_SERVING))
    const { method, headers, url, signal } = request
    const caller = await admission.authenticate(headers.get('authorization'), origin)
    const payer = payerOf(caller, origin)
    try {
      limits.charge(payer, UNITS.request)
    } catch (error) {
      // The request has been read all the same.
      limits.spend(payer, UNITS.request)
      throw error
    }
    const admitted = { caller, payer, accept: headers.get('accept'), signal, cost: { units: 0 } }
    if (method !== 'POST') {
      const params = paramsOfQuery(new URL(url).searchParams)
      return inTurn(payer, signal, () => yoga.fetch(url, { method, headers, signal }, { ...admitted, params }))
    }
    // A form on another page could send any other type without a preflight.
    if (!/^application\/(graphql-response\+)?json\b/.test(headers.get('content-type') ?? '')) {
      return problemOf(badInput('content-type', 'application/json'), 415)
    }
    const body = await withinTime(readBody(request, config.MAX_FRAME_BYTES), config.BODY_TIME, TOO_LATE)
    if (body === null) return problemOf(badInput('body', `at most ${config.MAX_FRAME_BYTES} bytes`), 413)
    if (body === TOO_LATE) {
      const refusal = problemOf(badInput('body', `sent within ${config.BODY_TIME} ms`), 408)
      refusal.headers.set('connection', 'close')
      return refusal
    }
    const params = paramsOfBody(body)
    return inTurn(payer, signal, () => yoga.fetch(url, { method, headers, body: '', signal }, { ...admitted, params }))
  }

  /** Requests that arrive together run in turns. Their payers have paid for them, so few can wait. */
  async function inTurn(payer: Payer, signal: AbortSignal, execute: () => Promise<Response> | Response) {
    if (payer.isFree) return execute()
    // The client has gone: nobody reads the answer.
    return limits.turns.run(callerOf(payer), async () => (signal.aborted ? new Response() : execute()))
  }

  /** Delays the answer to a caller that asks for too much. */
  async function slowedDown(answer: Promise<Response>): Promise<Response> {
    const response = await answer.catch((error) => {
      if (!(error instanceof PresenceError)) throw error
      return problemOfMasked(mask(error))
    })
    if (response.status === 429) await limits.refusalDelay()
    return response
  }

  async function readMetrics(request: Request): Promise<Response> {
    if (config.METRICS_TOKEN === null && config.NODE_ENV === 'production') return text(404, 'Not found\n')
    if (config.METRICS_TOKEN !== null && !isBearer(request, config.METRICS_TOKEN)) {
      return text(401, 'Send METRICS_TOKEN as a bearer token.\n')
    }
    const { text: page, contentType } = await metrics.read()
    return new Response(page, { headers: { 'content-type': contentType, 'cache-control': 'no-store' } })
  }

  return async function fetch(request, peer) {
    const { pathname } = new URL(request.url)
    if (pathname === GRAPHQL_PATH) {
      const wantsPage = request.method === 'GET' && /\btext\/html\b/.test(request.headers.get('accept') ?? '')
      const page = wantsPage ? await pages.serve(pathname) : null
      if (page !== null) return page
      const origin = addresses.of(peer, request.headers.get('x-forwarded-for'))
      return slowedDown(graphql(request, origin))
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(404, 'Not found\n')
    if (pathname === '/healthz') return text(200, 'ok\n')
    if (pathname === '/readyz')
      return health.isReady() ? text(200, 'ready\n') : text(503, `${health.notReadyBecause()}\n`)
    if (pathname === '/metrics') return readMetrics(request)
    return (await pages.serve(pathname)) ?? text(404, 'Not found\n')
  }
}

/** The comparison takes the same time wherever the tokens differ. */
function isBearer(request: Request, token: string): boolean {
  const hashed = (value: string) => createHash('sha256').update(value).digest()
  return timingSafeEqual(hashed(request.headers.get('authorization') ?? ''), hashed(`Bearer ${token}`))
}

/** Yoga's steps, run by the functions that sockets use. */
function sharedOperations(
  operations: Operations,
  addStream: (admitted: Admitted, results: Results) => Results,
): Plugin<RequestContext & Admitted, Admitted> {
  return {
    // Yoga checks the form of each one itself.
    onRequestParse: ({ serverContext, setRequestParser }) =>
      setRequestParser(() => ({ ...serverContext.params }) as GraphQLParams),
    onParse({ context, params, setParseFn }) {
      setParseFn(() => {
        const prepared = operations.prepare({ ...context.params, query: String(params.source) }, context.payer)
        if ('errors' in prepared) throw new AggregateError(prepared.errors.map(ofDocument))
        context.cost.units = prepared.units
        return prepared.document
      })
    },
    // Parsing has validated the document already.
    onValidate: ({ setValidationFn }) => setValidationFn(() => []),
    onExecute: ({ setExecuteFn }) =>
      setExecuteFn((args: ExecutionArgs) => {
        const { payer, cost, signal } = args.contextValue as Admitted
        return operations.execute(args, { payer, units: cost.units, isWanted: () => !signal.aborted })
      }),
    onSubscribe: ({ setSubscribeFn }) =>
      setSubscribeFn(async (args: ExecutionArgs) => {
        const admitted = args.contextValue as Admitted
        const results = await operations.subscribe(args, admitted.payer, null)
        if (Symbol.asyncIterator in results) return addStream(admitted, results)
        // The subscription did not begin.
        return { ...results, errors: results.errors?.map(withStatus) }
      }),
  }
}

/**
 * Adds an HTTP status for clients that look only at the status, if there is no data at all. Returns a copy: the errors
 * of a document are cached and sent to sockets too.
 */
function withStatus(error: GraphQLError): GraphQLError {
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
function ofDocument(error: GraphQLError): GraphQLError {
  // What the caller may not do, or not yet, is no fault of the document.
  if (!DOCUMENT_CODES.has(String(error.extensions.code))) return withStatus(error)
  return located(error.message, { ...error.extensions, http: { status: httpStatusOf(error), spec: true } }, error)
}

/** Whether the client accepts an event stream. Without the header it accepts anything. */
function acceptsEventStream(accept: string | null): boolean {
  return accept === null || /(?:^|,)\s*(?:text\/event-stream|text\/\*|\*\/\*)\s*(?:[;,]|$)/i.test(accept)
}

function notAcceptable(): GraphQLError {
  return new GraphQLError('accept must include text/event-stream for a subscription over HTTP.', {
    extensions: { code: 'BAD_REQUEST' satisfies ErrorCode, http: { status: 406 } },
  })
}

const TOO_LATE = Symbol('too late')

/** @returns null if the body is too long */
async function readBody(request: Request, mostBytes: number): Promise<string | null> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of (request.body ?? []) as AsyncIterable<Uint8Array>) {
      bytes += chunk.length
      // Keep reading for a while: a client that is cut off while it sends would not read the answer.
      if (bytes > 16 * mostBytes) return null
      if (bytes <= mostBytes) chunks.push(chunk)
    }
  } catch {
    throw badRequest('body must be complete.')
  }
  return bytes > mostBytes ? null : Buffer.concat(chunks).toString()
}
