/**
 * Nobody can make the server fail inside: requests, documents and frames that are nearly right, from a seed, never cause
 * `INTERNAL`, a line of the log with a stack, or a request that nobody answers.
 *
 * `FAULT_MINUTES=10 FAULT_SEED=7 npx vitest run tests/fault/odd-clients.test.ts` is the long form. A failure names its
 * round: `FAULT_ROUND=42` plays that one alone.
 */
import type { Socket } from 'node:net'
import { SignJWT } from 'jose'
import { describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { isErrorCode } from '../../src/presence/errors.ts'
import { post } from '../support/clients.ts'
import { createReadLog, type ReadLog } from '../support/log.ts'
import { askRaw } from '../support/raw-http.ts'
import { DATABASES, startServer, type TestServer } from '../support/server.ts'
import {
  connectionParams,
  createOddClients,
  frame,
  type OddClients,
  rawFrame,
  requestBytes,
  type Seen,
} from './odd-clients.ts'
import { createRandom, type Random } from './random.ts'

const MINUTES = Number(process.env.FAULT_MINUTES ?? '1')
const SEED = Number(process.env.FAULT_SEED ?? '20')
const ONLY_ROUND = process.env.FAULT_ROUND
/** Of one round, at the same time. */
const REQUESTS = 6
const SOCKETS = 2
const FRAMES = 12
const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'
/** A round that takes longer has somebody in it who waits for an answer. */
const ANSWER_MS = 15_000
/** The server's own failures among the codes that sockets are closed with. */
const FAILED = new Set([1011, 4500])

// Both at once: each waits for answers most of the time.
describe.concurrent.each(DATABASES.filter(({ name }) => name !== 'a real Postgres'))('on $name', ({ prepare }) => {
  it(`fails at nothing that an odd client sends, seed ${SEED}`, { timeout: (MINUTES + 2) * 60_000 }, async () => {
    const data = await prepare()
    const readLog = createReadLog()
    const server = await startServer(
      { ...data.settings, JWT_SECRET: SECRET, SOCKETS_PER_USER: '1000', CONNECTION_INIT_TIME: '300ms' },
      readLog.log,
    )
    try {
      const tokens = [...Array.from({ length: 12 }, (_, index) => `Bearer dev:user-${index}`), await serviceToken()]
      const seen: Seen = { positions: [], cursors: [], sessionIds: [] }
      const endsAtMs = performance.now() + (MINUTES * 60_000) / 2
      const rounds = ONLY_ROUND === undefined ? null : [Number(ONLY_ROUND)]
      for (let round = 0; rounds === null ? performance.now() < endsAtMs : round < rounds.length; round += 1) {
        await play({ server, readLog, tokens, seen, round: rounds?.[round] ?? round })
      }
      const { data: answer } = await post(server, 'dev:witness', '{ viewer { user { id } } }')
      expect(answer?.viewer.user.id).toBe('witness')
    } finally {
      await server.stop()
      await data.drop()
    }
  })
})

interface Round {
  readonly server: TestServer
  readonly readLog: ReadLog
  readonly tokens: readonly string[]
  readonly seen: Seen
  readonly round: number
}

async function play({ server, readLog, tokens, seen, round }: Round): Promise<void> {
  const random = createRandom(SEED * 1_000_003 + round)
  const odd = createOddClients(random, seen)
  const sent: string[] = []
  // All is made before any of it is sent, so that what is made depends on the seed and not on who answers first.
  const requests = Array.from({ length: REQUESTS }, () => requestBytes(odd, random, tokens))
  const conversations = Array.from({ length: SOCKETS }, () => conversation(odd, random, tokens))
  const ends = conversations.map(() => (odd.chance(0.1) ? rawFrame(odd, random) : null))
  sent.push(
    ...requests.map(String),
    ...conversations.flat().map(String),
    ...ends.map((end) => end?.toString('hex') ?? ''),
  )
  const heard = await Promise.all([
    ...requests.map((bytes) => overHttp(server, bytes)),
    ...conversations.map((frames, index) => overSocket(server, frames, ends[index] ?? null)),
  ])
  for (const problem of [...readLog.takeFaults(), ...heard.flatMap(problemsOf)]) {
    throw new Error(`Round ${round} of seed ${SEED}: ${problem}\nIt was sent:\n${sent.join('\n----\n')}`)
  }
  for (const { text } of heard) learn(text, seen)
}

interface Heard {
  readonly text: string
  /** A status or a code of a close, null where neither came. */
  readonly end: number | null
}

async function overHttp(server: TestServer, bytes: Buffer): Promise<Heard> {
  const isHead = bytes.subarray(0, 5).toString() === 'HEAD '
  const whole = (text: string): boolean =>
    /^content-type: text\/event-stream/im.test(text) || (isHead && text.includes('\r\n\r\n'))
  const { text, status } = await askRaw(server, bytes, { alsoWhole: whole, withinMs: ANSWER_MS, endsItsHalf: true })
  return { text, end: status }
}

function conversation(odd: OddClients, random: Random, tokens: readonly string[]): readonly (string | Buffer)[] {
  const init = JSON.stringify({ type: 'connection_init', payload: connectionParams(odd, random, tokens) })
  const reused = ['0', '1', '2', '__proto__', 'é']
  const frames = Array.from({ length: FRAMES }, (_, index) =>
    frame(odd, random, odd.chance(0.05) ? reused : [String(index)]),
  )
  return odd.chance(0.02) ? frames : [init, ...frames]
}

/**
 * Sends the first, all others when it is answered, and hears what comes until the socket is closed.
 *
 * @param end - what is written past the library at last, null for a proper end
 */
function overSocket(server: TestServer, frames: readonly (string | Buffer)[], end: Buffer | null): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(server.wsUrl, 'graphql-transport-ws')
    const texts: string[] = []
    const timer = setTimeout(() => {
      socket.terminate()
      reject(new Error(`A socket heard no end within ${ANSWER_MS} ms of:\n${frames.join('\n')}`))
    }, ANSWER_MS)
    socket.on('message', (message) => {
      const text = String(message)
      texts.push(text)
      if (LAST_ANSWER.test(text)) socket.close(1000)
    })
    socket.on('close', (code) => {
      clearTimeout(timer)
      resolve({ text: texts.join('\n'), end: code })
    })
    socket.on('error', reject)
    const [first, ...rest] = frames
    socket.on('open', () => socket.send(first ?? ''))
    socket.once('message', () => {
      for (const text of rest) socket.send(text)
      socket.send(LAST)
      if (end === null) return
      const { _socket: wire } = socket as unknown as { readonly _socket: Socket }
      wire.end(end)
    })
  })
}

