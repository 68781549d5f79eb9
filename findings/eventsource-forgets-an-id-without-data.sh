#!/usr/bin/env bash
# The npm package eventsource forgets an id that comes without data, and gives events without an id an empty one.
#
# By the standard an event that has only an id sets the last one, which the client sends when it reconnects, and an event
# without an id has the last one (https://html.spec.whatwg.org/multipage/server-sent-events.html). Chromium does so, and
# the EventSource of undici. A server that tells its clients the place in a log while nothing happens is not heard by
# this package: a client that has seen no event comes back without a place, and misses what came in between.
#
# Seen on 2026-11-30 with eventsource 4.1.1, eventsource-parser 3.1.1 and undici 7.16.0 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 10 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts eventsource@4.1.1 eventsource-parser@3.1.1 undici@7.16.0
cat >seen <<'SEEN'
eventsource: an id without data: comes back with the id none
eventsource: an event after one with an id: its id is empty, comes back with the id 7
undici: an id without data: comes back with the id 7
undici: an event after one with an id: its id is 7, comes back with the id 7
SEEN
cat >finding.mjs <<'JS'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { EventSource as Package } from 'eventsource'
import { EventSource as Undici } from 'undici'

async function play(EventSource, body) {
  const asked = []
  const server = createServer((request, response) => {
    asked.push(request.headers['last-event-id'] ?? 'none')
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.end(`retry: 100\n\n${body}`)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ids = []
  const source = new EventSource(`http://127.0.0.1:${server.address().port}/`)
  source.addEventListener('message', ({ lastEventId }) => ids.push(lastEventId === '' ? 'empty' : lastEventId))
  const deadline = Date.now() + 8000
  while (asked.length < 2 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20))
  source.close()
  server.closeAllConnections()
  server.close()
  return { back: asked[1] ?? 'not', ids: ids.slice(0, 2) }
}

for (const [name, EventSource] of [['eventsource', Package], ['undici', Undici]]) {
  const alone = await play(EventSource, 'id: 7\n\n')
  console.log(`${name}: an id without data: comes back with the id ${alone.back}`)
  const after = await play(EventSource, 'id: 7\ndata: one\n\ndata: two\n\n')
  console.log(`${name}: an event after one with an id: its id is ${after.ids[1]}, comes back with the id ${after.back}`)
}
process.exit(0)
JS
timeout 60 node --no-warnings finding.mjs >now
cat now
diff seen now
