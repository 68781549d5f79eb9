/** The keys of the issuer, by a real server of keys and a clock of the test's own. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'
import { afterEach, expect, it } from 'vitest'
import { createPublishedKeys } from '../../src/server/published-keys.ts'
import { createReadLog } from '../support/log.ts'

const MINUTE_MS = 60_000
const MAX_AGE_MS = 60 * MINUTE_MS
const UNAVAILABLE = { code: 'UNAVAILABLE' }
const NO_MATCH = { code: 'ERR_JWKS_NO_MATCHING_KEY' }

const servers: Server[] = []

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    server.close()
  }
})

interface Signer {
  readonly jwk: object
  sign(): Promise<string>
}

async function signer(kid: string): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg: 'ES256' },
    sign: () => new SignJWT({}).setProtectedHeader({ alg: 'ES256', kid }).setSubject('alice').sign(privateKey),
  }
}

async function world() {
  let nowMs = 0
  let askedCount = 0
  let keys: readonly object[] = []
  const answer: RequestListener = (_request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ keys }))
  }
  let answerNow = answer
  const server = createServer((request, response) => {
    askedCount += 1
    answerNow(request, response)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`)
  const { log, lines } = createReadLog()
  const keyOf = createPublishedKeys({ url, maxAgeMs: MAX_AGE_MS, monotonicMs: () => nowMs, log })
  return {
    lines,
    askedCount: () => askedCount,
    publish(...signers: readonly Signer[]) {
      keys = signers.map(({ jwk }) => jwk)
    },
    fail(how: RequestListener = (_request, response) => response.writeHead(502).end('away')) {
      answerNow = how
    },
    mend() {
      answerNow = answer
    },
    pass(ms: number) {
      nowMs += ms
    },
    async verify(token: string): Promise<string | undefined> {
      return (await jwtVerify(token, keyOf, { algorithms: ['ES256'] })).payload.sub
    },
  }
}

it('reads the keys once, and again when they are ten minutes old', async () => {
  const { publish, verify, askedCount, pass } = await world()
  const one = await signer('one')
  publish(one)
  const token = await one.sign()
  for (let count = 0; count < 5; count += 1) expect(await verify(token)).toBe('alice')
  expect(askedCount()).toBe(1)
  pass(10 * MINUTE_MS)
  for (let count = 0; count < 5; count += 1) expect(await verify(token)).toBe('alice')
  expect(askedCount()).toBe(2)
})

it('refuses a key that was withdrawn, within ten minutes', async () => {
  const { publish, verify, pass } = await world()
  const [one, two] = [await signer('one'), await signer('two')]
  publish(one, two)
  expect(await verify(await one.sign())).toBe('alice')
  publish(two)
  pass(10 * MINUTE_MS)
  await expect(verify(await one.sign())).rejects.toMatchObject(NO_MATCH)
  expect(await verify(await two.sign())).toBe('alice')
})

it.each<[string, RequestListener]>([
  ['answers 502', (_request, response) => response.writeHead(502).end('Bad Gateway')],
  ['closes the connection', (request) => request.socket.destroy()],
  ['answers with a page', (_request, response) => response.end('<html>We are back soon.</html>')],
  ['answers with JSON that is no set of keys', (_request, response) => response.end('{}')],
  ['answers without a key', (_request, response) => response.end('{"keys":[]}')],
  ['leads elsewhere', (_request, response) => response.writeHead(302, { location: 'http://127.0.0.1:1/' }).end()],
])('goes by known keys for the bounded time while the issuer %s, and asks it every 5 s at most', async (_how, how) => {
  const { publish, verify, askedCount, pass, fail, mend, lines } = await world()
  const one = await signer('one')
  publish(one)
  const token = await one.sign()
  await verify(token)
  fail(how)
  // From ten minutes on it is asked again and again, for the rest of the hour.
  pass(10 * MINUTE_MS)
  for (let count = 0; count < 50; count += 1) {
    expect(await verify(token)).toBe('alice')
    pass(1000)
  }
  expect(askedCount()).toBe(1 + 10)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toContain('"hasKeys":true')

  pass(MAX_AGE_MS)
  for (let count = 0; count < 5; count += 1) await expect(verify(token)).rejects.toMatchObject(UNAVAILABLE)
  expect(askedCount()).toBe(1 + 10 + 1)
  expect(lines).toHaveLength(1)

  mend()
  pass(5000)
  expect(await verify(token)).toBe('alice')
  expect(lines).toHaveLength(2)
  expect(lines[1]).toContain('can be read again')
})

it('asks for key ids that it does not know every 5 s at most, however many come', async () => {
  const { publish, verify, askedCount, pass } = await world()
  const one = await signer('one')
  publish(one)
  await verify(await one.sign())
  const invented = await Promise.all(Array.from({ length: 20 }, async (_, index) => (await signer(`x${index}`)).sign()))
  pass(5000)
  await Promise.all(invented.map((token) => expect(verify(token)).rejects.toMatchObject(NO_MATCH)))
  for (const token of invented) await expect(verify(token)).rejects.toMatchObject(NO_MATCH)
  expect(askedCount()).toBe(2)
})

it('finds a new key with the first token that it signs', async () => {
  const { publish, verify, pass } = await world()
  const [one, two] = [await signer('one'), await signer('two')]
  publish(one)
  await verify(await one.sign())
  publish(one, two)
  pass(5000)
  expect(await verify(await two.sign())).toBe('alice')
})

it('answers UNAVAILABLE for a key that it does not know while the issuer is away: it may be a new one', async () => {
  const { publish, verify, fail, pass, askedCount } = await world()
  const [one, two] = [await signer('one'), await signer('two')]
  publish(one)
  await verify(await one.sign())
  fail()
  pass(5000)
  for (let count = 0; count < 5; count += 1) {
    await expect(verify(await two.sign())).rejects.toMatchObject(UNAVAILABLE)
    expect(await verify(await one.sign())).toBe('alice')
  }
  expect(askedCount()).toBe(2)
})

it('answers UNAVAILABLE where it never read the keys, asks every 5 s at most, and takes them when they come', async () => {
  const { publish, verify, fail, mend, pass, askedCount, lines } = await world()
  const one = await signer('one')
  publish(one)
  const token = await one.sign()
  fail()
  for (let count = 0; count < 5; count += 1) await expect(verify(token)).rejects.toMatchObject(UNAVAILABLE)
  expect(askedCount()).toBe(1)
  expect(lines).toHaveLength(1)
  mend()
  pass(5000)
  expect(await verify(token)).toBe('alice')
})

it('makes nobody wait for an issuer that is silent where the key is known', async () => {
  const { publish, verify, fail, pass } = await world()
  const one = await signer('one')
  publish(one)
  const token = await one.sign()
  await verify(token)
  fail(() => {})
  pass(10 * MINUTE_MS)
  const startedAtMs = performance.now()
  const first = verify(token)
  pass(1000)
  // The first waits for newer keys for a second, those that come later not at all.
  expect(await verify(token)).toBe('alice')
  expect(performance.now() - startedAtMs).toBeLessThan(900)
  expect(await first).toBe('alice')
  expect(performance.now() - startedAtMs).toBeLessThan(4000)
})
