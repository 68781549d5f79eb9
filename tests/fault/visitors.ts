/** Visitors with the settings that users have: those of graphql-ws, and those of our example. */
import { randomUUID } from 'node:crypto'
import { type Client, createClient } from 'graphql-ws'
import { WebSocket } from 'ws'
import { openSocket } from '../../examples/socket.ts'
import { type Visitor, visitorOf } from './person.ts'

/** @param url - `http://127.0.0.1:4000/graphql` */
export type OpenVisitor = (id: string, url: string, webSocketImpl?: unknown) => Visitor

/** graphql-ws as it is: no pings of its own, five attempts to come back, 1.3 to 4 s before the first of them. */
export const openStockVisitor: OpenVisitor = (id, url, webSocketImpl = WebSocket) => {
  const sessionId = randomUUID()
  const client = createClient({
    url: url.replace(/^http/, 'ws'),
    connectionParams: { authorization: `Bearer dev:${id}`, sessionId },
    webSocketImpl,
  })
  return subscribed(id, sessionId, client)
}

/** `examples/socket.ts` as it is. */
export const openExampleVisitor: OpenVisitor = (id, url, webSocketImpl = WebSocket) => {
  const sessionId = randomUUID()
  const client = openSocket({ url, token: () => `dev:${id}`, sessionId, webSocketImpl })
  return subscribed(id, sessionId, client)
}

/** Both clients connect with their first operation, and stay as long as one is open. */
function subscribed(id: string, sessionId: string, client: Client): Visitor {
  const visitor = visitorOf({ id, sessionId, client })
  client.subscribe(
    { query: 'subscription { viewerChanged { id } }' },
    // That its socket is lost is in the log of the visitor.
    { next: () => {}, error: () => {}, complete: () => {} },
  )
  return visitor
}

export function idsOf(visitors: readonly Visitor[]): readonly string[] {
  return visitors.map(({ id }) => id)
}

/** The sockets that they lost, a sentence each. */
export function lossesOf(visitors: readonly Visitor[]): readonly string[] {
  return visitors.flatMap(({ id, log }) => log.filter(({ what }) => what === 'lost').map(({ why }) => `${id}: ${why}`))
}
