/** Clients as apps have them: fetch over HTTP, graphql-ws over sockets, with their wires at hand to cut. */
import { randomUUID } from 'node:crypto'
import { type Client, type ClientOptions, createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import type { TestServer } from './server.ts'
import { until } from './wait.ts'

export interface Answer<Data = Record<string, any>> {
  readonly data?: Data | null
  readonly errors?: readonly { readonly message: string; readonly extensions: Record<string, unknown> }[]
}

export async function post<Data = Record<string, any>>(
  { url }: Pick<TestServer, 'url'>,
  token: string | null,
  query: string,
  variables: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<Answer<Data> & { readonly status: number }> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...headers,
    },
    body: JSON.stringify({ query, variables }),
  })
  return { status: response.status, ...((await response.json()) as Answer<Data>) }
}

export interface SeenChange {
  readonly kind: 'JOIN' | 'UPDATE' | 'LEAVE'
  readonly position: string
  readonly at: string
  readonly room: string | null
  readonly previousStatus: string
  readonly user: {
    readonly id: string
    readonly name: string
    readonly status: string
    readonly isOnline: boolean
    readonly onlineSince: string | null
    readonly lastActive: string | null
    readonly lastSeen: string | null
    readonly statusMessage: string | null
  }
  /** When it was received, by this process's monotonic clock. */
  readonly receivedAtMs: number
}

export interface Acknowledgement {
  readonly sessionId: string | null
  readonly heartbeatIntervalMs: number
  readonly resumed: boolean
  readonly rooms: readonly string[]
}

export interface Tab {
  readonly client: Client
  readonly sessionId: string
  /** What the server acknowledged last. */
  acknowledged(): Acknowledgement | null
  wire(): WebSocket
  ask<Data = Record<string, any>>(
    query: string,
    variables?: Record<string, unknown>,
    extensions?: Record<string, unknown>,
  ): Promise<Answer<Data>>
  /** Follows presenceChanged into a list that grows. */
  follow(args?: string): SeenChange[]
  /** As a browser does when its tab closes. */
  close(): Promise<void>
  /** As a network does: no close frame. */
  reset(): void
  /** As a machine without power does: the connection stays, and nothing comes any more. */
  fallSilent(): void
}

export interface TabOptions {
  readonly sessionId?: string
  readonly rooms?: readonly string[]
  readonly active?: boolean
  readonly observer?: boolean
  readonly device?: string
  readonly token?: string
  readonly retryAttempts?: number
  readonly options?: Partial<ClientOptions>
}

/** Tests do not wait for seconds, as clients do between two connections. */
export const noRetryWait = () => new Promise<void>((resolve) => setTimeout(resolve, 50))

const open = new Set<Tab>()

/** Opens a tab of `dev:<userId>` and waits until the server has acknowledged it. */
export async function openTab(
  server: Pick<TestServer, 'wsUrl'>,
  userId: string,
  params: TabOptions = {},
): Promise<Tab> {
  const { sessionId = randomUUID(), token = `dev:${userId}`, retryAttempts = 0, options = {}, ...rest } = params
  let wire: WebSocket | null = null
  let acknowledged: Acknowledgement | null = null
  let closedWith: unknown = null
  const client = createClient({
    url: server.wsUrl,
    lazy: false,
    retryAttempts,
    retryWait: noRetryWait,
    shouldRetry: () => true,
    webSocketImpl: WebSocket,
    onNonLazyError: (error) => {
      closedWith = error
    },
    connectionParams: { authorization: `Bearer ${token}`, sessionId, ...rest },
    ...options,
    on: {
      ...options.on,
      opened: (socket) => {
        wire = socket as WebSocket
      },
      connected: (_socket, payload) => {
        acknowledged = payload as unknown as Acknowledgement
      },
      closed: (event) => {
        closedWith = event
      },
    },
  })
  const tab: Tab = {
    client,
    sessionId,
    acknowledged: () => acknowledged,
    wire: () => wire as WebSocket,

    ask: <Data>(query: string, variables: Record<string, unknown> = {}, extensions: Record<string, unknown> = {}) =>
      new Promise<Answer<Data>>((resolve, reject) => {
        let answer: Answer<Data> = {}
        client.subscribe<Data>(
          { query, variables, extensions },
          {
            next: (result) => {
              answer = result as Answer<Data>
            },
            error: (error) => (Array.isArray(error) ? resolve({ errors: error }) : reject(error)),
            complete: () => resolve(answer),
          },
        )
      }),

    follow(args = '') {
      const seen: SeenChange[] = []
      client.subscribe<{ presenceChanged: Omit<SeenChange, 'receivedAtMs'> }>(
        { query: `subscription { presenceChanged${args} { ${CHANGE_FIELDS} } }` },
        {
          next: ({ data }) => {
            if (data) seen.push({ ...data.presenceChanged, receivedAtMs: performance.now() })
          },
          error: () => {},
          complete: () => {},
        },
      )
      return seen
    },

    async close() {
      open.delete(tab)
      await client.dispose()
    },

    reset() {
      open.delete(tab)
      wire?.terminate()
    },

    fallSilent() {
      wire?.pause()
    },
  }
  open.add(tab)
  await until(() => acknowledged ?? (closedWith !== null && retryAttempts === 0), {
    what: `the acknowledgement for ${userId}`,
  })
  if (acknowledged === null) throw closedWith
  return tab
}

/** For afterEach: whatever a test left open. */
export function closeTabs(): void {
  for (const tab of open) tab.wire()?.terminate()
  open.clear()
}

export const CHANGE_FIELDS =
  'kind position at room previousStatus user { id name status isOnline onlineSince lastActive lastSeen statusMessage }'

/** Resolves when what was asked before has reached the server: a subscription has no acknowledgement of its own. */
export async function settled(tab: Tab): Promise<void> {
  await tab.ask('{ position }')
}

/** The ids online, over HTTP, page by page. */
export async function onlineIds(server: Pick<TestServer, 'url'>, token: string, room?: string): Promise<string[]> {
  const ids: string[] = []
  let after: string | null = null
  for (;;) {
    const { data }: Answer = await post(
      server,
      token,
      'query ($after: String, $room: ID) { onlineUsers(first: 100, after: $after, room: $room) { nodes { id } pageInfo { hasNextPage endCursor } } }',
      { after, room },
    )
    if (!data) throw new Error('The list could not be read.')
    ids.push(...data.onlineUsers.nodes.map(({ id }: { id: string }) => id))
    if (!data.onlineUsers.pageInfo.hasNextPage) return ids
    after = data.onlineUsers.pageInfo.endCursor
  }
}

/** The class of a socket that writes down what is sent through it. */
export function recordingSocket(): { readonly sent: readonly string[]; readonly webSocketImpl: typeof WebSocket } {
  const sent: string[] = []
  class RecordingSocket extends WebSocket {
    override send(data: unknown, ...rest: any[]): void {
      sent.push(String(data))
      super.send(data as string, ...rest)
    }
  }
  return { sent, webSocketImpl: RecordingSocket }
}
