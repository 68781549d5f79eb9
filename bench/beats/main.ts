/**
 * What a heartbeat costs with Redis, for two builds side by side:
 *
 * `node --import tsx bench/beats/main.ts --before ../old/dist [--after dist] [--only server,redis]
 *   [--rounds 7] [--users 300000] [--window 30] [--in-turn]`
 *
 * `server`: the processor time of a process for a heartbeat over a socket, 50 in flight, on Redis in both builds and on
 * the memory store. The three have their turns in each round.
 * `redis`: the processor time of Redis itself for a heartbeat of a crowd that beats at the default interval. Both
 * builds do so at the same time, each with a Redis and a process of its own, so each round is the same stretch of time
 * for both; with `--in-turn` one after the other, where the machine has too few cores for both. A round begins when what
 * is kept is sent as steadily as it comes. Linux only.
 */
import { loadavg } from 'node:os'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startRedis } from '../../tests/support/redis.ts'
import { command, type RedisProcess } from '../../tests/support/redis-process.ts'
import { installServers } from '../../tests/support/redis-program.ts'
import { type Load, startLoad } from '../load/load.ts'
import { describeMachine, watchForDisturbance } from '../measure/machine.ts'
import { measureSpan, whyNoCpuTime } from '../measure/span.ts'
import { type Spread, spreadOf } from '../measure/spread.ts'
import { type Child, startNode, toBeUndone, undoAll, undoOnSignals } from '../processes.ts'
import { inTurns } from '../scenario.ts'
import { SECRET, type Server, startServer } from '../servers.ts'

const IN_FLIGHT = 50
const WARM_UP_MS = 3000
const TURN_MS = 1000
/** ACTIVITY_LAG and a heartbeat: from then on as much is sent as is kept. */
const STEADY_AFTER_MS = 140_000

const { values } = parseArgs({
  options: {
    before: { type: 'string' },
    after: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
    only: { type: 'string', default: 'server,redis' },
    rounds: { type: 'string', default: '7' },
    users: { type: 'string', default: '300000' },
    window: { type: 'string', default: '30' },
    'in-turn': { type: 'boolean', default: false },
  },
})
if (values.before === undefined) throw new Error('--before must be the folder dist of another build.')
const BUILDS = { before: resolve(values.before), after: resolve(values.after) } as const
const roundCount = Number(values.rounds)
const plan = { isFull: true, roundCount, say }

type Name = 'before' | 'after' | 'memory'
interface Contender {
  readonly name: Name
  readonly server: Server
  readonly load: Load
}

async function openContender(name: Name): Promise<Contender> {
  const script = `${name === 'before' ? BUILDS.before : BUILDS.after}/main.js`
  const server = await startServer(name === 'memory' ? 'rollcall' : 'rollcall-redis', { script })
  const load = startLoad()
  const { url, pid, dialect } = server
  await load.open({ url, pid, dialect, secret: SECRET, subscriberCount: 0, driverCount: IN_FLIGHT })
  return { name, server, load }
}

async function measureServers(): Promise<void> {
  const contenders = await Promise.all((['before', 'after', 'memory'] as const).map(openContender))
  for (const { load } of contenders) await load.heartbeats({ forMs: WARM_UP_MS, inFlight: IN_FLIGHT })
  const figures = new Map<Name, number[]>(contenders.map(({ name }) => [name, []]))
  await inTurns(contenders, plan, async ({ name, server, load }, round) => {
    const { answer, span } = await measureSpan({ server: server.pid, generator: load.pid }, () =>
      load.heartbeats({ forMs: TURN_MS, inFlight: IN_FLIGHT }),
    )
    const problem = answer.faults[0] ?? whyNoCpuTime(span)
    if (problem !== null) say(`Round ${round}, ${name}, does not count: ${problem}`)
    figures.get(name)?.push(problem === null ? (1000 * span.serverCpuMs) / answer.roundTripCount : Number.NaN)
  })
  const of = (name: Name): number[] => figures.get(name) ?? []
  tell('Heartbeats on Redis, 50 in flight, processor time of the server, µs', of('before'), of('after'))
  tell('the same, beside the memory store of the same build', of('memory'), of('after'))
  await Promise.all(contenders.flatMap(({ load, server }) => [load.stop(), server.stop()]))
}

interface Counts {
  readonly beats: number
  readonly records: number
  readonly faults: number
  readonly firstFault: string | null
  readonly onlineCount: number
}

interface Crowd {
  readonly redis: RedisProcess
  readonly child: Child
}

async function openCrowd(dist: string): Promise<Crowd> {
  const redis = await startRedis()
  toBeUndone(() => redis.stop())
  const child = startNode(fileURLToPath(new URL('crowd.ts', import.meta.url)), {
    args: [dist, redis.url, values.users],
    flags: ['--import', 'tsx'],
  })
  return { redis, child }
}

