/**
 * Prints the table of a benchmark's results into the README, from bench/results/published.json; with `--check` says
 * whether it is there as printed.
 */
import { readFileSync } from 'node:fs'
import type { Results } from '../bench/measure/results.ts'
import { markdownOf } from '../bench/report.ts'
import { printIntoReadme } from './readme-part.ts'

const results = JSON.parse(readFileSync(new URL('../bench/results/published.json', import.meta.url), 'utf8')) as Results

printIntoReadme({
  begin: '<!-- bench:begin -->',
  end: '<!-- bench:end -->',
  text: markdownOf(results),
  complaint: 'The benchmark in README.md is not that of bench/results/published.json: run `npm run bench:table`.',
})
