/**
 * Brings Node's requests to `fetch`: every form of target in RFC 9112, and an answer to a target that has no such form.
 *
 * Only `Upgrade: websocket` is an upgrade. A request that offers another protocol is served as if it did not: a server
 * may ignore the offer (RFC 9110, 7.8).
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { createServerAdapter, sendNodeResponse } from '@whatwg-node/server'
import { problem, problemOfMasked, rawAnswer } from './answers.ts'
import type { ErrorMask } from './client-errors.ts'

export interface NodeRequests {
  /** Handles the `request` event of Node's server. */
  listener(request: IncomingMessage, response: ServerResponse): void
  /** Handles the `upgrade` event of Node's server. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** Handles every event of this server. */
  mount(server: Server): void
}

export interface NodeRequestsOptions {
  readonly fetch: (request: Request, from?: object) => Promise<Response>
  /** Takes over a WebSocket; its request has an origin-form target and a host. */
  readonly openSocket: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  readonly mask: ErrorMask
  /** Called when a connection fails while nobody waits for an answer. */
  readonly onConnectionError: (error: unknown) => void
}

export function createNodeRequests(options: NodeRequestsOptions): NodeRequests {
  const { fetch, openSocket, mask, onConnectionError } = options
  const adapter = createServerAdapter<{ readonly req: IncomingMessage }>(fetch)

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const refusal = normalise(request)
      await send(
        refusal ?? (await adapter.handleNodeRequestAndResponse(request, response, { req: request })),
        request,
        response,
      )
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

  async function send(answer: Response, request: IncomingMessage, response: ServerResponse): Promise<void> {
    await sendNodeResponse(answer, response, request, true)
  }

  function listener(request: IncomingMessage, response: ServerResponse): void {
    void serve(request, response)
  }

  function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Node removes its own listener before it hands the socket over, and a reset must not end the process.
    socket.on('error', onConnectionError)
    const refusal = normalise(request)
    if (refusal !== null) refuse(socket, refusal)
    else if (isWebSocket(request)) openSocket(request, socket, head)
    else refuse(socket, problem('BAD_REQUEST', 'upgrade must be websocket.', { status: 426 }))
  }

  return {
    listener,
    upgrade,

    mount(server) {
      /** The answer begun last on each connection: Node writes answers in the order of their requests. */
      const latest = new WeakMap<Duplex, ServerResponse>()
      server.on('request', (request: IncomingMessage, response: ServerResponse) => {
        latest.set(request.socket, response)
        listener(request, response)
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
          upgrade(request, socket, head)
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

/**
 * Gives the request an origin-form target, and the host in the target, if it names one.
 *
 * @returns the answer that refuses an invalid target or host, otherwise null
 */
function normalise(request: IncomingMessage): Response | null {
  const { headers, method } = request
  let target = request.url ?? ''
  const [absolute, authority] = ABSOLUTE.exec(target) ?? []
  if (absolute !== undefined) {
    target = target.slice(absolute.length)
    headers.host = authority ?? ''
  }
  // `OPTIONS *` asks what the server as a whole can do.
  if (target === '*' && method === 'OPTIONS') target = '/'
  if (target === '' || target.startsWith('?')) target = `/${target}`
  if (!target.startsWith('/')) return problem('BAD_REQUEST', 'The target of the request must be a path.')
  if (request.httpVersion === '1.1' && headers.host === undefined) return badHost()
  const host = headers.host ?? ''
  if (hostCount(request) > 1 || !HOST.test(host)) return badHost()
  // A request without a host has the address that it came to.
  if (host === '') delete headers.host
  else if (!canParseHost(host)) return badHost()
  request.url = target
  return null
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
