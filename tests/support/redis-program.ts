/**
 * The programs that tests run as Redis and Valkey servers: found on the PATH, or installed once before a run.
 *
 * Debian's packages of tools are enough: their check program is the server under another name. The packages of
 * servers would also start a service.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { apt, aptInstall, aptWays, findProgram, installBy } from './packages.ts'

export type Product = 'redis' | 'valkey'

export interface ServerProgram {
  readonly path: string
  /** What the program must be called by to be a server: it decides by its own name what it does. */
  readonly calledAs: string
}

const PRODUCTS = {
  redis: { name: 'Redis', programs: ['redis-server', 'redis-check-rdb'], package: 'redis-tools' },
  valkey: { name: 'Valkey', programs: ['valkey-server', 'valkey-check-rdb'], package: 'valkey-tools' },
} as const satisfies Record<Product, object>

const DEBIAN_KEYS = '/usr/share/keyrings/debian-archive-keyring.gpg'

/**
 * Installs what is missing. Prints a line where it does.
 *
 * Without Redis no test can run. Without Valkey, which not every release of a distribution has, only those of Valkey
 * fail, and say why.
 *
 * @throws Error Redis is missing and could not be installed
 */
export function installServers(): void {
  if (findServer('redis') === null) install('redis')
  if (findServer('valkey') !== null) return
  try {
    install('valkey')
  } catch (error) {
    console.warn(`The tests on Valkey will fail. ${error instanceof Error ? error.message : error}`)
  }
}

/** @throws Error it is not on the PATH */
export function serverProgram(product: Product): ServerProgram {
  const path = findServer(product)
  if (path === null) throw new Error(howToInstall(product))
  return { path, calledAs: `${product}-server` }
}

function findServer(product: Product): string | null {
  return findProgram(PRODUCTS[product].programs)
}

function howToInstall(product: Product): string {
  const { name, programs } = PRODUCTS[product]
  return (
    `${name} is missing: neither ${programs.join(' nor ')} is on the PATH. ` +
    `Install ${PRODUCTS[product].package} (Debian, Ubuntu) or ${product} (Homebrew, Fedora, Alpine).`
  )
}

function install(product: Product): void {
  const { name, package: debianPackage } = PRODUCTS[product]
  console.log(`${name} is missing: installing ${debianPackage} from the distribution's packages.`)
  const fromBackports = (): void => withBackports((sources) => aptInstall(debianPackage, sources))
  installBy([...aptWays(debianPackage), fromBackports], {
    find: () => findServer(product),
    howToInstall: howToInstall(product),
  })
}

/** The backports of this release of Debian, for one installation: the machine's own list of sources stays as it is. */
function withBackports(use: (sources: readonly string[]) => void): void {
  const mirror = apt('indextargets', '--format', '$(REPO_URI) $(CODENAME)', 'Created-By: Packages', 'Label: Debian')
    .split('\n')
    .map((line) => line.split(' '))
    .find(([, codename]) => codename !== undefined && /^[a-z]+$/.test(codename))
  if (mirror === undefined) throw new Error('No backports: the sources name no release of Debian.')
  const [uri, codename] = mirror
  const folder = mkdtempSync(join(tmpdir(), 'rollcall-sources-'))
  try {
    const list = join(folder, 'sources.list')
    const own = existsSync('/etc/apt/sources.list') ? readFileSync('/etc/apt/sources.list', 'utf8') : ''
    writeFileSync(list, `${own}\ndeb [signed-by=${DEBIAN_KEYS}] ${uri} ${codename}-backports main\n`)
    const sources = ['-o', `Dir::Etc::SourceList=${list}`]
    apt(...sources, 'update')
    use(sources)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
