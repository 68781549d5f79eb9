/**
 * Makes what a new embedded database is loaded from: an empty one, packed. A start from it takes less than a second;
 * without it PGlite runs initdb, which takes four.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import { TEMPLATE_PATH } from '../src/db/embedded.ts'

export async function buildTemplate(path: string = TEMPLATE_PATH): Promise<void> {
  const database = await PGlite.create()
  try {
    const packed = await database.dumpDataDir('gzip')
    await mkdir(dirname(path), { recursive: true })
    // Renamed, so that nobody ever reads half of it.
    await writeFile(`${path}.new`, Buffer.from(await packed.arrayBuffer()))
    await rename(`${path}.new`, path)
  } finally {
    await database.close()
  }
}

if (import.meta.url === pathToFileURL(String(process.argv[1])).href) await buildTemplate()
