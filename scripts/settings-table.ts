/**
 * Prints the table of settings into docs/settings.md, from src/config.ts; `--check` fails if it is not there as printed.
 */
import { SETTINGS, settingNames } from '../src/config.ts'
import { printPart } from './printed-part.ts'

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

printPart({
  file: 'docs/settings.md',
  begin: '<!-- settings: printed by `npm run settings:print` -->',
  end: '<!-- /settings -->',
  text: `| setting | default | bounds | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}`,
  source: 'src/config.ts',
  command: 'npm run settings:print',
})
