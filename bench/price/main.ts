/**
 * Two builds side by side: processor time of a heartbeat over a socket, of a connection, and of a query over HTTP.
 *
 * `node --import tsx bench/price/main.ts --before ../old/dist/main.js [--after dist/main.js] [--rounds 9] [--only heartbeat]`
 *
 * Each round measures one and then the other, so that what the machine does beside it meets both. Linux only.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { startPostgres } from '../../tests/support/postgres.ts'
import { cpuMsOf } from '../measure/cpu.ts'
import { spreadOf } from '../measure/spread.ts'
import { signToken } from '../peers/tokens.ts'
import { startNode, toBeUndone, undoAll, undoOnSignals } from '../processes.ts'

const SECRET = 'a-secret-of-the-benchmark-and-nobody-else'
const USERS = 50
const BEATS_A_USER = 1000
const RETURNING_USERS = 2000
const AT_ONCE = 50
const QUERIES_A_USER = 40
const WARM_UPS = 8
const MEASUREMENTS = 3
const PROTOCOL = 'graphql-transport-ws'
const BEAT = 'mutation { heartbeat { nextHeartbeatInMs } }'

const { values } = parseArgs({
  options: {
    before: { type: 'string' },
    after: { type: 'string', default: fileURLToPath(new URL('../../dist/main.js', import.meta.url)) },
    rounds: { type: 'string', default: '9' },
    only: { type: 'string' },
  },
})
if (values.before === undefined) throw new Error('--before must be the main.js of another build.')

interface Build {
  readonly pid: number
  readonly url: string
  stop(): Promise<void>
}

/** The embedded database would write the records in the same process. */
async function postgresOfItsOwn() {
  const { url, stop } = await startPostgres()
  return { url, stop: toBeUndone(stop) }
}

async function start(main: string): Promise<Build> {
  const postgres = await postgresOfItsOwn()
  const server = startNode(main, {
    environment: {
      NODE_ENV: 'production',
      JWT_SECRET: SECRET,
      HOST: '127.0.0.1',
      PORT: '0',
      DATABASE_URL: postgres.url,
      // Everything is counted, and nothing is refused.
      USER_WORK_BURST: '1000000000',
    },
  })
  const { port } = new URL(await server.said('url'))
  return {
    pid: server.pid,
    url: `http://127.0.0.1:${port}/graphql`,
    async stop() {
      await server.stop()
      await postgres.stop()
    },
  }
}

const tokens = await Promise.all(
  Array.from({ length: RETURNING_USERS }, (_, index) =>
    signToken({ id: `user-${index}`, name: `User ${index}` }, SECRET),
  ),
)
const fewTokens = tokens.slice(0, USERS)

async function open(url: string, token: string, params: object = {}): Promise<WebSocket> {
  const wire = new WebSocket(url.replace('http', 'ws'), PROTOCOL)
  await once(wire, 'open')
  wire.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${token}`, ...params } }))
  const refused = once(wire, 'close').then(([code, reason]) => {
    throw new Error(`Closed with ${code}: ${reason}`)
  })
  refused.catch(() => {})
  const [ack] = await Promise.race([once(wire, 'message'), refused])
  if (JSON.parse(String(ack)).type !== 'connection_ack') throw new Error(`Not taken: ${ack}`)
  return wire
}

/** Processor time of the server, in µs for each of `count`. */
async function priceOf({ pid }: Build, count: number, work: () => Promise<void>): Promise<number> {
  const beforeMs = cpuMsOf(pid)
  await work()
  return ((cpuMsOf(pid) - beforeMs) * 1000) / count
}

/** One in flight on each socket. */
async function heartbeats(build: Build): Promise<number> {
  const wires = await Promise.all(fewTokens.map((token) => open(build.url, token)))
  await sleep(500)
  const price = await priceOf(build, USERS * BEATS_A_USER, async () => {
    await Promise.all(wires.map(beatAll))
  })
  for (const wire of wires) wire.close()
  return price
}

/** Two messages may come in one read, so they are counted by a listener that stays. */
function beatAll(wire: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    let count = 0
    function beat(): void {
      count += 1
      wire.send(JSON.stringify({ id: String(count), type: 'subscribe', payload: { query: BEAT } }))
    }
    wire.on('message', (data) => {
      const { type, payload } = JSON.parse(String(data))
      if (type === 'error' || payload?.errors !== undefined) reject(new Error(JSON.stringify(payload)))
      if (type !== 'complete') return
      if (count === BEATS_A_USER) resolve()
      else beat()
    })
    wire.on('close', (code) => reject(new Error(`Closed with ${code}.`)))
    beat()
  })
}

/** Each user has one session, and comes back to it. */
function connections(build: Build): Promise<number> {
  return priceOf(build, RETURNING_USERS, async () => {
    const users = tokens.values()
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (const token of users) {
          const wire = await open(build.url, token, { sessionId: 'default' })
          wire.close()
          await once(wire, 'close')
        }
      }),
    )
  })
}

function queries(build: Build): Promise<number> {
  return priceOf(build, USERS * QUERIES_A_USER, async () => {
    await Promise.all(
      fewTokens.map(async (token) => {
        for (let count = 0; count < QUERIES_A_USER; count += 1) {
          const response = await fetch(build.url, {
            method: 'POST',
            headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
            body: '{"query":"{ position }"}',
          })
          const body = await response.text()
          if (response.status !== 200) throw new Error(body)
        }
      }),
    )
  })
}

/** In a process of its own: how well a process is compiled, and how its heap lies, differs from start to start. */
async function measured(main: string, measure: (build: Build) => Promise<number>): Promise<number> {
  const build = await start(main)
  const prices: number[] = []
  for (let count = 0; count < WARM_UPS + MEASUREMENTS; count += 1) {
    const price = await measure(build)
    if (count >= WARM_UPS) prices.push(price)
    await sleep(500)
  }
  await build.stop()
  return spreadOf(prices).median
}

undoOnSignals()
try {
  const builds = [values.before, values.after] as const
  const measures = { heartbeat: heartbeats, connection: connections, query: queries }
  for (const [name, measure] of Object.entries(measures)) {
    if (values.only !== undefined && !values.only.split(',').includes(name)) continue
    const rounds: { readonly before: number; readonly after: number }[] = []
    for (let round = 0; round < Number(values.rounds); round += 1) {
      const prices = new Map<string, number>()
      for (const main of round % 2 === 0 ? builds : builds.toReversed()) prices.set(main, await measured(main, measure))
      rounds.push({ before: Number(prices.get(builds[0])), after: Number(prices.get(builds[1])) })
    }
    const ratio = spreadOf(rounds.map((round) => round.after / round.before))
    const [old, now] = [spreadOf(rounds.map((round) => round.before)), spreadOf(rounds.map((round) => round.after))]
    process.stdout.write(
      `${name.padEnd(10)} ${old.median.toFixed(1)} -> ${now.median.toFixed(1)} µs, ` +
        `x${ratio.median.toFixed(3)} [${ratio.least.toFixed(3)} to ${ratio.most.toFixed(3)}] of ${rounds.length} rounds\n`,
    )
  }
} finally {
  await undoAll()
}
