#!/usr/bin/env bash
# Firefox keeps the connection of a WebSocket that was closed before its handshake was answered. After six of them
# nothing goes to that address any more: no WebSocket, and no fetch, of other tabs too.
#
# `close()` on a WebSocket that is CONNECTING is told to the page at once, with 1006. The TCP connection stays open, also
# when its tab is closed, for as long as the server, or the network in between, lets it; each counts among the six that
# Firefox makes to an address (`network.http.max-persistent-connections-per-server`). So a client that limits the time of
# its handshakes, which it needs in Chromium, locks its person out in Firefox: six tries in a network that is black are
# enough. A fetch that is aborted does not do so: a client may ask over HTTP first, and make a WebSocket when something
# answers.
#
# Seen on 2026-11-30 with Firefox ESR 153.8.0 (Debian 12) and ws 8.23.0: as `seen` below.
# Needs Node.js 20 or later and Firefox (`apt-get install firefox-esr`, or FIREFOX=/path/of/it). It takes 40 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0
cat >seen <<'EOF'
eight fetches aborted: 0 of their connections are open
five handshakes given up: 5 of their connections are open, another WebSocket is OPEN, a fetch is answered
six handshakes given up: 6 of their connections are open, another WebSocket is CONNECTING, a fetch is not answered
in another tab: a WebSocket is CONNECTING, one to another address is OPEN
both tabs closed: 6 of the connections are open
the server ends them: another WebSocket is OPEN, a fetch is answered
EOF
cat >finding.mjs <<'EOF'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { setTimeout as pass } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'

const unanswered = new Set()
const keep = (stream) => {
  unanswered.add(stream)
  stream.resume()
  stream.on('close', () => unanswered.delete(stream))
}
const server = createServer((request, response) => {
  if (request.url === '/never-answered') keep(request.socket)
  else response.end('<!doctype html><title>A page</title>')
})
const sockets = new WebSocketServer({ noServer: true })
server.on('upgrade', (request, stream, head) => {
  stream.on('error', () => {})
  if (request.url !== '/never-answered') return sockets.handleUpgrade(request, stream, head, () => {})
  keep(stream)
})
server.listen(0, '0.0.0.0')
await once(server, 'listening')
const { port } = server.address()

const profile = `${process.cwd()}/profile`
const firefox = spawn(
  process.env.FIREFOX,
  ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port=0'],
  { env: { ...process.env, HOME: profile }, stdio: 'ignore' },
)
process.on('exit', () => firefox.kill('SIGKILL'))
let address = null
while (address === null) {
  await pass(100)
  address = await readFile(`${profile}/WebDriverBiDiServer.json`, 'utf8').then(JSON.parse).catch(() => null)
}
const driver = new WebSocket(`ws://${address.ws_host}:${address.ws_port}/session`)
await once(driver, 'open')
const waiting = new Map()
driver.on('message', (data) => {
  const answer = JSON.parse(data)
  waiting.get(answer.id)?.(answer)
})
let lastId = 0
const ask = (method, params) =>
  new Promise((resolve, reject) => {
    lastId += 1
    waiting.set(lastId, ({ type, result, message }) => (type === 'success' ? resolve(result) : reject(new Error(message))))
    driver.send(JSON.stringify({ id: lastId, method, params }))
  })
const { capabilities } = await ask('session.new', { capabilities: {} })
console.error(`Firefox ${capabilities.browserVersion}`)

const openTab = async () => {
  const { context } = await ask('browsingContext.create', { type: 'tab' })
  await ask('browsingContext.navigate', { context, url: `http://127.0.0.1:${port}/`, wait: 'complete' })
  return context
}
const run = async (context, expression) => {
  const { result } = await ask('script.evaluate', { expression, target: { context }, awaitPromise: true })
  return result.value
}
/** What a new WebSocket is after 5 s, or before that when it is open. */
const tryIn = (context, host = '127.0.0.1') =>
  run(
    context,
    `new Promise((resolve) => {
      const socket = new WebSocket('ws://${host}:${port}/')
      const tell = () => {
        resolve(['CONNECTING', 'OPEN', 'CLOSING', 'CLOSED'][socket.readyState])
        socket.onclose = null
        socket.close()
      }
      socket.onopen = socket.onclose = tell
      setTimeout(tell, 5000)
    })`,
  )
const giveUpOne = async (context) => {
  const count = unanswered.size
  await run(context, `void (window.given = new WebSocket('ws://127.0.0.1:${port}/never-answered'))`)
  while (unanswered.size === count) await pass(20)
  await run(context, `new Promise((resolve) => { given.onclose = resolve; given.close() }).then(() => {})`)
}

const fetchIn = (context, path, limitMs) =>
  run(
    context,
    `fetch('${path}', { cache: 'no-store', signal: AbortSignal.timeout(${limitMs}) }).then(() => 'answered', () => 'not answered')`,
  )

const [tab, otherTab, lastTab] = [await openTab(), await openTab(), await openTab()]
for (let count = 0; count < 8; count += 1) await fetchIn(tab, '/never-answered', 500)
await pass(1000)
console.log(`eight fetches aborted: ${unanswered.size} of their connections are open`)

for (let count = 0; count < 5; count += 1) await giveUpOne(tab)
await pass(2000)
const state = async (context) => `another WebSocket is ${await tryIn(context)}, a fetch is ${await fetchIn(context, '/', 5000)}`
console.log(`five handshakes given up: ${unanswered.size} of their connections are open, ${await state(tab)}`)
await giveUpOne(tab)
await pass(2000)
console.log(`six handshakes given up: ${unanswered.size} of their connections are open, ${await state(tab)}`)
const there = await tryIn(otherTab)
console.log(`in another tab: a WebSocket is ${there}, one to another address is ${await tryIn(otherTab, '127.0.0.2')}`)
for (const context of [tab, otherTab]) await ask('browsingContext.close', { context })
await pass(2000)
console.log(`both tabs closed: ${unanswered.size} of the connections are open`)
for (const stream of unanswered) stream.destroy()
await pass(1000)
console.log(`the server ends them: ${await state(lastTab)}`)
process.exit(0)
EOF
FIREFOX=${FIREFOX:-$(command -v firefox-esr || command -v firefox)} timeout 100 node finding.mjs >now
cat now
diff seen now
