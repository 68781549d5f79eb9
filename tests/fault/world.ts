/**
 * Three processes, one Redis, and a wire between each two that can be cut: where tests break things.
 *
 * Each process reaches Redis by a proxy of its own, so that one can be cut off alone.
 */
import { randomUUID } from 'node:crypto'
import type { SettingTexts } from '../../src/config.ts'
import { type ServerProcess, startProcess } from '../support/process.ts'
import { type RedisOptions, type RedisServer, startRedis } from '../support/redis.ts'
import { postgresData } from '../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

export interface Node {
  /** The process that runs now; after `kill` the last one. */
  process(): ServerProcess
  url(): string
  wsUrl(): string
  /** What lies between it and Redis. */
  readonly wire: TcpProxy
  isAlive(): boolean
  kill(): Promise<void>
  restart(): Promise<void>
  /** What it logged, over all of its lives. */
  readonly lines: Record<string, unknown>[]
}

export interface World {
  readonly nodes: readonly Node[]
  readonly redis: RedisServer
  /** What their keys lie under. */
  readonly app: string
  readonly databaseUrl: string
  /** What lies between all of them and Postgres, where it was asked for. */
  readonly databaseWire: TcpProxy | null
  close(): Promise<void>
}

export interface WorldOptions {
  readonly nodeCount?: number
  readonly settings?: SettingTexts
  readonly redis?: RedisOptions
  readonly isDatabaseWired?: boolean
  /** Of the nodes' processes, beside their settings. */
  readonly environment?: NodeJS.ProcessEnv
}

export async function openWorld({
  nodeCount = 3,
  settings = {},
  redis: options = {},
  isDatabaseWired = false,
  environment = {},
}: WorldOptions = {}): Promise<World> {
  const [data, redis] = await Promise.all([postgresData(), startRedis(options)])
  const app = randomUUID()
  const databaseUrl = new URL(String(data.settings.DATABASE_URL))
  const far = { host: databaseUrl.hostname, port: Number(databaseUrl.port) }
  const databaseWire = isDatabaseWired ? await openTcpProxy(far) : null
  const wiredUrl = new URL(databaseUrl)
  if (databaseWire !== null) wiredUrl.port = String(databaseWire.port)

  async function startNode(): Promise<Node> {
    const wire = await openTcpProxy(redis)
    const lines: Record<string, unknown>[] = []
    const start = () =>
      startProcess(
        {
          DATABASE_URL: wiredUrl.href,
          REDIS_URL: `redis://127.0.0.1:${wire.port}`,
          REDIS_APP: app,
          SOCKETS_PER_USER: '10000',
          ...settings,
        },
        lines,
        environment,
      )
    let running = await start()
    let isAlive = true
    return {
      process: () => running,
      url: () => running.url,
      wsUrl: () => running.wsUrl,
      wire,
      isAlive: () => isAlive,
      lines,
      async kill() {
        isAlive = false
        await running.end('SIGKILL')
      },
      async restart() {
        running = await start()
        isAlive = true
      },
    }
  }

  const nodes = await Promise.all(Array.from({ length: nodeCount }, startNode))
  return {
    nodes,
    redis,
    app,
    databaseUrl: databaseUrl.href,
    databaseWire,
    async close() {
      // One that is stopped does not hear a softer word.
      await Promise.all(nodes.map((node) => node.process().end('SIGKILL')))
      await Promise.all(nodes.map((node) => node.wire.close()))
      await databaseWire?.close()
      await redis.stop()
      await data.drop()
    },
  }
}
