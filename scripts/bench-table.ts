/**
 * Prints the tables of the published benchmark: all measures into docs/benchmarks.md, four of them into the README.
 * `--check` fails if they are not there as printed.
 */
import { readFileSync } from 'node:fs'
import type { Results } from '../bench/measure/results.ts'
import { markdownOf, summaryOf } from '../bench/report.ts'
import { printPart } from './printed-part.ts'

const results = JSON.parse(readFileSync(new URL('../bench/results/published.json', import.meta.url), 'utf8')) as Results

const source = 'bench/results/published.json'
const command = 'npm run bench:table'

printPart({
  file: 'docs/benchmarks.md',
  begin: '<!-- bench:begin -->',
  end: '<!-- bench:end -->',
  text: markdownOf(results),
  source,
  command,
})
printPart({
  file: 'README.md',
  begin: '<!-- bench:summary:begin -->',
  end: '<!-- bench:summary:end -->',
  text: summaryOf(results),
  source,
  command,
})
