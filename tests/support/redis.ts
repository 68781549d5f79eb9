/**
 * Real Redis and Valkey servers for tests: one Redis a run, for tests that leave it whole, and as many more as tests
 * break. Sentinels and clusters of them are in files of their own.
 */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { command, type RedisProcess, startProcess } from './redis-process.ts'
import type { Product } from './redis-program.ts'
import { until } from './wait.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** A server that all tests of a run share: each keeps to a key prefix of its own. */
    redisUrl: string
  }
}

export interface RedisServer extends RedisProcess {
  /** Makes a replica a master, and lets it stay one when it is started again. */
  promote(): Promise<void>
}

export interface RedisOptions {
  /** As on the command line, and above the defaults: `['--appendonly', 'yes']` keeps data when it is killed. */
  readonly args?: readonly string[]
  /** Replicates this server, which speaks no TLS. */
  readonly replicaOf?: RedisServer
  /** Speaks TLS only, by a certificate for its address that is to be trusted by `caPath`. */
  readonly tls?: boolean
}

const SYNC_TIME_LIMIT_MS = 15_000

/** @returns when it answers; a replica, when it has its master's data */
export function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  return start('redis', options)
}

export function startValkey(options: RedisOptions = {}): Promise<RedisServer> {
  return start('valkey', options)
}

async function start(product: Product, { args = [], replicaOf, tls = false }: RedisOptions): Promise<RedisServer> {
  const running = await startProcess({
    product,
    args,
    settings: ({ folder, port }) => [
      'save ""',
      'appendonly no',
      // What a replica was sent lies in a file, by which it would not be empty when it is started again.
      'rdb-del-sync-files yes',
      // By default a master waits 5 s for more replicas before it sends its data.
      'repl-diskless-sync-delay 0',
      ...(replicaOf === undefined ? [] : [`replicaof ${replicaOf.host} ${replicaOf.port}`]),
      ...(tls ? tlsSettings(folder, port) : []),
    ],
    ...(tls ? { caPath: makeCertificate } : {}),
  })
  if (replicaOf !== undefined) await untilSynced(running)
  return Object.assign(running, {
    async promote() {
      await command(running, 'REPLICAOF', 'NO', 'ONE')
      await command(running, 'CONFIG', 'REWRITE')
    },
  })
}

async function untilSynced(replica: RedisProcess): Promise<void> {
  try {
    await until(async () => String(await command(replica, 'INFO', 'replication')).includes('master_link_status:up'), {
      withinMs: SYNC_TIME_LIMIT_MS,
      what: "Its master's data",
    })
  } catch (error) {
    const output = replica.output()
    await replica.stop()
    throw new Error(`The replica did not start on port ${replica.port}:\n${output}`, { cause: error })
  }
}

function tlsSettings(folder: string, port: number): string[] {
  return [
    'port 0',
    `tls-port ${port}`,
    `tls-cert-file ${certificatePath(folder)}`,
    `tls-key-file ${keyPath(folder)}`,
    `tls-ca-cert-file ${certificatePath(folder)}`,
    'tls-auth-clients no',
  ]
}

/** @returns the path of the certificate, which signed itself */
function makeCertificate(folder: string): string {
  execFileSync(
    'openssl',
    [
      ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'],
      ...['-subj', '/CN=Rollcall tests', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'],
      ...['-keyout', keyPath(folder), '-out', certificatePath(folder)],
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  )
  return certificatePath(folder)
}

function certificatePath(folder: string): string {
  return join(folder, 'certificate.pem')
}

function keyPath(folder: string): string {
  return join(folder, 'key.pem')
}
