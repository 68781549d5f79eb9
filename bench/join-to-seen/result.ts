/** What a run has shown: loads and times from what was measured, and whether they hold. */
import { cpus } from 'node:os'
import { quantileOf } from '../measure/spread.ts'
import { type Checked, type Exactness, type Group, isExact } from './check.ts'
import type { Failures, Moments } from './generator.ts'
import type { MachineShare, PartShare } from './processor-time.ts'
import { KINDS, type Kind, type Workload, type WorkloadOptions } from './workload.ts'

/** What was measured, as it was. */
export interface Measured {
  readonly workload: Workload
  readonly system: string
  readonly complaints: readonly string[]
  readonly checked: Checked
  /** Of the process that made the changes. */
  readonly moments: Moments
  /** Of each process that made load. */
  readonly generators: readonly {
    readonly name: string
    readonly part: string
    readonly timerLateMs: Float64Array
  }[]
  readonly processes: readonly PartShare[]
  readonly machineShare: MachineShare
  readonly failures: Failures
}

export interface JoinToSeen {
  readonly system: string
  readonly machine: string
  readonly options: WorkloadOptions
  readonly offered: Load
  readonly achieved: Load
  /** For all deliveries of the span, and for parts of them. */
  readonly times: readonly Times[]
  /** From the scheduled moment of a change until whoever made it had the system's answer. */
  readonly answers: readonly ({ readonly kind: Kind; readonly count: number } & Quantiles)[]
  readonly exactness: Exactness
  readonly lateness: Lateness
  readonly processes: readonly PartShare[]
  readonly machineShare: MachineShare
  readonly failures: Failures
  readonly complaints: readonly string[]
  /** Why the times say nothing about the system, a sentence each. */
  readonly voidBecause: readonly string[]
  /** Whether every subscriber was told what it had to be told, once and in order, and nothing else. */
  readonly isExact: boolean
}

export interface Load {
  readonly changesASecond: number
  readonly deliveriesASecond: number
}

/** From the scheduled moment of a change until a subscriber has parsed it. */
export interface Times extends Quantiles {
  readonly kind: Kind
  readonly to: 'all' | 'the same node' | 'other nodes' | 'everyone' | 'lists'
  readonly count: number
}

/** Of the load generators themselves. */
export interface Lateness {
  /** How late the moments of the changes were noticed. It is in the times. */
  readonly changes: Quantiles
  /** Changes that had to wait: their connection had not opened, or the user's coming was not acknowledged. */
  readonly heldUpCount: number
  readonly heldUpMostMs: number
  /** How late timers were in each process, in the span. What a subscriber is told waits as long to be parsed. */
  readonly timers: readonly (Quantiles & { readonly name: string })[]
}

export interface Quantiles {
  readonly p50Ms: number
  readonly p99Ms: number
  readonly mostMs: number
}

/** Beyond these the times are the generators' and not the system's. */
export const SATURATED_SHARE = 0.85
export const LATE_P99_MS = 20
/** Less of the offered load than this, and it was another load. */
const ACHIEVED_LEAST = 0.98

/** A change that was sent so much later than its moment was noticed had to wait for something. */
const HELD_UP_MS = 1

export function resultOf(measured: Measured): JoinToSeen {
  const { workload, system, complaints, checked, processes, machineShare, failures } = measured
  const loads = loadsOf(measured)
  const lateness = latenessOf(measured)
  return {
    system,
    machine: `${cpus().length} × ${cpus()[0]?.model.trim()}, Node ${process.version}`,
    options: workload.options,
    ...loads,
    times: timesOf(checked.groups),
    answers: answersOf(measured),
    exactness: checked.exactness,
    lateness,
    processes,
    machineShare,
    failures,
    complaints,
    voidBecause: [
      ...saturated(measured),
      ...late(lateness),
      ...notAchieved(loads),
      ...(failures.lostCount + failures.refusedCount === 0
        ? []
        : [`${failures.lostCount} connections were lost, ${failures.refusedCount} requests were not done.`]),
    ],
    isExact: isExact(checked.exactness),
  }
}

