/** GraphQL over HTTP by Yoga, the pages, and the endpoints for load balancers. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { ExecutionArgs, ExecutionResult } from 'graphql'
import { createYoga, type GraphQLParams, type Plugin } from 'graphql-yoga'
import type { Config } from '../config.ts'
import type { ErrorMask } from '../execution/client-errors.ts'
import { stringify } from '../execution/json.ts'
import { hasText } from '../execution/kept-texts.ts'
import type { Operations } from '../execution/operations.ts'
import type { Caller } from '../presence/access.ts'
import { SESSION_HEADER } from '../presence/bounds.ts'
import { badInput, badRequest, PresenceError, unavailable } from '../presence/errors.ts'
import type { ChangeFeed, FeedGroup } from '../presence/feed.ts'
import type { Position } from '../presence/position.ts'
import type { Presence } from '../presence/presence.ts'
import { withinTime } from '../presence/time-limit.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { acceptsEventStream, acceptsStream } from './accept.ts'
import { alive, NOT_SERVING, problemOf, problemOfMasked, text } from './answers.ts'
import { eventStream, MULTIPART_SUBSCRIPTION, SERVER_SENT_EVENTS } from './event-streams.ts'
import { beaconOf, tokenInQuery } from './headerless-tokens.ts'
import type { Health } from './health.ts'
import { forReader, isFinal, notAcceptable, ofDocument, withStatus } from './http-errors.ts'
import type { Addresses, Origin } from './limits/addresses.ts'
import type { Admission } from './limits/admission.ts'
import { callerOf, type Limits, type Payer, payerOf, requireFreeConnection, UNITS } from './limits/limits.ts'
import type { Metrics } from './metrics.ts'
import type { Pages } from './pages.ts'
import { type Params, paramsOfBody, paramsOfQuery } from './params.ts'
import type { RequestBody } from './parsed-body.ts'
import type { Peer } from './peer.ts'
import { createPersistedQueries, type PersistedQueries } from './persisted-queries.ts'
import { GRAPHQL, type Routes } from './routes.ts'
import { createSingleConnectionHttp, isSingleConnection } from './single-connection-http.ts'
import type { Results, Streams } from './streams.ts'

const LAST_EVENT_ID = 'Last-Event-ID'

export interface HttpOptions {
  readonly config: Pick<
    Config,
    | 'BASE_PATH'
    | 'BODY_TIME'
    | 'HEARTBEAT_INTERVAL'
    | 'MAX_FRAME_BYTES'
    | 'METRICS_TOKEN'
    | 'NODE_ENV'
    | 'SOCKETS_PER_USER'
    | 'SUBSCRIPTIONS_PER_SOCKET'
  >
  readonly admission: Admission
  readonly addresses: Addresses
  readonly limits: Pick<Limits, 'charge' | 'refusalDelay' | 'spend' | 'turns'>
  /** How many sockets a user has open on this node. */
  readonly socketCountOf: (userId: string) => number
  readonly presence: Presence
  readonly feed: ChangeFeed
  readonly operations: Operations
  /** Where a result of a subscription stands in the change log; null if it is no change. */
  readonly positionOf: (result: ExecutionResult) => Position | null
  readonly streams: Streams
  readonly routes: Routes
  readonly pages: Pages
  readonly health: Health
  readonly metrics: Pick<Metrics, 'read'>
  readonly mask: ErrorMask
}

/** What Yoga passes from one step to the next. It copies each property several times, so there is one. */
interface Passed {
  readonly admitted: Admitted
}

/** What is known about a request before its document is read. */
interface Admitted {
  readonly caller: Caller | null
  readonly payer: Payer
  readonly accept: string | null
  readonly signal: AbortSignal
  readonly peer: Peer
  /** The request's GraphQL parameters, parsed before Yoga sees them. */
  readonly params: Params
  /** Set when its document has been priced. */
  readonly cost: { units: number }
  /** What it follows, if it is a subscription. */
  readonly group: FeedGroup
}

