/** The processes that make the load, as the coordinating process has them. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { endWithUs } from './end-with-us.ts'
import type { Answer, Tasks } from './generator.ts'

export interface Generator {
  readonly name: string
  readonly pid: number
  /** @throws Error the task failed, took too long, was called off, or the process ended */
  ask<Task extends keyof Tasks>(
    task: Task,
    withinMs: number,
    ...argument: Parameters<Tasks[Task]>
  ): ReturnType<Tasks[Task]>
  kill(): Promise<void>
}

const PROGRAM = fileURLToPath(new URL('./generator.ts', import.meta.url))
const START_TIME_LIMIT_MS = 20_000

/** @param calledOff - aborted, whatever it is asked is called off */
export async function startGenerator(name: string, calledOff: AbortSignal): Promise<Generator> {
  const child = fork(PROGRAM, { execArgv: ['--import', 'tsx'], serialization: 'advanced' })
  const ended = new AbortController()
  endWithUs(child)
  child.once('exit', (code, signal) => {
    ended.abort(new Error(`it ended with ${code ?? signal}`))
  })

  async function answer(withinMs: number): Promise<unknown> {
    const isTooLate = AbortSignal.timeout(withinMs)
    const [said] = (await once(child, 'message', {
      signal: AbortSignal.any([calledOff, ended.signal, isTooLate]),
    }).catch((error: Error) => {
      throw error.cause ?? error
    })) as [Answer]
    if ('error' in said) throw new Error(said.error)
    return said.value
  }

  const generator: Generator = {
    name,
    pid: Number(child.pid),
    ask: (async (task: keyof Tasks, withinMs: number, argument?: unknown) => {
      try {
        child.send({ task, argument })
        return await answer(withinMs)
      } catch (error) {
        calledOff.throwIfAborted()
        throw new Error(
          `The load generator for ${name} could not ${task}: ${error instanceof Error ? error.message : error}`,
        )
      }
    }) as Generator['ask'],
    kill: () => kill(child),
  }
  try {
    await answer(START_TIME_LIMIT_MS)
    return generator
  } catch (error) {
    await generator.kill()
    throw error
  }
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}
