/** What each entry of the kit makes an app load beside it. */
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, it } from 'vitest'

const SOURCES = fileURLToPath(new URL('../../client/src', import.meta.url))
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '.': [],
  './react': ['react', 'react/jsx-runtime'],
  './shared': [],
  './testing': [],
  './worker': [],
  './apollo': ['@apollo/client', '@apollo/client/utilities'],
  './urql': ['@urql/core'],
}

it.each(Object.entries(PACKAGES))('the entry %s loads no package but its own peers: %j', async (entry, packages) => {
  const { metafile } = await build({
    entryPoints: [`${SOURCES}/${entry}/index.ts`],
    bundle: true,
    packages: 'external',
    format: 'esm',
    jsx: 'automatic',
    metafile: true,
    write: false,
  })
  const loaded = Object.values(metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path))
  expect([...new Set(loaded)].sort()).toEqual(packages)
})
