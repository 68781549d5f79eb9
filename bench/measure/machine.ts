/** What a run was made on. */
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'

export interface Machine {
  readonly processor: string
  readonly coreCount: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    coreCount: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    node: process.version,
  }
}
