/** A program of somebody else's as a process of ours: with the end of what it said, and ended at once. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface Launched {
  readonly child: ChildProcess
  /** What it said so far, or the end of it. */
  output(): string
  hasEnded(): boolean
  /** SIGKILL, where it still runs. */
  kill(): Promise<void>
}

const KEPT_OUTPUT_LENGTH = 20_000

export function launch(path: string, args: readonly string[], options: Omit<SpawnOptions, 'stdio'>): Launched {
  const child = spawn(path, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-KEPT_OUTPUT_LENGTH)
    })
  }
  child.once('error', (error) => {
    said += error.message
  })
  const hasEnded = (): boolean => child.pid === undefined || child.exitCode !== null || child.signalCode !== null
  return {
    child,
    output: () => said,
    hasEnded,
    async kill() {
      if (hasEnded()) return
      const exited = once(child, 'exit')
      child.kill('SIGKILL')
      await exited
    },
  }
}
