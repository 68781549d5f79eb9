#!/usr/bin/env bash
# Two WebSocket servers on one HTTP server: each is asked for every socket, and ends what it takes for nobody's.
#
# A server of `ws` with the options `server` and `path` answers 400 at once to each other path, though another listener
# has taken it. Socket.IO waits for a second and then ends each socket that nothing has been written to, so it ends one
# whose owner is slow, and leaves one that is open. With `destroyUpgrade: false`, or with `noServer: true` of `ws` and a
# listener that decides by the path, both leave the others alone.
#
# Seen on 2026-11-30 with ws 8.23.0 and socket.io 4.8.4 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 15 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts socket.io@4.8.4 ws@8.23.0
cat >seen <<'EOS'
ws with server and path: Unexpected server response: 400
ws with noServer: open
Socket.IO, and an owner that answers at once: open
Socket.IO, and an owner that answers after 2 s: socket hang up
Socket.IO with destroyUpgrade false, and an owner that answers after 2 s: open
EOS
cat >finding.mjs <<'EOS'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { Server } from 'socket.io'
import { WebSocket, WebSocketServer } from 'ws'

/** Our socket is at `/ours`. The other server is attached before it. */
async function tell(name, attach, answerAfterMs = 0) {
  const http = createServer()
  const ours = new WebSocketServer({ noServer: true })
  attach(http)
  http.on('upgrade', async (request, socket, head) => {
    socket.on('error', () => {})
    if (request.url !== '/ours') return
    await sleep(answerAfterMs)
    if (!socket.destroyed) ours.handleUpgrade(request, socket, head, () => {})
  })
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const client = new WebSocket(`ws://127.0.0.1:${http.address().port}/ours`)
  const heard = await new Promise((resolve) => {
    client.once('open', () => setTimeout(() => resolve(client.readyState === WebSocket.OPEN ? 'open' : 'closed'), 1500))
    client.once('error', ({ message }) => resolve(message))
  })
  console.log(`${name}: ${heard}`)
}

await tell('ws with server and path', (server) => new WebSocketServer({ server, path: '/theirs' }))
await tell('ws with noServer', () => new WebSocketServer({ noServer: true }))
await tell('Socket.IO, and an owner that answers at once', (server) => new Server(server))
await tell('Socket.IO, and an owner that answers after 2 s', (server) => new Server(server), 2000)
await tell(
  'Socket.IO with destroyUpgrade false, and an owner that answers after 2 s',
  (server) => new Server(server, { destroyUpgrade: false }),
  2000,
)
process.exit(0)
EOS
timeout 60 node finding.mjs >now
cat now
diff seen now
