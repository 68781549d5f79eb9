/** Gets the body of a Node request, which a body parser of the app may have read already. */
import type { IncomingMessage } from 'node:http'
import { badRequest } from '../presence/errors.ts'
import { requireParams } from './params.ts'

/** A text, or the stream that is still to be read. */
export type RequestBody = string | AsyncIterable<Uint8Array>

/**
 * Serializes a parsed body again, so that it has the same limits and the same errors as one that Rollcall reads itself.
 *
 * @param given - the body that the app passes; undefined: use `request.body`, which Express and Next.js set
 * @throws PresenceError if the parsed body cannot be a GraphQL request; Error if the body was read but is not available
 */
export function bodyOf(request: IncomingMessage, given: unknown): RequestBody {
  // Express 4 sets `request.body` to `{}` if its parser read nothing.
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
