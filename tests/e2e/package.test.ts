/** The package as its users have it: packed, installed into an empty project, and run there. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { OWN_VERSION } from '../../src/own-version.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { post } from '../support/clients.ts'
import { launchIn } from '../support/launched.ts'
import { freshDatabase } from '../support/postgres.ts'
import { SECRET } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/**
 * The template of the embedded database is 40 MB of what is unpacked, 16 MB of them its first write-ahead log, and the
 * pages are 7 MB, most of them GraphiQL's editor. A tenth more of both is noticed.
 */
const MOST_UNPACKED_BYTES = 53_000_000
const MOST_PACKED_BYTES = 7_500_000
/** npm takes 13 s for 78 packages from its cache, and longer beside other tests. */
const INSTALL_TIME_LIMIT_MS = 180_000

interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly files: readonly { readonly path: string }[]
}

const cleanups = cleanupsAfterEach()
let project: string
let packed: Packed

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'rollcall-package-'))
  // Without `prepack`, which builds from nothing: other tests run what is in dist, and so does this one.
  const { stdout } = await npm(ROOT, 'pack', '--ignore-scripts', '--json', '--pack-destination', project)
  packed = JSON.parse(stdout)[0]
  await writeFile(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  await writeFile(join(project, 'package-lock.json'), JSON.stringify(lockOfDependencies()))
  await npm(project, 'install', '--prefer-offline', '--no-audit', '--no-fund', `./${packed.filename}`)
}, INSTALL_TIME_LIMIT_MS)

afterAll(() => rm(project, { recursive: true, force: true }))

/** @param folder - with `--prefix`, because npm tells programs that it runs, such as this one, where it runs itself */
function npm(folder: string, command: string, ...args: readonly string[]) {
  return run('npm', [command, ...args, '--prefix', folder, '--loglevel=error'], { cwd: folder })
}

/**
 * The versions that the other tests run with. `npm ci` has them all in npm's cache, so the registry need not answer. A
 * user of the package gets the newest ones that its ranges allow, which this does not show.
 */
function lockOfDependencies() {
  const { packages }: { packages: Readonly<Record<string, { dev?: boolean; link?: boolean }>> } = JSON.parse(
    readFileSync(join(ROOT, 'package-lock.json'), 'utf8'),
  )
  const needed = Object.entries(packages).filter(
    ([path, { dev, link }]) => path.startsWith('node_modules/') && !dev && !link,
  )
  return { lockfileVersion: 3, requires: true, packages: { '': {}, ...Object.fromEntries(needed) } }
}

/** @returns paths relative to the root of the repository */
function filesIn(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(ROOT.length))
}

const program = () => join(project, 'node_modules/.bin/rollcall')

async function ask(args: readonly string[], settings: Readonly<Record<string, string>> = {}) {
  const options = { cwd: project, env: { PATH: process.env.PATH, ...settings } }
  return await run(program(), args, options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  )
}

