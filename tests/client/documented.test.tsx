/** Every block of code in the pages about the client kit: all are compiled as an app compiles them, and each is rendered. */
import './dom.ts'

import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { ApolloProvider } from '@apollo/client/react'
import { cleanup, render } from '@testing-library/react'
import { build } from 'esbuild'
import type { ComponentType, ReactElement, ReactNode } from 'react'
import { Provider } from 'urql'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { TestPresence } from '../../client/src/testing/index.ts'
import { until } from '../support/wait.ts'
import { installPage, removePage } from './dom.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const PAGES = ['README.md', 'docs/start.md', 'docs/recipes.md', 'client/README.md']

/** What the app around a component hands to it. */
const PROPS: Readonly<Record<string, object>> = {
  Members: { members: [{ id: 'bob', name: 'Bob' }] },
  Readers: { documentId: '7' },
  Everyone: {},
  Profile: { userId: 'bob' },
  MyStatus: {},
  Viewers: { room: 'doc:7' },
  Freshness: {},
  SignOut: { onDone() {} },
  ApolloLobby: { room: 'lobby' },
  UrqlLobby: { room: 'lobby' },
}
/** What connects to a server: a browser test runs the App of docs/start.md. */
const CONNECTED = [
  'App',
  'App',
  'Presence',
  'Team',
  'SharedPresence',
  'follow',
  'createApolloClient',
  'createUrqlClient',
]
/** What stays outside of the bundle: there is one of each, the test's own too. */
const EXTERNAL = [
  'react',
  'react/jsx-runtime',
  '@testing-library/react',
  '@apollo/client',
  'urql',
  '@urql/*',
  'graphql',
]

interface Bundle {
  readonly blocks: readonly Readonly<Record<string, unknown>>[]
  createTestPresence(options: object): TestPresence
  readonly PresenceProvider: ComponentType<{ presence: TestPresence; children: ReactNode }>
}

describe('the blocks of the pages about the client kit', () => {
  let folder: string
  let bundle: Bundle
  beforeAll(async () => {
    installPage()
    // Within the project, so that packages are found from it.
    folder = await mkdtemp(join(ROOT, 'node_modules', '.documented-'))
    const pages = await Promise.all(PAGES.map((page) => readFile(join(ROOT, page), 'utf8')))
    const blocks = pages.flatMap((page) => [...page.matchAll(/```(tsx?)\n([\s\S]*?)```/g)])
    const names = blocks.map(([, extension], index) => `block-${index}.${extension}`)
    await Promise.all(blocks.map(([, , code], index) => writeFile(join(folder, String(names[index])), String(code))))
    await writeFile(
      join(folder, 'all.ts'),
      [
        ...names.map((name, index) => `import * as block${index} from './${name}'`),
        `export const blocks = [${names.map((_, index) => `block${index}`).join()}]`,
        "export { PresenceProvider } from '@rollcall/client/react'",
        "export { createTestPresence } from '@rollcall/client/testing'",
      ].join('\n'),
    )
    await writeFile(
      join(folder, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          noUncheckedIndexedAccess: true,
          module: 'esnext',
          moduleResolution: 'bundler',
          target: 'es2022',
          lib: ['es2023', 'dom', 'dom.iterable'],
          jsx: 'react-jsx',
          types: ['react'],
          noEmit: true,
          allowImportingTsExtensions: true,
        },
      }),
    )
    const outfile = join(folder, 'all.mjs')
    await build({
      entryPoints: [join(folder, 'all.ts')],
      bundle: true,
      format: 'esm',
      jsx: 'automatic',
      external: EXTERNAL,
      outfile,
      logLevel: 'silent',
    })
    bundle = await import(/* @vite-ignore */ pathToFileURL(outfile).href)
  })
  afterEach(() => {
    vi.restoreAllMocks()
    cleanup()
  })
  afterAll(async () => {
    await rm(folder, { recursive: true, force: true })
    removePage()
  })

  it('compile', { timeout: 60_000 }, async () => {
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
    const result = await promisify(execFile)(process.execPath, [tsc, '-p', folder]).catch((error) => error)
    expect(result.stdout).toBe('')
  })

  it('are all known', () => {
    const names = bundle.blocks
      .flatMap((block) => Object.keys(block))
      .map((name) => (name === 'default' ? 'App' : name))
    expect(names.sort()).toEqual([...Object.keys(PROPS), ...CONNECTED, 'testOfADot'].sort())
  })

  /** Around a component of Apollo or urql stands its client, by the function of the same block. */
  function around(name: string, presence: TestPresence, component: ReactElement): ReactElement {
    const make = bundle.blocks.find((block) => name in block) as any
    const at = ['http://localhost:1/graphql', () => 'dev:alice'] as const
    if (make.createApolloClient)
      return <ApolloProvider client={make.createApolloClient(presence, ...at)}>{component}</ApolloProvider>
    if (make.createUrqlClient) return <Provider value={make.createUrqlClient(presence, ...at)}>{component}</Provider>
    return component
  }

  it.each(Object.keys(PROPS))('render: %s', async (name) => {
    const onlineUsers = {
      __typename: 'OnlineUsersConnection',
      position: '1',
      nodes: [{ __typename: 'User', id: 'bob' }],
    }
    Object.assign(onlineUsers.nodes[0] as object, { name: 'Bob', status: 'ONLINE' })
    vi.spyOn(globalThis, 'fetch').mockImplementation(async () => Response.json({ data: { onlineUsers } }))
    const Component = bundle.blocks.find((block) => name in block)?.[name] as ComponentType
    const presence = bundle.createTestPresence({ me: { id: 'alice' }, users: [{ id: 'bob' }] })
    for (const id of ['alice', 'bob']) presence.show({ id, rooms: ['lobby'] })
    presence.become(name === 'Freshness' ? 'stale' : 'live')
    const { PresenceProvider } = bundle
    const { container } = render(
      <PresenceProvider presence={presence}>{around(name, presence, <Component {...PROPS[name]} />)}</PresenceProvider>,
    )
    await until(() => container.textContent !== '')
  })

  it('test what they say they test', () => {
    const test = bundle.blocks.find((block) => 'testOfADot' in block)?.testOfADot as () => void
    test()
  })
})
