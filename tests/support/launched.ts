/** A program of somebody else's as a process of ours: with the end of what it said, and ended at once. */
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'

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

/** The same for a program with a folder of its own. It ends with this process too. */
export function launchIn(
  folder: string,
  path: string,
  args: readonly string[],
  options: Omit<SpawnOptions, 'stdio' | 'cwd'> = {},
): Omit<Launched, 'kill'> & { stop(): Promise<void> } {
  const { child, kill, ...rest } = launch(path, args, { ...options, cwd: folder })
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)
  return {
    ...rest,
    child,
    /** Kills it, and removes its folder. */
    async stop() {
      process.off('exit', killWithUs)
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
