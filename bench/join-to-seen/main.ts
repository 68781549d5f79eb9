/** `node --import tsx bench/join-to-seen/main.ts`: README.md says what it measures and how. */
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { measureJoinToSeen } from './measure.ts'
import { reportOf } from './report.ts'
import type { WorkloadOptions } from './workload.ts'

const text = { type: 'string' } as const
const { values } = parseArgs({
  options: {
    users: text,
    rate: text,
    seconds: text,
    nodes: text,
    everyone: text,
    lists: text,
    'list-size': text,
    driver: text,
    json: text,
  },
})
const sizes = {
  userCount: values.users,
  changesASecond: values.rate,
  seconds: values.seconds,
  nodeCount: values.nodes,
  everyoneCount: values.everyone,
  listCount: values.lists,
  listSize: values['list-size'],
} satisfies Record<keyof WorkloadOptions, string | undefined>
const given = Object.entries(sizes).filter(([, value]) => value !== undefined)

const interrupted = new AbortController()
process.once('SIGINT', () => interrupted.abort(new Error('Interrupted.')))

try {
  const result = await measureJoinToSeen({
    ...Object.fromEntries(given.map(([name, value]) => [name, Number(value)])),
    ...(values.driver === undefined ? {} : { driverUrl: pathToFileURL(resolve(values.driver)).href }),
    signal: interrupted.signal,
    say: (line) => process.stderr.write(`${line}\n`),
  })
  process.stdout.write(reportOf(result))
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`)
  if (!result.isExact || result.voidBecause.length > 0) process.exitCode = 1
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`)
  process.exitCode = interrupted.signal.aborted ? 130 : 1
}
