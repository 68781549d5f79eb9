/** Children that do not outlive this process, however it ends by itself. */
import type { ChildProcess } from 'node:child_process'

const children = new Set<ChildProcess>()
let isWatchingOurEnd = false

export function endWithUs(child: ChildProcess): void {
  children.add(child)
  child.once('exit', () => children.delete(child))
  if (isWatchingOurEnd) return
  isWatchingOurEnd = true
  process.once('exit', () => {
    for (const one of children) one.kill('SIGKILL')
  })
}
