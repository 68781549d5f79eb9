/**
 * The processor time of a server and of the load generator over one stretch of work, and whether it may count.
 *
 * In a closed loop the two take turns, so the generator may well be at work for most of the time: the server's own
 * time is the kernel's count and does not contain it. What spoils it is a server that is pushed off its core: it comes
 * back to cold caches. In an open loop a generator at its limit measures itself.
 */
import { setTimeout as pass } from 'node:timers/promises'
import { cpuMsOf, mainThreadOf } from './cpu.ts'

export interface Span {
  readonly wallMs: number
  /** All threads, and what it still did within TAIL_MS after its work was answered. */
  readonly serverCpuMs: number
  /** Without the tail, as a share of one core. */
  readonly serverShare: number
  /** How long its main thread was ready and had no core, as a share of the time that it wanted one. */
  readonly serverWaitShare: number
  readonly generatorCpuMs: number
  readonly generatorShare: number
}

/** Rollcall gathers its records for 50 ms and then brings them to its database: that is work of theirs, too. */
const TAIL_MS = 100
/** A generator that works for longer than this cannot tell its own queue from the server's. */
const MOST_GENERATOR_SHARE = 0.85
/** Later than this, what is sent comes in other moments than the plan has it. */
const MOST_LATE_MS = 20
/** On an idle machine of two cores it is below 0.05. */
const MOST_WAIT_SHARE = 0.2

export async function measureSpan<Answer>(
  pids: { readonly server: number; readonly generator: number },
  work: () => Promise<Answer>,
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
  await pass(TAIL_MS)
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

/** @returns why the processor time of a closed loop must not count, null where it may */
export function whyNoCpuTime({ serverWaitShare }: Span): string | null {
  if (serverWaitShare <= MOST_WAIT_SHARE) return null
  return `the server had no core for ${percent(serverWaitShare)} of the time that it wanted one`
}

/**
 * @param latestMs - by how much the load generator was behind its plan
 * @returns why the latencies of an open loop must not count, null where they may
 */
export function whyNoLatency(span: Span, latestMs: number): string | null {
  if (span.generatorShare > MOST_GENERATOR_SHARE) {
    return `the load generator was saturated: ${percent(span.generatorShare)} of a core`
  }
  if (latestMs > MOST_LATE_MS) return `the load generator was ${latestMs.toFixed(0)} ms late`
  return whyNoCpuTime(span)
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}
