/** What all tests of a run share: a Postgres server, and the template of the embedded one. */
import { existsSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'
import { startPostgres } from './postgres.ts'

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(TEMPLATE_PATH)) await buildTemplate()
  const server = await startPostgres()
  project.provide('postgresUrl', server.url)
  return () => server.stop()
}
