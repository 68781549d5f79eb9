/** The pages as they are now, a Postgres, and the template of the embedded database. */
import { existsSync } from 'node:fs'
import { build } from 'vite'
import type { TestProject } from 'vitest/node'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'
import { startPostgres } from '../support/postgres.ts'

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await build({ logLevel: 'warn' })
  if (!existsSync(TEMPLATE_PATH)) await buildTemplate()
  const postgres = await startPostgres()
  project.provide('postgresUrl', postgres.url)
  return () => postgres.stop()
}
