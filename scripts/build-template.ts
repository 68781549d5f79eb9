/**
 * Makes what a new embedded database is copied from: an empty one. A start from it takes less than a second; without
 * it PGlite runs initdb, which takes four.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import { TEMPLATE_PATH } from '../src/db/embedded.ts'

export async function buildTemplate(path: string = TEMPLATE_PATH): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  // Made aside and renamed when it is whole, so that nobody ever copies half of it, and two may make it at once.
  const aside = await mkdtemp(`${path}-`)
  try {
    const made = join(aside, 'made')
    const database = await PGlite.create(made)
    await database.close()
    if (existsSync(path)) await rename(path, join(aside, 'former'))
    await rename(made, path)
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

if (import.meta.url === pathToFileURL(String(process.argv[1])).href) await buildTemplate()
