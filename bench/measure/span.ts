/**
 * The processor time of a server and of the load generator over one stretch of work, and whether it may count.
 *
 * In a closed loop the two take turns, so the generator may well be at work for most of the time: the server's own
 * time is the kernel's count and does not contain it. What a delivery cost was seen to be the same where the server
 * had no core for 40 % of the time that it wanted one, so only what is far beyond that is void. A latency does contain
 * such a wait, and stays: it may be of the server's own making. In an open loop a generator at its limit measures itself.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuMsOf, mainThreadOf } from './cpu.ts'

export interface Span {
  readonly wallMs: number
  /** Of all threads, with the tail. */
  readonly serverCpuMs: number
  /** Without the tail, as a share of one core. */
  readonly serverShare: number
  /** How long its main thread was ready and had no core, as a share of the time that it wanted one. */
  readonly serverWaitShare: number
  readonly generatorCpuMs: number
  readonly generatorShare: number
}

/** Rollcall gathers its records for 50 ms, and then brings them to its database: that is a part of what changes cost. */
export const RECORDS_WITHIN_MS = 100

/** On two cores that nobody else uses it was up to 0.5 for Rollcall, whose database has a thread beside the clients. */
const MOST_WAIT_SHARE = 0.6
/** Of an open loop: beyond it what is measured is a queue. */
const MOST_SHARE = 0.85
/** Later than this, what is sent comes in other moments than the plan has it. */
const MOST_LATE_MS = 20

/** @param tailMs - how long the server's time is counted on after its work was answered */
export async function measureSpan<Answer>(
  pids: { readonly server: number; readonly generator: number },
  work: () => Promise<Answer>,
  { tailMs = 0 } = {},
): Promise<{ readonly answer: Answer; readonly span: Span }> {
  const look = () => ({
    atMs: performance.now(),
    serverMs: cpuMsOf(pids.server),
    generatorMs: cpuMsOf(pids.generator),
    main: mainThreadOf(pids.server),
  })
  const before = look()
  const answer = await work()
  const after = look()
  if (tailMs > 0) await sleep(tailMs)
  const wallMs = after.atMs - before.atMs
  const generatorCpuMs = after.generatorMs - before.generatorMs
  const waitedMs = after.main.waitedMs - before.main.waitedMs
  return {
    answer,
    span: {
      wallMs,
      serverCpuMs: cpuMsOf(pids.server) - before.serverMs,
      serverShare: (after.serverMs - before.serverMs) / wallMs,
      serverWaitShare: waitedMs / (after.main.ranMs - before.main.ranMs + waitedMs),
      generatorCpuMs,
      generatorShare: generatorCpuMs / wallMs,
    },
  }
}

/** @returns why the processor time must not count, null where it may */
export function whyNoCpuTime({ serverWaitShare }: Span): string | null {
  return serverWaitShare > MOST_WAIT_SHARE ? waitedTooLong(serverWaitShare) : null
}

/**
 * @param latestMs - by how much the load generator was behind the plan of an open loop
 * @returns why the latencies must not count, null where they may
 */
export function whyNoLatency(
  { serverShare, generatorShare }: Span,
  { isOpen = false, latestMs = 0 } = {},
): string | null {
  if (isOpen && generatorShare > MOST_SHARE)
    return `the load generator worked for ${percent(generatorShare)} of the time`
  if (isOpen && serverShare > MOST_SHARE) return `the server worked for ${percent(serverShare)} of the time`
  return latestMs > MOST_LATE_MS ? `the load generator was ${latestMs.toFixed(0)} ms late` : null
}

function waitedTooLong(share: number): string {
  return `the server had no core for ${percent(share)} of the time that it wanted one`
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}
