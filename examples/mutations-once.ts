import { getOperationAST, parse } from 'graphql'
import type { Client } from 'graphql-ws'

/**
 * Makes a graphql-ws client send each mutation once.
 *
 * When it reconnects, graphql-ws sends again whatever has no answer yet. For queries and subscriptions that is right. A
 * `goOffline` from before the page was left would take the person offline on the page that they look at: here it fails.
 */
export function mutationsOnce(client: Client): Client {
  return {
    ...client,
    subscribe(payload, sink) {
      const operation = getOperationAST(parse(payload.query), payload.operationName)
      if (operation?.operation !== 'mutation') return client.subscribe(payload, sink)

      let isOver = false
      function end(tell: () => void): void {
        if (isOver) return
        isOver = true
        stopListening()
        tell()
      }
      const stop = client.subscribe(payload, {
        next: (result) => sink.next(result as Parameters<typeof sink.next>[0]),
        error: (error) => end(() => sink.error(error)),
        complete: () => end(() => sink.complete()),
      })
      const stopListening = client.on('closed', (event) => {
        end(() => sink.error(event))
        stop()
      })
      return stop
    },
  }
}
