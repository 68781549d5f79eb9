/** docs/data.md, and the SQL in it. */
import { readFileSync } from 'node:fs'

export function dataPage(): string {
  return readFileSync(new URL('../../docs/data.md', import.meta.url), 'utf8')
}

export function sqlOfDataPage(): readonly string[] {
  return [...dataPage().matchAll(/^```sql\n(.*?)^```$/gms)].map((match) => String(match[1]))
}

/** Adds the columns to `public.users`, and the trigger that writes them. */
export function mirrorTrigger(): string {
  const found = sqlOfDataPage().find((block) => block.includes('create trigger mirror_presence'))
  if (found === undefined) throw new Error('docs/data.md has no trigger that mirrors presence.')
  return found
}
