/** How GraphiQL asks: queries and mutations over HTTP, subscriptions over a socket at the same address. */
import { createGraphiQLFetcher, type Fetcher } from '@graphiql/toolkit'
import { type Client, createClient } from 'graphql-ws'

// The page lies where the API does.
const url = `${location.origin}${location.pathname}`

/**
 * Each subscription has a socket of its own, with the header of its own tab, for as long as it runs.
 *
 * It is an observer: whoever looks at what happens has not thereby come online, and leaves nothing behind.
 */
export const fetcher: Fetcher = (params, options) => {
  const wsClient = createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: { authorization: authorizationOf(options?.headers), observer: true },
    // A refusal or a lost connection is shown at once: going on by itself, the stream would have a gap unseen.
    retryAttempts: 0,
  })
  return createGraphiQLFetcher({ url, wsClient: readable(wsClient), enableIncrementalDelivery: false })(params, options)
}

/** Names of headers know no case. */
function authorizationOf(headers: Readonly<Record<string, unknown>> | undefined): unknown {
  return Object.entries(headers ?? {}).find(([name]) => name.toLowerCase() === 'authorization')?.[1]
}

/** Shows the end of a socket in words, where GraphiQL would show an event or the lines of our code. */
function readable(client: Client): Client {
  return {
    ...client,
    subscribe: (payload, sink) =>
      client.subscribe(payload, {
        ...sink,
        error: (error) => sink.error(Array.isArray(error) ? error : [{ message: closeWords(error) }]),
      }),
  }
}

function closeWords(error: unknown): string {
  if (!(error instanceof CloseEvent)) return 'The socket could not be opened: is the server there?'
  return error.reason === '' ? `The connection ended (${error.code}).` : error.reason
}
