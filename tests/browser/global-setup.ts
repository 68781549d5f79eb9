/** The pages and the client kit as they are now, a Postgres, and the template of the embedded database. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import type { TestProject } from 'vitest/node'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'
import { startPostgres } from '../support/postgres.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const COMPILER = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url))

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  execFileSync(process.execPath, [COMPILER, '-p', 'client/tsconfig.build.json'], { cwd: ROOT, stdio: 'inherit' })
  await buildPages()
  if (!existsSync(TEMPLATE_PATH)) await buildTemplate()
  const postgres = await startPostgres()
  project.provide('postgresUrl', postgres.url)
  return () => postgres.stop()
}

/** As they are shipped: with `NODE_ENV=test`, as Vitest sets it, Vite takes React's development build. */
async function buildPages(): Promise<void> {
  const { NODE_ENV } = process.env
  process.env.NODE_ENV = 'production'
  try {
    await build({ logLevel: 'warn' })
  } finally {
    process.env.NODE_ENV = NODE_ENV
  }
}