const LAST = '{"id":"last","type":"subscribe","payload":{"query":"{ viewer { sessions { id rooms } } position }"}}'
const LAST_ANSWER = /^\{"id":"last","type":"(complete|error)"/

function problemsOf({ text, end }: Heard): string[] {
  const problems: string[] = []
  if (end !== null && (FAILED.has(end) || (end >= 500 && end < 600 && end !== 503))) problems.push(`ended with ${end}`)
  for (const [, code] of text.matchAll(/"extensions":\{"code":"([^"]*)"/g)) {
    if (code === 'INTERNAL' || !isErrorCode(code)) problems.push(`the code ${code} in ${text}`)
  }
  if (/node_modules|\.ts:\d/.test(text)) problems.push(`a place in the code: ${text}`)
  return problems
}

/** Remembers some of what the server gave, to send it again, changed or at another place. */
function learn(text: string, { positions, cursors, sessionIds }: Seen): void {
  const found: readonly (readonly [RegExp, string[]])[] = [
    [/"([0-9a-f]{16}:\d+)"/g, positions],
    [/"(?:endCursor|cursor)":"([^"]+)"/g, cursors],
    [/"sessionId":"([^"]+)"/g, sessionIds],
  ]
  for (const [pattern, list] of found) {
    for (const [, value] of text.matchAll(pattern)) if (value !== undefined) list.push(value)
    list.splice(0, list.length - 20)
  }
}

function serviceToken(): Promise<string> {
  return new SignJWT({ sub: 'backend', presence: { role: 'service' } })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('2h')
    .sign(new TextEncoder().encode(SECRET))
}
