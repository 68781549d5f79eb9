#!/usr/bin/env bash
# Apollo Client's GraphQLWsLink turns each GraphQL error into a ReferenceError where there is no global `WebSocket`.
#
# It compares with `WebSocket.CLOSED` to find out whether an error is an event of a socket. Node.js has the global class
# since 22. Before that, with `webSocketImpl` of `ws` as graphql-ws documents it, subscriptions work; but of one that the
# server refuses by an `error` message the app learns neither message nor code, only `WebSocket is not defined`.
#
# Seen on 2026-11-29 with @apollo/client 4.3.8, graphql-ws 6.4.2 and ws 8.23.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later: the class is removed where there is one. It takes 10 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts \
  @apollo/client@4.3.8 graphql@16.15.0 graphql-ws@6.4.2 rxjs@7.8.2 ws@8.23.0
cat >seen <<'EOF'
without a global WebSocket the observer hears: WebSocket is not defined; thrown: nothing
with a global WebSocket the observer hears: Refused.; thrown: nothing
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { ApolloLink, gql } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { buildSchema, GraphQLError } from 'graphql'
import { createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'

const schema = buildSchema('type Query { one: Int } type Subscription { two: Int }')
const server = new WebSocketServer({ port: 0, host: '127.0.0.1' })
useServer({ schema, onSubscribe: () => [new GraphQLError('Refused.')] }, server)
await once(server, 'listening')
const url = `ws://127.0.0.1:${server.address().port}`
let thrown = 'nothing'
process.on('uncaughtException', ({ message }) => (thrown = message))
process.on('unhandledRejection', ({ message }) => (thrown = message))

async function subscribe() {
  let heard = 'nothing'
  thrown = 'nothing'
  const client = createClient({ url, webSocketImpl: WebSocket, retryAttempts: 0 })
  const query = gql`
    subscription {
      two
    }
  `
  ApolloLink.execute(new GraphQLWsLink(client), { query }, { client: {} }).subscribe({
    error: ({ message }) => (heard = message),
    complete: () => (heard = 'the end'),
  })
  await new Promise((resolve) => setTimeout(resolve, 1500))
  return `the observer hears: ${heard}; thrown: ${thrown}`
}

delete globalThis.WebSocket
console.log(`without a global WebSocket ${await subscribe()}`)
globalThis.WebSocket = WebSocket
console.log(`with a global WebSocket ${await subscribe()}`)
process.exit(0)
EOF
timeout 60 node finding.mjs >now
cat now
diff seen now
