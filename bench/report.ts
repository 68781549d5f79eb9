/** From the figures of a run to its tables: medians and ranges over the rounds, and ratios within the same round. */
import type { Figure, Measure, Results } from './measure/results.ts'
import { type Spread, spreadOf } from './measure/spread.ts'

/** Whom other servers are held against. */
const REFERENCE = 'rollcall'

export interface Row {
  readonly measure: Measure
  readonly server: string
  /** Of the rounds that count, null where none does. */
  readonly value: Spread | null
  /** To what it is held against, of the rounds in which both count; null where there is no such thing. */
  readonly ratio: Spread | null
  readonly roundCount: number
  /** Why rounds do not count, one text a round. */
  readonly voids: readonly string[]
}

/** In the order of the measures, and for each in that of the servers. */
export function rowsOf({ measures, servers, figures }: Results): Row[] {
  return measures.flatMap((measure) =>
    Object.keys(servers)
      .map((server) => rowOf(measure, server, figures))
      .filter((row) => row.roundCount > 0),
  )
}

function rowOf(measure: Measure, server: string, figures: readonly Figure[]): Row {
  const all = figures.filter((figure) => figure.measure === measure.name && figure.server === server)
  const counting = all.filter(({ voidBecause }) => voidBecause === null)
  const ratios = counting.flatMap((figure) => {
    const other = figures.find((candidate) => isHeldAgainst(figure, candidate, measure))
    return other === undefined || other.voidBecause !== null ? [] : [figure.value / other.value]
  })
  return {
    measure,
    server,
    value: counting.length === 0 ? null : spreadOf(counting.map(({ value }) => value)),
    ratio: ratios.length === 0 ? null : spreadOf(ratios),
    roundCount: all.length,
    voids: all.flatMap(({ voidBecause }) => voidBecause ?? []),
  }
}

function isHeldAgainst(figure: Figure, other: Figure, { name, heldAgainst }: Measure): boolean {
  if (heldAgainst === null || other.round !== figure.round) return false
  if (heldAgainst !== undefined) return other.measure === heldAgainst && other.server === figure.server
  return other.measure === name && other.server === REFERENCE && figure.server !== REFERENCE
}

/** For the terminal: a line a server under each measure. */
export function textOf(results: Results): string {
  const lines = rowsOf(results).map((row, index, rows) => {
    const isFirst = rows[index - 1]?.measure !== row.measure
    return [
      isFirst ? `${row.measure.title} (${row.measure.unit})` : '',
      results.servers[row.server] ?? row.server,
      row.value === null ? 'void' : figureOf(row.value.median),
      row.value === null ? '' : rangeOf(row.value),
      row.ratio === null ? '' : `× ${figureOf(row.ratio.median)}`,
      row.ratio === null ? '' : rangeOf(row.ratio),
      `${row.roundCount}${row.voids.length > 0 ? `, ${row.voids.length} void` : ''}`,
    ]
  })
  const header = ['measure', 'server', 'median', 'range', 'ratio', 'range', 'rounds']
  const widths = header.map((name, column) =>
    Math.max(name.length, ...lines.map((line) => String(line[column]).length)),
  )
  const table = [header, ...lines].map((line) =>
    line
      .map((cell, column) => cell.padEnd(Number(widths[column])))
      .join('  ')
      .trimEnd(),
  )
  return [...table, '', ...aboutOf(results), ...voidsOf(results)].join('\n')
}

/** The measures and servers that the README shows. */
const SUMMARY_MEASURES = ['single.cpu', 'burst.cpu', 'heartbeat.50', 'memory.resident']
const SUMMARY_SERVERS = ['rollcall', 'socket-io', 'usual-stack', 'bare-ws']

