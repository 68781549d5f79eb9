#!/usr/bin/env bash
# `terminate()` of a graphql-ws client is not `terminate()` of `ws`: it sends a close frame, with 4499.
#
# `ws` ends the connection without a word, and the server sees 1006, a connection that was lost. graphql-ws 6 says in the
# documentation of its `terminate()` that it is for a connection that seems dead, but where the server still hears the
# client, it sees a close that the client asked for. A server that takes every close frame for a wish to leave is wrong
# about this one.
#
# Seen on 2026-11-29 with graphql-ws 6.4.2, graphql 16.15.0 and ws 8.23.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 5 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0 graphql-ws@6.4.2 graphql@16.15.0
cat >seen <<'EOF'
terminate() of ws: the server sees 1006
terminate() of graphql-ws: the server sees 4499 Terminated
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { buildSchema } from 'graphql'
import { createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'

const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
useServer({ schema: buildSchema('type Query { count: Int! }') }, sockets)
await once(sockets, 'listening')

async function closeSeen(terminate) {
  const connection = once(sockets, 'connection')
  const client = createClient({
    url: `ws://127.0.0.1:${sockets.address().port}`,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    onNonLazyError: () => {},
    on: { connected: (socket) => terminate(client, socket) },
  })
  const [socket] = await connection
  const [code, reason] = await once(socket, 'close')
  return `${code} ${reason}`.trim()
}

console.log(`terminate() of ws: the server sees ${await closeSeen((_, socket) => socket.terminate())}`)
console.log(`terminate() of graphql-ws: the server sees ${await closeSeen((client) => client.terminate())}`)
process.exit(0)
EOF
timeout 30 node finding.mjs >now
cat now
diff seen now
