/** Says whether the migrations in drizzle/ are those that src/db/tables.ts asks for: generating must find nothing. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'

const copy = mkdtempSync(join(tmpdir(), 'rollcall-migrations-'))
try {
  cpSync('drizzle', copy, { recursive: true })
  const before = readdirSync(copy)
  const { status, stdout, stderr } = spawnSync(
    'npx',
    [
      'drizzle-kit',
      'generate',
      '--dialect',
      'postgresql',
      '--schema',
      './src/db/tables.ts',
      '--out',
      relative('.', copy),
    ],
    { encoding: 'utf8' },
  )
  if (status !== 0) throw new Error(`drizzle-kit ended with ${status}: ${stdout}${stderr}`)
  if (readdirSync(copy).length !== before.length) {
    process.stderr.write('drizzle/ is not what src/db/tables.ts asks for: run `npm run db:generate`.\n')
    process.exitCode = 1
  }
} finally {
  rmSync(copy, { recursive: true, force: true })
}
