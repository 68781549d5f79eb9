/** Tools that type an app's documents, set up as docs/clients.md says, in an app of its own folder. */
import { execFile } from 'node:child_process'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { buildSchema, isScalarType, isSpecifiedScalarType } from 'graphql'
import { beforeAll, describe, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../../support/cleanup.ts'

const run = promisify(execFile)
/** Compilers take their fifteen seconds, and far more beside all other tests. */
const TOOL_TIME_LIMIT_MS = 240_000
const root = fileURLToPath(new URL('../../../', import.meta.url))

/** What must compile, and what must not: `unknown` and `any` each break one of the lines. */
const USES = `
type LastActive = User['lastActive']
const known: LastActive[] = ['2026-01-31T09:30:00.000Z', null]
export const shown: (string | null)[] = known
// @ts-expect-error A moment is a text, no number.
export const wrong: LastActive = 0
// @ts-expect-error It may be null.
export const never: string = known[0] as LastActive
`

const BY_CODEGEN = `import { graphql } from './gql'
import type { OneQuery } from './gql/graphql'

export const One = graphql(\`query One($id: ID!) { user(id: $id) { id lastActive } }\`)
type User = NonNullable<OneQuery['user']>
${USES}`

const BY_TADA = `import type { ResultOf } from 'gql.tada'
import { graphql } from './graphql'

export const One = graphql(\`query One($id: ID!) { user(id: $id) { id lastActive } }\`)
type User = NonNullable<ResultOf<typeof One>['user']>
${USES}`

const PLAIN_TSCONFIG = JSON.stringify({
  compilerOptions: { strict: true, module: 'esnext', moduleResolution: 'bundler', noEmit: true, types: [] },
  include: ['src'],
})

describe('an app', () => {
  const cleanups = cleanupsAfterEach()
  let documentation = ''
  beforeAll(async () => {
    documentation = await readFile(join(root, 'docs/clients.md'), 'utf8')
  })

  /** @returns the block of docs/clients.md that is marked as this file */
  function documented(file: string): string {
    const [, text] = documentation.split(`<!-- tested: ${file} -->\n`)
    return String(/^```\w+\n([\s\S]*?)```/.exec(String(text))?.[1])
  }

  /** @param packages - linked from the repository, under the names by which the app knows them */
  async function createApp(files: Record<string, string>, packages: Record<string, string>): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'rollcall-typed-'))
    cleanups.push(() => rm(folder, { recursive: true, force: true }))
    for (const file of ['schema.graphql', 'scalars.json']) await copyFile(join(root, file), join(folder, file))
    for (const [path, text] of Object.entries({ 'package.json': '{ "type": "module" }', ...files })) {
      await mkdir(dirname(join(folder, path)), { recursive: true })
      await writeFile(join(folder, path), text)
    }
    for (const [name, source] of Object.entries(packages)) {
      await mkdir(dirname(join(folder, 'node_modules', name)), { recursive: true })
      await symlink(join(root, 'node_modules', source), join(folder, 'node_modules', name))
    }
    return folder
  }

  /** @throws what the compiler prints */
  async function checkTypes(folder: string, typescript: string): Promise<void> {
    const tsc = join(root, 'node_modules', typescript, 'bin/tsc')
    await run(process.execPath, [tsc, '-p', folder]).catch(({ stdout, message }) => {
      throw new Error(`${stdout}${message}`)
    })
  }

  it('has every scalar of the schema in scalars.json', async () => {
    const schema = buildSchema(await readFile(join(root, 'schema.graphql'), 'utf8'))
    const custom = Object.values(schema.getTypeMap()).filter(
      (type) => isScalarType(type) && !isSpecifiedScalarType(type),
    )
    const scalars = JSON.parse(await readFile(join(root, 'scalars.json'), 'utf8')) as object
    expect(Object.keys(scalars)).toEqual(custom.map(({ name }) => name))
  })

  it('has moments as texts by the client preset of graphql-codegen', { timeout: TOOL_TIME_LIMIT_MS }, async () => {
    const folder = await createApp(
      { 'codegen.ts': documented('codegen.ts'), 'src/user.ts': BY_CODEGEN, 'tsconfig.json': PLAIN_TSCONFIG },
      {
        '@graphql-codegen': '@graphql-codegen',
        '@graphql-typed-document-node': '@graphql-typed-document-node',
        graphql: 'graphql',
      },
    )
    await run(process.execPath, [join(root, 'node_modules/@graphql-codegen/cli/esm/bin.js')], { cwd: folder })
    await checkTypes(folder, 'typescript')
  })

  it('has moments as texts by gql.tada', { timeout: TOOL_TIME_LIMIT_MS }, async () => {
    const folder = await createApp(
      {
        'tsconfig.json': documented('tsconfig.json'),
        'src/graphql.ts': documented('src/graphql.ts'),
        'src/user.ts': BY_TADA,
      },
      // The TypeScript of the app: its command does not run with 7.
      { typescript: 'typescript-6', graphql: 'graphql' },
    )
    // Copied, for a linked package would find the TypeScript of the repository.
    for (const name of ['gql.tada', '@gql.tada', '@0no-co']) {
      await cp(join(root, 'node_modules', name), join(folder, 'node_modules', name), { recursive: true })
    }
    const cli = join(folder, 'node_modules/gql.tada/bin/cli.js')
    await run(process.execPath, [cli, 'generate-output'], { cwd: folder })
    await checkTypes(folder, 'typescript')
  })
})
