/** What all tests of a run share: the server as it is built, a Postgres and a Redis server, and the template of the embedded database. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'
import { buildTemplate } from '../../scripts/build-template.ts'
import { TEMPLATE_PATH } from '../../src/db/embedded.ts'
import { installFaketime } from './faketime.ts'
import { startPostgres } from './postgres.ts'
import { startRedis } from './redis.ts'
import { installServers } from './redis-program.ts'

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  buildServer()
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

/** Without the pages, which `npm ci` has built. */
function buildServer(): void {
  const project = fileURLToPath(new URL('../..', import.meta.url))
  const run = (path: string, ...args: string[]) =>
    execFileSync(process.execPath, [path, ...args], { cwd: project, stdio: ['ignore', 'ignore', 'inherit'] })
  run('node_modules/typescript/bin/tsc', '-p', 'tsconfig.build.json')
  run('scripts/copy-lua.mjs')
}
