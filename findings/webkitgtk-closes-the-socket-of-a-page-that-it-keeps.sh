#!/usr/bin/env bash
# WebKitGTK keeps a page with an open WebSocket in its back/forward cache, and closes the socket as it puts it there.
#
# The server sees 1001 at once, as it does when a tab closes. The page learns of it only when the person comes back: then
# it runs on where it was, and gets `close` with 1006. Firefox closes with 1001 too, but keeps no such page: it loads it
# again. So a page that is left is a closed socket to both, and who comes back needs `pageshow` or `close`, not a load.
#
# Seen on 2026-11-29 with WebKitGTK 2.50.6, Firefox ESR 153.8.0 (both Debian 12) and ws 8.23.0: as `seen` below.
# Needs Node.js 20 or later, and `apt-get install firefox-esr webkit2gtk-driver xvfb xauth`. It takes 40 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ws@8.23.0
cat >seen <<'EOF'
WebKitGTK, left: the server sees close 1001 "WebSocket is closed due to suspension."
WebKitGTK, back: the page is the one that was left; it saw pageshow, then close 1006
Firefox, left: the server sees close 1001 ""
Firefox, back: the page is a new one; it saw nothing
EOF
cat >finding.mjs <<'EOF'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as pass } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'

const APP = `<!doctype html><title>app</title><script>
  window.seen = []
  window.loadedAtMs = Date.now()
  const socket = new WebSocket('ws://' + location.host)
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

async function until(look) {
  for (let count = 0; count < 200; count += 1) {
    const found = await look().catch(() => null)
    if (found) return found
    await pass(100)
  }
  throw new Error(`It did not come: ${look}`)
}

/** WebDriver, over HTTP. */
async function openWebKit() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  const driver = spawn('xvfb-run', ['-a', 'WebKitWebDriver', `--port=${port}`], { stdio: 'ignore', detached: true })
  process.once('exit', () => process.kill(-driver.pid))
  async function call(method, path, body) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) })
    const { value } = await response.json()
    if (!response.ok) throw new Error(JSON.stringify(value))
    return value
  }
  await until(() => call('GET', '/status'))
  const options = { binary: process.env.MINIBROWSER, args: ['--automation'] }
  const { sessionId, capabilities } = await call('POST', '/session', {
    capabilities: { alwaysMatch: { 'webkitgtk:browserOptions': options } },
  })
  console.error(`WebKitGTK ${capabilities.browserVersion}`)
  return {
    go: (to) => call('POST', `/session/${sessionId}/url`, { url: to }),
    run: (script) => call('POST', `/session/${sessionId}/execute/sync`, { script: `return ${script}`, args: [] }),
    close: () => call('DELETE', `/session/${sessionId}`),
  }
}

/** WebDriver BiDi, over a WebSocket. */
async function openFirefox() {
  mkdirSync('profile')
  const firefox = spawn('firefox-esr', ['--headless', '--no-remote', '--remote-debugging-port', '0', '--profile', 'profile'], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, HOME: process.cwd() },
  })
  process.once('exit', () => firefox.kill())
  let address
  for await (const line of createInterface({ input: firefox.stderr })) {
    address = /BiDi listening on (ws:\S+)/.exec(line)?.[1]
    if (address) break
  }
  firefox.stderr.resume()
  const socket = new WebSocket(`${address}/session`)
  await once(socket, 'open')
  let lastId = 0
  const waiting = new Map()
  socket.on('message', (data) => {
    const { id, type, result, message } = JSON.parse(data)
    const { resolve, reject } = waiting.get(id) ?? {}
    if (type === 'error') reject?.(new Error(message))
    else resolve?.(result)
  })
  const call = (method, params) =>
    new Promise((resolve, reject) => {
      lastId += 1
      waiting.set(lastId, { resolve, reject })
      socket.send(JSON.stringify({ id: lastId, method, params }))
    })
  const { capabilities } = await call('session.new', { capabilities: {} })
  console.error(`Firefox ${capabilities.browserVersion}`)
  const [{ context }] = (await call('browsingContext.getTree', {})).contexts
  return {
    go: (to) => call('browsingContext.navigate', { context, url: to, wait: 'complete' }),
    run: async (expression) =>
      (await call('script.evaluate', { expression, target: { context }, awaitPromise: false })).result.value,
    close: () => call('browser.close', {}),
  }
}

for (const [name, open] of Object.entries({ WebKitGTK: openWebKit, Firefox: openFirefox })) {
  const browser = await open()
  const connection = once(sockets, 'connection')
  await browser.go(`${url}/app`)
  const [socket] = await connection
  await until(() => browser.run('socket.readyState === WebSocket.OPEN'))
  const loadedAtMs = await browser.run('window.loadedAtMs')
  const closed = once(socket, 'close')
  await browser.go(`${url}/other`)
  const [code, reason] = await Promise.race([closed, pass(10_000, ['none', ''])])
  console.log(`${name}, left: the server sees close ${code} "${reason}"`)

  await browser.run('void setTimeout(() => history.back())')
  await until(() => browser.run("document.title === 'app'"))
  await pass(1000)
  const isSame = (await browser.run('window.loadedAtMs')) === loadedAtMs
  const seen = (await browser.run("seen.join(', then ')")) || 'nothing'
  console.log(`${name}, back: the page is ${isSame ? 'the one that was left' : 'a new one'}; it saw ${seen}`)
  await browser.close()
}
process.exit(0)
EOF
MINIBROWSER=$(find /usr/lib /usr/libexec -name MiniBrowser -type f | head -n 1) \
  timeout --kill-after=5 120 node finding.mjs >now
cat now
diff seen now
