/**
 * Prints the table of a benchmark's results into the README, from bench/results/published.json; with `--check` says
 * whether it is there as printed.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Results } from '../bench/measure/results.ts'
import { markdownOf } from '../bench/report.ts'

const path = new URL('../README.md', import.meta.url)
const [BEGIN, END] = ['<!-- bench:begin -->', '<!-- bench:end -->']

const results = JSON.parse(readFileSync(new URL('../bench/results/published.json', import.meta.url), 'utf8')) as Results
const table = `${BEGIN}\n${markdownOf(results)}\n${END}`

const readme = readFileSync(path, 'utf8')
const [start, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
if (start === -1 || end === -1) throw new Error(`README.md has no ${BEGIN} … ${END}.`)
const printed = readme.slice(0, start) + table + readme.slice(end + END.length)

if (!process.argv.includes('--check')) {
  writeFileSync(path, printed)
} else if (printed !== readme) {
  process.stderr.write(
    'The benchmark in README.md is not that of bench/results/published.json: run `npm run bench:table`.\n',
  )
  process.exitCode = 1
}
