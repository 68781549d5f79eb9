/**
 * Rollcall against its peers, in one run: `npm run bench`, or `npm run bench -- --full` at full size.
 *
 * Each server is a process of its own, and so is its load. Every server has its turn in each round, the load is the
 * same for all, and nothing counts that did not arrive as it must or was measured on a machine that was at its limit.
 * Linux only: the kernel's count of processor time is.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, watchForDisturbance } from './measure/machine.ts'
import type { Results } from './measure/results.ts'
import { undoAll, undoOnSignals } from './processes.ts'
import { rowsOf, textOf } from './report.ts'
import type { Plan, Scenario } from './scenario.ts'
import { broadcast } from './scenarios/broadcast.ts'
import { connections } from './scenarios/connections.ts'
import { heartbeat } from './scenarios/heartbeat.ts'
import { memory } from './scenarios/memory.ts'
import { selections } from './scenarios/selections.ts'
import { slowReader } from './scenarios/slow-reader.ts'
import { SERVERS, versionsOfPeers } from './servers.ts'

const SCENARIOS: readonly Scenario[] = [broadcast, selections, heartbeat, memory, slowReader, connections]

const USAGE = `npm run bench -- [--full] [--rounds 7] [--only ${SCENARIOS.map(({ name }) => name).join(',')}] [--json FILE]`

const { values } = parseArgs({
  options: {
    full: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    only: { type: 'string' },
    json: { type: 'string', default: fileURLToPath(new URL('results/latest.json', import.meta.url)) },
  },
})
const only = values.only?.split(',')
const chosen = SCENARIOS.filter(({ name, isOfFullForm = false }) =>
  only === undefined ? values.full || !isOfFullForm : only.includes(name),
)
const plan: Plan = { isFull: values.full, roundCount: Number(values.rounds), say }
if (chosen.length < (only?.length ?? 0) || !(plan.roundCount >= 1)) throw new Error(USAGE)
const startedAtMs = performance.now()

const disturbanceSince = watchForDisturbance()
let results = nothingYet()

undoOnSignals()
try {
  say('building')
  build()
  for (const scenario of chosen) {
    say(scenario.name)
    const { measures, figures, notes = [] } = await scenario.run(plan)
    results = {
      ...results,
      measures: [...results.measures, ...measures],
      figures: [...results.figures, ...figures],
      notes: [...new Set([...results.notes, ...notes])],
    }
    // After each, so that one that fails takes nothing from the others.
    write()
  }
} finally {
  await undoAll()
}
results = { ...results, disturbance: disturbanceSince() }
write()
process.stdout.write(`${textOf(results)}\n`)
if (rowsOf(results).some(({ value }) => value === null)) process.exitCode = 1

function write(): void {
  mkdirSync(dirname(values.json), { recursive: true })
  writeFileSync(values.json, `${JSON.stringify(results, null, 1)}\n`)
}

function nothingYet(): Results {
  return {
    date: new Date().toISOString(),
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    machine: describeMachine(),
    disturbance: null,
    versions: versionsOfPeers(),
    servers: Object.fromEntries(Object.entries(SERVERS).map(([name, { title }]) => [name, title])),
    measures: [],
    notes: [],
    figures: [],
  }
}

/** What users run; and peers and load as plain JavaScript, as it is itself. */
function build(): void {
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  for (const args of [
    ['run', '--silent', 'build'],
    ['exec', '--', 'tsc', '-p', 'bench/tsconfig.json'],
  ]) {
    const { status, stdout, stderr } = spawnSync('npm', args, { cwd, encoding: 'utf8' })
    if (status !== 0) throw new Error(`npm ${args.join(' ')} ended with ${status}:\n${stdout}${stderr}`)
  }
}

function say(line: string): void {
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(0)
  process.stderr.write(`${seconds.padStart(4)} s  ${line}\n`)
}
