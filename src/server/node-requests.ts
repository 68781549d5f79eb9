/**
 * Brings Node's requests to `fetch`: every form of target in RFC 9112, and an answer to a target that has no such form.
 *
 * Only `Upgrade: websocket` is an upgrade. A request that offers another protocol is served as if it did not: a server
 * may ignore the offer (RFC 9110, 7.8).
 */
import { once } from 'node:events'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { createServerAdapter, sendNodeResponse } from '@whatwg-node/server'
import type { ErrorMask } from '../execution/client-errors.ts'
import { problem, problemOfMasked, rawAnswer } from './answers.ts'
import type { NodeSource } from './peer.ts'
import type { Routes } from './routes.ts'

/** Passes a request on to the next handler of a framework. */
export type Next = () => unknown

export interface HandleOptions {
  /** The body as the framework has parsed it, if it does not leave it in `request.body`. */
  readonly body?: unknown
  /** Called for a request that is for somebody else; without it, such a request is answered with 404. */
  readonly next?: Next
}

export interface NodeRequests {
  /** Answers a request. Resolves when it is answered, or when `next` is done with it. */
  handle(request: IncomingMessage, response: ServerResponse, rest?: Next | HandleOptions): Promise<void>
  /** Takes over a WebSocket of ours. @returns false for any other, which it leaves alone */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** Handles every event of this server. */
  mount(server: Server): void
}

export interface NodeRequestsOptions {
  readonly fetch: (request: Request, from?: object) => Promise<Response>
  readonly routes: Pick<Routes, 'graphqlPath' | 'has'>
  /** Takes over a WebSocket. @param host - the host that its request names */
  readonly openSocket: (request: IncomingMessage, socket: Duplex, head: Buffer, host: string | null) => void
  /** Whether the server stops: then a connection is used for no further request. */
  readonly isDraining: () => boolean
  readonly mask: ErrorMask
  /** Called when a connection fails while nobody waits for an answer. */
  readonly onConnectionError: (error: unknown) => void
  /** Called when a framework has cut off the path where it mounts us: upgrades come with their whole path. */
  readonly onMountedAt: (path: string) => void
}

export function createNodeRequests(options: NodeRequestsOptions): NodeRequests {
  const { fetch, routes, openSocket, isDraining, mask, onConnectionError, onMountedAt } = options
  const adapter = createServerAdapter<NodeSource>(fetch)

  async function handle(
    request: IncomingMessage,
    response: ServerResponse,
    rest: Next | HandleOptions = {},
  ): Promise<void> {
    const { next, body }: HandleOptions = typeof rest === 'function' ? { next: rest } : rest
    const target = targetFor(request)
    if (next !== undefined && !isOurs(request, target)) {
      await next()
      return
    }
    try {
      await send(target instanceof Response ? target : await answer(request, response, target, body), request, response)
      // A stream goes on. A framework that took it for answered would write into it.
      if (!response.writableEnded && !response.closed) await once(response, 'close')
    } catch (error) {
      // A client that has gone is not a fault.
      if (response.closed || request.socket.destroyed) return onConnectionError(error)
      const failure = problemOfMasked(mask(error))
      if (response.headersSent) {
        // The adapter's listener would cancel the body, which has failed already, and nobody would catch that.
        request.removeAllListeners('error').on('error', onConnectionError)
        response.destroy()
      } else await send(failure, request, response).catch(() => response.destroy())
    }
  }

  /**
   * The adapter sees a copy of the request. It would take the content type of a parsed body for JSON, whatever it was, and
   * another page could send a form.
   */
  function answer(request: IncomingMessage, response: ServerResponse, { path, headers }: Target, body: unknown) {
    const { method, socket } = request
    const copy = { method, headers, url: path, socket, [Symbol.asyncIterator]: () => request[Symbol.asyncIterator]() }
    return adapter.handleNodeRequestAndResponse(copy, response, { req: request, body })
  }

  function isOurs({ method }: IncomingMessage, target: Target | Response): boolean {
    return !(target instanceof Response) && routes.has(method ?? '', pathnameOf(target.path))
  }

  /** Finds the target: the whole one, or what is left of it below the path where a framework mounts us. */
  function targetFor(request: IncomingMessage): Target | Response {
    const url = request.url ?? ''
    const { originalUrl = url } = request as { readonly originalUrl?: string }
    const whole = targetOf(request, originalUrl)
    if (originalUrl === url || isOurs(request, whole)) return whole
    const rest = targetOf(request, url)
    if (!isOurs(request, rest)) return whole
    onMountedAt(originalUrl.endsWith(url) ? originalUrl.slice(0, -url.length) : pathnameOf(originalUrl))
    return rest
  }

  async function send(answer: Response, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A balancer that reuses the connection might send its next request in the moment in which the server closes it.
    if (isDraining()) response.shouldKeepAlive = false
    await sendNodeResponse(answer, response, request, true)
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const target = targetOf(request, request.url ?? '')
    if (target instanceof Response || pathnameOf(target.path) !== routes.graphqlPath) return false
    // Node removes its own listener before it hands the socket over, and a reset must not end the process.
    socket.on('error', onConnectionError)
    if (isWebSocket(request)) openSocket(request, socket, head, target.headers.host ?? null)
    else refuse(socket, problem('BAD_REQUEST', 'upgrade must be websocket.', { status: 426 }))
    return true
  }

  /** For a WebSocket that nobody takes: without an answer it would hang. */
  function refuseUpgrade(request: IncomingMessage, socket: Duplex): void {
    socket.on('error', onConnectionError)
    const target = targetOf(request, request.url ?? '')
    refuse(socket, target instanceof Response ? target : problem('NOT_FOUND', 'There is no WebSocket at this path.'))
  }

  return {
    handle,
    upgrade,

    mount(server) {
      /** The answer begun last on each connection: Node writes answers in the order of their requests. */
      const latest = new WeakMap<Duplex, ServerResponse>()
      server.on('request', (request: IncomingMessage, response: ServerResponse) => {
        latest.set(request.socket, response)
        void handle(request, response)
      })
      server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
        void send(problem('BAD_REQUEST', 'expect must be 100-continue.', { status: 417 }), request, response)
      })
      server.on('connect', (_request: IncomingMessage, socket: Duplex) => {
        socket.on('error', onConnectionError)
        refuse(socket, problem('BAD_REQUEST', 'method must not be CONNECT: this is no proxy.', { status: 405 }))
      })
      server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (isWebSocket(request)) {
          // Another listener, such as Socket.IO's, may take what is not ours.
          if (!upgrade(request, socket, head) && server.listenerCount('upgrade') === 1) refuseUpgrade(request, socket)
          return
        }
        // Node has stopped parsing and has put the rest into `head`: the connection begins again without the offer, so
        // that a body and the next requests are read as usual.
        function beginAgain(): void {
          socket.off('error', onConnectionError)
          if (socket.destroyed) return
          socket.unshift(Buffer.concat([headWithoutUpgrade(request), head]))
          server.emit('connection', socket)
        }
        // Node has removed its own listener, and a reset must not end the process.
        socket.on('error', onConnectionError)
        const before = latest.get(socket)
        if (before === undefined || before.writableFinished) beginAgain()
        else before.once('finish', beginAgain)
      })
    },
  }
}

