/** Rollcall as shipped: processes of `dist/main.js` in production, one Redis and one Postgres. */
import { randomBytes } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import postgres from 'postgres'
import { freePort } from '../../tests/support/free-port.ts'
import { type Launched, launch } from '../../tests/support/launched.ts'
import { type PostgresServer, startPostgres } from '../../tests/support/postgres.ts'
import { type RedisServer, startRedis } from '../../tests/support/redis.ts'
import { command } from '../../tests/support/redis-process.ts'
import { installServers } from '../../tests/support/redis-program.ts'
import { until } from '../../tests/support/wait.ts'
import { endWithUs } from './end-with-us.ts'
import type { RunningSystem } from './system.ts'

const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))
const HOST = '127.0.0.1'
const START_TIME_LIMIT_MS = 30_000
/** Ten thousand sessions are written in seconds. */
const QUIET_TIME_LIMIT_MS = 120_000
const QUIET_LOOK_MS = 250
/** pino's number for `warn`. */
const WARN_LEVEL = 40

/** What `RunningSystem.address` holds, as JSON. */
export interface RollcallAddress {
  readonly wsUrls: readonly string[]
  readonly jwtSecret: string
  readonly issuedAtSeconds: number
}

interface LogLine {
  readonly level: number
  readonly msg: string
  readonly error?: unknown
}

interface Node extends Launched {
  readonly url: string
}

export async function startCluster(nodeCount: number): Promise<RunningSystem> {
  if (!existsSync(MAIN)) throw new Error('There is no dist/main.js: run `npm run build` first.')
  installServers()
  const cleanups: (() => Promise<unknown>)[] = []
  const stop = async (): Promise<void> => {
    for (const clean of cleanups.splice(0).reverse()) await clean()
  }
  try {
    const database = await startPostgres()
    cleanups.push(database.stop)
    const redis = await startRedis()
    cleanups.push(redis.stop)
    const jwtSecret = randomBytes(32).toString('hex')
    const metricsToken = randomBytes(16).toString('hex')
    const settings = {
      NODE_ENV: 'production',
      HOST,
      DATABASE_URL: database.url,
      REDIS_URL: redis.url,
      JWT_SECRET: jwtSecret,
      METRICS_TOKEN: metricsToken,
    }
    const nodes = await Promise.all(
      Array.from({ length: nodeCount }, async () => {
        const node = await launchNode(settings)
        cleanups.push(node.kill)
        return node
      }),
    )
    await Promise.all(nodes.map(untilReady))
    const { pid: postgresPid, version } = await lookAtPostgres(database)
    const address: RollcallAddress = {
      wsUrls: nodes.map(({ url }) => `${url.replace('http', 'ws')}/graphql`),
      jwtSecret,
      issuedAtSeconds: Math.floor(Date.now() / 1000),
    }
    return {
      address: JSON.stringify(address),
      description: `Rollcall, ${nodeCount} nodes; Redis ${await versionOf(redis)}; Postgres ${version} without fsync`,
      parts: () => [
        ...nodes.map(({ child }, number) => ({ name: `Rollcall, node ${number + 1}`, pids: [Number(child.pid)] })),
        { name: 'Redis', pids: [Number(redis.child.pid)] },
        { name: 'Postgres, main process', pids: [postgresPid] },
        { name: 'Postgres, backends and workers', pids: childrenOf(postgresPid) },
      ],
      async untilQuiet() {
        const waitingCount = async (): Promise<number> => {
          const counts = await Promise.all(nodes.map((node) => recordsWaiting(node, metricsToken)))
          return Math.max(...counts)
        }
        await until(async () => (await waitingCount()) === 0, {
          withinMs: QUIET_TIME_LIMIT_MS,
          everyMs: QUIET_LOOK_MS,
          what: 'Every record in Postgres',
        })
      },
      complaints: () => nodes.flatMap((node, number) => complaintsOf(node, number + 1)),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

async function launchNode(settings: Readonly<Record<string, string>>): Promise<Node> {
  const port = await freePort(HOST)
  const launched = launch(process.execPath, [MAIN], {
    env: { PATH: process.env.PATH, ...settings, PORT: String(port) },
  })
  endWithUs(launched.child)
  return { ...launched, url: `http://${HOST}:${port}` }
}

async function untilReady({ url, hasEnded, output }: Node): Promise<void> {
  await until(
    async () => {
      if (hasEnded()) throw new Error(`A node ended:\n${output()}`)
      const answer = await fetch(`${url}/readyz`).catch(() => null)
      return answer?.ok
    },
    { withinMs: START_TIME_LIMIT_MS, everyMs: 50, what: `A node that is ready, at ${url},` },
  )
}

async function lookAtPostgres({ url }: PostgresServer): Promise<{ readonly pid: number; readonly version: string }> {
  const sql = postgres(url, { max: 1 })
  try {
    const [row] = await sql`select pg_read_file('postmaster.pid') as lock, current_setting('server_version') as version`
    return { pid: Number(String(row?.lock).split('\n')[0]), version: String(row?.version) }
  } finally {
    await sql.end()
  }
}

async function versionOf(redis: RedisServer): Promise<string> {
  return String(/redis_version:(\S+)/.exec(String(await command(redis, 'INFO', 'server')))?.[1])
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return text === '' ? [] : text.split(' ').map(Number)
}

async function recordsWaiting({ url }: Node, metricsToken: string): Promise<number> {
  const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${metricsToken}` } })
  return Number(/^rollcall_records_waiting (\d+)/m.exec(await answer.text())?.[1])
}

function complaintsOf({ output }: Node, number: number): string[] {
  return output()
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as LogLine)
    .filter(({ level }) => level >= WARN_LEVEL)
    .map(({ msg, error }) => `node ${number}: ${msg} ${error === undefined ? '' : JSON.stringify(error).slice(0, 300)}`)
}
