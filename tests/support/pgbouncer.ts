/** pgbouncer in front of a Postgres: found on the PATH, or installed once. */
import { chmodSync, chownSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'
import { launchIn } from './launched.ts'
import { aptWays, findProgram, installBy, stopService } from './packages.ts'
import { until } from './wait.ts'

export interface Pooler {
  /** Of a database behind it. */
  urlOf(databaseUrl: string): string
  output(): string
  stop(): Promise<void>
}

const HOST = '127.0.0.1'
/** It refuses to run as root, so root runs it as `nobody`. */
const NOBODY_ID = 65_534
const SYSTEM_FOLDER = '/usr/sbin'
const HOW_TO_INSTALL = 'pgbouncer is missing: it is not on the PATH. Install pgbouncer (Debian, Homebrew, Fedora).'

/** @throws Error it is missing and could not be installed */
export function installPooler(): void {
  if (findPooler() !== null) return
  console.log("pgbouncer is missing: installing it from the distribution's packages.")
  const ways = aptWays('pgbouncer').map((install) => () => {
    install()
    stopService('pgbouncer')
  })
  installBy(ways, { find: findPooler, howToInstall: HOW_TO_INSTALL })
}

/** @param serverUrl - the Postgres whose databases it leads to */
export async function startPooler(
  serverUrl: string,
  settings: { readonly mode: 'transaction' | 'session'; readonly serverConnectionCount: number },
): Promise<Pooler> {
  const program = findPooler()
  if (program === null) throw new Error(HOW_TO_INSTALL)
  const server = new URL(serverUrl)
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-pgbouncer-'))
  const port = await freePort(HOST)
  const configFile = join(folder, 'pgbouncer.ini')
  writeFileSync(
    configFile,
    [
      '[databases]',
      `* = host=${server.hostname} port=${server.port} user=${server.username}`,
      '[pgbouncer]',
      `listen_addr = ${HOST}`,
      `listen_port = ${port}`,
      'unix_socket_dir =',
      'auth_type = any',
      `pool_mode = ${settings.mode}`,
      `default_pool_size = ${settings.serverConnectionCount}`,
      'max_client_conn = 100',
    ].join('\n'),
  )
  const identity = process.getuid?.() === 0 ? { uid: NOBODY_ID, gid: NOBODY_ID } : {}
  if (identity.uid !== undefined) {
    chmodSync(folder, 0o711)
    chownSync(configFile, identity.uid, identity.gid)
  }
  const { output, hasEnded, stop } = launchIn(folder, program, [configFile], identity)

  try {
    await until(
      () => {
        if (hasEnded()) throw new Error('It ended.')
        return output().includes('process up')
      },
      { what: 'pgbouncer' },
    )
  } catch (error) {
    await stop()
    throw new Error(`pgbouncer did not start on port ${port}:\n${output()}`, { cause: error })
  }
  return {
    urlOf(databaseUrl) {
      const url = new URL(databaseUrl)
      url.host = `${HOST}:${port}`
      return url.href
    },
    output,
    stop,
  }
}

function findPooler(): string | null {
  return findProgram(['pgbouncer'], [SYSTEM_FOLDER])
}
