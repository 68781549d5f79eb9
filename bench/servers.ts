/** The servers that a run compares, and how each is started: as its users start it, in a process of its own. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { startPostgres } from '../tests/support/postgres.ts'
import { startRedis } from '../tests/support/redis.ts'
import { installServers } from '../tests/support/redis-program.ts'
import type { DialectName } from './load/commands.ts'
import { startNode, temporaryFolder, toBeUndone } from './processes.ts'

/** What tokens are signed with, and checked against by every server. */
export const SECRET = 'a-secret-of-the-benchmark-and-nobody-else'

const ROLLCALL = fromHere('../dist/main.js')
/** The young generation at its full size from the start: what a process has once does not count as its clients'. */
const DOOR_FLAGS = ['--expose-gc', '--min-semi-space-size=16', '--import', fromHere('measure/door.mjs')]

/** As in production, for all: graphql-js does more checks without. */
const PRODUCTION = { NODE_ENV: 'production', JWT_SECRET: SECRET }

interface Kind {
  readonly title: string
  /** Whether it needs what this machine may not have. */
  readonly isOptional?: boolean
  readonly dialect: DialectName
  readonly script: string
  readonly args?: readonly string[]
  readonly prepare?: () => Promise<Surroundings>
}

/** What a server needs beside itself. */
interface Surroundings {
  readonly settings: Readonly<Record<string, string>>
  remove(): Promise<unknown>
}

export const SERVERS = {
  rollcall: {
    title: 'Rollcall',
    dialect: 'graphql',
    script: ROLLCALL,
    prepare: withFolder,
  },
  'rollcall-redis': {
    title: 'Rollcall on Redis',
    isOptional: true,
    dialect: 'graphql',
    script: ROLLCALL,
    prepare: withPostgresAndRedis,
  },
  'socket-io': { title: 'Socket.IO', dialect: 'socketIo', script: peer('socket-io') },
  'socket-io-gathered': {
    title: 'Socket.IO, gathered',
    dialect: 'socketIo',
    script: peer('socket-io'),
    args: ['--gathered'],
  },
  'usual-stack': { title: 'Yoga + graphql-ws', dialect: 'graphql', script: peer('usual-stack') },
  'graphql-ws': { title: 'graphql-ws', dialect: 'graphql', script: peer('graphql-ws') },
  'bare-ws': { title: 'ws', dialect: 'bareWs', script: peer('bare-ws') },
} as const satisfies Record<string, Kind>

export type ServerName = keyof typeof SERVERS

export interface Server {
  readonly name: ServerName
  readonly dialect: DialectName
  readonly url: string
  readonly pid: number
  /** Collects its garbage. Only where it was started with a door. @returns bytes that its heap still has */
  collect(): Promise<{ readonly heapUsed: number; readonly external: number }>
  stop(): Promise<void>
}

export function isOptional(name: ServerName): boolean {
  return (SERVERS[name] as Kind).isOptional ?? false
}

export interface StartOptions {
  /** Whether its garbage can be collected from outside. */
  readonly hasDoor?: boolean
  /** Where it cannot be measured as it is shipped. */
  readonly settings?: Readonly<Record<string, string>>
  /** The main.js of another build. */
  readonly script?: string
}

export async function startServer(
  name: ServerName,
  { hasDoor = false, settings = {}, script = SERVERS[name].script }: StartOptions = {},
): Promise<Server> {
  const { dialect, args = [], prepare }: Kind = SERVERS[name]
  const surroundings = await prepare?.()
  const child = startNode(script, {
    args,
    environment: { ...PRODUCTION, ...surroundings?.settings, ...settings },
    flags: hasDoor ? DOOR_FLAGS : [],
  })
  const { port } = new URL(await child.said('url'))
  return {
    name,
    dialect,
    url: `http://127.0.0.1:${port}`,
    pid: child.pid,
    collect: async () => (await child.ask('collect')) as Awaited<ReturnType<Server['collect']>>,
    async stop() {
      await child.stop()
      await surroundings?.remove()
    },
  }
}

/** The packages that make up the peers, with the versions that are installed. */
export function versionsOfPeers(): Record<string, string> {
  const names = ['socket.io', 'graphql-yoga', 'graphql-ws', '@pothos/core', 'graphql', 'ws', 'jose']
  return Object.fromEntries(names.map((name) => [name, versionOf(name)]))
}

function versionOf(name: string): string {
  const { version } = JSON.parse(readFileSync(fromHere(`../node_modules/${name}/package.json`), 'utf8'))
  return String(version)
}

function fromHere(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url))
}

function peer(name: string): string {
  return fromHere(`../dist/bench/peers/${name}.js`)
}

/** What `/metrics` of Rollcall asks for. */
export const METRICS_TOKEN = 'the-metrics-of-the-benchmark'

/** The load is that of many users and addresses, and comes from few: its limits are counted, and far away. */
export const FAR_LIMITS = {
  USER_WORK_RATE: '1000000000',
  USER_WORK_BURST: '1000000000',
  ADDRESS_WORK_RATE: '1000000000',
  ADDRESS_WORK_BURST: '1000000000',
  SOCKET_FRAME_RATE: '1000000',
  SOCKETS_PER_ADDRESS: '1000000',
  HANDSHAKES_PER_ADDRESS: '100000',
}

/** In production rooms are closed that no token and no setting opens, and so are the metrics. */
const ROLLCALL_SETTINGS = { HOST: '127.0.0.1', PORT: '0', DEFAULT_ROOMS: '**', METRICS_TOKEN, ...FAR_LIMITS }

/** For the embedded Postgres. */
async function withFolder(): Promise<Surroundings> {
  const { path, remove } = temporaryFolder()
  return { settings: { ...ROLLCALL_SETTINGS, DATA_DIR: path }, remove }
}

async function withPostgresAndRedis(): Promise<Surroundings> {
  installServers()
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
  const stops = [toBeUndone(() => postgres.stop()), toBeUndone(() => redis.stop())]
  return {
    settings: { ...ROLLCALL_SETTINGS, DATABASE_URL: postgres.url, REDIS_URL: redis.url },
    remove: () => Promise.all(stops.map((stop) => stop())),
  }
}
