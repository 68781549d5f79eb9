/** The requests of graphql-sse's single connection mode: reserve a stream, connect it, and begin and end operations. */
import { type ExecutionResult, type GraphQLError, getOperationAST } from 'graphql'
import type { Config } from '../config.ts'
import type { Operations } from '../execution/operations.ts'
import { type Caller, requireCaller } from '../presence/access.ts'
import { badRequest, rateLimited } from '../presence/errors.ts'
import type { FeedGroup } from '../presence/feed.ts'
import type { RequestContext } from '../resolvers/context.ts'
import { problemOfMasked } from './answers.ts'
import { eventStream, SINGLE_CONNECTION } from './event-streams.ts'
import type { Payer } from './limits/limits.ts'
import type { Params } from './params.ts'
import { createSingleConnections, type SingleConnection, STREAM_TOKEN } from './single-connections.ts'
import type { Results, StreamConnection, Streams } from './streams.ts'

export interface SingleRequest {
  readonly method: string
  readonly headers: Headers
  readonly search: URLSearchParams
  readonly caller: Caller | null
  readonly payer: Payer
  readonly connection: StreamConnection
  /** Reads the parameters, or returns the answer that refuses the body. */
  readonly params: () => Promise<Params | Response>
  readonly contextOf: (group: FeedGroup) => RequestContext
}

export interface SingleConnectionHttpOptions {
  readonly config: Pick<Config, 'SUBSCRIPTIONS_PER_SOCKET'>
  readonly operations: Operations
  readonly streams: Streams
  /** @throws PresenceError `RATE_LIMITED` if the user has too many sockets and streams */
  readonly requireRoom: (userId: string) => void
  /** Whether no retry fixes the error, so that the client must get it. */
  readonly isFinal: (error: GraphQLError) => boolean
  readonly mask: (error: unknown) => GraphQLError
}

/** Whether a request uses the single connection mode. */
export function isSingleConnection({ method, headers }: Pick<SingleRequest, 'method' | 'headers'>): boolean {
  return method === 'PUT' || method === 'DELETE' || headers.has(STREAM_TOKEN)
}

export function createSingleConnectionHttp(options: SingleConnectionHttpOptions) {
  const { config, operations, streams, requireRoom, isFinal, mask } = options
  const connections = createSingleConnections({
    streams,
    finalResult(error) {
      const masked = mask(error)
      return isFinal(masked) ? { errors: [masked] } : null
    },
  })

  return async function answer(request: SingleRequest): Promise<Response> {
    const { method, headers, search, connection } = request
    const caller = requireCaller(request.caller)
    if (method === 'PUT') {
      requireRoom(caller.userId)
      const headers = { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' }
      return new Response(connections.reserve(caller), { status: 201, headers })
    }
    const stream = connections.find(caller, headers.get(STREAM_TOKEN) ?? '')
    if (method === 'POST') return operate(request, stream)
    if (method === 'DELETE') {
      stream.stop(search.get('operationId') ?? '')
      return new Response(null, { status: 200 })
    }
    const items = stream.connect(connection)
    const body = eventStream(items, {
      form: SINGLE_CONNECTION,
      positionOf: () => null,
      reached: () => null,
      isFinal: () => false,
    })
    return new Response(body, { headers: { 'content-type': SINGLE_CONNECTION.contentType } })
  }

  async function operate(request: SingleRequest, stream: SingleConnection): Promise<Response> {
    const params = await request.params()
    if (params instanceof Response) return params
    if (stream.operationCount() >= config.SUBSCRIPTIONS_PER_SOCKET) {
      throw rateLimited(`A stream may have ${config.SUBSCRIPTIONS_PER_SOCKET} operations open at once.`, 1000)
    }
    const id = stream.begin((params.extensions as { operationId?: unknown } | null | undefined)?.operationId)
    try {
      const results = await begin(params, request, stream)
      const [error] = Symbol.asyncIterator in results || results.data ? [] : (results.errors ?? [])
      // The client treats every status but 202 as a lost connection and retries, so only errors that a retry may fix
      // get one.
      if (error !== undefined && !isFinal(error)) {
        stream.stop(id)
        return problemOfMasked(error)
      }
      stream.answer(id, results)
      return new Response(null, { status: 202 })
    } catch (error) {
      stream.stop(id)
      throw error
    }
  }

  function begin(params: Params, request: SingleRequest, stream: SingleConnection): Promise<Results | ExecutionResult> {
    const { payer, connection, contextOf } = request
    const { query, variables } = params
    if (typeof query !== 'string' || query === '') throw badRequest('query must be a text.')
    if (typeof (variables ?? {}) !== 'object' || Array.isArray(variables))
      throw badRequest('variables must be an object.')
    const operationName = params.operationName as string | null | undefined
    const variableValues = variables as Record<string, unknown> | null | undefined
    const prepared = operations.prepare({ query, operationName, variables: variableValues }, payer)
    if ('errors' in prepared) return Promise.resolve({ errors: prepared.errors })
    const { document, units } = prepared
    const { schema } = operations
    const args = { schema, document, operationName, variableValues, contextValue: contextOf(stream.group) }
    return getOperationAST(document, operationName)?.operation === 'subscription'
      ? operations.subscribe(args, payer, null)
      : operations.execute(args, { payer, units, isWanted: () => !connection.signal.aborted })
  }
}
