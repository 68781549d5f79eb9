/**
 * What the recorder brings to Postgres: records a second out of a backlog, and from change to column at a steady rate.
 *
 * `node --import tsx bench/recorder/main.ts [--before ../old/dist] [--after dist] [--rounds 5] [--records 60000]`
 *
 * Postgres runs as it does in production, with `fsync` on. The records are those of the memory store of each build.
 * Each round measures one build and then the other, each in a process of its own, so that what the machine does beside
 * it meets both.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startPostgres } from '../../tests/support/postgres.ts'
import { spreadOf } from '../measure/spread.ts'
import { toBeUndone, undoAll, undoOnSignals } from '../processes.ts'
import type { Measured, Task } from './one-build.ts'

const { values } = parseArgs({
  options: {
    before: { type: 'string' },
    after: { type: 'string', default: fileURLToPath(new URL('../../dist', import.meta.url)) },
    rounds: { type: 'string', default: '5' },
    records: { type: 'string', default: '60000' },
    rate: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '10' },
  },
})

/** As in production. */
const DURABLE = { fsync: 'on', full_page_writes: 'on', synchronous_commit: 'on' }

async function measure(dist: string): Promise<Measured> {
  const { url, stop } = await startPostgres(DURABLE)
  const stopNow = toBeUndone(stop)
  try {
    const task: Task = {
      dist,
      url,
      recordCount: Number(values.records),
      changesPerSecond: Number(values.rate),
      seconds: Number(values.seconds),
    }
    const child = fork(fileURLToPath(new URL('./one-build.ts', import.meta.url)), [JSON.stringify(task)])
    const [measured] = (await once(child, 'message')) as [Measured]
    if (child.exitCode === null) await once(child, 'exit')
    return measured
  } finally {
    await stopNow()
  }
}

const report = (line: string): boolean => process.stdout.write(`${line}\n`)

undoOnSignals()
try {
  const builds = Object.entries({ before: values.before, after: values.after }).filter(([, dist]) => dist !== undefined)
  const results = new Map<string, Measured[]>(builds.map(([name]) => [name, []]))
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const [name, dist] of builds) results.get(name)?.push(await measure(dist as string))
  }
  for (const [name, measured] of results) {
    const of = (key: keyof Measured) => {
      const { median, least, most } = spreadOf(measured.map((one) => one[key]))
      return `${median.toFixed(0)} [${least.toFixed(0)}-${most.toFixed(0)}]`
    }
    report(
      `${name}: backlog ${of('recordsPerSecond')} records a second; from change to column at ${values.rate} changes a ` +
        `second: p50 ${of('p50Ms')} ms, p99 ${of('p99Ms')} ms; processor ${of('cpuMicrosPerRecord')} µs a record`,
    )
  }
} finally {
  await undoAll()
}
