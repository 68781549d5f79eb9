#!/usr/bin/env bash
# Node's fetch ends a stream when its Response is collected as garbage, though nobody has cancelled it.
#
# Who opens a stream of server-sent events only to have it open (a test, a monitor that looks at the status) and drops the
# Response loses the connection at some later collection. It is closed as by a client that leaves, so the server sees a
# user go. As long as something refers to the Response it stays, read or not.
#
# Seen on 2026-11-29 with Node.js 20.20.2 (undici 6.24.1 within): as `seen` below.
# Needs Node.js 20 or later, and no packages. It takes 5 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

cat >seen <<'EOF'
the Response is kept: open
the Response is dropped: closed
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'

const open = new Set()
const server = createServer((request, response) => {
  open.add(request.url)
  response.on('close', () => open.delete(request.url))
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(':\n\n')
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const url = `http://127.0.0.1:${server.address().port}`

const kept = await fetch(`${url}/kept`)
await (async () => (await fetch(`${url}/dropped`)).status)()
for (let round = 0; round < 10; round += 1) {
  gc()
  await new Promise((resolve) => setTimeout(resolve, 200))
}
const state = (path) => (open.has(path) ? 'open' : 'closed')
console.log(`the Response is kept: ${state('/kept')}`)
console.log(`the Response is dropped: ${state('/dropped')}`)
process.exit(kept.status === 200 ? 0 : 1)
EOF
timeout 30 node --expose-gc finding.mjs >now
cat now
diff seen now
