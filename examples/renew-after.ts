import type { Client } from 'graphql-ws'

/**
 * Makes a graphql-ws client go on where it was.
 *
 * When it reconnects, graphql-ws sends a subscription's first payload again: `after` would be the position of hours
 * ago, which the server may no longer know. Here it is the last position that was seen.
 */
export function renewAfter(client: Client): Client {
  return {
    ...client,
    subscribe(payload, sink) {
      // The payload becomes JSON again at each connection, so what is written into it here is what is sent then.
      const variables: Record<string, unknown> = { ...payload.variables }
      return client.subscribe<Record<string, unknown>>(
        { ...payload, variables },
        {
          next(result) {
            const change = result.data?.presenceChanged as { readonly position?: string } | undefined
            if (change?.position !== undefined) variables.after = change.position
            // Only the payload's types were widened; what is handed on is what came.
            sink.next(result as Parameters<typeof sink.next>[0])
          },
          error: (error) => sink.error(error),
          complete: () => sink.complete(),
        },
      )
    },
  }
}
