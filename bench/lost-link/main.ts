/**
 * How soon a page is right again after its network was black, in a browser, with the peers beside it.
 *
 * `node --import tsx bench/lost-link/main.ts [--browser chromium|firefox] [--seconds 5,30,150] [--clients 5] [--rounds 1] [--kinds 'the kit,Phoenix']`
 *
 * Nothing that is open gets a byte through any more, for ever, as for a machine that is in another network now; new
 * connections are whole when the time is over. No event of the browser says so. During that time the number that all clients
 * show changes. Printed is how long after the return each shows the new one. The page is visible all the while.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { pino } from 'pino'
import { startChromium } from '../../scripts/browsers/chromium.ts'
import { startFirefox } from '../../scripts/browsers/firefox.ts'
import { createRollcall } from '../../src/app.ts'
import { serve } from '../../tests/support/serve.ts'
import { listen } from '../../tests/support/server.ts'
import { openTcpProxy } from '../../tests/support/tcp-proxy.ts'
import { until } from '../../tests/support/wait.ts'
import { startCentrifugo, startPhoenix, startSocketIo } from './peers.ts'

const ROOM = 'room'
/** A peer that is not right by then counts as this. */
const LONGEST_WAIT_MS = 240_000

const { values } = parseArgs({
  options: {
    browser: { type: 'string', default: 'chromium' },
    seconds: { type: 'string', default: '5,30,150' },
    clients: { type: 'string', default: '5' },
    rounds: { type: 'string', default: '1' },
    kinds: { type: 'string' },
  },
})

const folder = await mkdtemp(join(tmpdir(), 'rollcall-lost-link-'))
const rollcall = createRollcall({ DATA_DIR: join(folder, 'data'), LOG_LEVEL: 'fatal' }, pino({ level: 'fatal' }))
await rollcall.ready
const server = await listen(rollcall)
const rollcallPort = Number(new URL(server.url).port)
const peers = { 'Socket.IO': await startSocketIo(), Phoenix: await startPhoenix(), Centrifugo: await startCentrifugo() }
const all = {
  'the kit': rollcallPort,
  'graphql-ws': rollcallPort,
  ...Object.fromEntries(Object.entries(peers).map(([kind, { port }]) => [kind, port])),
}
const kinds = values.kinds?.split(',') ?? Object.keys(all)
const ports: Readonly<Record<string, number>> = Object.fromEntries(
  Object.entries(all).filter(([kind]) => kinds.includes(kind)),
)

const sessions: string[] = []
/** The number that everybody shows: how many are in the room. */
async function change(): Promise<string> {
  const user = `somebody-${sessions.length}`
  sessions.push(user)
  const query = `mutation { heartbeat(rooms: ["${ROOM}"]) { nextHeartbeatInMs } }`
  await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer dev:${user}` },
    body: JSON.stringify({ query }),
  })
  for (const peer of Object.values(peers)) peer.change(sessions.length)
  return String(sessions.length)
}
/** They have no socket: without a heartbeat they would leave, and the number would change by itself. */
const beats = setInterval(() => {
  for (const user of sessions) {
    void fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer dev:${user}` },
      body: JSON.stringify({ query: 'mutation { heartbeat { nextHeartbeatInMs } }' }),
    })
  }
}, 20_000)

const wires = Object.fromEntries(
  await Promise.all(
    // Each at an address of its own: Firefox makes one handshake at a time to an address, and one hangs in each black time.
    Object.entries(ports).map(
      async ([kind, port], index) =>
        [kind, await openTcpProxy({ host: '127.0.0.1', port, on: `127.0.0.${index + 2}` })] as const,
    ),
  ),
)
const { outputFiles } = await build({
  entryPoints: [join(import.meta.dirname, 'page.ts')],
  bundle: true,
  write: false,
  format: 'esm',
  target: 'es2022',
  logLevel: 'silent',
})
const site = await serve((request, response) => {
  const isScript = request.url === '/page.js'
  response.setHeader('content-type', isScript ? 'text/javascript' : 'text/html')
  response.end(
    isScript
      ? outputFiles[0]?.text
      : '<!doctype html><title>Lost link</title><script type="module" src="/page.js"></script>',
  )
})
const engine = await (values.browser === 'firefox' ? startFirefox() : startChromium())
process.stdout.write(
  `${engine.name}\n| black for | ${Object.keys(ports).join(' | ')} |\n| --- |${' --- |'.repeat(kinds.length)}\n`,
)

try {
  for (const seconds of values.seconds.split(',').map(Number)) {
    const waits: Record<string, number[]> = {}
    for (let round = 0; round < Number(values.rounds); round += 1) await measure(seconds, waits)
    const cells = Object.keys(ports).map((kind) => rangeOf(waits[kind] ?? []))
    process.stdout.write(`| ${seconds} s | ${cells.join(' | ')} |\n`)
  }
} finally {
  clearInterval(beats)
  await engine.close()
  await site.stop()
  await Promise.all([...Object.values(wires), ...Object.values(peers)].map((one) => one.close()))
  await server.stop()
  await rm(folder, { recursive: true, force: true })
}

async function measure(seconds: number, waits: Record<string, number[]>): Promise<void> {
  const search = new URLSearchParams({ clients: values.clients, room: ROOM })
  Object.entries(wires).forEach(([kind, { port }], index) => {
    search.set(`${kind} at`, `127.0.0.${index + 2}:${port}`)
  })
  const before = await change()
  const tab = await engine.open(`${site.url}/?${search}`)
  type Shown = Record<string, (string | null)[]>
  // Between two pages a browser may answer with nothing at all.
  const look = async (): Promise<Shown> => (await tab.evaluate<Shown | null>('window.shown ?? {}')) ?? {}
  const counts = () => Object.keys(ports).length * Number(values.clients)
  await until(
    async () =>
      Object.values(await look())
        .flat()
        .filter((value) => value === before).length === counts(),
    {
      what: `the first number, ${before}`,
      withinMs: 30_000,
    },
  )
  // Where a client is in its own round of pings is left to chance.
  await sleep(Math.random() * 10_000)
  for (const wire of Object.values(wires)) wire.fallSilent()
  await sleep(1000)
  const after = await change()
  await sleep(seconds * 1000 - 1000)
  for (const wire of Object.values(wires)) wire.leaveSilent()
  const returnedAtMs = performance.now()
  const found = new Map<string, number>()
  while (found.size < counts() && performance.now() - returnedAtMs < LONGEST_WAIT_MS) {
    for (const [kind, shown] of Object.entries(await look())) {
      shown.forEach((value, index) => {
        const key = `${kind} ${index}`
        if (value === after && !found.has(key)) found.set(key, performance.now() - returnedAtMs)
      })
    }
    await sleep(50)
  }
  for (const kind of Object.keys(ports)) {
    for (let index = 0; index < Number(values.clients); index += 1) {
      waits[kind] ??= []
      waits[kind].push(found.get(`${kind} ${index}`) ?? LONGEST_WAIT_MS)
    }
  }
  await tab.close()
}

/** Seconds: the median, and from the least to the most. */
function rangeOf(waitsMs: readonly number[]): string {
  const sorted = [...waitsMs].sort((one, other) => one - other)
  const at = (index: number) => {
    const ms = sorted[index] ?? Number.NaN
    return ms >= LONGEST_WAIT_MS ? `over ${LONGEST_WAIT_MS / 1000}` : (ms / 1000).toFixed(1)
  }
  return `${at(Math.floor(sorted.length / 2))} (${at(0)} to ${at(sorted.length - 1)}) s`
}
