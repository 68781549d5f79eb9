/** One run: the system is started, the users connect, the span is measured, what was told is checked. */
import { setTimeout as sleep } from 'node:timers/promises'
import { check } from './check.ts'
import { monotonicMs } from './clock.ts'
import type { Failures, Run, Share } from './generator.ts'
import { type Generator, startGenerator } from './generators.ts'
import { read, sharesBetween } from './processor-time.ts'
import { type JoinToSeen, resultOf } from './result.ts'
import type { Driver, Part, RunningSystem } from './system.ts'
import { createWorkload, DEFAULT_OPTIONS, type Workload, type WorkloadOptions } from './workload.ts'

export interface MeasureOptions extends Partial<WorkloadOptions> {
  /** The module of the system's driver; left out, Rollcall's. */
  readonly driverUrl?: string
  /** Aborted, the run is called off and everything is cleaned up. */
  readonly signal?: AbortSignal
  /** Told how far it is. */
  readonly say?: (line: string) => void
}

const DRIVER_URL = new URL('./rollcall.ts', import.meta.url).href
/** Far below what a process may open. */
const USERS_A_GENERATOR = 7000
/** A change comes to all subscribers of a process at once, and each waits for those before it to be parsed. */
const SUBSCRIBERS_A_GENERATOR = 500
/** The name of the one that makes the changes. */
const CHANGES = 'changes'
const PREPARE_TIME_LIMIT_MS = 60_000
/** At a tenth of the pace that they connect at. */
const CONNECT_MS_A_USER = 35
const ANSWER_TIME_LIMIT_MS = 60_000
/** Before the first change. */
const LEAD_MS = 3000
/** Nothing came for so long: nothing is on its way any more. */
const SETTLED_MS = 2000
const SETTLE_TIME_LIMIT_MS = 60_000
const LOOK_MS = 250

export async function measureJoinToSeen(given: MeasureOptions = {}): Promise<JoinToSeen> {
  const { driverUrl = DRIVER_URL, signal = new AbortController().signal, say = () => {}, ...options } = given
  const workload = createWorkload({ ...DEFAULT_OPTIONS, ...options })
  const { driver } = (await import(driverUrl)) as { readonly driver: Driver }
  const cleanups: (() => Promise<unknown>)[] = []
  try {
    say('starting the system')
    const system = await driver.start(workload.options.nodeCount)
    cleanups.push(system.stop)
    signal.throwIfAborted()
    const generators: Generator[] = []
    for (const { name, ...share } of sharesOf(workload)) {
      const generator = await startGenerator(name, signal)
      generators.push(generator)
      cleanups.push(generator.kill)
      const whole: Share = { driverUrl, address: system.address, options: workload.options, ...share }
      await generator.ask('prepare', PREPARE_TIME_LIMIT_MS, whole)
    }
    await fill(workload, system, generators, say)
    return await runOn(workload, system, generators, signal, say)
  } finally {
    say('cleaning up')
    for (const clean of cleanups.reverse()) await clean().catch((error) => say(`not cleaned up: ${error}`))
  }
}

interface NamedShare extends Pick<Share, 'users' | 'makesChanges'> {
  readonly name: string
}

/** Who makes changes does nothing else, and who parses what subscribers are told does not: both have to be on time. */
function sharesOf({ firstComer, subscriptions }: Workload): NamedShare[] {
  const stayers = Array.from({ length: firstComer }, (_, user) => user)
  const followers = stayers.slice(0, subscriptions.length)
  // Each gets some of everything: those of everyone come first, and are told most.
  const dealt = (what: string, users: readonly number[], most: number): NamedShare[] => {
    const count = Math.ceil(users.length / most)
    return Array.from({ length: count }, (_, part) => ({
      name: count === 1 ? what : `${what} ${part + 1}`,
      users: users.filter((_user, index) => index % count === part),
      makesChanges: false,
    }))
  }
  return [
    ...dealt('users', stayers.slice(subscriptions.length), USERS_A_GENERATOR),
    ...dealt('subscribers', followers, SUBSCRIBERS_A_GENERATOR),
    { name: CHANGES, users: [], makesChanges: true },
  ]
}

