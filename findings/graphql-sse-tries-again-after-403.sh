#!/usr/bin/env bash
# graphql-sse takes a 403, and every other status of a refusal, for a lost connection: it asks again and tells nobody.
#
# The app hears nothing before the attempts are used up (five retries by default), and then of the status alone. Errors
# that come as an event of a stream with status 200 reach it at once, and it does not ask again. So a server that wants
# its refusal to be read sends it that way, and keeps other statuses for what a retry mends.
#
# Seen on 2026-11-29 with graphql-sse 2.6.1 and graphql 16.15.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 12 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts graphql-sse@2.6.1 graphql@16.15.0
cat >seen <<'EOF'
400: asked again; the app hears nothing
403: asked again; the app hears nothing
410: asked again; the app hears nothing
200 with an event: asked once; the app hears Refused. and the end
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createClient } from 'graphql-sse'

const refusal = JSON.stringify({ errors: [{ message: 'Refused.' }] })
const counts = new Map()
const server = createServer((request, response) => {
  const status = Number(request.url.slice(1))
  counts.set(status, (counts.get(status) ?? 0) + 1)
  if (status === 200) {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`event: next\ndata: ${refusal}\n\nevent: complete\ndata:\n\n`)
  } else response.writeHead(status, { 'content-type': 'application/json' }).end(refusal)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')

async function ask(status) {
  const heard = []
  createClient({ url: `http://127.0.0.1:${server.address().port}/${status}` }).subscribe(
    { query: 'subscription { one }' },
    {
      next: ({ errors }) => heard.push(...errors.map(({ message }) => message)),
      error: (error) => heard.push(String(error)),
      complete: () => heard.push('the end'),
    },
  )
  // The first wait is 1.3 to 4 s.
  await new Promise((resolve) => setTimeout(resolve, 5000))
  const asked = counts.get(status) > 1 ? 'again' : 'once'
  return `asked ${asked}; the app hears ${heard.join(' and ') || 'nothing'}`
}
const statuses = [400, 403, 410, 200]
const said = await Promise.all(statuses.map(ask))
for (const [index, status] of statuses.entries()) {
  console.log(`${status}${status === 200 ? ' with an event' : ''}: ${said[index]}`)
}
process.exit(0)
EOF
timeout 60 node finding.mjs >now
cat now
diff seen now
