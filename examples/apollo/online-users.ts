/**
 * Who is online, with Apollo Client 4: queries and mutations over HTTP, subscriptions over a graphql-ws socket.
 */
import { ApolloClient, ApolloLink, CombinedGraphQLErrors, HttpLink, InMemoryCache } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { OperationTypeNode } from 'graphql'
import { Heartbeat, type ListedUser, OnlineUsers, PresenceChanged } from '../operations.ts'
import { type ConnectOptions, openSocket } from '../socket.ts'

export function connect(options: ConnectOptions) {
  const { url, token } = options
  const socket = openSocket(options)
  const http = new HttpLink({
    uri: url,
    fetch: (input, init) => {
      const headers = new Headers(init?.headers)
      headers.set('authorization', `Bearer ${token()}`)
      return fetch(input, { ...init, headers })
    },
  })
  const client = new ApolloClient({
    cache: new InMemoryCache(),
    link: ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      new GraphQLWsLink(socket),
      http,
    ),
  })
  return {
    client,
    /** Closes the socket, and with it, a moment later, the session. */
    close() {
      client.stop()
      // It rejects where a connection was just being made.
      Promise.resolve(socket.dispose()).catch(() => {})
    },
  }
}

/**
 * Keeps the list of who is online: reads its position with the first page, reads the other pages, and follows what
 * changed after that position.
 *
 * @param room - null: everyone
 * @param show - told after each step; the map is the list's own
 * @param fail - told of what trying again does not help against
 * @returns what stops it
 */
export function followOnline(
  client: ApolloClient,
  room: string | null,
  show: (users: ReadonlyMap<string, ListedUser>) => void,
  fail: (error: unknown) => void,
): () => void {
  let isStopped = false
  let stopStream = (): void => {}

  async function start(): Promise<void> {
    try {
      const { users, position } = await readPages(client, room)
      if (isStopped) return
      show(users)

      const subscription = client
        .subscribe({ query: PresenceChanged, variables: { room, after: position }, fetchPolicy: 'no-cache' })
        .subscribe(({ data, error }) => {
          if (error !== undefined) return again(error)
          const change = data?.presenceChanged
          if (change === undefined) return
          // An upsert or a removal, never a count: then nothing is wrong where a change comes twice.
          if (change.kind === 'LEAVE') users.delete(change.user.id)
          else users.set(change.user.id, change.user)
          show(users)
        })
      stopStream = () => subscription.unsubscribe()
    } catch (error) {
      again(error)
    }
  }

  function again(error: unknown): void {
    if (isStopped) return
    stopStream()
    const code = CombinedGraphQLErrors.is(error) ? error.errors[0]?.extensions?.code : 'UNAVAILABLE'
    // Away for longer than the server remembers: the list is read again.
    if (code === 'POSITION_EXPIRED') void start()
    else if (code === 'UNAVAILABLE' || code === 'RATE_LIMITED') setTimeout(() => void (isStopped || start()), 2000)
    else fail(error)
  }

  void start()
  return () => {
    isStopped = true
    stopStream()
  }
}

async function readPages(client: ApolloClient, room: string | null) {
  const users = new Map<string, ListedUser>()
  let position: string | null = null
  let after: string | null = null
  for (;;) {
    const page: Awaited<ReturnType<typeof readPage>> = await readPage(client, room, after)
    position ??= page.position
    for (const user of page.nodes) users.set(user.id, user)
    if (!page.pageInfo.hasNextPage) return { users, position }
    after = page.pageInfo.endCursor
  }
}

async function readPage(client: ApolloClient, room: string | null, after: string | null) {
  const { data } = await client.query({
    query: OnlineUsers,
    variables: { room, after },
    // A page from the cache would be older than the position that it is asked for.
    fetchPolicy: 'no-cache',
  })
  if (data === undefined) throw new Error('The answer has no data.')
  return data.onlineUsers
}

/**
 * Tells that the person is there. It goes over HTTP, as Apollo sends all mutations, and counts for the socket's
 * session: send it when they did something, and not more often than `nextHeartbeatInMs` says.
 */
export async function heartbeat(client: ApolloClient) {
  const { data } = await client.mutate({ mutation: Heartbeat })
  if (data === undefined) throw new Error('The answer has no data.')
  return data.heartbeat
}
