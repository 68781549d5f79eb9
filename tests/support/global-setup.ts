/** What all tests of a run share: a Postgres and a Redis server, and the template of the embedded database. */
import { existsSync } from 'node:fs'
import type { TestProject } from 'vitest/node'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'
import { installFaketime } from './faketime.ts'
import { startPostgres } from './postgres.ts'
import { startRedis } from './redis.ts'
import { installServers } from './redis-program.ts'

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  if (!existsSync(TEMPLATE_PATH)) await buildTemplate()
  installServers()
  installFaketime()
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
  project.provide('postgresUrl', postgres.url)
  project.provide('redisUrl', redis.url)
  return async () => {
    await Promise.all([postgres.stop(), redis.stop()])
  }
}
