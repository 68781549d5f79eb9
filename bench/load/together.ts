/** Several messages that their server finds waiting in one turn of its event loop. */
import { readFileSync } from 'node:fs'

/** A process that does not stop within it is busy in the kernel, or gone. */
const STOP_WITHIN_MS = 1000

/**
 * Holds the server still while they are sent. Else it would have read the first one, and be at work, before the last
 * one is written.
 *
 * @param send - writes them before it returns
 * @param moment - set to the time at which the server goes on, and can read them
 */
export function arriveTogether<Answer>(pid: number, moment: { atMs: number }, send: () => Answer): Answer {
  process.kill(pid, 'SIGSTOP')
  try {
    const deadlineMs = performance.now() + STOP_WITHIN_MS
    while (!isStopped(pid)) {
      if (performance.now() > deadlineMs) throw new Error(`Process ${pid} does not stop.`)
    }
    return send()
  } finally {
    moment.atMs = performance.now()
    process.kill(pid, 'SIGCONT')
  }
}

/** By its main thread, which is the one that reads sockets. */
function isStopped(pid: number): boolean {
  const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8')
  return stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')
}