describe('the package', () => {
  it('has what runs and what describes it, and nothing else', () => {
    const built = filesIn('dist').filter((path) => !path.endsWith('.js.map'))
    const migrations = filesIn('drizzle').filter((path) => path.endsWith('.sql') || path.endsWith('_journal.json'))
    const described = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json', 'scalars.json', 'schema.graphql']
    expect(packed.files.map(({ path }) => path).sort()).toEqual([...built, ...migrations, ...described].sort())
    // What was compiled, and no source of it.
    const compiled = built.filter((path) => !/^dist\/(?:web|pglite-template)\//.test(path))
    expect(compiled.filter((path) => !/\.(?:js|d\.ts|lua)$/.test(path))).toEqual([])
    expect(migrations.length).toBeGreaterThan(1)
  })

  it('stays as large as it is', () => {
    expect(packed.unpackedSize).toBeLessThan(MOST_UNPACKED_BYTES)
    expect(packed.size).toBeLessThan(MOST_PACKED_BYTES)
  })

  it('serves from the folder in which it is called, and stops when it is told', { timeout: 120_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-called-'))
    const { child, output, hasEnded, stop } = launchIn(folder, program(), [], {
      env: { PATH: process.env.PATH, HOST: '127.0.0.1', PORT: '0', JWT_SECRET: SECRET },
    })
    cleanups.push(stop)
    const port = await until(
      () => {
        if (hasEnded()) throw new Error(output())
        return /"url":"http:\/\/localhost:(\d+)","graphql"/.exec(output())?.[1]
      },
      { withinMs: 60_000, what: 'the server of the package' },
    )
    const server = { url: `http://127.0.0.1:${port}` }
    const signed = await ask(['token', 'alice', '--name', 'Alice', '--rooms', 'team:*'], { JWT_SECRET: SECRET })
    expect(signed).toMatchObject({ code: 0, stderr: '' })
    const token = signed.stdout.trim()
    const beat = await post(server, token, 'mutation { heartbeat { viewer { isOnline } } }')
    expect(beat.data).toEqual({ heartbeat: { viewer: { isOnline: true } } })
    const list = await post(server, token, '{ onlineUsers { totalCount nodes { id name } } }')
    expect(list.data).toEqual({ onlineUsers: { totalCount: 1, nodes: [{ id: 'alice', name: 'Alice' }] } })
    const health = await fetch(`${server.url}/healthz`, { headers: { accept: 'application/json' } })
    expect(await health.json()).toEqual({ status: 'ok', version: OWN_VERSION })
    expect((await fetch(server.url)).headers.get('content-type')).toMatch(/^text\/html/)
    expect(existsSync(join(folder, 'data/postgres/PG_VERSION'))).toBe(true)

    const exited = once(child, 'exit')
    child.kill('SIGTERM')
    expect(await exited).toEqual([0, null])
  })

  it('brings the tables up to date', async () => {
    const database = await freshDatabase()
    cleanups.push(() => database.drop())
    const migrated = await ask(['migrate'], { DATABASE_URL: database.url })
    expect(migrated).toMatchObject({ code: 0, stdout: expect.stringContaining('The database has the newest schema.') })
    const sql = postgres(database.url, { max: 1 })
    cleanups.push(() => sql.end())
    const [row] = await sql`select count(*)::int as count from rollcall.migrations`
    expect(row?.count).toBe(filesIn('drizzle').filter((path) => path.endsWith('.sql')).length)
  })

  it('tells its version and what it can do', async () => {
    for (const option of ['--version', '-v']) {
      expect(await ask([option])).toEqual({ code: 0, stdout: `${OWN_VERSION}\n`, stderr: '' })
    }
    const help = await ask(['--help'])
    expect(help).toMatchObject({ code: 0, stderr: '' })
    for (const name of ['start', 'token', 'migrate', 'PORT', 'DATABASE_URL', 'REDIS_URL', 'JWT_SECRET', 'NODE_ENV']) {
      expect(help.stdout).toContain(name)
    }
    expect(await ask(['migrate', '-h'])).toEqual(help)
    expect(await ask(['token', '--help'])).toMatchObject({ code: 0, stdout: expect.stringContaining('--lifetime') })
  })

  it.each([
    [['stop'], '`stop` is no command: there are start, token and migrate. See `rollcall --help`.'],
    [[''], '`` is no command: there are start, token and migrate. See `rollcall --help`.'],
    [['--port', '80'], "Unknown option '--port'. See `rollcall --help`."],
    [['start', 'now'], '`rollcall start` takes no `now`. See `rollcall --help`.'],
    [['migrate', '--help=no'], "Option '-h, --help' does not take an argument. See `rollcall --help`."],
    [['token'], 'A token is for one user: `rollcall token USER_ID`. See `rollcall token --help`.'],
    [['token', 'alice', '--lifetime', 'long'], '--lifetime must be a time like 30m, 1h or 7d, not `long`.'],
    [['token', 'alice', '--role', 'admin'], '--role must be member or service, not `admin`.'],
    [['token', 'a'.repeat(129)], 'USER_ID must be 1 to 128 bytes of UTF-8 without control characters.'],
  ])('refuses %j in a sentence', async (args, message) => {
    expect(await ask(args, { JWT_SECRET: SECRET })).toEqual({ code: 1, stdout: '', stderr: `${message}\n` })
  })

  it.each(['start', 'migrate', 'token'])('names a setting that %s cannot use', async (command) => {
    const refused = await ask([command, ...(command === 'token' ? ['alice'] : [])], { LOG_LEVEL: 'loud' })
    expect(refused).toMatchObject({ code: 1, stdout: '' })
    expect(refused.stderr).toMatch(/^The settings cannot be used:\n- LOG_LEVEL must be one of [^\n]+\n$/)
  })
})

/** What an app does with the package. It brings no logger, and checks the types of its packages too. */
const APP = `
import { type AppCaller, ConfigError, createRollcall, type Log, type Rollcall, type SettingTexts } from 'rollcall'

const settings: SettingTexts = { LOG_COUNT: '500', DATA_DIR: './data-of-the-app' }
const rollcall: Rollcall = createRollcall(settings)
await rollcall.ready
const answer: Response = await rollcall.fetch(new Request('http://localhost/readyz'))
process.stdout.write(await answer.text())
await rollcall.close()

export const log: Log = { debug() {}, info() {}, warn() {}, error() {} }
export const authenticate = async ({ request }: { request: Request }): Promise<AppCaller | null> =>
  request.headers.has('cookie') ? { userId: 'alice', rooms: ['lobby'] } : null
try {
  // @ts-expect-error A setting is a text.
  createRollcall({ PORT: 4000 }, log, { authenticate })
} catch (error) {
  if (error instanceof ConfigError) process.stdout.write(error.problems.join())
}
`

describe('an app that imports it', () => {
  it.each([
    ['typescript', 'nodenext'],
    ['typescript', 'node16'],
    ['typescript-6', 'nodenext'],
  ])('is compiled by %s with the resolution %s, and runs', { timeout: 120_000 }, async (compiler, resolution) => {
    await writeFile(join(project, 'app.ts'), APP)
    const options = {
      module: resolution,
      moduleResolution: resolution,
      target: 'es2022',
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      // Node's own types, which every such app has.
      types: ['node'],
      typeRoots: [join(ROOT, 'node_modules/@types')],
    }
    await writeFile(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['app.ts'] }))
    const compiled = run(process.execPath, [join(ROOT, 'node_modules', compiler, 'bin/tsc'), '-p', project])
    expect(await compiled.catch(({ stdout }) => ({ stdout, stderr: '' }))).toEqual({ stdout: '', stderr: '' })
    const { stdout } = await run(process.execPath, ['app.js'], { cwd: project, env: { PATH: process.env.PATH } })
    expect(stdout).toContain('"msg":"A setting has a new name; the next release takes the old name no longer."')
    expect(stdout).toMatch(/ready\nPORT must be a text, as in the environment\.$/)
  })
})
