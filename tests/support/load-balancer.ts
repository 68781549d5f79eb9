/**
 * HAProxy with the configuration of examples/cluster, in front of three nodes: found on the PATH, or installed once.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from './redis-port.ts'
import type { TestServer } from './server.ts'
import { until } from './wait.ts'

export interface LoadBalancer extends TestServer {
  /** What it said: which node it took for down, and when for up again. */
  output(): string
}

const CONFIG = fileURLToPath(new URL('../../examples/cluster/haproxy.cfg', import.meta.url))
const HOW_TO_INSTALL = 'HAProxy is missing: haproxy is not on the PATH. Install haproxy (Debian, Homebrew, Fedora).'
const HOST = '127.0.0.1'
/** Where Debian puts it; a user's PATH may not lead there. */
const SYSTEM_FOLDER = '/usr/sbin'
const INSTALL_TIME_LIMIT_MS = 300_000
const START_TIME_LIMIT_MS = 15_000
const KEPT_OUTPUT_LENGTH = 20_000

/**
 * Installs HAProxy where it is missing, and prints a line where it does.
 *
 * @throws Error it is missing and could not be installed
 */
export function installLoadBalancer(): void {
  if (findProgram() !== null) return
  console.log("HAProxy is missing: installing haproxy from the distribution's packages.")
  const reasons: string[] = []
  // The lists of packages may be old, or not there at all.
  for (const isRenewing of [false, true]) {
    try {
      if (isRenewing) apt('update')
      apt('install', '-y', '--no-install-recommends', 'haproxy')
      stopService()
      if (findProgram() !== null) return
      reasons.push('The package holds no haproxy.')
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new Error(`${HOW_TO_INSTALL} Installing it failed:\n${reasons.join('\n')}`)
}

/** @returns when it passes requests on to a node */
export async function startLoadBalancer(nodes: readonly [string, string, string]): Promise<LoadBalancer> {
  const program = findProgram()
  if (program === null) throw new Error(HOW_TO_INSTALL)
  const place = `${HOST}:${await freePort(HOST)}`
  const [NODE_1, NODE_2, NODE_3] = nodes.map((url) => new URL(url).host)
  const child = spawn(program, ['-db', '-f', CONFIG], {
    env: { PATH: process.env.PATH, LISTEN: place, NODE_1, NODE_2, NODE_3 },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-KEPT_OUTPUT_LENGTH)
    })
  }
  child.once('error', (error) => {
    said += error.message
  })
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)

  async function stop(): Promise<void> {
    process.off('exit', killWithUs)
    if (hasEnded(child)) return
    const exited = once(child, 'exit')
    child.kill('SIGKILL')
    await exited
  }

  try {
    await until(
      () => {
        if (hasEnded(child)) throw new Error(`It ended with ${child.exitCode ?? child.signalCode}.`)
        return fetch(`http://${place}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        )
      },
      { withinMs: START_TIME_LIMIT_MS, everyMs: 20, what: 'A node behind it' },
    )
  } catch (error) {
    await stop()
    throw new Error(`HAProxy did not start at ${place}:\n${said}`, { cause: error })
  }
  return { url: `http://${place}`, wsUrl: `ws://${place}/graphql`, output: () => said, stop }
}

function findProgram(): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), SYSTEM_FOLDER].filter((folder) => folder !== '')
  return folders.map((folder) => join(folder, 'haproxy')).find(isExecutable) ?? null
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The package starts one of its own, where something starts services. */
function stopService(): void {
  try {
    execFileSync(join(SYSTEM_FOLDER, 'service'), ['haproxy', 'stop'], {
      stdio: 'ignore',
      timeout: INSTALL_TIME_LIMIT_MS,
    })
  } catch {
    // There is none.
  }
}

function apt(...args: readonly string[]): void {
  // Another run may be installing just now.
  execFileSync('apt-get', ['-o', 'DPkg::Lock::Timeout=120', ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: INSTALL_TIME_LIMIT_MS,
  })
}

function hasEnded(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}