/** For the README: the medians of a few measures. */
export function summaryOf(results: Results): string {
  const rows = rowsOf(results)
  const cellOf = (measure: Measure, server: string): string => {
    const value = rows.find((row) => row.measure === measure && row.server === server)?.value ?? null
    return value === null ? '–' : figureOf(value.median)
  }
  const measures = results.measures.filter(({ name }) => SUMMARY_MEASURES.includes(name))
  return [
    `| median | ${SUMMARY_SERVERS.map((server) => results.servers[server]).join(' | ')} |`,
    `| --- |${' ---: |'.repeat(SUMMARY_SERVERS.length)}`,
    ...measures.map(
      (measure) =>
        `| ${measure.title}, ${measure.unit} | ${SUMMARY_SERVERS.map((server) => cellOf(measure, server)).join(' | ')} |`,
    ),
  ].join('\n')
}

/** A row a measure and a column a server; what only one server has is in a table of its own. */
export function markdownOf(results: Results): string {
  const rows = rowsOf(results)
  const shared = results.measures.filter(({ name }) => rows.filter(({ measure }) => measure.name === name).length > 1)
  const own = rows.filter(({ measure }) => !shared.includes(measure))
  const servers = Object.entries(results.servers)
  const cellOf = (measure: Measure, server: string): string => {
    const row = rows.find((candidate) => candidate.measure === measure && candidate.server === server)
    return row === undefined ? '–' : [valueCell(row), ...ratioCell(row)].join('<br>')
  }
  return [
    `| median (range) of ${roundsOf(rows.filter(({ measure }) => shared.includes(measure)))} rounds | ${servers.map(([, title]) => title).join(' | ')} |`,
    `| --- |${' --- |'.repeat(servers.length)}`,
    ...shared.map(
      (measure) =>
        `| ${measure.title}, ${measure.unit} | ${servers.map(([server]) => cellOf(measure, server)).join(' | ')} |`,
    ),
    '',
    '| Rollcall alone | median (range), or what one round gave | ratio |',
    '| --- | --- | --- |',
    ...own.map(
      (row) => `| ${row.measure.title}, ${row.measure.unit} | ${valueCell(row)} | ${ratioCell(row).join('') || '–'} |`,
    ),
    '',
    ...aboutOf(results),
  ].join('\n')
}

function valueCell({ value, voids, roundCount }: Row): string {
  if (value === null) return 'void'
  if (roundCount === 1) return figureOf(value.median)
  return `${figureOf(value.median)} (${rangeOf(value)})${voids.length > 0 ? `, ${voids.length} void` : ''}`
}

function ratioCell({ ratio }: Row): string[] {
  return ratio === null ? [] : [`× ${figureOf(ratio.median)} (${rangeOf(ratio)})`]
}

function roundsOf(rows: readonly Row[]): string {
  const counts = [...new Set(rows.map(({ roundCount }) => roundCount))].sort((one, other) => one - other)
  return counts.join(' or ')
}

function aboutOf({ machine, disturbance, versions, date, command, notes }: Results): string[] {
  const { coreCount, processor, memoryBytes, kernel, node } = machine
  const gigabytes = (memoryBytes / 2 ** 30).toFixed(0)
  const packages = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return [
    `\`${command}\` on ${date.slice(0, 10)}: ${coreCount} cores of ${processor}, ${gigabytes} GB, ${kernel}, Node ${node}.`,
    ...(disturbance === null
      ? []
      : [
          `Other processes took ${percentOf(disturbance.othersShare)} of the machine during the run, and other machines ${percentOf(disturbance.stolenShare)}.`,
        ]),
    `Packages: ${packages.join(', ')}.`,
    ...notes,
  ]
}

function percentOf(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}

/** A line a server: whoever wants to know each round's reason finds it in the file. */
function voidsOf(results: Results): string[] {
  const rows = rowsOf(results).filter(({ voids }) => voids.length > 0)
  return Object.entries(results.servers).flatMap(([server, title]) => {
    const own = rows.filter((row) => row.server === server)
    const counts = own.map(({ measure, voids }) => `${voids.length} of ${measure.name}`)
    return own.length === 0 ? [] : [`Void, ${title}: ${counts.join(', ')}; the first because ${own[0]?.voids[0]}.`]
  })
}

function rangeOf({ least, most }: Spread): string {
  return `${figureOf(least)}–${figureOf(most)}`
}

/** Three digits that count. */
function figureOf(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)
}
