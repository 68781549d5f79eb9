/** What a run has shown, for people. */
import type { PartShare } from './processor-time.ts'
import { type JoinToSeen, LATE_P99_MS, type Load, percent, type Quantiles, SATURATED_SHARE } from './result.ts'
import { WARM_UP_SECONDS } from './workload.ts'

/** Of one core, and of all of them. */
const NOTED_SHARE = 0.1
const FULL_SHARE = 0.95

export function reportOf(result: JoinToSeen): string {
  const { options, offered, achieved, times, exactness, lateness, processes, machineShare, failures } = result
  const subscribers = `${options.everyoneCount} subscribers of everyone and ${options.listCount} of lists of ${options.listSize}`
  return [
    `Join to seen: ${result.system}`,
    result.machine,
    `${options.userCount} users connected to ${options.nodeCount} nodes, ${subscribers}; ` +
      `${options.seconds} s after ${WARM_UP_SECONDS} s of the same to warm up`,
    '',
    `offered   ${loadText(offered)}`,
    `achieved  ${loadText(achieved)}`,
    '',
    'from the scheduled moment until a subscriber has parsed it, in ms',
    row('', 'subscribers', ['deliveries', 'p50', 'p99', 'largest']),
    ...times.map(({ kind, to, count, ...quantiles }) => row(kind, to, [String(count), ...texts(quantiles)])),
    'and until whoever made the change had the answer',
    ...result.answers.map(({ kind, count, ...quantiles }) => row(kind, '', [String(count), ...texts(quantiles)])),
    '',
    `${exactness.expectedCount} deliveries expected, warm-up included, ${exactness.receivedCount} received: ` +
      `${exactness.missingCount} missing, ${exactness.doubledCount} doubled, ${exactness.outOfOrderCount} out of order ` +
      `(${exactness.outOfOrderOfUserCount} within a user's own), ${exactness.notAskedForCount} not asked for`,
    ...exactness.examples.map((example) => `  ${example}`),
    ...Object.entries(failures.reasons).map(([reason, count]) => `  ${count} × ${reason}`),
    '',
    'how late the load generators were themselves, in ms',
    row('', '', ['p50', 'p99', 'largest']),
    row('', 'moments of changes', texts(lateness.changes)),
    ...lateness.timers.map(({ name, ...quantiles }) => row('', `timers, ${name}`, texts(quantiles))),
    `${lateness.heldUpCount} changes waited for their connection or for an acknowledgement, ` +
      `${lateness.heldUpMostMs.toFixed(1)} ms at the most; it is in the times`,
    '',
    'processor time in the span, of one core',
    ...processes.map(shareRow),
    ...[
      { name: 'other programs, about', share: machineShare.others },
      { name: 'interrupts, of everybody', share: machineShare.interrupts },
      { name: `all, of ${machineShare.coreCount} cores`, share: machineShare.all },
    ].map(shareRow),
    ...(result.complaints.length === 0 ? [] : ['', 'what the system complained of', ...result.complaints]),
    '',
    ...verdictOf(result),
    '',
  ].join('\n')
}

function verdictOf({ voidBecause, isExact, machineShare }: JoinToSeen): string[] {
  const { others, all, coreCount } = machineShare
  return [
    ...(others > NOTED_SHARE
      ? [`NOTE: other programs used ${percent(others)} of a core: the times are longer for it.`]
      : []),
    ...(all > FULL_SHARE * coreCount ? ['NOTE: the machine was full: the times are those of waiting for it.'] : []),
    ...(isExact ? [] : ['FAILED: not every subscriber was told exactly what it had to be told.']),
    ...voidBecause.map((reason) => `VOID: ${reason}`),
    ...(isExact && voidBecause.length === 0
      ? [
          `Valid: exact, no load generator above ${percent(SATURATED_SHARE)} of a core, ` +
            `none later than ${LATE_P99_MS} ms at p99.`,
        ]
      : []),
  ]
}

function loadText({ changesASecond, deliveriesASecond }: Load): string {
  return `${changesASecond.toFixed(1)} changes a second, ${deliveriesASecond.toFixed(1)} deliveries a second`
}

function shareRow({ name, share }: PartShare): string {
  return `${name.padEnd(36)}${percent(share).padStart(9)}`
}

function texts({ p50Ms, p99Ms, mostMs }: Quantiles): string[] {
  return [p50Ms, p99Ms, mostMs].map((ms) => (Number.isNaN(ms) ? '–' : ms.toFixed(2)))
}

function row(first: string, second: string, columns: readonly string[]): string {
  return `${first.padEnd(7)}${second.padEnd(24)}${columns.map((column) => column.padStart(11)).join('')}`
}