/** Answers a request on a connection that Node has handed over, and ends the connection. */
export function refuse(socket: Duplex, response: Response): void {
  // A peer that keeps sending, or never closes, would keep its half open.
  socket.once('finish', () => socket.destroy())
  void rawAnswer(response).then((answer) => socket.end(answer))
}

function isWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket'
}

/** A name, an IPv4 address or an IPv6 address in brackets, perhaps with a port. Empty is allowed (RFC 9110, 7.2). */
const HOST = /^(?:(?:[\w.~!$&'()*+,;=%-]+|\[[\da-f:.]+\])(?::\d{0,5})?)?$/i
const ABSOLUTE = /^https?:\/\/([^/?#]*)/i

/** The target of a request in origin form, and its headers with the host that the target names. */
interface Target {
  readonly path: string
  readonly headers: IncomingMessage['headers']
}

/** @returns the answer that refuses an invalid target or host; the request itself stays as it is */
function targetOf(request: IncomingMessage, url: string): Target | Response {
  const { headers, method } = request
  const [absolute = '', authority] = ABSOLUTE.exec(url) ?? []
  let path = url.slice(absolute.length)
  // `OPTIONS *` asks what the server as a whole can do.
  if (path === '*' && method === 'OPTIONS') path = '/'
  if (path === '' || path.startsWith('?')) path = `/${path}`
  if (!path.startsWith('/')) return problem('BAD_REQUEST', 'The target of the request must be a path.')
  const host = absolute === '' ? headers.host : (authority ?? '')
  if (request.httpVersion === '1.1' && host === undefined) return badHost()
  if (hostCount(request) > 1 || !HOST.test(host ?? '')) return badHost()
  // A request without a host has the address that it came to.
  if (host === undefined || host === '') return { path, headers: withoutHost(headers) }
  if (!canParseHost(host)) return badHost()
  return { path, headers: host === headers.host ? headers : { ...headers, host } }
}

function withoutHost({ host: _, ...headers }: IncomingMessage['headers']): IncomingMessage['headers'] {
  return headers
}

function pathnameOf(path: string): string {
  return path.split('?', 1)[0] ?? ''
}

/** The last host that could be parsed: most clients know a server by one name. */
let knownHost = ''

function canParseHost(host: string): boolean {
  if (host === knownHost) return true
  if (!URL.canParse(`http://${host}`)) return false
  knownHost = host
  return true
}

function badHost(): Response {
  return problem('BAD_REQUEST', 'host must be the name or address of a host, once.')
}

function hostCount({ rawHeaders }: IncomingMessage): number {
  let count = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.length === 4 && rawHeaders[index]?.toLowerCase() === 'host') count += 1
  }
  return count
}

/** The request line and headers as received, without the offer of another protocol. */
function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const [name = '', value = ''] = rawHeaders.slice(index, index + 2)
    const sent = name.toLowerCase() === 'connection' ? optionsWithoutUpgrade(value) : value
    if (!OFFERS.has(name.toLowerCase()) && sent !== '') lines.push(`${name}: ${sent}`)
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}

const OFFERS: ReadonlySet<string> = new Set(['upgrade', 'http2-settings'])

function optionsWithoutUpgrade(value: string): string {
  const options = value.split(',').map((option) => option.trim())
  return options.filter((option) => !OFFERS.has(option.toLowerCase())).join(', ')
}
