/**
 * The size of the client kit as a page loads it: bundled and minified by esbuild for browsers, compressed by brotli.
 *
 * `tsx scripts/kit-size.ts` prints it; with `--check` it fails beyond the bounds.
 */
import { brotliCompressSync } from 'node:zlib'
import { build } from 'esbuild'

interface Part {
  readonly name: string
  readonly source: string
  /** In KB of 1,000 bytes. */
  readonly bound: number
}

/** What the app has already. */
const PEERS = ['react', 'react-dom', '@apollo/client', 'rxjs', 'graphql', '@urql/core', 'wonka']

const PARTS: readonly Part[] = [
  { name: 'the core', source: `export { createPresence } from '@rollcall/client'`, bound: 9 },
  { name: "with React's binding", source: `export * from '@rollcall/client/react'`, bound: 10.5 },
  {
    name: "with Apollo Client's binding",
    source: `export { createPresence } from '@rollcall/client'; export * from '@rollcall/client/apollo'`,
    bound: 11,
  },
  {
    name: "with urql's binding",
    source: `export { createPresence } from '@rollcall/client'; export * from '@rollcall/client/urql'`,
    bound: 11,
  },
  {
    name: 'with a shared socket',
    source: `export { createPresence } from '@rollcall/client'; export * from '@rollcall/client/shared'`,
    bound: 10,
  },
  { name: 'the worker of a shared socket', source: `import '@rollcall/client/worker'`, bound: 8 },
]

export async function sizeKb({ source }: Pick<Part, 'source'>): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: import.meta.dirname },
    bundle: true,
    write: false,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    external: PEERS,
    logLevel: 'silent',
  })
  return brotliCompressSync(outputFiles[0]?.contents ?? '').byteLength / 1000
}

let isOver = false
for (const part of PARTS) {
  const kb = await sizeKb(part)
  if (kb > part.bound) isOver = true
  process.stdout.write(`${part.name}: ${kb.toFixed(2)} KB, at most ${part.bound}\n`)
}
if (isOver && process.argv.includes('--check')) process.exitCode = 1
