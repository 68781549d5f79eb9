import { readFileSync } from 'node:fs'
import { generateDrizzleJson, generateMigration } from 'drizzle-kit/api'
import { expect, it } from 'vitest'
import * as tables from '../../../src/db/tables.ts'

it('has a migration for everything that src/db/tables.ts says', async () => {
  const folder = new URL('../../../drizzle/meta/', import.meta.url)
  const journal = JSON.parse(readFileSync(new URL('_journal.json', folder), 'utf8'))
  const last = String(journal.entries.at(-1).idx).padStart(4, '0')
  const migrated = JSON.parse(readFileSync(new URL(`${last}_snapshot.json`, folder), 'utf8'))
  expect(await generateMigration(migrated, generateDrizzleJson(tables, migrated.id, ['rollcall']))).toEqual([])
})
