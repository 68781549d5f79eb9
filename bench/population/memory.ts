/**
 * The memory store with a million live sessions: `npx tsx bench/population/memory.ts [--users 1000000]`.
 *
 * What lists, counts, starts and sweeps cost by how many there are and by how many are due; how long the longest of
 * it holds up others; and the memory of a session. Absolute times are this machine's, so what must not grow is
 * measured beside a small crowd in the same process.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { spreadOf } from '../measure/spread.ts'
import type { StretchFigures } from './bulk.ts'
import { type Comparison, sayComparison } from './compare.ts'
import type { Filling } from './crowd.ts'
import type { ReadsFigures } from './reads.ts'
import { type BackgroundFigures, DUE_KINDS, type SweepFigures } from './sweeps.ts'
import type { GcPauses, LoopDelay, Stretch } from './waiting.ts'

export interface MemoryFigures {
  readonly users: number
  readonly filling: Filling & {
    /** With the change log at its full length. */
    readonly heapBytesAUser: number
    readonly residentBytesAUser: number
    readonly gc: GcPauses
  }
  readonly reads: readonly ReadsFigures[]
  readonly query: Comparison
  readonly attach: Comparison
  readonly sweeps: readonly SweepFigures[]
  readonly background: readonly BackgroundFigures[]
  readonly bulk: readonly StretchFigures[]
}

const DEFAULT_USERS = 1_000_000
/** More than a heap of a million users and of those who are adopted beside them takes. */
const HEAP_MB = 8192

export async function measureMemory(users = DEFAULT_USERS): Promise<MemoryFigures> {
  const child = fork(new URL('memory-process.ts', import.meta.url), {
    execArgv: [...process.execArgv, `--max-old-space-size=${HEAP_MB}`],
  })
  const exited = once(child, 'exit').then(([code]) => {
    throw new Error(`The process that measures ended early, with ${code}.`)
  })
  exited.catch(() => {})
  child.send(users)
  const [figures] = (await Promise.race([once(child, 'message'), exited])) as [MemoryFigures]
  return figures
}

function printFigures({ users, filling, reads, query, attach, sweeps, background, bulk }: MemoryFigures): void {
  say(`${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}`)
  say(`Small crowd: 1,000 users online. Large crowd: ${users}. One session each, all in one room.`)
  say('\nMemory of a user with one session, after garbage collection')
  say(`  heap ${filling.heapBytesAUser.toFixed(0)} bytes, resident ${filling.residentBytesAUser.toFixed(0)} bytes`)
  say('\nReads (small → large)')
  for (const { room, firstPage, nextPage, pageAnywhere, count } of reads) {
    const where = room === null ? 'everyone' : 'a room'
    say(`  ${where}, first page of 50: ${sayComparison(firstPage)}`)
    say(`  ${where}, next page of 50:  ${sayComparison(nextPage)}`)
    say(`  ${where}, page anywhere:    ${sayComparison(pageAnywhere)}`)
    say(`  ${where}, count:            ${sayComparison(count)}`)
  }
  say(`  the query \`onlineUsers\` as executed, page anywhere: ${sayComparison(query)}`)
  say('\nStarting a session (small → large)')
  say(`  attach of a new user: ${sayComparison(attach)}`)
  say(
    `  while filling: longest attach ${sayStretch(filling.longestAttach)}, ` +
      `${filling.over10MsCount} over 10 ms of processor time; ${sayGc(filling.gc)}`,
  )
  say('\nSweeps')
  for (const kind of DUE_KINDS) for (const line of sweepLines(sweeps.filter((one) => one.kind === kind))) say(line)
  say('\nSweeps in the background: event-loop delay')
  for (const { kind, due, process: busy, idleProcess, gc } of background) {
    say(`  ${kind}, ${due} due: ${sayDelay(busy)}; idle process: ${sayDelay(idleProcess)}; ${sayGc(gc)}`)
  }
  say('\nLongest stretch of what is done for many')
  for (const { what, count, longest, totalMs, gc } of bulk) {
    say(`  ${what} (${count}): ${sayStretch(longest)}; ${ms(totalMs)} in all; ${sayGc(gc)}`)
  }
}

function sweepLines(sweeps: readonly SweepFigures[]): string[] {
  const nameOf = ({ existing, due }: SweepFigures): string => `${due} due of ${existing}`
  return [...new Set(sweeps.map(nameOf))].map((name) => {
    const runs = sweeps.filter((one) => nameOf(one) === name)
    const slice = spreadOf(runs.map(({ longestSlice }) => longestSlice.ms))
    const processor = spreadOf(runs.map(({ longestSlice }) => longestSlice.processorMs))
    const costUs = spreadOf(runs.map(({ workMs, due }) => (workMs / due) * 1000))
    const gc = Math.max(...runs.map((run) => run.gc.longestMs))
    return (
      `  ${runs[0]?.kind}, ${name}: longest slice ${ms(slice.median)} (${ms(slice.least)} to ${ms(slice.most)}), ` +
      `in processor time ${ms(processor.median)} (${ms(processor.least)} to ${ms(processor.most)}), ` +
      `${costUs.median.toFixed(1)} µs a user (${costUs.least.toFixed(1)} to ${costUs.most.toFixed(1)}); longest GC ${ms(gc)}`
    )
  })
}

function sayDelay({ p50Ms, p99Ms, mostMs }: LoopDelay): string {
  return `p50 ${ms(p50Ms)}, p99 ${ms(p99Ms)}, most ${ms(mostMs)}`
}

function sayStretch({ ms: wallMs, processorMs }: Stretch): string {
  return `${ms(wallMs)} (${ms(processorMs)} of processor time)`
}

function sayGc({ count, longestMs }: GcPauses): string {
  return `${count} GCs, longest ${ms(longestMs)}`
}

function ms(value: number): string {
  return `${value.toFixed(2)} ms`
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

if (process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({ options: { users: { type: 'string', default: String(DEFAULT_USERS) } } })
  printFigures(await measureMemory(Number(values.users)))
}