/** @returns a function that answers requests */
export function createHttp(options: HttpOptions): (request: Request, peer: Peer) => Promise<Response> {
  const { config, admission, addresses, limits, presence, feed, operations, streams } = options
  const { routes, pages, health, metrics, mask } = options

  const persistedQueries = createPersistedQueries()
  const yoga = createYoga<Passed, RequestContext>({
    schema: operations.schema,
    graphqlEndpoint: routes.graphqlPath,
    graphiql: false,
    landingPage: false,
    logging: false,
    // We do both: one cache and one set of limits for HTTP and sockets.
    parserAndValidationCache: false,
    plugins: [sharedOperations(operations, persistedQueries, addStream), streamForms(feed, options.positionOf)],
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
    context: ({ request, admitted: { caller, payer, group } }) => contextOf(request.headers, caller, payer, group),
  })
  const answerSingle = createSingleConnectionHttp({ config, operations, streams, requireRoom, isFinal, mask })

  function contextOf(headers: Headers, caller: Caller | null, payer: Payer, group: FeedGroup): RequestContext {
    let position: Promise<Position> | null = null
    return {
      caller,
      presence,
      feed,
      channel: null,
      namedSessionId: presence.parseSessionId(SESSION_HEADER, headers.get(SESSION_HEADER)),
      group,
      lastEventId: headers.get(LAST_EVENT_ID) || null,
      charge: (units) => limits.charge(payer, units),
      position() {
        position ??= presence.position()
        return position
      },
    }
  }

  function requireRoom(userId: string): void {
    requireFreeConnection(options.socketCountOf(userId) + streams.countOf(userId), config)
  }

  /** @throws if the stream may not begin; then it is ended */
  function addStream({ caller, accept, signal, peer }: Admitted, results: Results): Results {
    if (caller === null) return results
    try {
      if (!acceptsStream(accept)) throw notAcceptable()
      requireRoom(caller.userId)
    } catch (error) {
      // The stream has begun: an error while it ends concerns nobody.
      results.return().catch(() => {})
      throw error
    }
    return streams.add(caller, results, { signal, cut: peer.cut })
  }

  async function graphql(request: Request, origin: Origin, peer: Peer): Promise<Response> {
    if (!health.isServing() && !(await health.willServe())) return problemOf(unavailable('server', NOT_SERVING))
    const { method, headers, url, signal } = request
    const search = new URL(url).searchParams
    if (isSingleConnection(request)) {
      const { payer, caller } = await admit(request, headers.get('authorization'), origin, peer)
      const asked = {
        method,
        headers,
        search,
        caller,
        payer,
        connection: { signal, cut: peer.cut },
        params: () => readParams(request, peer),
        contextOf: (group: FeedGroup) => contextOf(headers, caller, payer, group),
      }
      return inTurn(payer, signal, () => answerSingle(asked))
    }
    if (method !== 'POST') {
      const authorization = headers.get('authorization') ?? tokenInQuery(search, headers.get('accept'))
      const { payer, execute } = await admit(request, authorization, origin, peer)
      const params = persistedQueries.resolve(paramsOfQuery(search))
      return inTurn(payer, signal, () => execute(params, null))
    }
    // A page that closes can send no other type with a body to another origin, and no header. Where cookies give rights,
    // any page could send it for the user.
    if (!admission.readsRequests && /^text\/plain\b/i.test(headers.get('content-type') ?? '')) {
      const body = await readBody(request, peer)
      if (body instanceof Response) return body
      const beacon = beaconOf(body)
      if (beacon === null) return problemOf(badInput('content-type', 'application/json'), 415)
      const { payer, execute } = await admit(request, beacon.authorization, origin, peer)
      return inTurn(payer, signal, () => execute(persistedQueries.resolve(beacon.params), ''))
    }
    const { payer, execute } = await admit(request, headers.get('authorization'), origin, peer)
    const params = await readParams(request, peer)
    return params instanceof Response ? params : inTurn(payer, signal, () => execute(params, ''))
  }

  /** @returns the parameters of a POST, or the answer that refuses its body */
  async function readParams(request: Request, peer: Peer): Promise<Params | Response> {
    // A form on another page could send any other type without a preflight.
    if (!/^application\/(graphql-response\+)?json\b/.test(request.headers.get('content-type') ?? '')) {
      return problemOf(badInput('content-type', 'application/json'), 415)
    }
    const body = await readBody(request, peer)
    return body instanceof Response ? body : persistedQueries.resolve(paramsOfBody(body))
  }

  /** Authenticates a request and charges for it. @returns who pays, and what executes it */
  async function admit(
    { method, headers, url, signal }: Request,
    authorization: string | null,
    origin: Origin,
    peer: Peer,
  ) {
    const credentials = {
      authorization,
      connectionParams: null,
      req: peer.req,
      toRequest: () => new Request(url, { method, headers: [...headers] }),
    }
    const caller = await admission.authenticate(credentials, origin)
    const payer = payerOf(caller, origin)
    try {
      limits.charge(payer, UNITS.request)
    } catch (error) {
      // The request has been read all the same.
      limits.spend(payer, UNITS.request)
      throw error
    }
    const group: FeedGroup = { subscriptions: new Set() }
    const admitted = { caller, payer, accept: headers.get('accept'), signal, peer, cost: { units: 0 }, group }

    function execute(params: Params, body: string | null): Promise<Response> | Response {
      const init = { method, headers, signal, ...(body === null ? {} : { body }) }
      return yoga.fetch(url, init, { admitted: { ...admitted, params } })
    }
    return { caller, payer, execute }
  }

  /** @returns the text, or the answer that refuses it */
  async function readBody(request: Request, peer: Peer): Promise<string | Response> {
    const source = peer.body() ?? (request.body as AsyncIterable<Uint8Array> | null) ?? ''
    const body = await withinTime(textOf(source, config.MAX_FRAME_BYTES), config.BODY_TIME, TOO_LATE)
    if (body === null) return problemOf(badInput('body', `at most ${config.MAX_FRAME_BYTES} bytes`), 413)
    if (body !== TOO_LATE) return body
    const refusal = problemOf(badInput('body', `sent within ${config.BODY_TIME} ms`), 408)
    refusal.headers.set('connection', 'close')
    return refusal
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
    const { pathname, search } = new URL(request.url)
    const path = routes.below(pathname)
    if (path === null) return text(404, 'Not found\n')
    if (path === GRAPHQL) {
      const wantsPage = request.method === 'GET' && /\btext\/html\b/.test(request.headers.get('accept') ?? '')
      const page = wantsPage ? await pages.serve(path) : null
      if (page !== null) return page
      const origin = addresses.of(peer.address, request.headers.get('x-forwarded-for'))
      return passedOnAtOnce(await slowedDown(graphql(request, origin, peer)))
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(404, 'Not found\n')
    if (path === '/healthz') return alive(request)
    if (path === '/readyz') return health.isReady() ? text(200, 'ready\n') : text(503, `${health.notReadyBecause()}\n`)
    if (path === '/metrics') return readMetrics(request)
    // What a page loads is named relative to it, so its address needs the slash.
    if (path === '' && pages.has('/')) return redirect(`${config.BASE_PATH}/${search}`)
    return (await pages.serve(path)) ?? text(404, 'Not found\n')
  }
}

function redirect(location: string): Response {
  return new Response(null, { status: 308, headers: { location, 'cache-control': 'no-store' } })
}

/** Lets proxies pass on each event of a stream as it comes: nginx gathers an answer by default, others compress it. */
function passedOnAtOnce(response: Response): Response {
  const { headers } = response
  if (!/^(?:text\/event-stream|multipart\/mixed)/.test(headers.get('content-type') ?? '')) return response
  headers.set('x-accel-buffering', 'no')
  headers.set('cache-control', 'no-cache, no-transform')
  return response
}

/** The comparison takes the same time wherever the tokens differ. */
function isBearer(request: Request, token: string): boolean {
  const hashed = (value: string) => createHash('sha256').update(value).digest()
  return timingSafeEqual(hashed(request.headers.get('authorization') ?? ''), hashed(`Bearer ${token}`))
}

/** Yoga's steps, run by the functions that sockets use. */
function sharedOperations(
  operations: Operations,
  persistedQueries: PersistedQueries,
  addStream: (admitted: Admitted, results: Results) => Results,
): Plugin<RequestContext & Passed, Passed> {
  return {
    // Yoga checks the form of each one itself.
    onRequestParse: ({ serverContext, setRequestParser }) =>
      setRequestParser(() => ({ ...serverContext.admitted.params }) as GraphQLParams),
    onParse({ context, params, setParseFn }) {
      setParseFn(() => {
        const { admitted } = context
        const prepared = operations.prepare({ ...context.params, query: String(params.source) }, admitted.payer)
        if ('errors' in prepared) {
          throw new AggregateError(prepared.errors.map((error) => ofDocument(forReader(error, admitted.accept))))
        }
        persistedQueries.keep(context.params)
        admitted.cost.units = prepared.units
        return prepared.document
      })
    },
    // Parsing has validated the document already.
    onValidate: ({ setValidationFn }) => setValidationFn(() => []),
    onExecute: ({ setExecuteFn }) =>
      setExecuteFn(async (args: ExecutionArgs) => {
        const { payer, cost, signal } = (args.contextValue as Passed).admitted
        const result = await operations.execute(args, { payer, units: cost.units, isWanted: () => !signal.aborted })
        // Yoga writes a result by a function that the result has.
        return hasText(result) ? { ...result, stringify } : result
      }),
    onSubscribe: ({ setSubscribeFn }) =>
      setSubscribeFn(async (args: ExecutionArgs) => {
        const { admitted } = args.contextValue as Passed
        const results = await operations.subscribe(args, admitted.payer, null)
        if (Symbol.asyncIterator in results) return addStream(admitted, results)
        // The subscription did not begin.
        return { ...results, errors: results.errors?.map((error) => withStatus(forReader(error, admitted.accept))) }
      }),
  }
}

/** Writes streams of results in the form that their client accepts. */
function streamForms(feed: ChangeFeed, positionOf: HttpOptions['positionOf']): Plugin<RequestContext & Passed, Passed> {
  return {
    onResultProcess({ result, serverContext: { admitted }, setResultProcessor }) {
      if (!(typeof result === 'object' && Symbol.asyncIterator in result)) return
      const { accept, group } = admitted
      const form = acceptsEventStream(accept) ? SERVER_SENT_EVENTS : MULTIPART_SUBSCRIPTION
      const { contentType } = form
      setResultProcessor(() => {
        const body = eventStream(result as Results, {
          form,
          positionOf,
          reached: () => (group.subscriptions.size === 0 ? null : feed.reached(group)),
          isFinal,
        })
        return new Response(body, { headers: { 'content-type': contentType } })
      }, contentType)
    },
  }
}

const TOO_LATE = Symbol('too late')

/** @returns null if the body is too long */
async function textOf(source: RequestBody, mostBytes: number): Promise<string | null> {
  if (typeof source === 'string') return Buffer.byteLength(source) > mostBytes ? null : source
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of source) {
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
