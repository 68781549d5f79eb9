/**
 * A wall clock of a process's own, which a test sets while the process runs: by libfaketime, from the distribution's
 * package. The monotonic clock stays as it is, as where a host's clock is set, or a host sleeps.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { aptWays, installBy } from './packages.ts'

/** Debian's folders of libraries have a folder for each machine. */
const FOLDERS = ['/usr/lib', '/usr/lib64', '/usr/local/lib']
const LIBRARY = 'libfaketimeMT.so.1'
const HOW_TO_INSTALL = `${LIBRARY} is missing: install faketime (Debian, Ubuntu) or libfaketime (Fedora, Arch, Alpine).`

export interface FakeClock {
  /** For the environment of a process. */
  readonly environment: NodeJS.ProcessEnv
  /** From now on its wall clock is so far from the host's. */
  set(offsetMs: number): void
  remove(): void
}

/** Installs what is missing. Prints a line where it does. Where it cannot, the tests that need it fail and say why. */
export function installFaketime(): void {
  if (findLibrary() !== null) return
  console.log("libfaketime is missing: installing faketime from the distribution's packages.")
  try {
    installBy(aptWays('faketime'), { find: findLibrary, howToInstall: HOW_TO_INSTALL })
  } catch (error) {
    console.warn(`The tests of a stepped clock will fail. ${error instanceof Error ? error.message : error}`)
  }
}

/** @throws Error it is not installed */
export function openFakeClock(): FakeClock {
  const library = findLibrary()
  if (library === null) throw new Error(HOW_TO_INSTALL)
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-clock-'))
  const path = join(folder, 'offset')
  const set = (offsetMs: number): void =>
    writeFileSync(path, `${offsetMs < 0 ? '-' : '+'}${Math.abs(offsetMs) / 1000}\n`)
  set(0)
  return {
    environment: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: path,
      // It looks at the file each time, and not every ten seconds.
      FAKETIME_NO_CACHE: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    },
    set,
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

function findLibrary(): string | null {
  for (const folder of FOLDERS) {
    const machines = ['', ...list(folder).filter((name) => name.includes('-'))]
    for (const machine of machines) {
      const place = join(folder, machine, 'faketime')
      if (list(place).includes(LIBRARY)) return join(place, LIBRARY)
    }
  }
  return null
}

function list(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}
