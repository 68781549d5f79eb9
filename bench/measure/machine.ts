/** What a run was made on, and what else happened there. Linux only. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, release, totalmem, type } from 'node:os'

export interface Machine {
  readonly processor: string
  readonly coreCount: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
}

/** Shares of all cores over a time. */
export interface Disturbance {
  /** What processes took that are not ours. */
  readonly othersShare: number
  /** What the host took from this machine, where it is a virtual one and is told. */
  readonly stolenShare: number
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    coreCount: availableParallelism(),
    memoryBytes: totalmem(),
    // What follows is how somebody built it.
    kernel: `${type()} ${/^\d+\.\d+/.exec(release())?.[0] ?? release()}`,
    node: process.version,
  }
}

/** @returns a function that says what happened since. It counts children of ours only once they have ended */
export function watchForDisturbance(): () => Disturbance {
  const before = look()
  return () => {
    const after = look()
    const all = after.all - before.all
    const others = after.busy - before.busy - (after.ours - before.ours)
    return { othersShare: Math.max(0, others / all), stolenShare: (after.stolen - before.stolen) / all }
  }
}

/** In ticks of the kernel, a hundredth of a second each: see proc(5). */
function look() {
  const [user, nice, system, idle, waiting, hard, soft, stolen] = fieldsOf('/proc/stat', /^cpu +(.*)$/m)
  // User and system time, of the process and of its children: the 14th to the 17th field.
  const ours = fieldsOf('/proc/self/stat', /\) (.*)$/m).slice(11, 15)
  const busy = sumOf([user, nice, system, hard, soft])
  return { busy, stolen: Number(stolen), all: busy + sumOf([idle, waiting, stolen]), ours: sumOf(ours) }
}

function fieldsOf(path: string, line: RegExp): number[] {
  return String(line.exec(readFileSync(path, 'utf8'))?.[1])
    .split(' ')
    .map(Number)
}

function sumOf(values: readonly (number | undefined)[]): number {
  return values.reduce<number>((sum, value) => sum + Number(value), 0)
}
