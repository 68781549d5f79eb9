/**
 * Holds the lockfile against the least versions that are safe to use (scripts/least-safe-versions.json). An advisory
 * feed cannot be reached from everywhere; this list can.
 */
import { readFileSync } from 'node:fs'

const least = JSON.parse(readFileSync(new URL('least-safe-versions.json', import.meta.url), 'utf8'))
const { packages } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))

let checked = 0
const problems = []
for (const [path, { version }] of Object.entries(packages)) {
  const name = path.split('node_modules/').at(-1)
  const row = Object.hasOwn(least, name) ? least[name] : undefined
  if (row === undefined || version === undefined) continue
  checked += 1
  if (compare(version, row.version) < 0) problems.push(`${name} ${version} is below ${row.version}: ${row.reason}`)
}
const missing = Object.keys(least).filter(
  (name) => !Object.keys(packages).some((path) => path.split('node_modules/').at(-1) === name),
)
if (missing.length > 0) problems.push(`No longer installed, so take them out of the list: ${missing.join(', ')}`)

for (const problem of problems) process.stderr.write(`${problem}\n`)
process.stdout.write(`${checked} installed versions held against ${Object.keys(least).length} rows.\n`)
if (problems.length > 0) process.exitCode = 1

function compare(one, other) {
  const [left, right] = [one, other].map((version) => version.split('-')[0].split('.').map(Number))
  for (let index = 0; index < 3; index += 1) if (left[index] !== right[index]) return left[index] - right[index]
  return 0
}
