/** How much of a core each process used over a span, and the machine as a whole. Linux only. */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { cpuMsOf } from '../measure/cpu.ts'
import { monotonicMs } from './clock.ts'
import type { Part } from './system.ts'

export interface PartShare {
  readonly name: string
  /** 1 is one core. */
  readonly share: number
}

/** In cores. */
export interface MachineShare {
  readonly coreCount: number
  /** Of processes that are no part of this, about. */
  readonly others: number
  /** Interrupts, the network's above all: of everybody, for the kernel may count them for nobody. */
  readonly interrupts: number
  readonly all: number
}

interface Reading {
  readonly atMs: number
  readonly parts: readonly { readonly name: string; readonly msByPid: ReadonlyMap<number, number> }[]
  readonly processesMs: number
  readonly interruptsMs: number
}

/** `/proc/stat` counts in hundredths of a second: USER_HZ, the same on every architecture that Node runs on. */
const MS_A_TICK = 10

export function read(parts: readonly Part[]): Reading {
  return {
    atMs: monotonicMs(),
    parts: parts.map(({ name, pids }) => ({ name, msByPid: new Map(pids.flatMap(timeOf)) })),
    ...machineTime(),
  }
}

/** What a process used that ended in between is not in it. */
export function sharesBetween(
  before: Reading,
  after: Reading,
): { readonly parts: readonly PartShare[]; readonly machine: MachineShare } {
  const spanMs = after.atMs - before.atMs
  const parts = after.parts.map(({ name, msByPid }) => {
    const earlier = before.parts.find((part) => part.name === name)?.msByPid
    const usedMs = [...msByPid].reduce((sum, [pid, ms]) => sum + ms - (earlier?.get(pid) ?? 0), 0)
    return { name, share: usedMs / spanMs }
  })
  const ours = parts.reduce((sum, { share }) => sum + share, 0)
  const processes = (after.processesMs - before.processesMs) / spanMs
  const interrupts = (after.interruptsMs - before.interruptsMs) / spanMs
  return {
    parts,
    machine: {
      coreCount: availableParallelism(),
      others: Math.max(0, processes - ours),
      interrupts,
      all: processes + interrupts,
    },
  }
}

function timeOf(pid: number): [number, number][] {
  try {
    return [[pid, cpuMsOf(pid)]]
  } catch {
    // It ended just now.
    return []
  }
}

function machineTime() {
  const [, ...ticks] = String(readFileSync('/proc/stat', 'utf8').split('\n')[0]).split(/\s+/)
  const [user = 0, nice = 0, system = 0, , , irq = 0, softIrq = 0] = ticks.map((text) => Number(text) * MS_A_TICK)
  return { processesMs: user + nice + system, interruptsMs: irq + softIrq }
}
