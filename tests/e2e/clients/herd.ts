/**
 * Clients of each kind that show who is online, each by the recipe of docs/clients.md for its library: read the list,
 * follow from its position, and read it again where it is told to.
 */
import { randomUUID } from 'node:crypto'
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { EventSource } from 'eventsource'
import { createClient as createStreamClient } from 'graphql-sse'
import { createClient as createSocketClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import * as apollo from '../../../examples/apollo/online-users.ts'
import * as urql from '../../../examples/urql/online-users.ts'
import { post } from '../../support/clients.ts'

export interface Listener {
  readonly name: string
  /** Who is online, as it shows them. */
  shown(): readonly string[]
  /** What its app was told and has no answer to. */
  readonly failures: readonly unknown[]
  /** What happened to it, for the report of a failure. */
  readonly story: readonly string[]
  close(): void
}

export interface Address {
  readonly url: string
  readonly wsUrl: string
}

const CHANGES = 'subscription ($after: String) { presenceChanged(after: $after) { kind position user { id } } }'

interface Change {
  readonly kind: string
  readonly position: string
  readonly user: { readonly id: string }
}

interface Result {
  readonly data?: { readonly presenceChanged: Change } | null | undefined
  readonly errors?: readonly { readonly extensions?: Record<string, unknown> }[] | undefined
}

interface Following {
  readonly at: Address
  readonly token: string
  /** Changed with each change: libraries that send their payload again read it again. */
  readonly variables: { after: string }
  next(result: Result): void
  /** The stream is over, for good: it has to begin again with the list. */
  over(why?: unknown): void
}

/** @returns what ends it */
type Follow = (following: Following) => () => void

const subscribeBySse =
  (singleConnection: boolean): Follow =>
  ({ at, token, variables, next, over }) => {
    const client = createStreamClient<boolean>({
      singleConnection,
      url: `${at.url}/graphql`,
      headers: () => ({ authorization: `Bearer ${token}` }),
      retryAttempts: Number.POSITIVE_INFINITY,
    })
    client.subscribe<{ presenceChanged: Change }>({ query: CHANGES, variables }, { next, error: over, complete: over })
    return () => client.dispose()
  }

const FOLLOWS: Record<string, Follow> = {
  'graphql-ws': ({ at, token, variables, next, over }) => {
    const client = createSocketClient({
      url: at.wsUrl,
      webSocketImpl: WebSocket,
      connectionParams: () => ({ authorization: `Bearer ${token}`, observer: true }),
      retryAttempts: Number.POSITIVE_INFINITY,
      shouldRetry: () => true,
    })
    client.subscribe<{ presenceChanged: Change }>({ query: CHANGES, variables }, { next, error: over, complete: over })
    return () => void Promise.resolve(client.dispose()).catch(() => {})
  },

  'graphql-sse': subscribeBySse(false),
  'graphql-sse, single connection': subscribeBySse(true),

  EventSource: ({ at, token, variables, next, over }) => {
    const search = new URLSearchParams({ query: CHANGES, variables: JSON.stringify(variables), token })
    const source = new EventSource(`${at.url}/graphql?${search}`)
    const end = () => {
      source.close()
      over()
    }
    source.addEventListener('next', ({ data }) => next(JSON.parse(data)))
    source.addEventListener('complete', end)
    source.addEventListener('error', () => source.readyState === EventSource.CLOSED && end())
    return () => source.close()
  },

  'Apollo Client over HTTP alone': ({ at, token, variables, next, over }) => {
    const link = new HttpLink({ uri: `${at.url}/graphql`, headers: { authorization: `Bearer ${token}` } })
    const client = new ApolloClient({ link, cache: new InMemoryCache() })
    const subscription = client.subscribe<{ presenceChanged: Change }>({ query: gql(CHANGES), variables }).subscribe({
      next: ({ data, error }) => (error === undefined ? next({ data: data ?? null }) : over(error)),
      error: over,
      complete: () => over('complete'),
    })
    return () => {
      subscription.unsubscribe()
      client.stop()
    }
  },
}

/** A moment after what ended a stream: an app's own wait. */
const AGAIN_MS = 500

function openFollower(kind: string, follow: Follow, at: Address, name: string): Listener {
  const users = new Set<string>()
  const failures: unknown[] = []
  const story: string[] = []
  const note = (event: string) => story.push(`${Math.round(performance.now())} ${event}`)
  const token = `dev:${name}`
  let isClosed = false
  let end = (): void => {}

  async function begin(): Promise<void> {
    if (isClosed) return
    let position: string
    try {
      const { data } = await post(at, token, '{ onlineUsers(first: 1000) { position nodes { id } } }')
      const { position: reached, nodes } = data?.onlineUsers ?? {}
      if (reached === undefined) throw new Error('The list was not answered.')
      position = reached
      users.clear()
      for (const { id } of nodes) users.add(id)
      note(`list at ${position}: ${[...users]}`)
    } catch {
      // The next process is not there yet.
      return void setTimeout(begin, AGAIN_MS)
    }
    if (isClosed) return
    let isOver = false
    const variables = { after: position }
    const over = (why?: unknown) => {
      if (isOver) return
      isOver = true
      note(`over: ${why}`)
      end()
      setTimeout(begin, AGAIN_MS)
    }
    end = follow({
      at,
      token,
      variables,
      over,
      next({ data, errors }) {
        if (!data) {
          const code = errors?.[0]?.extensions?.code
          if (code !== 'POSITION_EXPIRED') failures.push(errors)
          return over()
        }
        const { kind: change, position: reached, user } = data.presenceChanged
        variables.after = reached
        note(`${change} ${user.id} at ${reached}`)
        if (change === 'LEAVE') users.delete(user.id)
        else users.add(user.id)
      },
    })
  }

  void begin()
  return {
    name: `${kind} ${name}`,
    shown: () => [...users].sort(),
    failures,
    story,
    close() {
      isClosed = true
      end()
    },
  }
}

/** Those of the examples, which are sessions of their users. */
const LIBRARIES = { 'Apollo Client': apollo, urql }

function openLibrary(kind: keyof typeof LIBRARIES, { url }: Address, name: string): Listener {
  const { connect, followOnline } = LIBRARIES[kind] as typeof apollo
  const failures: unknown[] = []
  let users: readonly string[] = []
  const { client, close } = connect({
    url: `${url}/graphql`,
    token: () => `dev:${name}`,
    sessionId: randomUUID(),
    webSocketImpl: WebSocket,
  })
  const show = (shown: ReadonlyMap<string, unknown>) => {
    users = [...shown.keys()].sort()
  }
  const stop = followOnline(client, null, show, (error) => failures.push(error))
  return {
    name: `${kind} ${name}`,
    shown: () => users,
    failures,
    story: [],
    close() {
      stop()
      close()
    },
  }
}

export const KINDS = [...Object.keys(LIBRARIES), ...Object.keys(FOLLOWS)]

export function openListener(kind: string, at: Address, name: string): Listener {
  const follow = FOLLOWS[kind]
  return follow === undefined
    ? openLibrary(kind as keyof typeof LIBRARIES, at, name)
    : openFollower(kind, follow, at, name)
}
