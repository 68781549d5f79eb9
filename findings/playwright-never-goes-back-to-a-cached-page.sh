#!/usr/bin/env bash
# Playwright tests no page of the back/forward cache: it launches Chromium with the cache off, and where that is undone,
# `page.goBack()` waits for a `load` that a page from the cache does not have.
#
# The page is there and runs, and `goBack` fails at its time limit all the same. With `waitUntil: 'commit'` it returns.
#
# Seen on 2026-11-29 with playwright-core 1.65.1 and Chromium 156.0.8078.108 (Debian 12): as `seen` below.
# Needs Node.js 20 or later and Chromium (`apt-get install chromium`, or CHROMIUM=/path/of/it). It takes 15 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts playwright-core@1.65.1
cat >seen <<'EOF'
as launched by default: goBack() returns; the page comes from the server
with the cache: goBack() says TimeoutError; the page comes from the cache
with the cache: goBack({ waitUntil: 'commit' }) returns; the page comes from the cache
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { chromium } from 'playwright-core'

const server = createServer((request, response) => {
  response.setHeader('content-type', 'text/html')
  response.end(`<!doctype html><title>${request.url}</title><script>
    window.from = 'the server'
    addEventListener('pageshow', ({ persisted }) => persisted && (window.from = 'the cache'))
  </script>`)
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const url = `http://127.0.0.1:${server.address().port}`

async function goBack(ignoreDefaultArgs, options) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox'],
    ignoreDefaultArgs,
  })
  const page = await browser.newPage()
  await page.goto(`${url}/one`)
  await page.goto(`${url}/two`)
  const how = await page.goBack({ timeout: 5000, ...options }).then(() => 'returns', ({ name }) => `says ${name}`)
  await page.waitForFunction(() => location.pathname === '/one')
  const from = await page.evaluate(() => window.from)
  console.error(`Chromium ${browser.version()}`)
  await browser.close()
  return `${how}; the page comes from ${from}`
}

const withCache = ['--disable-back-forward-cache']
console.log(`as launched by default: goBack() ${await goBack([], {})}`)
console.log(`with the cache: goBack() ${await goBack(withCache, {})}`)
console.log(`with the cache: goBack({ waitUntil: 'commit' }) ${await goBack(withCache, { waitUntil: 'commit' })}`)
process.exit(0)
EOF
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser)} timeout 60 node finding.mjs >now
cat now
diff seen now
