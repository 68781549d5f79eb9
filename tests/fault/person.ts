/** Somebody with a tab: graphql-ws's own retry, the session id kept, and a log of when the socket was there. */
import { randomUUID } from 'node:crypto'
import { type Client, createClient } from 'graphql-ws'
import { WebSocket } from 'ws'

/** Somebody with a graphql-ws client of whatever settings. */
export interface Visitor {
  readonly id: string
  readonly sessionId: string
  /** Whether the server has acknowledged the socket that is open now. */
  isConnected(): boolean
  /** Since when, by the monotonic clock; null while it is not. */
  connectedSinceMs(): number | null
  /** Each time that the socket was acknowledged or lost. */
  readonly log: readonly { readonly what: 'connected' | 'lost'; readonly atMs: number; readonly why: string }[]
  ask(query: string): Promise<unknown>
  /** Closes the tab. */
  close(): Promise<void>
}

export interface Person extends Visitor {
  /** Where the socket leads. */
  wsUrl(): string
  /** As a network does: no close frame. The client comes back by itself. */
  reset(): void
  /** The network is gone, and nobody says so: nothing that comes is read any more, and nothing is closed. */
  fallSilent(): void
  /** Does not come back once the connection is lost. */
  giveUp(): void
}

export interface PersonOptions {
  readonly id: string
  readonly sessionId?: string
  /** Said at each attempt. */
  readonly rooms?: () => readonly string[]
  /** Where to connect, asked at each attempt. */
  readonly at: () => string
  /** Between two attempts: graphql-ws waits 1 s and more, which tests cannot. */
  readonly retryMs?: number
}

export function createPerson({ id, sessionId = randomUUID(), rooms, at, retryMs = 200 }: PersonOptions): Person {
  let wire: WebSocket | null = null
  let url = ''
  let hasGivenUp = false
  const client: Client = createClient({
    url: () => {
      url = at()
      return url
    },
    lazy: false,
    retryAttempts: Number.POSITIVE_INFINITY,
    retryWait: () => new Promise((resolve) => setTimeout(resolve, retryMs * (0.5 + Math.random()))),
    shouldRetry: () => !hasGivenUp,
    // A connection that hangs is given up.
    connectionAckWaitTimeout: 3000,
    webSocketImpl: WebSocket,
    onNonLazyError: () => {},
    connectionParams: () => ({
      authorization: `Bearer dev:${id}`,
      sessionId,
      ...(rooms === undefined ? {} : { rooms: rooms() }),
    }),
    on: {
      opened: (socket) => {
        wire = socket as WebSocket
      },
    },
  })
  return {
    ...visitorOf({ id, sessionId, client }),
    wsUrl: () => url,
    reset: () => wire?.terminate(),
    fallSilent: () => wire?.pause(),
    giveUp() {
      hasGivenUp = true
    },
  }
}

/** @param client - not connected yet */
export function visitorOf({
  id,
  sessionId,
  client,
}: {
  readonly id: string
  readonly sessionId: string
  readonly client: Client
}): Visitor {
  const log: { what: 'connected' | 'lost'; atMs: number; why: string }[] = []
  let connectedSinceMs: number | null = null
  client.on('connected', () => {
    connectedSinceMs = performance.now()
    log.push({ what: 'connected', atMs: connectedSinceMs, why: '' })
  })
  client.on('closed', (event) => {
    const { code, reason } = event as { code?: number; reason?: string }
    if (connectedSinceMs !== null) log.push({ what: 'lost', atMs: performance.now(), why: `${code} ${reason}` })
    connectedSinceMs = null
  })
  return {
    id,
    sessionId,
    isConnected: () => connectedSinceMs !== null,
    connectedSinceMs: () => connectedSinceMs,
    log,
    ask: (query) =>
      new Promise((resolve, reject) => {
        let answer: unknown = null
        client.subscribe(
          { query },
          {
            next: (result) => {
              answer = result
            },
            error: reject,
            complete: () => resolve(answer),
          },
        )
      }),
    async close() {
      try {
        await client.dispose()
      } catch {
        // Between two attempts there is nothing to close.
      }
    },
  }
}
