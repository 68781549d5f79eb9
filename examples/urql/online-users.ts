/**
 * Who is online, with urql 5: queries and mutations over HTTP, subscriptions over a graphql-ws socket.
 */

import type { Sink } from 'graphql-ws'
import { Client, type CombinedError, fetchExchange, subscriptionExchange } from 'urql'
import { Heartbeat, type ListedUser, OnlineUsers, PresenceChanged } from '../operations.ts'
import { type ConnectOptions, openSocket } from '../socket.ts'

export function connect(options: ConnectOptions) {
  const { url, token } = options
  const socket = openSocket(options)
  const client = new Client({
    url,
    preferGetMethod: false,
    fetchOptions: () => ({ headers: { authorization: `Bearer ${token()}` } }),
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: ({ query = '', variables }) => ({
          subscribe: (sink) => ({
            // Their types of a result differ in what may be undefined, and in nothing else.
            unsubscribe: socket.subscribe({ query, variables: { ...variables } }, sink as Sink),
          }),
        }),
      }),
    ],
  })
  return {
    client,
    /** Closes the socket, and with it, a moment later, the session. */
    close() {
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
  client: Client,
  room: string | null,
  show: (users: ReadonlyMap<string, ListedUser>) => void,
  fail: (error: unknown) => void,
): () => void {
  let isStopped = false
  let stopStream = (): void => {}

  async function start(): Promise<void> {
    const read = await readPages(client, room)
    if (isStopped) return
    if ('error' in read) return again(read.error)
    const { users, position } = read
    show(users)

    const subscription = client
      .subscription(PresenceChanged, { room, after: position })
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
  }

  function again(error: CombinedError): void {
    if (isStopped) return
    stopStream()
    const code = error.graphQLErrors[0]?.extensions.code ?? 'UNAVAILABLE'
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

async function readPages(client: Client, room: string | null) {
  const users = new Map<string, ListedUser>()
  let position: string | null = null
  let after: string | null = null
  for (;;) {
    const result: Awaited<ReturnType<typeof readPage>> = await readPage(client, room, after)
    if (result.error !== undefined) return { error: result.error }
    if (result.data === undefined) throw new Error('The answer has no data.')
    const { onlineUsers: page } = result.data
    position ??= page.position
    for (const user of page.nodes) users.set(user.id, user)
    if (!page.pageInfo.hasNextPage) return { users, position }
    after = page.pageInfo.endCursor
  }
}

function readPage(client: Client, room: string | null, after: string | null) {
  return client.query(OnlineUsers, { room, after }).toPromise()
}

/**
 * Tells that the person is there. It goes over HTTP, as urql sends all mutations, and counts for the socket's
 * session: send it when they did something, and not more often than `nextHeartbeatInMs` says.
 */
export async function heartbeat(client: Client) {
  const { data, error } = await client.mutation(Heartbeat, {}).toPromise()
  if (data === undefined) throw error
  return data.heartbeat
}
