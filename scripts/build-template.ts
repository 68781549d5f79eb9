/**
 * Makes what a new embedded database is copied from: an empty one. A start from it takes less than a second; without
 * it PGlite runs initdb, which takes four.
 */
import { mkdir, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import { TEMPLATE_PATH } from '../src/db/embedded.ts'

export async function buildTemplate(path: string = TEMPLATE_PATH): Promise<void> {
  // Renamed when it is whole, so that nobody ever copies half of it.
  const unfinished = `${path}.new`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(dirname(path), { recursive: true })
  const database = await PGlite.create(unfinished)
  await database.close()
  await rm(path, { recursive: true, force: true })
  await rename(unfinished, path)
}

if (import.meta.url === pathToFileURL(String(process.argv[1])).href) await buildTemplate()
