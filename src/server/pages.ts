/** The pages from the build: the demo at `/`, GraphiQL at `/graphql`, and what they load. */
import { readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The same folder from src/server and from dist/server. */
const BUILT = fileURLToPath(new URL('../../dist/web/', import.meta.url))

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.ttf': 'font/ttf',
  '.woff2': 'font/woff2',
}

export interface Pages {
  has(path: string): boolean
  /** @returns null if there is no such page */
  serve(path: string): Promise<Response | null>
}

const PAGES: Readonly<Record<string, string>> = { '/': 'page.html', '/graphql': 'graphiql.html' }

/** Pages turned off: none is served, and `/graphql` is the API alone. */
export const NO_PAGES: Pages = { has: () => false, serve: async () => null }

export function loadPages(): Pages {
  // Only listed files are ever read: a path from a request never becomes a path on the disk.
  const files = new Set(listFiles())

  function fileAt(path: string): string | null {
    const file = Object.hasOwn(PAGES, path) ? PAGES[path] : path.slice(1)
    if (file === undefined || !files.has(file) || (file.endsWith('.html') && !Object.hasOwn(PAGES, path))) return null
    return file
  }

  return {
    has: (path) => fileAt(path) !== null,

    async serve(path) {
      const file = fileAt(path)
      if (file === null) return null
      const isPage = file.endsWith('.html')
      return new Response(await readFile(`${BUILT}${file}`), {
        headers: {
          'content-type': CONTENT_TYPES[extname(file)] ?? 'application/octet-stream',
          // Asset names contain a hash of their content.
          'cache-control': isPage ? 'no-cache' : 'public, max-age=31536000, immutable',
          'x-content-type-options': 'nosniff',
          ...(isPage ? { 'content-security-policy': contentPolicy(path) } : {}),
        },
      })
    },
  }
}

function listFiles(): string[] {
  try {
    const entries = readdirSync(BUILT, { recursive: true, withFileTypes: true })
    return entries
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`.replaceAll('//', '/').slice(BUILT.length))
  } catch {
    // Not built, or left out on purpose: the API works without pages.
    return []
  }
}

function contentPolicy(path: string): string {
  // GraphiQL's editor writes its own styles while it runs, and its language workers start from blobs.
  const editor = path === '/graphql' ? "; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:" : ''
  return `default-src 'self'; img-src 'self' https: data:; font-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'${editor}`
}
