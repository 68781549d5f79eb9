#!/usr/bin/env bash
# jose imports the secret again for every token that it verifies, unless the secret is a CryptoKey.
#
# It takes bytes and a KeyObject, which look as good: a KeyObject of a private or public key is imported once and
# remembered. That of a secret is exported and imported each time, like bytes. A server that verifies a token for each
# connection imports its secret once, by `crypto.subtle.importKey`.
#
# Seen on 2026-11-29 with jose 6.2.18 on Node.js 20.20.2: as `seen` below.
# Needs Node.js 20 or later. It takes 3 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts jose@6.2.18
cat >seen <<'EOF'
100 tokens, the secret as bytes: imported 100 times
100 tokens, the secret as a KeyObject: imported 100 times
100 tokens, the secret as a CryptoKey: imported 0 times
100 tokens, a public key as a KeyObject: imported 0 times more
EOF
cat >finding.mjs <<'EOF'
import { createSecretKey, generateKeyPairSync, subtle } from 'node:crypto'
import { jwtVerify, SignJWT } from 'jose'

const TOKENS = 100
const bytes = new TextEncoder().encode('a secret of thirty-two bytes, or more')
const hmac = { name: 'HMAC', hash: 'SHA-256' }
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const cryptoKey = await subtle.importKey('raw', bytes, hmac, false, ['verify'])

const sign = (algorithm, key) =>
  new SignJWT().setProtectedHeader({ alg: algorithm }).setSubject('somebody').setExpirationTime('1h').sign(key)
const tokens = { HS256: await sign('HS256', bytes), ES256: await sign('ES256', pair.privateKey) }

let importedCount = 0
const importKey = crypto.subtle.importKey
Object.getPrototypeOf(crypto.subtle).importKey = function (...args) {
  importedCount += 1
  return importKey.apply(this, args)
}
async function count(what, algorithm, key, more = '') {
  importedCount = 0
  for (let token = 0; token < TOKENS; token += 1) await jwtVerify(tokens[algorithm], key)
  console.log(`${TOKENS} tokens, ${what}: imported ${importedCount} times${more}`)
}

await count('the secret as bytes', 'HS256', bytes)
await count('the secret as a KeyObject', 'HS256', createSecretKey(bytes))
await count('the secret as a CryptoKey', 'HS256', cryptoKey)
await jwtVerify(tokens.ES256, pair.publicKey)
await count('a public key as a KeyObject', 'ES256', pair.publicKey, ' more')
EOF
node finding.mjs >now
cat now
diff seen now
