/** Links of Apollo Client: one over the kit's connection, and one for requests over HTTP beside it. */
import { ApolloLink, CombinedGraphQLErrors, Observable } from '@apollo/client'
import { print } from '@apollo/client/utilities'
import { execute } from '../execute.ts'
import type { Presence } from '../presence.ts'

/**
 * Sends operations over the connection of the kit. It ends a chain of links. A subscription goes on over lost
 * connections: one to `presenceChanged` that takes `$after` and asks for `position` misses nothing.
 *
 * Errors of the server are `CombinedGraphQLErrors`, those of the connection a `RollcallError`.
 */
export function presenceLink(presence: Presence): ApolloLink {
  return new ApolloLink(
    ({ operationType, query, variables, operationName }) =>
      new Observable((observer) =>
        execute(
          presence,
          { kind: `${operationType}`, query: print(query), variables, operationName },
          {
            next: (result) => observer.next(result),
            error: (error) =>
              observer.error(Array.isArray(error) ? new CombinedGraphQLErrors({ errors: error }) : error),
            complete: () => observer.complete(),
          },
        ),
      ),
  )
}

/** Names the session of this tab in each request of an `HttpLink` behind it: `joinRoom` and `goOffline` mean this tab. */
export function sessionLink(presence: Presence): ApolloLink {
  return new ApolloLink((operation, forward) => {
    const { sessionId } = presence
    if (sessionId !== null) {
      operation.setContext(({ headers }) => ({ headers: { ...headers, 'Rollcall-Session': sessionId } }))
    }
    return forward(operation)
  })
}
