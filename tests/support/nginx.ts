/** nginx in front of a server, with its defaults: found on the PATH, or installed once. */
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './free-port.ts'
import { launchIn } from './launched.ts'
import { aptWays, findProgram, installBy } from './packages.ts'
import type { TestServer } from './server.ts'
import { until } from './wait.ts'

const HOW_TO_INSTALL = 'nginx is missing: nginx is not on the PATH. Install nginx-light (Debian) or nginx.'
const HOST = '127.0.0.1'
/** Where Debian puts it; a user's PATH may not lead there. */
const SYSTEM_FOLDER = '/usr/sbin'
const START_TIME_LIMIT_MS = 15_000

/**
 * Installs nginx where it is missing, and prints a line where it does.
 *
 * @throws Error it is missing and could not be installed
 */
export function installNginx(): void {
  if (findNginx() !== null) return
  console.log("nginx is missing: installing nginx-light from the distribution's packages.")
  installBy(aptWays('nginx-light'), { find: findNginx, howToInstall: HOW_TO_INSTALL })
}

/**
 * @param settings - lines of `http` beside the one that says where to
 * @returns when it passes requests on
 */
export async function startNginx(
  server: Pick<TestServer, 'url'>,
  settings: readonly string[] = [],
): Promise<TestServer> {
  const program = findNginx()
  if (program === null) throw new Error(HOW_TO_INSTALL)
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-nginx-'))
  const place = `${HOST}:${await freePort(HOST)}`
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  writeFileSync(
    join(folder, 'nginx.conf'),
    [
      'daemon off;',
      // One process, which leaves no other behind when it is killed.
      'master_process off;',
      `pid ${folder}/nginx.pid;`,
      'events {}',
      'http {',
      'access_log off;',
      ...folders.map((name) => `${name}_temp_path ${folder}/${name};`),
      ...settings,
      `server { listen ${place}; location / { proxy_pass ${server.url}; } }`,
      '}',
    ].join('\n'),
  )
  const { child, output, hasEnded, stop } = launchIn(folder, program, [
    '-p',
    folder,
    '-e',
    'stderr',
    '-c',
    'nginx.conf',
  ])

  try {
    await until(
      () => {
        if (hasEnded()) throw new Error(`It ended with ${child.exitCode ?? child.signalCode}.`)
        return fetch(`http://${place}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        )
      },
      { withinMs: START_TIME_LIMIT_MS, everyMs: 20, what: 'An answer through nginx' },
    )
  } catch (error) {
    await stop()
    throw new Error(`nginx did not start at ${place}:\n${output()}`, { cause: error })
  }
  return { url: `http://${place}`, wsUrl: `ws://${place}/graphql`, stop }
}

function findNginx(): string | null {
  return findProgram(['nginx'], [SYSTEM_FOLDER])
}
