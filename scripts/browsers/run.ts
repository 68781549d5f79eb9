/**
 * Drives browsers through what people do with tabs, against a server with its default settings, and prints what the
 * server and others saw. The tables of docs/browsers.md are its output.
 *
 *     npm run browsers                    every engine
 *     npm run browsers -- firefox         one of them: chromium, firefox, webkit
 *     npm run browsers -- --cases people  some of the cases: goodbyes, stock, own, people
 *
 * It needs `chromium`, `firefox-esr`, and `webkit2gtk-driver` with `xvfb` (the names of Debian's packages), and says so
 * where one is missing. It takes ten minutes an engine, for it waits for what is gone to be offline.
 */
import { access, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'vite'
import { launch } from '../../tests/support/launched.ts'
import { until } from '../../tests/support/wait.ts'
import { goThrough, type PageKind, type Seen, watchWorld } from './cases.ts'
import { CHROMIUM, startChromium } from './chromium.ts'
import type { Engine, EngineOptions } from './engine.ts'
import { FIREFOX, startFirefox } from './firefox.ts'
import { sayGoodbyes } from './goodbyes.ts'
import { goThroughBlockedStorage, goThroughPeople, type SeenCase } from './people.ts'
import { serveStockPage } from './stock-page/serve.ts'
import { startWebKit, WEBKIT } from './webkit.ts'
import { openWire } from './wire.ts'

const ENGINES: Readonly<
  Record<string, { readonly needs: readonly string[]; start(options?: EngineOptions): Promise<Engine> }>
> = {
  chromium: { needs: [CHROMIUM], start: startChromium },
  firefox: { needs: [FIREFOX], start: startFirefox },
  webkit: { needs: WEBKIT, start: startWebKit },
}
const MAIN = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { cases: { type: 'string', default: 'goodbyes,stock,own,people' } },
})
const cases = values.cases.split(',')
const names = positionals.length === 0 ? Object.keys(ENGINES) : positionals
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
const OWN_PAGE: PageKind = {
  name: "The project's page",
  url: (userId) => `http://127.0.0.1:${wire.port}/?user=${userId}`,
  state: "['own-state', 'freshness'].map((id) => document.getElementById(id)?.textContent).join(' ')",
  isOnline: (state) => state === 'You are shown as online. Live',
}
const STOCK_PAGE: PageKind = {
  name: `A stock graphql-ws ${version} page`,
  url: (userId) => stockPage.url(`ws://127.0.0.1:${wire.port}/graphql`, userId),
  state: "document.getElementById('state')?.textContent ?? ''",
  isOnline: (state) => state === 'connected; I am online',
}
const KINDS = [...(cases.includes('stock') ? [STOCK_PAGE] : []), ...(cases.includes('own') ? [OWN_PAGE] : [])]

const rows = new Map<string, string[]>(KINDS.map(({ name }) => [name, []]))
const people: string[] = []
const ways: string[] = []
const goodbyes: string[] = []
try {
  for (const name of names) {
    let canBlockStorage = false
    await drive(name, async (engine) => {
      canBlockStorage = engine.ways.blockStorage !== null
      const { duplicate, freeze, console, offline, blockStorage } = engine.ways
      ways.push(
        `${engine.name}: duplicated by ${duplicate}, frozen by ${freeze}, consoles read by ${console ?? 'nothing'}, offline by ${offline ?? 'nothing'}, storage blocked by ${blockStorage ?? 'nothing'}.`,
      )
      const { elsewhere } = stockPage
      if (cases.includes('goodbyes')) {
        await sayGoodbyes(engine, { server: address, page: elsewhere, elsewhere: `${elsewhere}?2` }, (goodbye) => {
          goodbyes.push(`| ${engine.name} | ${goodbye.way} | ${goodbye.end} | ${goodbye.seen} |`)
          process.stderr.write(`${goodbyes.at(-1)}\n`)
        })
      }
      for (const kind of KINDS) {
        const complaints = complaintsOf(engine)
        await goThrough(engine, kind, { server: address, wire, elsewhere, changes: watcher.changes }, (seen) => {
          const row = rowOf(engine.name, seen, complaints())
          rows.get(kind.name)?.push(row)
          process.stderr.write(`${kind.name} ${row}\n`)
        })
      }
      if (cases.includes('people')) await goThroughPeople(engine, { server: address, wire }, tellPeople(engine))
    })
    if (!cases.includes('people') || !canBlockStorage) continue
    await drive(name, (engine) => goThroughBlockedStorage(engine, { server: address, wire }, tellPeople(engine)), {
      blocksStorage: true,
    })
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
  process.stdout.write(
    '| engine | case | close code that the server saw | LEAVE seen after | what the page showed | console errors |\n',
  )
  process.stdout.write(`| --- | --- | --- | --- | --- | --- |\n${found.join('\n')}\n`)
}
process.stdout.write('\n### Two people\n\n| engine | case | what the page showed | console errors |\n')
process.stdout.write(`| --- | --- | --- | --- |\n${people.join('\n')}\n`)
process.stdout.write('\n### The last words of a page\n\n| engine | way | left by | seen |\n| --- | --- | --- | --- |\n')
process.stdout.write(`${goodbyes.join('\n')}\n`)
process.stdout.write(`\n${ways.join('\n')}\n`)

async function drive(
  name: string,
  through: (engine: Engine) => Promise<void>,
  options: EngineOptions = {},
): Promise<void> {
  const engine = await ENGINES[name]?.start(options)
  if (engine === undefined) return
  try {
    await through(engine)
  } finally {
    await engine.close()
  }
}

function rowOf(engine: string, seen: Seen, complaints: string): string {
  return `| ${engine} | ${seen.case} | ${seen.close} | ${seen.leave} | ${seen.showed} | ${complaints} |`
}

function tellPeople(engine: Engine): (seen: SeenCase) => void {
  const complaints = complaintsOf(engine)
  return (seen) => {
    people.push(`| ${engine.name} | ${seen.case} | ${seen.seen} | ${complaints()} |`)
    process.stderr.write(`${people.at(-1)}\n`)
  }
}

/** @returns the errors of the consoles since it was asked before, each once */
function complaintsOf(engine: Engine): () => string {
  let told = engine.complaints.length
  return () => {
    if (engine.ways.console === null) return '–'
    const since = engine.complaints.slice(told)
    told = engine.complaints.length
    const each = [...new Set(since)].map((text) => `${since.filter((one) => one === text).length} × ${text}`)
    return each.length === 0 ? 'none' : each.join('; ').replaceAll(/[|\n]/g, ' ')
  }
}
