/**
 * Who is online, with urql 5 and its normalised cache: queries and mutations over HTTP, subscriptions over the connection of
 * the client kit.
 */
import { createPresence, type Presence, type PresenceOptions } from '@rollcall/client'
import { graphcache, presenceExchange, sessionFetchOptions } from '@rollcall/client/urql'
import { cacheExchange } from '@urql/exchange-graphcache'
import { Client, type CombinedError, fetchExchange } from 'urql'
import { type ListedUser, OnlineUsers, PresenceChanged } from '../operations.ts'

export interface ConnectOptions extends PresenceOptions {
  /** Asked again at each request and each connection, so that it may be a fresh one. */
  readonly token: () => string
}

export interface App {
  readonly client: Client
  readonly presence: Presence
  /** Closes the connection, and with it, a moment later, the session. */
  close(): void
}

export function connect(options: ConnectOptions): App {
  const { url, token } = options
  const presence = createPresence(options)
  const client = new Client({
    url,
    preferGetMethod: false,
    fetchOptions: sessionFetchOptions(presence, () => ({ headers: { authorization: `Bearer ${token()}` } })),
    exchanges: [cacheExchange({ ...graphcache }), presenceExchange(presence), fetchExchange],
  })
  return { client, presence, close: () => presence.close() }
}

/**
 * Shows who is online, at each change: reads the pages, follows what changed after the first one, and reads again where the
 * server does not know that position any more. A component has the same by `useQuery` and `useSubscription`:
 * docs/recipes.md.
 *
 * @param room - null: everyone
 * @param fail - told of what trying again does not help against
 * @returns what stops it
 */
export function followOnline(
  { client }: App,
  room: string | null,
  show: (users: readonly ListedUser[]) => void,
  fail: (error: unknown) => void,
): () => void {
  const stops: (() => void)[] = []
  let retry: ReturnType<typeof setTimeout> | undefined

  function start(): void {
    const pages: (readonly ListedUser[])[] = []
    readPage(null)

    function readPage(after: string | null): void {
      const index = pages.push([]) - 1
      let isFirst = true
      const page = client.query(OnlineUsers, { room, after }, { requestPolicy: 'network-only' })
      const { unsubscribe } = page.subscribe(({ data, error }) => {
        if (error) return again(error)
        if (!data) return
        const { nodes, pageInfo, position } = data.onlineUsers
        pages[index] = nodes
        if (isFirst && after === null) follow(position)
        if (isFirst && pageInfo.hasNextPage) readPage(pageInfo.endCursor)
        isFirst = false
        show(pages.flat())
      })
      stops.push(unsubscribe)
    }
  }

  /** What comes is in the pages by itself: the cache adds who joins, and removes who leaves. */
  function follow(position: string): void {
    const changes = client.subscription(PresenceChanged, { room, after: position })
    const { unsubscribe } = changes.subscribe(({ error }) => error && again(error))
    stops.push(unsubscribe)
  }

  function again(error: CombinedError): void {
    stop()
    const code = error.graphQLErrors[0]?.extensions.code ?? 'UNAVAILABLE'
    // Away for longer than the server remembers.
    if (code === 'POSITION_EXPIRED') start()
    else if (code === 'UNAVAILABLE' || code === 'RATE_LIMITED') retry = setTimeout(start, 2000)
    else fail(error)
  }

  function stop(): void {
    clearTimeout(retry)
    for (const unsubscribe of stops.splice(0)) unsubscribe()
  }

  start()
  return stop
}
