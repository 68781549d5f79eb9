import { type Client, createClient } from 'graphql-ws'
import { leaveWithPage } from './leave-with-page.ts'
import { mutationsOnce } from './mutations-once.ts'
import { renewAfter } from './renew-after.ts'

export interface ConnectOptions {
  /** `http://localhost:4000/graphql`; the socket is at the same path. */
  readonly url: string
  /** Asked again at each request and each connection, so that it may be a fresh one. */
  readonly token: () => string
  /** A UUID that the tab keeps in `sessionStorage`: with it a reload is no leaving and coming back. */
  readonly sessionId: string
  /** Before Node 22: the class `WebSocket` of the package `ws`. */
  readonly webSocketImpl?: unknown
}

/** The socket that is the tab's session, and that comes back whenever it is lost. */
export function openSocket({ url, token, sessionId, webSocketImpl }: ConnectOptions): Client {
  let unanswered: ReturnType<typeof setTimeout> | undefined
  const page = leaveWithPage(url.replace(/^http/, 'ws'))
  const client = createClient({
    url: page.url,
    connectionParams: () => ({ authorization: `Bearer ${token()}`, sessionId }),
    webSocketImpl,

    // Never give up. Without `shouldRetry` it would in a browser, at each connection that is lost or cannot be made.
    retryAttempts: Number.POSITIVE_INFINITY,
    shouldRetry: () => true,

    // A connection can be dead without an end: every 5 s it is asked, and has 10 s to answer, as the server does.
    connectionAckWaitTimeout: 10_000,
    keepAlive: 5000,
    on: {
      opened: page.opened,
      ping(isReceived) {
        if (!isReceived) unanswered = setTimeout(() => client.terminate(), 10_000)
      },
      pong(isReceived) {
        if (isReceived) clearTimeout(unanswered)
      },
      closed: () => clearTimeout(unanswered),
    },
  })
  return renewAfter(mutationsOnce(client))
}
