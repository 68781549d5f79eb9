#!/usr/bin/env bash
# `context.setOffline(true)` of Playwright does not cut an open WebSocket: it stalls it.
#
# A message of the server waits until the context is online again, and then it comes. Only a new WebSocket is refused. So
# a page that goes offline and online in a test has lost no connection, and its reconnecting is not tested.
#
# Seen on 2026-11-29 with playwright-core 1.65.1, Chromium 156.0.8078.108 (Debian 12) and ws 8.23.0: as `seen` below.
# Needs Node.js 20 or later and Chromium (`apt-get install chromium`, or CHROMIUM=/path/of/it). It takes 10 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0 playwright-core@1.65.1
cat >seen <<'EOF'
offline: navigator.onLine is false, a new WebSocket is closed with 1006
offline for 3 s: 0 of 1 messages received, the open WebSocket is OPEN
online again: 1 of 1 messages received, the server saw no close
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as pass } from 'node:timers/promises'
import { chromium } from 'playwright-core'
import { WebSocketServer } from 'ws'

const server = createServer((_, response) => {
  response.setHeader('content-type', 'text/html')
  response.end(`<!doctype html><script>
    window.received = []
    window.socket = new WebSocket('ws://' + location.host)
    socket.onmessage = ({ data }) => received.push(data)
  </script>`)
})
const sockets = new WebSocketServer({ server })
server.listen(0, '127.0.0.1')
await once(server, 'listening')

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] })
console.error(`Chromium ${browser.version()}`)
const page = await browser.newPage()
const connected = once(sockets, 'connection')
await page.goto(`http://127.0.0.1:${server.address().port}`)
await page.waitForFunction(() => window.socket.readyState === WebSocket.OPEN)
const [socket] = await connected
let close = 'no close'
socket.on('close', (code) => { close = `close ${code}` })

await page.context().setOffline(true)
const isOnline = await page.evaluate(() => navigator.onLine)
const refusedWith = await page.evaluate(
  () => new Promise((resolve) => { new WebSocket(`ws://${location.host}`).onclose = ({ code }) => resolve(code) }),
)
console.log(`offline: navigator.onLine is ${isOnline}, a new WebSocket is closed with ${refusedWith}`)
socket.send('a message')
await pass(3000)
const receivedCount = () => page.evaluate(() => window.received.length)
const isOpen = await page.evaluate(() => window.socket.readyState === WebSocket.OPEN)
const state = isOpen ? 'OPEN' : 'not open'
console.log(`offline for 3 s: ${await receivedCount()} of 1 messages received, the open WebSocket is ${state}`)
await page.context().setOffline(false)
await pass(1000)
console.log(`online again: ${await receivedCount()} of 1 messages received, the server saw ${close}`)
await browser.close()
process.exit(0)
EOF
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser)} timeout 60 node finding.mjs >now
cat now
diff seen now
