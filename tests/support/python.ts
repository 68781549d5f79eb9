/** Python with the package websockets, as the distribution has both: found, or installed once. */
import { spawnSync } from 'node:child_process'
import { aptWays, installBy } from './packages.ts'

const HOW_TO_INSTALL = 'websockets of Python is missing. Install python3-websockets (Debian).'
/** The distribution's own, whatever else is on the PATH: its packages are for it. */
const PYTHON = '/usr/bin/python3'

/**
 * Installs it where it is missing, and prints a line where it does.
 *
 * @returns the program
 * @throws Error it is missing and could not be installed
 */
export function installPython(): string {
  if (findPython() === null) {
    console.log("websockets of Python is missing: installing python3-websockets from the distribution's packages.")
    installBy(aptWays('python3-websockets'), { find: findPython, howToInstall: HOW_TO_INSTALL })
  }
  return PYTHON
}

function findPython(): string | null {
  return spawnSync(PYTHON, ['-c', 'import websockets'], { stdio: 'ignore' }).status === 0 ? PYTHON : null
}
