/** How long others have to wait while a process works: what it does in one go, and how late its event loop is. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { monitorEventLoopDelay, PerformanceObserver } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'

/** What happens in one go, by the clock and in processor time. */
export interface Stretch {
  readonly ms: number
  /** Of all threads of the process, so at most too much: what others on the machine take from it is no part of it. */
  readonly processorMs: number
}

/** @returns the longest stretch between two turns of the event loop while `work` ran */
export async function longestStretch(work: () => Promise<unknown>): Promise<Stretch> {
  const stretches = createStretches()
  let isOver = false
  function turn(): void {
    stretches.end()
    stretches.begin()
    if (!isOver) setImmediate(turn)
  }
  stretches.begin()
  setImmediate(turn)
  await work()
  isOver = true
  stretches.end()
  return stretches.longest()
}

export function createStretches() {
  const longest = { ms: 0, processorMs: 0 }
  let begunAtMs = 0
  let processorBeforeMs = 0
  return {
    begin(): void {
      processorBeforeMs = processorMsOfThisProcess()
      begunAtMs = performance.now()
    },
    end(): Stretch {
      const stretch = {
        ms: performance.now() - begunAtMs,
        processorMs: processorMsOfThisProcess() - processorBeforeMs,
      }
      longest.ms = Math.max(longest.ms, stretch.ms)
      longest.processorMs = Math.max(longest.processorMs, stretch.processorMs)
      return stretch
    },
    longest: (): Stretch => longest,
  }
}

function processorMsOfThisProcess(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

export interface LoopDelay {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly mostMs: number
}

/** How late the event loop is, from now until the function that comes back is called. Its own period is 1 ms. */
export function watchLoopDelay(): () => LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: 1 })
  histogram.enable()
  return () => {
    histogram.disable()
    return {
      p50Ms: histogram.percentile(50) / 1e6,
      p99Ms: histogram.percentile(99) / 1e6,
      mostMs: histogram.max / 1e6,
    }
  }
}

/** How late an idle process beside this one is: what the machine does to everyone. */
export interface IdleProcess {
  watch(): Promise<() => Promise<LoopDelay>>
  stop(): void
}

export async function startIdleProcess(): Promise<IdleProcess> {
  const child = fork(new URL('idle-process.ts', import.meta.url))
  await once(child, 'message')
  return {
    async watch() {
      await asked(child, 'watch')
      return async () => (await asked(child, 'tell')) as LoopDelay
    },
    stop: () => child.disconnect(),
  }
}

async function asked(child: ChildProcess, question: 'watch' | 'tell'): Promise<unknown> {
  const answer = once(child, 'message')
  child.send(question)
  return (await answer)[0]
}

export interface GcPauses {
  readonly count: number
  readonly longestMs: number
}

/** The pauses of the garbage collector, which fall into whatever runs, until the function that comes back is called. */
export function watchGc(): () => Promise<GcPauses> {
  let count = 0
  let longestMs = 0
  const observer = new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) {
      count += 1
      longestMs = Math.max(longestMs, duration)
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return async () => {
    // They are told a turn later.
    await sleep(5)
    observer.disconnect()
    return { count, longestMs }
  }
}
