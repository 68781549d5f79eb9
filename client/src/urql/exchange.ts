/** urql over the kit's connection, and what its requests over HTTP need beside it. */
import { type Exchange, type Operation, subscriptionExchange } from '@urql/core'
import { execute } from '../execute.ts'
import type { Presence } from '../presence.ts'

export interface PresenceExchangeOptions {
  /** Which operations go over the kit's connection: subscriptions alone, where it is left out. */
  readonly isOverConnection?: (operation: Operation) => boolean
}

/**
 * Sends subscriptions over the connection of the kit, and all else on to the next exchange: put it before `fetchExchange`.
 * A subscription goes on over lost connections: one to `presenceChanged` that takes `$after` and asks for `position`
 * misses nothing.
 *
 * Errors of the server are in `graphQLErrors`, those of the connection, a `RollcallError`, in `networkError`. After an
 * error a subscription is over.
 */
export function presenceExchange(presence: Presence, { isOverConnection }: PresenceExchangeOptions = {}): Exchange {
  return subscriptionExchange({
    ...(isOverConnection ? { isSubscriptionOperation: isOverConnection } : {}),
    forwardSubscription: ({ query = '', variables, operationName }, { kind }) => ({
      subscribe(sink) {
        function fail(error: unknown): void {
          // As a list urql would take it for a result that others follow, and begin the same one no more.
          if (Array.isArray(error)) sink.next({ errors: error, hasNext: false })
          else sink.error(error)
          sink.complete()
        }
        const operation = { kind: kind as Exclude<typeof kind, 'teardown'>, query, variables, operationName }
        try {
          const unsubscribe = execute(presence, operation, {
            next: (result) => sink.next(result),
            error: fail,
            complete: () => sink.complete(),
          })
          return { unsubscribe }
        } catch (error) {
          // A presence for tests has no connection.
          fail(error)
          return { unsubscribe() {} }
        }
      },
    }),
  })
}

/**
 * For `fetchOptions`: names the session of this tab in each request, so that `joinRoom` and `goOffline` mean this tab.
 *
 * @param own - what the app's requests need besides, such as their token
 */
export function sessionFetchOptions(
  presence: Presence,
  own: RequestInit | (() => RequestInit) = {},
): () => RequestInit & { headers: Record<string, string> } {
  return () => {
    const options = typeof own === 'function' ? own() : own
    const headers = Object.fromEntries(new Headers(options.headers).entries())
    const { sessionId } = presence
    return { ...options, headers: sessionId === null ? headers : { ...headers, 'rollcall-session': sessionId } }
  }
}
