/**
 * The background interval, the one owner of repeating timers. Everything that happens because time passes is one of its
 * jobs.
 */
import { isLate } from '../presence/timing.ts'

export interface Job {
  readonly name: string
  readonly everyMs: number
  /** @param wasLate - the run was so late that it must put nobody offline (rule 10) */
  run(wasLate: boolean): Promise<void> | void
}

export interface Background {
  /** Stops the timers. Resolves when no job is running. */
  stop(): Promise<void>
}

export function startBackground(
  jobs: readonly Job[],
  monotonicMs: () => number,
  onError: (job: string, error: unknown) => void,
): Background {
  const timers = new Map<Job, NodeJS.Timeout>()
  const running = new Set<Promise<void>>()
  let isStopped = false

  function schedule(job: Job): void {
    const plannedFromMs = monotonicMs()
    const timer = setTimeout(() => {
      const run = runOnce(job, isLate(monotonicMs() - plannedFromMs, job.everyMs))
      running.add(run)
      run.finally(() => {
        running.delete(run)
        if (!isStopped) schedule(job)
      })
    }, job.everyMs)
    // The server's sockets keep the process alive, not its timers.
    timer.unref()
    timers.set(job, timer)
  }

  async function runOnce(job: Job, wasLate: boolean): Promise<void> {
    try {
      await job.run(wasLate)
    } catch (error) {
      onError(job.name, error)
    }
  }

  for (const job of jobs) schedule(job)

  return {
    async stop() {
      isStopped = true
      for (const timer of timers.values()) clearTimeout(timer)
      await Promise.all(running)
    },
  }
}
