#!/usr/bin/env bash
# ioredis sends a command again when the connection is lost before its answer: `incr` counts twice.
#
# It is so with the default settings (`autoResendUnfulfilledCommands`), for every command, scripts with `eval` too. The
# caller sees one answer and no error. What must happen once carries a number or a name of its own by which the server
# knows it again.
#
# Seen on 2026-11-29 with ioredis 5.11.1 on Node.js 20.20.2 and Redis 7.0.15 (Debian 12): as `seen` below.
# Needs Node.js 20 or later and Redis (`apt-get install redis-tools` is enough). It takes 5 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts ioredis@5.11.1
cat >seen <<'EOF'
the answer to `INCR n` is lost with its connection: the caller sees 2, n is 2
the answer to `EVAL` of the same is lost with its connection: the caller sees 2, n is 2
EOF
cat >finding.mjs <<'EOF'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import Redis from 'ioredis'

const REDIS = `${process.cwd()}/redis.sock`
// Debian's tools hold the server, which goes by its own name.
const redis = spawn(process.env.REDIS, ['--port', '0', '--unixsocket', REDIS, '--save', '', '--dir', process.cwd()], {
  argv0: 'redis-server',
  stdio: ['ignore', 'pipe', 'inherit'],
})
process.once('exit', () => redis.kill('SIGKILL'))
for await (const chunk of redis.stdout) if (String(chunk).includes('Ready to accept connections') || String(chunk).includes('ready to accept connections')) break

let loses = null
const network = createServer((near) => {
  const far = connect(REDIS)
  let isLost = false
  for (const [one, other] of [[near, far], [far, near]]) one.on('error', () => {}).on('close', () => other.destroy())
  near.on('data', (chunk) => {
    if (loses !== null && String(chunk).includes(loses)) {
      isLost = true
      loses = null
    }
    far.write(chunk)
  })
  far.on('data', (chunk) => (isLost ? near.destroy() : near.write(chunk)))
})
network.listen(0, '127.0.0.1')
await once(network, 'listening')
const client = new Redis({ port: network.address().port })
client.on('error', () => {})

async function count(command, ask) {
  await client.set('n', 0)
  loses = command
  const answer = await ask()
  return `the caller sees ${answer}, n is ${await client.get('n')}`
}
console.log(`the answer to \`INCR n\` is lost with its connection: ${await count('incr', () => client.incr('n'))}`)
const script = "return redis.call('INCR', KEYS[1])"
console.log(`the answer to \`EVAL\` of the same is lost with its connection: ${await count('eval', () => client.eval(script, 1, 'n'))}`)
process.exit(0)
EOF
REDIS=$(command -v redis-server || command -v redis-check-rdb) timeout 30 node finding.mjs >now
cat now
diff seen now
