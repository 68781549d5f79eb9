#!/usr/bin/env bash
# Chromium keeps the WebSocket of a page that was left open, and answers its pings, while no script of the page runs.
#
# A page that is left goes into the back/forward cache with its socket. The server sees no close, and each of its pings
# (RFC 6455) is answered by the browser's network process. No message is answered, for the page stands still. Only when
# the person comes back is the socket closed: with 1001 for the server, with 1006 for the page, and what the server sent
# in between is lost.
#
# Seen on 2026-11-29 with Chromium 156.0.8078.108 (Debian 12), playwright-core 1.65.1 and ws 8.23.0: as `seen` below.
# Needs Node.js 20 or later and Chromium (`apt-get install chromium`, or CHROMIUM=/path/of/it). It takes 15 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0 playwright-core@1.65.1
cat >seen <<'EOF'
on the page: 1 of 1 pings answered, 1 of 1 messages answered
left: 5 of 5 pings answered, 0 of 1 messages answered, no close
back: the server saw close 1001
back: the page saw message while it was here, then pageshow, then close 1006
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as pass } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import { WebSocketServer } from 'ws'

const APP = `<!doctype html><title>app</title><script>
  window.seen = []
  const socket = new WebSocket('ws://' + location.host)
  socket.onmessage = ({ data }) => { seen.push('message ' + data); socket.send('answer') }
  socket.onclose = ({ code }) => seen.push('close ' + code)
  addEventListener('pageshow', ({ persisted }) => persisted && seen.push('pageshow'))
</script>`
const server = createServer((request, response) => {
  response.setHeader('content-type', 'text/html')
  response.end(request.url === '/app' ? APP : '<!doctype html><title>other</title>')
})
const sockets = new WebSocketServer({ server })
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const url = `http://127.0.0.1:${server.address().port}`

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox'],
  // Playwright switches the cache off.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
})
console.error(`Chromium ${browser.version()}`)
const page = await browser.newPage()
const connected = once(sockets, 'connection')
await page.goto(`${url}/app`)
const [socket] = await connected
let pongs = 0
let answers = 0
let closedWith = null
socket.on('pong', () => { pongs += 1 })
socket.on('message', () => { answers += 1 })
socket.on('close', (code) => { closedWith = code })

socket.ping()
socket.send('while it was here')
await pass(1000)
console.log(`on the page: ${pongs} of 1 pings answered, ${answers} of 1 messages answered`)

await page.goto(`${url}/other`)
pongs = answers = 0
socket.send('while it was away')
for (let count = 0; count < 5; count += 1) {
  socket.ping()
  await pass(1000)
}
const close = closedWith === null ? 'no close' : `close ${closedWith}`
console.log(`left: ${pongs} of 5 pings answered, ${answers} of 1 messages answered, ${close}`)

await page.evaluate(() => void setTimeout(() => history.back()))
await page.waitForFunction(() => document.title === 'app')
await pass(1000)
console.log(`back: the server saw close ${closedWith}`)
console.log(`back: the page saw ${(await page.evaluate(() => window.seen)).join(', then ')}`)
await browser.close()
process.exit(0)
EOF
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser)} timeout 60 node finding.mjs >now
cat now
diff seen now
