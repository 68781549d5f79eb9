/**
 * HAProxy with the configuration of examples/cluster, in front of three nodes: found on the PATH, or installed once.
 */
import { fileURLToPath } from 'node:url'
import { freePort } from './free-port.ts'
import { launch } from './launched.ts'
import { aptWays, findProgram, installBy, stopService } from './packages.ts'
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
const START_TIME_LIMIT_MS = 15_000

/**
 * Installs HAProxy where it is missing, and prints a line where it does.
 *
 * @throws Error it is missing and could not be installed
 */
export function installLoadBalancer(): void {
  if (findHaproxy() !== null) return
  console.log("HAProxy is missing: installing haproxy from the distribution's packages.")
  const ways = aptWays('haproxy').map((install) => () => {
    install()
    stopService('haproxy')
  })
  installBy(ways, { find: findHaproxy, howToInstall: HOW_TO_INSTALL })
}

/** @returns when it passes requests on to a node */
export async function startLoadBalancer(nodes: readonly [string, string, string]): Promise<LoadBalancer> {
  const program = findHaproxy()
  if (program === null) throw new Error(HOW_TO_INSTALL)
  const place = `${HOST}:${await freePort(HOST)}`
  const [NODE_1, NODE_2, NODE_3] = nodes.map((url) => new URL(url).host)
  const { child, output, hasEnded, kill } = launch(program, ['-db', '-f', CONFIG], {
    env: { PATH: process.env.PATH, LISTEN: place, NODE_1, NODE_2, NODE_3 },
  })
  const killWithUs = (): void => void child.kill('SIGKILL')
  process.once('exit', killWithUs)

  async function stop(): Promise<void> {
    process.off('exit', killWithUs)
    await kill()
  }

  try {
    await until(
      () => {
        if (hasEnded()) throw new Error(`It ended with ${child.exitCode ?? child.signalCode}.`)
        return fetch(`http://${place}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        )
      },
      { withinMs: START_TIME_LIMIT_MS, everyMs: 20, what: 'A node behind it' },
    )
  } catch (error) {
    await stop()
    throw new Error(`HAProxy did not start at ${place}:\n${output()}`, { cause: error })
  }
  return { url: `http://${place}`, wsUrl: `ws://${place}/graphql`, output, stop }
}

function findHaproxy(): string | null {
  return findProgram(['haproxy'], [SYSTEM_FOLDER])
}
