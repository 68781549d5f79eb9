/**
 * Clients of each kind that show who is online, each by the recipe of docs/clients.md for its library: read the list,
 * follow from its position, and read it again where it is told to.
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { buildGraphQLWSExecutor } from '@graphql-tools/executor-graphql-ws'
import { EventSource } from 'eventsource'
import { parse } from 'graphql'
import { createClient as createStreamClient } from 'graphql-sse'
import { createClient as createSocketClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import * as apollo from '../../../examples/apollo/online-users.ts'
import * as urql from '../../../examples/urql/online-users.ts'
import { post } from '../../support/clients.ts'
import { installPython } from '../../support/python.ts'
import { serve } from '../../support/serve.ts'
import { sign } from '../../support/tokens.ts'
import { compileDocuments } from './relay/compile.ts'
import * as relay from './relay/online-users.ts'

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

  '@graphql-tools/executor-graphql-ws': ({ at, token, variables, next, over }) => {
    const execute = buildGraphQLWSExecutor({
      url: at.wsUrl,
      connectionParams: { authorization: `Bearer ${token}`, observer: true },
    })
    async function follow(): Promise<void> {
      const results = await execute<{ presenceChanged: Change }>({ document: parse(CHANGES), variables })
      if (!(Symbol.asyncIterator in results)) return next(results as Result)
      for await (const result of results) next(result as Result)
    }
    // A connection that is lost ends its stream with the close event.
    follow().then(() => over('the end'), over)
    return () => void Promise.resolve(execute[Symbol.asyncDispose]()).catch(() => {})
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

/** A gateway in front of Rollcall, for all of its clients: each of them is an event stream there, and one of Rollcall's. */
interface Gateway {
  readonly url: Promise<string>
  close(): Promise<void>
}

function openGateway({ url }: Address): Gateway {
  const closers: (() => unknown)[] = []
  async function openServer(handler: RequestListener): Promise<string> {
    const { url, stop } = await serve(handler)
    closers.push(stop)
    return url
  }
  async function open(): Promise<string> {
    // Only who asks for it waits until all of its parts are loaded.
    const { createGateway } = await import('../../../examples/federation/gateway.ts')
    const { createUsersSubgraph } = await import('../../../examples/federation/users.ts')
    const users = await openServer(createUsersSubgraph())
    const gateway = await createGateway({
      rollcallUrl: `${url}/graphql`,
      usersUrl: `${users}/graphql`,
      rollcallToken: await sign({ sub: 'gateway', presence: { role: 'service' } }),
    })
    closers.push(() => gateway[Symbol.asyncDispose]())
    return openServer(gateway)
  }
  return {
    url: open(),
    async close() {
      for (const close of closers.reverse()) await close()
    },
  }
}

const subscribeByGateway =
  (gateway: Gateway): Follow =>
  (following) => {
    const { at, next, over } = following
    let end = (): void => {}
    let isOver = false
    // It tells its clients of a stream that broke off by an error of its own, `INTERNAL_SERVER_ERROR`.
    const nextOrOver = (result: Result) => (result.data ? next(result) : over(JSON.stringify(result.errors)))
    gateway.url.then((url) => {
      if (!isOver) end = subscribeBySse(false)({ ...following, at: { ...at, url }, next: nextOrOver })
    }, over)
    return () => {
      isOver = true
      end()
    }
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

/** Those that follow the list in a cache of their own, as sessions of their users. */
type RelayArguments = Parameters<typeof relay.followOnline> extends [unknown, ...infer Rest] ? Rest : never
type Library = Pick<typeof apollo, 'connect' | 'followOnline'>

function openLibrary(kind: string, { connect, followOnline }: Library, { url }: Address, name: string): Listener {
  const failures: unknown[] = []
  let users: readonly string[] = []
  const app = connect({
    url: `${url}/graphql`,
    token: () => `dev:${name}`,
    sessionId: randomUUID(),
    webSocketImpl: WebSocket,
  })
  const show = (shown: readonly { readonly id: string }[]) => {
    users = shown.map(({ id }) => id).sort()
  }
  const stop = followOnline(app, null, show, (error) => failures.push(error))
  return {
    name: `${kind} ${name}`,
    shown: () => users,
    failures,
    story: [],
    close() {
      stop()
      app.close()
    },
  }
}

const PYTHON_CLIENT = fileURLToPath(new URL('../../../examples/python/online_users.py', import.meta.url))

/** A process of its own, which prints its list whenever that changes. */
function openPython(python: string, { wsUrl }: Address, name: string): Listener {
  const failures: unknown[] = []
  const story: string[] = []
  let users: readonly string[] = []
  const client = spawn(python, [PYTHON_CLIENT, wsUrl, `dev:${name}`], { stdio: ['ignore', 'pipe', 'pipe'] })
  createInterface({ input: client.stdout }).on('line', (line) => {
    users = (JSON.parse(line) as string[]).sort()
    story.push(`${Math.round(performance.now())} ${line}`)
  })
  client.stderr.on('data', (chunk) => failures.push(String(chunk)))
  return { name: `Python ${name}`, shown: () => users, failures, story, close: () => void client.kill() }
}

const GATEWAY = 'Hive Gateway'

export interface Herd {
  /** Those that are quick to load: a gateway is opened where it is asked for by its name, `Hive Gateway`. */
  readonly kinds: readonly string[]
  open(kind: string, at: Address, name: string): Listener
  /** When all of its listeners are closed. */
  close(): Promise<void>
}

/** Compiles the documents of Relay, and installs what Python needs. */
export async function openHerd(): Promise<Herd> {
  const python = installPython()
  const { drop, ...artifacts } = await compileDocuments()
  const libraries: Record<string, Library> = {
    'Apollo Client': apollo,
    urql: urql as unknown as Library,
    'relay-runtime': {
      connect: relay.connectWith(artifacts),
      followOnline: ({ client }: { client: relay.RelayClient }, ...rest: RelayArguments) =>
        relay.followOnline(client, ...rest),
    } as unknown as Library,
  }
  let gateway: Gateway | null = null
  return {
    kinds: [...Object.keys(libraries), ...Object.keys(FOLLOWS), 'Python'],
    open(kind, at, name) {
      const library = libraries[kind]
      if (library !== undefined) return openLibrary(kind, library, at, name)
      const follow = FOLLOWS[kind]
      if (follow !== undefined) return openFollower(kind, follow, at, name)
      if (kind === 'Python') return openPython(python, at, name)
      if (kind !== GATEWAY) throw new Error(`There is no kind ${kind}.`)
      gateway ??= openGateway(at)
      return openFollower(kind, subscribeByGateway(gateway), at, name)
    },
    async close() {
      await gateway?.close()
      await drop()
    },
  }
}
