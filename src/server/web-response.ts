/** Answers in the class that the platform has. */

/**
 * Yoga answers with a class of its own, which is faster under Node's server. A framework checks that a handler returned
 * the platform's: Next.js answers 500 to any other.
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
    // The reader has gone: a subscription ends.
    async cancel() {
      await iterator.return?.()
    },
  })
}
