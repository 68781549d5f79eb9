/** Runs relay-compiler over the documents, as an app's build does, and loads what it wrote. */
import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import type { ConcreteRequest, ReaderFragment } from 'relay-runtime'

const run = promisify(execFile)
const compiler = createRequire(import.meta.url).resolve('relay-compiler/cli.js')
const schema = fileURLToPath(new URL('../../../../schema.graphql', import.meta.url))
const documents = fileURLToPath(new URL('./documents.ts', import.meta.url))

/** https://relay.dev/docs/getting-started/compiler-config, with the one scalar that the schema has. */
const CONFIG = {
  src: './src',
  schema: './schema.graphql',
  language: 'typescript',
  artifactDirectory: './artifacts',
  eagerEsModules: true,
  useImportTypeSyntax: true,
  customScalarTypes: { DateTime: 'string' },
  requireCustomScalarTypes: true,
}

export interface Artifacts {
  readonly folder: string
  request(name: string): Promise<ConcreteRequest>
  fragment(name: string): Promise<ReaderFragment>
}

export async function compileDocuments(): Promise<Artifacts & { drop(): Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'rollcall-relay-'))
  const folder = join(root, 'artifacts')
  await Promise.all([mkdir(folder), mkdir(join(root, 'src'))])
  await copyFile(schema, join(root, 'schema.graphql'))
  await copyFile(documents, join(root, 'src', 'documents.ts'))
  await writeFile(join(root, 'relay.config.json'), JSON.stringify(CONFIG))
  // It looks for its folders where it is started, whatever the path of its configuration.
  await run(process.execPath, [compiler, '--noWatchman'], { cwd: root })

  async function load(name: string): Promise<unknown> {
    return ((await import(pathToFileURL(join(folder, `${name}.graphql.ts`)).href)) as { default: unknown }).default
  }
  return {
    folder,
    request: async (name) => (await load(name)) as ConcreteRequest,
    fragment: async (name) => (await load(name)) as ReaderFragment,
    drop: () => rm(dirname(folder), { recursive: true, force: true }),
  }
}
