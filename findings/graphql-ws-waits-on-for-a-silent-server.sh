#!/usr/bin/env bash
# `connectionAckWaitTimeout` of the graphql-ws client does not end a connection to a silent server: it only asks it to close.
#
# At its end the client calls `close(4504)` and then waits for the close frame of a server that says nothing: with `ws` for
# 30 s more (Chromium: 60 s). Before the handshake is done the timeout does not even begin, and `ws` sets none of its own.
# `client.terminate()` ends it at once, and the client tries again. Who has to be back within 15 s calls it.
#
# Seen on 2026-11-29 with graphql-ws 6.4.2, graphql 16.15.0 and ws 8.23.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 35 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0 graphql-ws@6.4.2 graphql@16.15.0
cat >seen <<'EOF'
no acknowledgement, connectionAckWaitTimeout 1 s: closed with 1006 after 31 s
no handshake, connectionAckWaitTimeout 1 s: not closed after 34 s
no acknowledgement, terminate() after 1 s: closed with 4499 after 1 s
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as pass } from 'node:timers/promises'
import { createClient } from 'graphql-ws'
import { WebSocket, WebSocketServer } from 'ws'

const LOOKED_AT_S = 34
const server = createServer()
const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'graphql-transport-ws' })
server.on('upgrade', (request, stream, head) => {
  stream.on('error', () => {})
  if (request.url === '/handshake') sockets.handleUpgrade(request, stream, head, () => stream.pause())
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

async function connect(path, options, terminates) {
  const startedAtMs = performance.now()
  let said = `not closed after ${LOOKED_AT_S} s`
  const client = createClient({
    url: `ws://127.0.0.1:${server.address().port}${path}`,
    webSocketImpl: WebSocket,
    lazy: false,
    retryAttempts: 0,
    onNonLazyError: () => {},
    on: {
      closed: ({ code }) => {
        said = `closed with ${code} after ${Math.round((performance.now() - startedAtMs) / 1000)} s`
      },
    },
    ...options,
  })
  if (terminates) setTimeout(() => client.terminate(), 1000)
  await pass(LOOKED_AT_S * 1000)
  return said
}

const limited = { connectionAckWaitTimeout: 1000 }
const said = await Promise.all([
  connect('/handshake', limited, false),
  connect('/nothing', limited, false),
  connect('/handshake', {}, true),
])
console.log(`no acknowledgement, connectionAckWaitTimeout 1 s: ${said[0]}`)
console.log(`no handshake, connectionAckWaitTimeout 1 s: ${said[1]}`)
console.log(`no acknowledgement, terminate() after 1 s: ${said[2]}`)
process.exit(0)
EOF
timeout 60 node finding.mjs >now
cat now
diff seen now