function timesOf(groups: readonly Group[]): Times[] {
  const parts = [
    { to: 'all', is: () => true },
    { to: 'the same node', is: ({ isSameNode }: Group) => isSameNode },
    { to: 'other nodes', is: ({ isSameNode }: Group) => !isSameNode },
    { to: 'everyone', is: ({ isOfList }: Group) => !isOfList },
    { to: 'lists', is: ({ isOfList }: Group) => isOfList },
  ] as const
  return KINDS.flatMap((kind) =>
    parts.map(({ to, is }) => {
      const values = groups.filter((group) => group.kind === kind && is(group)).flatMap(({ timesMs }) => timesMs)
      return { kind, to, count: values.length, ...quantilesOf(values) }
    }),
  )
}

function answersOf({ workload, moments }: Measured): JoinToSeen['answers'] {
  return KINDS.map((kind) => {
    const values = workload.changes
      .filter((change) => change.isMeasured && change.kind === kind)
      .map(({ number, atMs }) => Number(moments.answeredAtMs[number]) - atMs)
      .filter((ms) => !Number.isNaN(ms))
    return { kind, count: values.length, ...quantilesOf(values) }
  })
}

function quantilesOf(values: readonly number[]): Quantiles {
  return { p50Ms: quantileOf(values, 0.5), p99Ms: quantileOf(values, 0.99), mostMs: quantileOf(values, 1) }
}

function latenessOf({ workload, moments, generators }: Measured): Lateness {
  const measured = workload.changes.filter(({ isMeasured }) => isMeasured)
  const heldUp = measured
    .map(({ number, atMs }) => Number(moments.sentAtMs[number]) - atMs - Number(moments.lateMs[number]))
    .filter((heldUpMs) => heldUpMs > HELD_UP_MS)
  return {
    changes: quantilesOf(measured.map(({ number }) => Number(moments.lateMs[number]))),
    heldUpCount: heldUp.length,
    heldUpMostMs: heldUp.length === 0 ? 0 : quantileOf(heldUp, 1),
    timers: generators.map(({ name, timerLateMs }) => ({ name, ...quantilesOf([...timerLateMs]) })),
  }
}

/** What was to happen in the span, and what happened, over the span or over as long as it took. */
function loadsOf({ workload, moments, checked }: Measured): Pick<JoinToSeen, 'offered' | 'achieved'> {
  const { changes, subscriptions, warmUpMs, totalMs } = workload
  const measured = changes.filter(({ isMeasured }) => isMeasured)
  const expectedCount = subscriptions
    .map((one) => workload.expectedOf(one).filter(({ isMeasured }) => isMeasured).length)
    .reduce((sum, count) => sum + count, 0)
  const answeredAtMs = measured
    .map(({ number }) => Number(moments.answeredAtMs[number]))
    .filter((atMs) => !Number.isNaN(atMs))
  const aSecond = (count: number, lastAtMs: number) => (count * 1000) / (Math.max(totalMs, lastAtMs) - warmUpMs)
  return {
    offered: { changesASecond: aSecond(measured.length, 0), deliveriesASecond: aSecond(expectedCount, 0) },
    achieved: {
      changesASecond: aSecond(answeredAtMs.length, answeredAtMs.length === 0 ? 0 : quantileOf(answeredAtMs, 1)),
      deliveriesASecond: aSecond(checked.measuredCount, checked.lastAtMs),
    },
  }
}

function saturated({ generators, processes }: Measured): string[] {
  const parts = new Set(generators.map(({ part }) => part))
  return processes
    .filter(({ name, share }) => parts.has(name) && share > SATURATED_SHARE)
    .map(({ name, share }) => `Saturated: ${name}, ${percent(share)} of a core, more than ${percent(SATURATED_SHARE)}.`)
}

function late({ changes, timers }: Lateness): string[] {
  return [{ name: 'moments of changes', ...changes }, ...timers]
    .filter(({ p99Ms }) => p99Ms > LATE_P99_MS)
    .map(
      ({ name, p99Ms }) =>
        `The load generator was late itself (${name}): ${p99Ms.toFixed(1)} ms at p99, more than ${LATE_P99_MS}.`,
    )
}

function notAchieved({ offered, achieved }: Pick<JoinToSeen, 'offered' | 'achieved'>): string[] {
  const rows = [
    { what: 'changes', of: offered.changesASecond, only: achieved.changesASecond },
    { what: 'deliveries', of: offered.deliveriesASecond, only: achieved.deliveriesASecond },
  ]
  return rows
    .filter(({ of, only }) => only < ACHIEVED_LEAST * of)
    .map(({ what, of, only }) => `Of ${of.toFixed(1)} ${what} a second only ${only.toFixed(1)} were achieved.`)
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}
