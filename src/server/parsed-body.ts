/** The body of a request of Node's, which a body parser of the app may have read before us. */
import type { IncomingMessage } from 'node:http'
import { badRequest } from '../presence/errors.ts'
import { requireParams } from './params.ts'

/** A text, or the stream that is still to be read. */
export type RequestBody = string | AsyncIterable<Uint8Array>

/**
 * A parsed body becomes a text again: so it has the same bounds, and the same errors, as one that we read.
 *
 * @param given - what the app hands over; undefined: look at `request.body`, where Express and Next.js leave it
 * @throws PresenceError if the parsed body cannot be a request of GraphQL; Error if the body was read and is nowhere
 */
export function bodyOf(request: IncomingMessage, given: unknown): RequestBody {
  // Express 4 sets `request.body` to `{}` where its parser read nothing.
  if (!request.readableDidRead && (given === undefined || given === null)) {
    return request.iterator({ destroyOnReturn: false })
  }
  const body = given === undefined ? (request as { readonly body?: unknown }).body : given
  if (body === undefined) {
    throw new Error(
      'Another handler read the body of this request, and did not leave it in `request.body`: pass it on as `{ body }` (docs/embedding.md).',
    )
  }
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString()
  // `JSON.stringify` recurses, so the depth is checked first.
  requireParams(body)
  return jsonOf(body)
}

function jsonOf(body: object): string {
  try {
    return JSON.stringify(body)
  } catch {
    throw badRequest('body must be JSON.')
  }
}
