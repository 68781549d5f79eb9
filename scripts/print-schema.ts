/**
 * Prints the schema to schema.graphql, or with `--check` says whether that file is what the code prints.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { lexicographicSortSchema, printSchema } from 'graphql'
import { schema } from '../src/schema/index.ts'

const path = new URL('../schema.graphql', import.meta.url)
const printed = `# Printed from src/schema by \`npm run schema:print\`.\n\n${printSchema(lexicographicSortSchema(schema))}\n`

if (!process.argv.includes('--check')) {
  writeFileSync(path, printed)
} else if (readFileSync(path, 'utf8') !== printed) {
  process.stderr.write('schema.graphql is not what src/schema prints: run `npm run schema:print`.\n')
  process.exitCode = 1
}