async function cpuMsOf(redis: RedisProcess): Promise<number> {
  const facts = String(await command(redis, 'INFO', 'cpu'))
  const seconds = (name: string): number => Number(new RegExp(`^${name}:([\\d.]+)`, 'm').exec(facts)?.[1])
  return 1000 * (seconds('used_cpu_user') + seconds('used_cpu_sys'))
}

async function measureRedis(): Promise<void> {
  const prices = values['in-turn']
    ? [...(await measureCrowds([BUILDS.before])), ...(await measureCrowds([BUILDS.after]))]
    : await measureCrowds([BUILDS.before, BUILDS.after])
  tell(`Heartbeats of ${values.users} users, processor time of Redis, µs`, prices[0] ?? [], prices[1] ?? [])
}

/** @returns the price of a heartbeat in each round, for each build */
async function measureCrowds(builds: readonly string[]): Promise<number[][]> {
  const crowds = await Promise.all(builds.map(openCrowd))
  say(`${values.users} users attach`)
  await Promise.all(crowds.map(({ child }) => child.ask('fill')))
  say('they beat')
  await sleep(STEADY_AFTER_MS)
  const prices: number[][] = builds.map(() => [])
  for (let round = 0; round < roundCount; round += 1) {
    const before = await Promise.all(crowds.map(look))
    await sleep(1000 * Number(values.window))
    const after = await Promise.all(crowds.map(look))
    for (const [place, now] of after.entries()) {
      const { price, line } = priceOf(before[place] as Look, now)
      prices[place]?.push(price)
      say(`round ${round}, ${builds[place] === BUILDS.before ? 'before' : 'after'}: ${line}`)
    }
  }
  await Promise.all(crowds.flatMap(({ redis, child }) => [child.stop(), redis.stop()]))
  return prices
}

interface Look {
  readonly counts: Counts
  readonly cpuMs: number
  readonly atMs: number
}

async function look({ redis, child }: Crowd): Promise<Look> {
  const [counts, cpuMs] = await Promise.all([child.ask('look') as Promise<Counts>, cpuMsOf(redis)])
  return { counts, cpuMs, atMs: performance.now() }
}

function priceOf(before: Look, { counts, cpuMs, atMs }: Look): { readonly price: number; readonly line: string } {
  const seconds = (atMs - before.atMs) / 1000
  const beatCount = counts.beats - before.counts.beats
  const spentMs = cpuMs - before.cpuMs
  const isWell = counts.faults === before.counts.faults
  return {
    price: isWell ? (1000 * spentMs) / beatCount : Number.NaN,
    line:
      `${(beatCount / seconds).toFixed(0)} heartbeats and ` +
      `${((counts.records - before.counts.records) / seconds).toFixed(0)} records a second, ` +
      `Redis ${(spentMs / seconds / 10).toFixed(1)} % of a core, ${counts.onlineCount} online` +
      (isWell ? '' : `; does not count: ${counts.firstFault}`),
  }
}

/** Rounds in which both count. */
function tell(title: string, before: readonly number[], after: readonly number[]): void {
  const rounds = before.map((value, round) => [value, after[round] as number] as const)
  const counting = rounds.filter(([old, now]) => Number.isFinite(old) && Number.isFinite(now))
  const text = ({ median, least, most }: Spread, digits: number): string =>
    `${median.toFixed(digits)} (${least.toFixed(digits)} to ${most.toFixed(digits)})`
  const [old, now, ratio] = [
    counting.map(([value]) => value),
    counting.map(([, value]) => value),
    counting.map(([value, other]) => other / value),
  ].map(spreadOf) as [Spread, Spread, Spread]
  process.stdout.write(
    `${title}: ${text(old, 1)} -> ${text(now, 1)}, x${text(ratio, 3)} of ${counting.length} rounds\n`,
  )
}

function say(line: string): void {
  process.stderr.write(`${(performance.now() / 1000).toFixed(0).padStart(5)} s  ${line}\n`)
}

undoOnSignals()
const disturbanceSince = watchForDisturbance()
try {
  installServers()
  const only = values.only.split(',')
  if (only.includes('server')) await measureServers()
  if (only.includes('redis')) await measureRedis()
} finally {
  await undoAll()
}
const { coreCount, processor, node } = describeMachine()
const { othersShare, stolenShare } = disturbanceSince()
process.stdout.write(
  `${coreCount} cores of ${processor}, Node ${node}; load ${loadavg()[0]?.toFixed(1)}; other processes took ` +
    `${(100 * othersShare).toFixed(0)} % of the machine, and other machines ${(100 * stolenShare).toFixed(0)} %.\n`,
)
