/** Converts responses to the platform's `Response` class. */

/**
 * Yoga's own response class is faster under Node's server. Frameworks check that a handler returned the platform's
 * class: Next.js answers 500 to any other.
 */
export function webResponse(answer: Response): Response {
  if (answer instanceof Response) return answer
  const { status, statusText, headers, body } = answer as Response
  const stream = body === null ? null : webStream(body as unknown as AsyncIterable<Uint8Array>)
  return new Response(stream, { status, statusText, headers: [...headers] })
}

function webStream(chunks: AsyncIterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = chunks[Symbol.asyncIterator]()
  return new ReadableStream({
    async pull(controller) {
      const { done, value } = await iterator.next()
      if (done) controller.close()
      else controller.enqueue(value)
    },
    // The reader has gone, so end the subscription.
    async cancel() {
      await iterator.return?.()
    },
  })
}
