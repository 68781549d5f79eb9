/**
 * An app whose tabs share a socket by the code of docs/recipes.md, as Vite builds it for its users. It is driven by the
 * query of its address, and has its presence in `window.presence`.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { serve } from '../support/serve.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TYPES: Readonly<Record<string, string>> = { '.html': 'text/html', '.js': 'text/javascript' }

const APP = `
import { createPresence } from '@rollcall/client'
import { sharedSocket } from '@rollcall/client/shared'

/* socket */
const asked = new URLSearchParams(location.search)
const presence = createPresence({
  url: String(asked.get('url')),
  token: async () => 'dev:' + asked.get('user'),
  ...(asked.has('alone') ? {} : { socket }),
})
const list = presence.onlineUsers()
list.subscribe(() => {})
presence.me.subscribe(() => {})
Object.assign(window, { presence, list })
`

export interface SharedApp {
  /** @param url - of the server's GraphQL, as pages reach it */
  page(user: string, url: string, more?: string): string
  readonly url: string
  stop(): Promise<void>
}

/** @param headers - of every page of the app, such as a policy of its contents */
export async function buildSharedApp(headers: Readonly<Record<string, string>> = {}): Promise<SharedApp> {
  // Within the project, so that packages are found from it.
  const folder = await mkdtemp(join(ROOT, 'node_modules', '.shared-app-'))
  await writeFile(
    join(folder, 'index.html'),
    '<!doctype html><title>Tabs</title><script type="module" src="/app.ts"></script>',
  )
  const recipes = await readFile(join(ROOT, 'docs/recipes.md'), 'utf8')
  const socket = /^const socket = sharedSocket\([\s\S]*?^\)$/m.exec(recipes)?.[0]
  if (socket === undefined) throw new Error('docs/recipes.md makes no shared socket.')
  await writeFile(join(folder, 'app.ts'), APP.replace('/* socket */', socket))
  await build({ root: folder, configFile: false, logLevel: 'error', build: { outDir: 'dist' } })
  const site = await serve(async (request, response) => {
    const { pathname } = new URL(String(request.url), 'http://site')
    const path = pathname === '/' ? '/index.html' : pathname
    if (path === '/elsewhere') return void response.end('Elsewhere')
    try {
      const body = await readFile(join(folder, 'dist', path))
      response.writeHead(200, { 'content-type': TYPES[extname(path)] ?? 'text/plain', ...headers })
      response.end(body)
    } catch {
      response.writeHead(path === '/favicon.ico' ? 204 : 404).end()
    }
  })
  return {
    url: site.url,
    page: (user, url, more = '') => `${site.url}/?user=${user}&url=${encodeURIComponent(url)}${more}`,
    async stop() {
      await site.stop()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
