/**
 * One connection by graphql-transport-ws (docs/protocol.md), from its handshake to its end. It never comes back: the
 * link makes the next one.
 *
 * graphql-ws has a client of this protocol, which comes back by itself. Here one that is given up has to be forgotten at
 * once, what it still says included: a browser may take minutes to end a handshake that nobody answers, and a minute to
 * close a silent socket.
 */
import { closed, errorOf, type RollcallError } from './errors.ts'
import type { Operation, Variables } from './operations.ts'

/** The server's answer to `connection_init`. */
export interface Acknowledgement {
  /** Null: the socket is an observer's. */
  readonly sessionId: string | null
  readonly heartbeatIntervalMs: number
  /** Whether the session was still live. */
  readonly resumed: boolean
  /** The rooms that the session is in. */
  readonly rooms: readonly string[]
}

/** Why a connection ended. `code` is 1005 or 1006 where there was no close frame. */
export interface Ending {
  readonly code: number
  readonly reason: string
  /** When to try again, where somebody else decides that: of a socket that tabs share. */
  readonly retryInMs?: number
}

export interface Sink<Data> {
  next(data: Data): void
  /** Nothing comes after it. It is not called when the connection ends. */
  error(error: RollcallError): void
}

/** What is used of a `WebSocket`: the browser's, the one of the package `ws`, or one that tabs share. */
export interface Socket {
  readonly readyState: number
  onopen: ((event: never) => void) | null
  onmessage: ((event: { readonly data: string }) => void) | null
  onclose: ((ending: Ending) => void) | null
  onerror: ((event: never) => void) | null
  send(text: string): void
  close(code: number): void
}

/** @throws what the browser throws: it allows no `ws:` in a page of `https:` */
export type OpenSocket = (url: string, protocol: string) => Socket

export interface ConnectionOptions {
  readonly url: string
  /** The payload of `connection_init`. */
  readonly params: Variables
  readonly openSocket: OpenSocket
  readonly onOpen: () => void
  readonly onAcknowledged: (acknowledgement: Acknowledgement) => void
  /** The server asked whether this very client is there, and was answered: the session may be another one from now on. */
  readonly onChallenged: () => void
  /** The server sent something. It is called before those who read it. */
  readonly onHeard: (isPong: boolean) => void
  /** Called once, and not after `end`. */
  readonly onEnd: (ending: Ending) => void
}

/** A request as the protocol has it. */
export interface Request {
  readonly query: string
  readonly variables?: Variables | undefined
  readonly operationName?: string | undefined
  readonly extensions?: Variables | undefined
}

/** What the protocol brings for a request, as it came. */
export interface RawSink {
  next(result: Readonly<Record<string, unknown>>): void
  /** Nothing comes after it. `errors`: null where it is complete. It is not called when the connection ends. */
  end(errors: unknown): void
}

export interface Connection {
  /** Sends a request as it is. @returns a function that ends it, without a word to the sink */
  send(request: Request, sink: RawSink): () => void
  /** @returns a function that ends it, without a word to the sink */
  follow<Data, Arguments extends Variables>(
    operation: Operation<Data, Arguments>,
    variables: Arguments,
    sink: Sink<Data>,
  ): () => void
  /** @throws RollcallError, with `CLOSED` where the connection ends before the answer: it is not sent again */
  ask<Data, Arguments extends Variables>(operation: Operation<Data, Arguments>, variables: Arguments): Promise<Data>
  /** Asks the server for a word. */
  ping(): void
  /** Forgets it. @param code - 1000: the person's wish. 4499: it was lost */
  end(code: 1000 | 4499): void
}

interface Message {
  readonly type: string
  readonly id: string
  readonly payload: unknown
}

/** Nothing of ours ends by itself, but for a process that stops. */
export const ENDED = [{ message: 'The server ended the stream.', extensions: { code: 'UNAVAILABLE' } }]

/** @throws what `openSocket` throws */
export function openConnection(options: ConnectionOptions): Connection {
  const socket = options.openSocket(options.url, 'graphql-transport-ws')
  const sinks = new Map<string, RawSink>()
  /** What fails each request that has no answer yet. */
  const waiting = new Set<(error: RollcallError) => void>()
  let lastId = 0

  function say(message: object): void {
    if (socket.readyState === 1) socket.send(JSON.stringify(message))
  }

  function end(code: number): void {
    socket.onopen = socket.onmessage = socket.onclose = null
    socket.close(code)
    for (const fail of waiting) fail(closed('The connection ended before the answer came.'))
  }

  function take({ type, id, payload }: Message): void {
    options.onHeard(type === 'pong')
    const sink = sinks.get(id)
    if (type === 'connection_ack') options.onAcknowledged(payload as Acknowledgement)
    else if (type === 'ping') {
      say({ type: 'pong', payload })
      // It has one where the server asks for a nonce.
      if (payload) options.onChallenged()
    } else if (type === 'next') sink?.next(payload as Readonly<Record<string, unknown>>)
    else if (sinks.delete(id)) sink?.end(type === 'error' ? payload : null)
  }

  socket.onopen = () => {
    options.onOpen()
    say({ type: 'connection_init', payload: options.params })
  }
  socket.onmessage = ({ data }) => take(JSON.parse(data))
  socket.onclose = (ending) => {
    end(1000)
    options.onEnd(ending)
  }
  // A close event follows. Without a listener the package `ws` throws.
  socket.onerror = () => {}

  function send(request: Request, sink: RawSink): () => void {
    lastId += 1
    const id = String(lastId)
    sinks.set(id, sink)
    say({ type: 'subscribe', id, payload: request })
    return () => {
      if (sinks.delete(id)) say({ type: 'complete', id })
    }
  }

  function follow<Data>(query: string, variables: Variables, sink: Sink<Data>): () => void {
    const stop = send(
      { query, variables },
      {
        next({ data, errors }) {
          if (!errors) return sink.next(data as Data)
          stop()
          sink.error(errorOf(errors))
        },
        end: (errors) => sink.error(errorOf(errors ?? ENDED)),
      },
    )
    return stop
  }

  return {
    send,
    follow,

    ask: <Data, Arguments extends Variables>(operation: Operation<Data, Arguments>, variables: Arguments) =>
      new Promise<Data>((resolve, reject) => {
        const settle = (then: () => void) => {
          waiting.delete(refuse)
          stop()
          then()
        }
        const refuse = (error: RollcallError) => settle(() => reject(error))
        const stop = follow<Data>(operation, variables, { next: (data) => settle(() => resolve(data)), error: refuse })
        waiting.add(refuse)
      }),

    ping: () => say({ type: 'ping' }),
    end,
  }
}