/** Everybody who stays is online and every subscription stands, and the system has nothing left to do. */
async function fill(
  workload: Workload,
  system: RunningSystem,
  generators: readonly Generator[],
  say: (line: string) => void,
): Promise<void> {
  const { userCount } = workload
  say(`connecting ${userCount} users`)
  const startedAtMs = monotonicMs()
  const limitMs = ANSWER_TIME_LIMIT_MS + userCount * CONNECT_MS_A_USER
  // One after the other: the pace is one process's.
  for (const generator of generators) await generator.ask('connect', limitMs)
  say(`connected within ${((monotonicMs() - startedAtMs) / 1000).toFixed(1)} s`)
  for (const generator of generators) await generator.ask('follow', limitMs)
  const failures = await gather(generators)
  if (failures.lostCount + failures.refusedCount > 0) {
    throw new Error(`Not everybody could be connected and subscribed: ${JSON.stringify(failures)}`)
  }
  await system.untilQuiet()
  say('every subscription stands, and all is quiet')
}

async function runOn(
  workload: Workload,
  system: RunningSystem,
  generators: readonly Generator[],
  signal: AbortSignal,
  say: (line: string) => void,
): Promise<JoinToSeen> {
  const { warmUpMs, totalMs, subscriptions } = workload
  const startAtMs = monotonicMs() + LEAD_MS
  const running = Promise.all(
    generators.map((generator) => generator.ask('run', LEAD_MS + totalMs + ANSWER_TIME_LIMIT_MS, startAtMs)),
  )
  // Waited for below; until then a failure is nobody's.
  running.catch(() => {})
  say(`running for ${totalMs / 1000} s, the first ${warmUpMs / 1000} of them to warm up`)
  const parts = (): Part[] => [
    ...system.parts(),
    ...generators.map(({ name, pid }) => ({ name: partName(name), pids: [pid] })),
    { name: 'coordinator', pids: [process.pid] },
  ]
  const until = (momentMs: number) => sleep(Math.max(0, momentMs - monotonicMs()), undefined, { signal })
  await until(startAtMs + warmUpMs)
  const before = read(parts())
  await until(startAtMs + totalMs)
  const { parts: processes, machine: machineShare } = sharesBetween(before, read(parts()))
  const runs = await running
  const expectedCount = subscriptions.reduce((sum, one) => sum + workload.expectedOf(one).length, 0)
  await settle(generators, expectedCount, signal)
  say('checking what was told')
  const batches = []
  for (const generator of generators) batches.push(await generator.ask('taken', ANSWER_TIME_LIMIT_MS))
  return resultOf({
    workload,
    system: system.description,
    complaints: system.complaints(),
    checked: check(workload, batches, startAtMs),
    moments: runs[generators.findIndex(({ name }) => name === CHANGES)] as Run,
    generators: generators.map(({ name }, index) => ({
      name,
      part: partName(name),
      timerLateMs: (runs[index] as Run).timerLateMs,
    })),
    processes,
    machineShare,
    failures: await gather(generators),
  })
}

function partName(name: string): string {
  return `load generator, ${name}`
}

/** Until all is there, and nothing more came for a while. Where something is missing it waits as long, and no longer. */
async function settle(generators: readonly Generator[], expectedCount: number, signal: AbortSignal): Promise<void> {
  const deadlineMs = monotonicMs() + SETTLE_TIME_LIMIT_MS
  const startedAtMs = monotonicMs()
  while (monotonicMs() < deadlineMs) {
    const states = []
    for (const generator of generators) states.push(await generator.ask('progress', ANSWER_TIME_LIMIT_MS))
    const count = states.reduce((sum, { deliveryCount }) => sum + deliveryCount, 0)
    const lastAtMs = Math.max(startedAtMs, ...states.map(({ lastDeliveryAtMs }) => lastDeliveryAtMs))
    const quietMs = monotonicMs() - lastAtMs
    // What is missing may be behind something slow.
    if (quietMs > (count >= expectedCount ? SETTLED_MS : 5 * SETTLED_MS)) return
    await sleep(LOOK_MS, undefined, { signal })
  }
}

async function gather(generators: readonly Generator[]): Promise<Failures> {
  const reasons: Record<string, number> = {}
  let lostCount = 0
  let refusedCount = 0
  for (const generator of generators) {
    const failures = await generator.ask('failures', ANSWER_TIME_LIMIT_MS)
    lostCount += failures.lostCount
    refusedCount += failures.refusedCount
    for (const [reason, count] of Object.entries(failures.reasons)) reasons[reason] = (reasons[reason] ?? 0) + count
  }
  return { lostCount, refusedCount, reasons }
}
