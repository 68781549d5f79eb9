#!/usr/bin/env bash
# The graphql-ws client sends a mutation again when the connection is lost before its answer: it runs twice, and the caller
# sees one answer.
#
# It is so with the default settings, for every operation that is open. What must not happen twice, or must not happen
# later than it was asked for (signing out, on a page that comes back), needs a way of its own to say so.
#
# Seen on 2026-11-29 with graphql-ws 6.4.2, graphql 16.15.0 and ws 8.23.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 10 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0 graphql-ws@6.4.2 graphql@16.15.0
cat >seen <<'EOF'
the connection is lost before the answer to `mutation { add }`: it ran 2 times
the caller sees {"data":{"add":2}}, once
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { buildSchema } from 'graphql'
import { createClient } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocket, WebSocketServer } from 'ws'

const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
let count = 0
const roots = {
  mutation: {
    add() {
      count += 1
      // As a network does: no close frame.
      if (count === 1) for (const socket of sockets.clients) socket.terminate()
      return count
    },
  },
}
useServer({ schema: buildSchema('type Query { count: Int! } type Mutation { add: Int! }'), roots }, sockets)
await once(sockets, 'listening')

const client = createClient({ url: `ws://127.0.0.1:${sockets.address().port}`, webSocketImpl: WebSocket })
const answers = []
await new Promise((resolve, reject) => {
  client.subscribe(
    { query: 'mutation { add }' },
    { next: (answer) => answers.push(JSON.stringify(answer)), error: reject, complete: resolve },
  )
})
console.log(`the connection is lost before the answer to \`mutation { add }\`: it ran ${count} times`)
console.log(`the caller sees ${answers.join()}, ${answers.length === 1 ? 'once' : `${answers.length} times`}`)
process.exit(0)
EOF
timeout 30 node finding.mjs >now
cat now
diff seen now
