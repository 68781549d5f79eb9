/**
 * Prints the table of settings into the README, from src/config.ts; with `--check` says whether it is there as printed.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS, settingNames } from '../src/config.ts'

const path = new URL('../README.md', import.meta.url)
const [BEGIN, END] = ['<!-- settings: printed by `npm run settings:print` -->', '<!-- /settings -->']

const rows = settingNames().map((name) => {
  const row: {
    default: string | null
    least?: string
    most?: string
    oneOf?: readonly string[]
    meaning: string
    reason?: string
  } = SETTINGS[name]
  const bounds =
    row.oneOf?.map((one) => `\`${one}\``).join(', ') ??
    [row.least && `at least ${row.least}`, row.most && `at most ${row.most}`].filter(Boolean).join(', ')
  const meaning = row.reason === undefined ? row.meaning : `${row.meaning} (${row.reason})`
  return `| \`${name}\` | ${row.default === null ? '–' : `\`${row.default}\``} | ${bounds} | ${meaning} |`
})
const table = `${BEGIN}\n| setting | default | bounds | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n${END}`

const readme = readFileSync(path, 'utf8')
const [start, end] = [readme.indexOf(BEGIN), readme.indexOf(END)]
if (start === -1 || end === -1) throw new Error(`README.md has no ${BEGIN} … ${END}.`)
const printed = readme.slice(0, start) + table + readme.slice(end + END.length)

if (!process.argv.includes('--check')) {
  writeFileSync(path, printed)
} else if (printed !== readme) {
  process.stderr.write('The settings in README.md are not those of src/config.ts: run `npm run settings:print`.\n')
  process.exitCode = 1
}
