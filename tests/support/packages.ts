/** Programs of the distribution that tests run: found in folders, or installed once before a run. */
import { execFileSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** How long one step of an installation may take. */
export const INSTALL_TIME_LIMIT_MS = 300_000
/** Another run may be installing just now. */
const LOCK_WAIT = ['-o', 'DPkg::Lock::Timeout=120']

/** @returns the first of these names that can be run, on the PATH or in one of the other folders */
export function findProgram(names: readonly string[], otherFolders: readonly string[] = []): string | null {
  const folders = [...(process.env.PATH ?? '').split(delimiter), ...otherFolders].filter((folder) => folder !== '')
  for (const name of names) {
    const path = folders.map((folder) => join(folder, name)).find(isExecutable)
    if (path !== undefined) return path
  }
  return null
}

/**
 * Tries one way after the other until the program is there.
 *
 * @throws Error with what went wrong on each way
 */
export function installBy(
  ways: readonly (() => void)[],
  wanted: { readonly find: () => string | null; readonly howToInstall: string },
): void {
  const reasons: string[] = []
  for (const way of ways) {
    try {
      way()
      if (wanted.find() !== null) return
      reasons.push('The package does not hold it.')
    } catch (error) {
      reasons.push(error instanceof Error ? error.message : String(error))
    }
  }
  throw new Error(`${wanted.howToInstall} Installing it failed:\n${reasons.join('\n')}`)
}

/** Ends what a package started by itself as it was installed. */
export function stopService(name: string): void {
  try {
    execFileSync('/usr/sbin/service', [name, 'stop'], { stdio: 'ignore', timeout: INSTALL_TIME_LIMIT_MS })
  } catch {
    // There is none.
  }
}

/** By the lists of packages as they are; then by new ones, for they may be old, or not there at all. */
export function aptWays(debianPackage: string): (() => void)[] {
  return [
    () => aptInstall(debianPackage),
    () => {
      apt('update')
      aptInstall(debianPackage)
    },
  ]
}

export function aptInstall(debianPackage: string, sources: readonly string[] = []): void {
  apt(...sources, 'install', '-y', '--no-install-recommends', debianPackage)
}

export function apt(...args: readonly string[]): string {
  return execFileSync('apt-get', [...LOCK_WAIT, ...args], {
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
    encoding: 'utf8',
    timeout: INSTALL_TIME_LIMIT_MS,
  })
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
