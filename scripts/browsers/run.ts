/**
 * Drives browsers through what people do with tabs, against a server with its default settings, and prints what the
 * server and others saw. The tables of docs/browsers.md are its output.
 *
 *     npm run browsers                    every engine
 *     npm run browsers -- firefox         one of them: chromium, firefox, webkit
 *
 * It needs `chromium`, `firefox-esr`, and `webkit2gtk-driver` with `xvfb` (the names of Debian's packages), and says so
 * where one is missing. It takes five minutes an engine, for it waits for what is gone to be offline.
 */
import { access, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { launch } from '../../tests/support/launched.ts'
import { until } from '../../tests/support/wait.ts'
import { goThrough, type PageKind, type Seen, watchWorld } from './cases.ts'
import { CHROMIUM, startChromium } from './chromium.ts'
import type { Engine } from './engine.ts'
import { FIREFOX, startFirefox } from './firefox.ts'
import { sayGoodbyes } from './goodbyes.ts'
import { serveStockPage } from './stock-page/serve.ts'
import { startWebKit, WEBKIT } from './webkit.ts'
import { openWire } from './wire.ts'

const ENGINES: Readonly<Record<string, { readonly needs: readonly string[]; start(): Promise<Engine> }>> = {
  chromium: { needs: [CHROMIUM], start: startChromium },
  firefox: { needs: [FIREFOX], start: startFirefox },
  webkit: { needs: WEBKIT, start: startWebKit },
}
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

const asked = process.argv.slice(2)
const names = asked.length === 0 ? Object.keys(ENGINES) : asked
for (const name of names) {
  const engine = ENGINES[name]
  if (engine === undefined) throw new Error(`There is no engine ${name}: ${Object.keys(ENGINES).join(', ')}.`)
  for (const path of engine.needs) await access(path)
}

await build({ logLevel: 'warn' })
const folder = await mkdtemp(join(tmpdir(), 'rollcall-browsers-'))
const server = launch(process.execPath, ['--import', 'tsx', MAIN], {
  // Nothing of the caller's: what is measured are the defaults.
  env: { PATH: process.env.PATH, HOST: '127.0.0.1', PORT: '0', DATA_DIR: join(folder, 'data') },
})
const port = await until(() => server.output().match(/"url":"http:\/\/[^:]+:(\d+)"/)?.[1], {
  what: `the server: ${server.output()}`,
  withinMs: 60_000,
})
const address = { url: `http://127.0.0.1:${port}`, wsUrl: `ws://127.0.0.1:${port}/graphql` }
const wire = await openWire(Number(port))
const stockPage = await serveStockPage()
const watcher = await watchWorld(address)

const { version } = createRequire(import.meta.url)('graphql-ws/package.json') as { version: string }
const KINDS: readonly PageKind[] = [
  {
    name: `A stock graphql-ws ${version} page`,
    url: (userId) => stockPage.url(`ws://127.0.0.1:${wire.port}/graphql`, userId),
    state: "document.getElementById('state')?.textContent ?? ''",
    isOnline: (state) => state === 'connected; I am online',
  },
  {
    name: "The project's page",
    url: (userId) => `http://127.0.0.1:${wire.port}/?user=${userId}`,
    state: "['own-state', 'freshness'].map((id) => document.getElementById(id)?.textContent).join(' ')",
    isOnline: (state) => state === 'You are shown as online. Live',
  },
]

const rows = new Map<string, string[]>(KINDS.map(({ name }) => [name, []]))
const ways: string[] = []
const goodbyes: string[] = []
try {
  for (const name of names) {
    const engine = await ENGINES[name]?.start()
    if (engine === undefined) continue
    ways.push(`${engine.name}: duplicated by ${engine.ways.duplicate}, frozen by ${engine.ways.freeze}.`)
    try {
      const { elsewhere } = stockPage
      await sayGoodbyes(
        engine,
        { server: address, page: elsewhere, elsewhere: `${elsewhere}?2` },
        ({ way, end, seen }) => {
          goodbyes.push(`| ${engine.name} | ${way} | ${end} | ${seen} |`)
          process.stderr.write(`${goodbyes.at(-1)}\n`)
        },
      )
      for (const kind of KINDS) {
        const world = { server: address, wire, elsewhere, changes: watcher.changes }
        await goThrough(engine, kind, world, (seen) => {
          const row = rowOf(engine.name, seen)
          rows.get(kind.name)?.push(row)
          process.stderr.write(`${kind.name} ${row}\n`)
        })
      }
    } finally {
      await engine.close()
    }
  }
} finally {
  await watcher.close()
  await stockPage.close()
  await wire.close()
  await server.kill()
  await rm(folder, { recursive: true, force: true })
}

for (const [name, found] of rows) {
  process.stdout.write(`\n### ${name}\n\n`)
  process.stdout.write('| engine | case | close code that the server saw | LEAVE seen after | what the page showed |\n')
  process.stdout.write(`| --- | --- | --- | --- | --- |\n${found.join('\n')}\n`)
}
process.stdout.write('\n### The last words of a page\n\n| engine | way | left by | seen |\n| --- | --- | --- | --- |\n')
process.stdout.write(`${goodbyes.join('\n')}\n`)
process.stdout.write(`\n${ways.join('\n')}\n`)

function rowOf(engine: string, seen: Seen): string {
  return `| ${engine} | ${seen.case} | ${seen.close} | ${seen.leave} | ${seen.showed} |`
}
