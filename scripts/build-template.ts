/**
 * Makes what a new embedded database is copied from: an empty one. A start from it takes less than a second; without
 * it PGlite runs initdb, which takes four.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { PGlite } from '@electric-sql/pglite'
import { PLACEHOLDER, TEMPLATE_PATH } from '../src/db/embedded.ts'

export async function buildTemplate(path: string = TEMPLATE_PATH): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  // Made aside and renamed when it is whole, so that nobody ever copies half of it, and two may make it at once.
  const aside = await mkdtemp(`${path}-`)
  try {
    const made = join(aside, 'made')
    const database = await PGlite.create(made)
    await database.close()
    await makePortable(made)
    if (existsSync(path)) await rename(path, join(aside, 'former'))
    await rename(made, path)
  } finally {
    await rm(aside, { recursive: true, force: true })
  }
}

/** It travels in a package, which has no empty folders, and in an image, where another user may own it. */
async function makePortable(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true })
  if (entries.length === 0) await writeFile(join(folder, PLACEHOLDER), '')
  for (const entry of entries) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await makePortable(path)
    else await chmod(path, 0o644)
  }
}

if (import.meta.url === pathToFileURL(String(process.argv[1])).href) await buildTemplate()
