/** The processor time of a process, all its threads, as the kernel has counted it. */
import { readdirSync, readFileSync } from 'node:fs'

/**
 * Linux only: nanoseconds a thread, where `/proc/<pid>/stat` counts in hundredths of a second. Threads that ended are
 * not in it, so take differences over a time in which none does.
 *
 * @returns ms
 */
export function cpuMsOf(pid: number): number {
  let ns = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      ns += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
    } catch {
      // It ended just now.
    }
  }
  return ns / 1e6
}

/** @returns resident bytes */
export function residentBytesOf(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kilobytes) * 1024
}

/**
 * The main thread of a process, Linux only: how long it ran, and how long it was ready to run and had no core.
 *
 * @returns ms
 */
export function mainThreadOf(pid: number): { readonly ranMs: number; readonly waitedMs: number } {
  const [ranNs, waitedNs] = readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')
  return { ranMs: Number(ranNs) / 1e6, waitedMs: Number(waitedNs) / 1e6 }
}
