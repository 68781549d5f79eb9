/**
 * Who is online, with Apollo Client 4: queries and mutations over HTTP, subscriptions over the connection of the client
 * kit, which keeps presence in Apollo's cache right.
 */
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from '@apollo/client'
import { createPresence, type Presence, type PresenceOptions } from '@rollcall/client'
import { followPresence, presenceLink, sessionLink, typePolicies } from '@rollcall/client/apollo'
import { OperationTypeNode } from 'graphql'
import { type ListedUser, OnlineUsers } from '../operations.ts'

export interface ConnectOptions extends PresenceOptions {
  /** Asked again at each request and each connection, so that it may be a fresh one. */
  readonly token: () => string
}

export interface App {
  readonly client: ApolloClient
  readonly presence: Presence
  /** Closes the connection, and with it, a moment later, the session. */
  close(): void
}

export function connect(options: ConnectOptions): App {
  const { url, token } = options
  const presence = createPresence(options)
  const http = new HttpLink({
    uri: url,
    fetch: (input, init) => {
      const headers = new Headers(init?.headers)
      headers.set('authorization', `Bearer ${token()}`)
      return fetch(input, { ...init, headers })
    },
  })
  const client = new ApolloClient({
    cache: new InMemoryCache({ typePolicies }),
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      presenceLink(presence),
      sessionLink(presence).concat(http),
    ),
  })
  return {
    client,
    presence,
    close() {
      client.stop()
      presence.close()
    },
  }
}

/**
 * Shows who is online, at each change. A component has the same by `useQuery(OnlineUsers)` and `followPresence` in an
 * effect: docs/recipes.md.
 *
 * @param room - null: everyone
 * @param fail - told of what trying again does not help against
 * @returns what stops it
 */
export function followOnline(
  { client, presence }: App,
  room: string | null,
  show: (users: readonly ListedUser[]) => void,
  fail: (error: unknown) => void,
): () => void {
  const stop = followPresence(client, presence, { room })
  const list = client
    .watchQuery({ query: OnlineUsers, variables: { room } })
    .subscribe(({ data, dataState, error }) => {
      if (error) fail(error)
      else if (dataState === 'complete') show(data.onlineUsers.nodes)
    })
  return () => {
    list.unsubscribe()
    stop()
  }
}
