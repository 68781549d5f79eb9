/**
 * Holds the lockfile against the least versions that are safe to use (scripts/least-safe-versions.json), and the Node
 * that runs it against src/versions.ts. An advisory feed cannot be reached from everywhere; these lists can.
 */
import { readFileSync } from 'node:fs'
import { isBelow, NODE_LINES, sentenceOf, whyUnsafe } from '../src/versions.ts'

interface Row {
  readonly version: string
  readonly reason: string
}

const least: Readonly<Record<string, Row>> = read('least-safe-versions.json')
const { packages }: { readonly packages: Readonly<Record<string, { readonly version?: string }>> } =
  read('../package-lock.json')
const problems: string[] = []
const missing = new Set(Object.keys(least))
let checkedCount = 0

for (const [path, { version }] of Object.entries(packages)) {
  const name = String(path.split('node_modules/').at(-1))
  const row = Object.hasOwn(least, name) ? least[name] : undefined
  if (row === undefined || version === undefined) continue
  missing.delete(name)
  checkedCount += 1
  if (isBelow(version, row.version)) problems.push(`${name} ${version} is below ${row.version}: ${row.reason}`)
}
if (missing.size > 0) problems.push(`No longer installed, so take them out of the list: ${[...missing].join(', ')}`)

// The machine's own: a warning, as it is in the server's log. What the lockfile says is checked.
const node = whyUnsafe('Node', process.versions.node, NODE_LINES)
if (node !== null) process.stderr.write(`${sentenceOf(node)}\n`)

for (const problem of problems) process.stderr.write(`${problem}\n`)
process.stdout.write(
  `${checkedCount} installed versions held against ${Object.keys(least).length} rows, Node ${process.versions.node} against ${NODE_LINES.length} lines.\n`,
)
if (problems.length > 0) process.exitCode = 1

function read<Content>(path: string): Content {
  return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as Content
}
