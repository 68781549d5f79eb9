import type { IncomingMessage } from 'node:http'
import { bodyOf, type RequestBody } from './parsed-body.ts'

/** The other end of a request's connection, as far as the server under us has one. */
export interface Peer {
  readonly address: string | null
  /** Node's own request, if there is one. */
  readonly req: IncomingMessage | null
  /**
   * The body of Node's own request; null if the web standard `Request` has it.
   *
   * @throws as `bodyOf`
   */
  body(): RequestBody | null
  /** Ends the connection where it is, in the middle of an answer too. */
  cut(): void
}

/** What our handler for Node's requests passes on. */
export interface NodeSource {
  readonly req: IncomingMessage
  /** The parsed body; undefined if the app passed none. */
  readonly body: unknown
}

/** @param from - `{ req }`, Node's own request, if there is one; from our own handler a `NodeSource` */
export function peerOf(from: object | undefined): Peer {
  const { req } = (from ?? {}) as { readonly req?: IncomingMessage }
  return {
    address: req?.socket.remoteAddress ?? null,
    req: req ?? null,
    body: () => (isNodeSource(from) ? bodyOf(from.req, from.body) : null),
    cut: () => req?.socket.destroy(),
  }
}

function isNodeSource(from: object | undefined): from is NodeSource {
  return from !== undefined && 'req' in from && 'body' in from
}
