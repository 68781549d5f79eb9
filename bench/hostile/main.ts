/**
 * One caller does his worst while others use the server: `node --import tsx bench/hostile/main.ts`.
 *
 * For each deed a server of its own with a heap of 512 MB and the default limits; twenty others beat and one of them
 * reads a page, at a steady rate, before it and during it. Loopback only, and each deed ends by itself. Linux only.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createClient } from 'graphql-ws'
import { SignJWT } from 'jose'
import { WebSocket } from 'ws'
import { cpuMsOf, residentBytesOf } from '../measure/cpu.ts'
import { startNode, temporaryFolder, toBeUndone, undoAll, undoOnSignals } from '../processes.ts'
import { DEEDS } from './deeds.ts'

const SECRET = 'a-secret-of-the-benchmark-and-nobody-else'
const OTHERS = 20
const BEAT_EVERY_MS = 20
const POPULATION = 1000

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    calm: { type: 'string', default: '20' },
    after: { type: 'string', default: '60' },
    only: { type: 'string' },
    server: { type: 'string', default: fileURLToPath(new URL('../../dist/main.js', import.meta.url)) },
  },
})
const chosen = Object.keys(DEEDS).filter((name) => values.only === undefined || values.only.split(',').includes(name))

function sign(userId: string): Promise<string> {
  return new SignJWT({ presence: { rooms: ['**'] } })
    .setSubject(userId)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime('2h')
    .sign(new TextEncoder().encode(SECRET))
}

interface Latencies {
  readonly p50: number
  readonly p99: number
  readonly failedCount: number
}

/** Others who use the server: each beats in its turn, whether the one before was answered or not. */
async function openOthers(url: string) {
  const clients = await Promise.all(
    Array.from({ length: OTHERS }, async (_, index) => {
      const token = await sign(`other-${index}`)
      return createClient({
        url: `${url.replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        lazy: false,
        retryAttempts: 1000,
        shouldRetry: () => true,
        connectionParams: { authorization: `Bearer ${token}` },
      })
    }),
  )

  async function ask(index: number): Promise<number | null> {
    const startedAtMs = performance.now()
    const client = clients[index % OTHERS]
    if (client === undefined) return null
    const answered = new Promise<boolean>((resolve) => {
      client.subscribe(
        { query: 'mutation { heartbeat { nextHeartbeatInMs } }' },
        {
          next: ({ errors }) => resolve(errors === undefined),
          error: () => resolve(false),
          complete: () => resolve(false),
        },
      )
    })
    return (await answered) ? performance.now() - startedAtMs : null
  }

  return {
    async use(forMs: number): Promise<Latencies> {
      const asked: Promise<number | null>[] = []
      const endsAtMs = performance.now() + forMs
      for (let index = 0; performance.now() < endsAtMs; index += 1) {
        asked.push(ask(index))
        await sleep(BEAT_EVERY_MS)
      }
      const all = await Promise.all(asked.map((one) => Promise.race([one, sleep(30_000, null)])))
      const sorted = all.filter((ms) => ms !== null).sort((one, other) => one - other)
      const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN
      return { p50: at(0.5), p99: at(0.99), failedCount: all.length - sorted.length }
    },
    close: () => Promise.all(clients.map((client) => client.terminate())),
  }
}

async function populate(url: string): Promise<void> {
  for (let from = 0; from < POPULATION; from += 20) {
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const response = await fetch(`${url}/graphql`, {
          method: 'POST',
          headers: {
            'content-type': 'application/json',
            authorization: `Bearer ${await sign(`user-${from + index}`)}`,
          },
          body: '{"query":"mutation { heartbeat { nextHeartbeatInMs } }"}',
        })
        await response.text()
      }),
    )
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(0)
}

async function suffer(name: string): Promise<string> {
  const folder = temporaryFolder()
  const server = startNode(values.server, {
    environment: {
      NODE_ENV: 'production',
      JWT_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: '0',
      DATA_DIR: folder.path,
      DEFAULT_ROOMS: '**',
      SESSION_TTL: '1h',
    },
    flags: ['--max-old-space-size=512'],
  })
  let isAlive = true
  const { port } = new URL(await server.said('url'))
  server.said('never').catch(() => {
    isAlive = false
  })
  const url = `http://127.0.0.1:${port}`
  await populate(url)
  const others = await openOthers(url)
  await others.use(3000)
  const residentBefore = residentBytesOf(server.pid)
  const calm = await others.use(Number(values.calm) * 1000)

  let residentMost = 0
  const watching = setInterval(() => {
    if (isAlive) residentMost = Math.max(residentMost, residentBytesOf(server.pid))
  }, 200)
  const forMs = Number(values.seconds) * 1000
  const cpuBeforeMs = cpuMsOf(server.pid)
  const caller = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      fileURLToPath(new URL('caller.ts', import.meta.url)),
      name,
      url,
      await sign('caller'),
      String(forMs),
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  )
  const stopCaller = toBeUndone(async () => void caller.kill('SIGKILL'))
  const exited = once(caller, 'exit')
  const hit = await others.use(forMs)
  const cpuShare = isAlive ? (cpuMsOf(server.pid) - cpuBeforeMs) / forMs : Number.NaN
  await Promise.race([exited, sleep(5000)])
  await stopCaller()
  if (isAlive) await sleep(Number(values.after) * 1000)
  clearInterval(watching)
  const hasLived = isAlive
  const residentAfter = hasLived ? residentBytesOf(server.pid) : 0
  await others.close()
  await server.stop()
  await folder.remove()
  const ratio = hit.p99 / calm.p99
  return [
    name.padEnd(45),
    hasLived ? 'lives' : 'DIED ',
    `p50 ${calm.p50.toFixed(1)} -> ${hit.p50.toFixed(1)} ms`,
    `p99 ${calm.p99.toFixed(1)} -> ${hit.p99.toFixed(1)} ms (x${ratio.toFixed(2)})`,
    `failed ${calm.failedCount} -> ${hit.failedCount}`,
    `CPU ${(100 * cpuShare).toFixed(0)} %`,
    `MB ${megabytes(residentBefore)} -> ${megabytes(residentMost)} -> ${megabytes(residentAfter)}`,
  ].join(' | ')
}

undoOnSignals()
try {
  for (const name of chosen) process.stdout.write(`${await suffer(name)}\n`)
} finally {
  await undoAll()
}
