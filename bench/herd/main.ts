/**
 * What everybody asks at once after a deploy or a lost log: pages of the list, with another build and Socket.IO beside it.
 *
 * `node --import tsx bench/herd/main.ts --before ../old/dist/main.js [--after dist/main.js] [--rounds 7] [--only page,same,http,connect]`
 *
 * All servers have the same 10,000 people online, and stay for all rounds; each has its turn in each round. Counted is
 * the processor time of the server. Socket.IO sends the same JSON, made again for each who asks. Linux only.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { cpuMsOf } from '../measure/cpu.ts'
import { spreadOf } from '../measure/spread.ts'
import { undoAll, undoOnSignals } from '../processes.ts'
import { inTurns } from '../scenario.ts'
import { askOverHttp } from './http.ts'
import { type Client, type Herd, startRollcall, startSocketIo } from './servers.ts'

const CROWD = 10_000
const PAGE = 1000
const FIELDS = 'id name isOnline status statusMessage onlineSince lastActive'
/** Pages asked in a turn, each another one. */
const PAGES = 200
/** Clients that ask for the same page in one moment. */
const CLIENTS = 1000
/** Clients that come back, so many of them at a time: the kernel's queue of a port that listens has 511 places. */
const RETURNING = 5000
const IN_FLIGHT = 500
const HTTP_REQUESTS = 3000
const HTTP_CONNECTIONS = 20

const { values } = parseArgs({
  options: {
    before: { type: 'string' },
    after: { type: 'string', default: fileURLToPath(new URL('../../dist/main.js', import.meta.url)) },
    rounds: { type: 'string', default: '7' },
    only: { type: 'string', default: 'page,same,http,connect' },
  },
})

interface Measure {
  readonly title: string
  /** Who is measured besides the builds. */
  readonly hasPeer: boolean
  readonly warmUps: number
  /** @returns how many answers there were */
  run(herd: Herd, round: number): Promise<number>
}

const MEASURES: Readonly<Record<string, Measure>> = {
  page: {
    title: `a page of ${PAGE}, seven fields, each time another page`,
    hasPeer: true,
    warmUps: 2,
    async run(herd) {
      const client = await herd.connect(0)
      for (let count = 0; count < PAGES; count += 1) {
        // Further apart than a server remembers pages.
        await client.page((count * 137) % (CROWD - PAGE), PAGE, FIELDS)
      }
      client.close()
      return PAGES
    },
  },
  same: {
    title: `the same page of ${PAGE}, asked by ${CLIENTS} clients at one position`,
    hasPeer: true,
    warmUps: 1,
    async run(herd, round) {
      const clients = await herd.connectAll(CLIENTS)
      await settled(herd)
      const before = cpuMsOf(herd.pid)
      await Promise.all(clients.map((client) => client.page(((round * PAGE) % CROWD) as number, PAGE, FIELDS)))
      herd.counted(cpuMsOf(herd.pid) - before)
      for (const client of clients) client.close()
      return CLIENTS
    },
  },
  connect: {
    title: `${RETURNING} clients, ${IN_FLIGHT} at once: connect with a JWT, the first page of 50, follow`,
    hasPeer: true,
    warmUps: 1,
    async run(herd) {
      await herd.stallMs()
      const before = cpuMsOf(herd.pid)
      const startedAtMs = performance.now()
      const clients: Client[] = []
      const indexes = Array.from({ length: RETURNING }, (_, index) => index).values()
      await Promise.all(
        Array.from({ length: IN_FLIGHT }, async () => {
          for (const index of indexes) {
            const client = await herd.connect(index, true)
            await client.follow(50)
            clients.push(client)
          }
        }),
      )
      herd.note('until all are right', performance.now() - startedAtMs)
      await settled(herd)
      herd.counted(cpuMsOf(herd.pid) - before)
      herd.note('longest stall', await herd.stallMs())
      for (const client of clients) client.close()
      return RETURNING
    },
  },
  http: {
    title: 'a page of 50, three fields, over HTTP',
    hasPeer: false,
    warmUps: 2,
    run: (herd) =>
      askOverHttp(herd, {
        query: '{ onlineUsers(first: 50) { nodes { id name status } } }',
        connections: HTTP_CONNECTIONS,
        requests: HTTP_REQUESTS,
      }),
  },
}

/** Waits until a server has nothing to do. */
async function settled({ pid }: Herd): Promise<void> {
  for (let last = cpuMsOf(pid); ; ) {
    await sleep(200)
    const now = cpuMsOf(pid)
    if (now - last < 10) return
    last = now
  }
}

async function measured(herd: Herd, measure: Measure, round: number): Promise<number> {
  await settled(herd)
  const before = cpuMsOf(herd.pid)
  const count = await measure.run(herd, round)
  const ms = herd.takeCounted() ?? cpuMsOf(herd.pid) - before
  return (ms * 1000) / count
}

undoOnSignals()
try {
  const herds: Herd[] = [
    await startRollcall('after', values.after, CROWD),
    ...(values.before === undefined ? [] : [await startRollcall('before', values.before, CROWD)]),
    await startSocketIo('Socket.IO', CROWD),
  ]
  for (const name of values.only.split(',')) {
    const measure = MEASURES[name]
    if (measure === undefined) throw new Error(`--only takes ${Object.keys(MEASURES).join(', ')}, not ${name}.`)
    const among = herds.filter(({ isPeer }) => measure.hasPeer || !isPeer)
    for (const herd of among)
      for (let count = 0; count < measure.warmUps; count += 1) await measured(herd, measure, count)
    const prices = new Map(among.map(({ name: of }) => [of, [] as number[]]))
    const plan = { isFull: true, roundCount: Number(values.rounds), say: () => {} }
    await inTurns(among, plan, async (herd, round) => {
      prices.get(herd.name)?.push(await measured(herd, measure, round))
    })
    process.stdout.write(`${measure.title}, processor time of the server for each:\n`)
    const now = prices.get('after') as number[]
    for (const [of, all] of prices) {
      const { median, least, most } = spreadOf(all)
      const ratio = spreadOf(now.map((price, round) => price / (all[round] as number)))
      const held =
        of === 'after' ? '' : `; after to it: ${text(ratio.median)} (${text(ratio.least)} to ${text(ratio.most)})`
      process.stdout.write(
        `  ${of.padEnd(10)} ${median.toFixed(0)} µs (${least.toFixed(0)} to ${most.toFixed(0)})${held}\n`,
      )
      for (const [note, values] of among.find(({ name: other }) => other === of)?.takeNotes() ?? []) {
        const { median, least, most } = spreadOf(values)
        process.stdout.write(`    ${note}: ${median.toFixed(0)} ms (${least.toFixed(0)} to ${most.toFixed(0)})\n`)
      }
    }
  }
} finally {
  await undoAll()
}

function text(ratio: number): string {
  return ratio.toFixed(3)
}
