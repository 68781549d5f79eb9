/** What may import what: the rooms of src, and the packages that each of them may know. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseSync } from 'vite'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../src', import.meta.url))

interface Rule {
  /** Rooms and files of `src`. A room may always import itself. */
  readonly rooms: readonly string[]
  /** By their names, with all that lies below. Parts of Node are `node:crypto`; `node:*` is all of them. */
  readonly packages: readonly string[]
}

/** A room is a folder, a folder within `stores` or `server`, or a file that lies in `src` itself. */
const RULES: Readonly<Record<string, Rule>> = {
  // The domain declares ports and knows no adapter. What it knows of Node is random ids.
  presence: { rooms: [], packages: ['node:crypto', 'sorted-btree'] },
  // A store knows the domain only.
  'stores/memory': { rooms: ['presence', 'slices.ts'], packages: ['node:crypto', 'lru-cache', 'sorted-btree'] },
  'stores/redis': {
    rooms: ['presence', 'versions.ts'],
    packages: ['node:*', 'graphql-redis-subscriptions', 'ioredis', 'lru-cache'],
  },
  db: {
    rooms: ['presence', 'config.ts'],
    packages: [
      'node:*',
      '@electric-sql/pglite',
      '@electric-sql/pglite-socket',
      'drizzle-orm',
      'lru-cache',
      'postgres',
      'tsx',
    ],
  },
  // It leads changes to their subscribers.
  fanout: { rooms: ['presence', 'slices.ts'], packages: ['node:crypto', 'lru-cache'] },
  // It executes documents, and does not know by which way they came.
  execution: {
    rooms: ['presence', 'resolvers', 'server/limits', 'config.ts'],
    packages: [
      'node:crypto',
      '@escape.tech/graphql-armor-max-aliases',
      '@escape.tech/graphql-armor-max-depth',
      '@pothos/plugin-complexity',
      'graphql',
      'lru-cache',
    ],
  },
  // A resolver reads its arguments and calls the domain.
  resolvers: { rooms: ['presence'], packages: ['graphql'] },
  // The schema declares shape and names resolvers.
  schema: { rooms: ['presence', 'resolvers'], packages: ['@pothos/core', '@pothos/plugin-complexity', 'graphql'] },
  // It is given the store, the database and the hub.
  server: {
    rooms: [
      'presence',
      'resolvers',
      'execution',
      'server/limits',
      'config.ts',
      'own-version.ts',
      'slices.ts',
      'web-origins.ts',
    ],
    packages: [
      'node:*',
      '@whatwg-node/server',
      'graphql',
      'graphql-ws',
      'graphql-yoga',
      'jose',
      'lru-cache',
      'prom-client',
      'ws',
    ],
  },
  'server/limits': { rooms: ['presence', 'server', 'config.ts', 'networks.ts', 'slices.ts'], packages: ['node:*'] },
  // It puts all parts together.
  process: {
    rooms: [
      'presence',
      'stores/memory',
      'stores/redis',
      'db',
      'fanout',
      'execution',
      'schema',
      'server',
      'server/limits',
      'config.ts',
      'slices.ts',
    ],
    packages: ['node:*', 'jose'],
  },
  'app.ts': { rooms: ['presence', 'db', 'process', 'server', 'config.ts', 'log.ts'], packages: ['node:*'] },
  // What a person or a machine runs, each a function.
  commands: {
    rooms: ['presence', 'db', 'server', 'app.ts', 'config.ts', 'log.ts', 'versions.ts'],
    packages: ['node:*', 'jose'],
  },
  'cli.ts': { rooms: ['commands', 'own-version.ts'], packages: [] },
  'main.ts': { rooms: ['commands'], packages: [] },
  'migrate.ts': { rooms: ['commands'], packages: [] },
  'log.ts': { rooms: ['presence', 'config.ts'], packages: ['pino'] },
  'config.ts': { rooms: ['presence', 'db', 'networks.ts', 'web-origins.ts'], packages: [] },
  'networks.ts': { rooms: [], packages: ['node:net'] },
  'own-version.ts': { rooms: [], packages: ['node:fs'] },
  'slices.ts': { rooms: [], packages: ['node:timers'] },
  'versions.ts': { rooms: [], packages: [] },
  'web-origins.ts': { rooms: [], packages: [] },
}

/** @param path - relative to `src` */
function roomOf(path: string): string {
  const [first = '', second = '', third] = path.split(sep)
  return third !== undefined && ['stores', 'server'].includes(first) ? `${first}/${second}` : first
}

/** `drizzle-orm/pg-core` is of `drizzle-orm`, `node:fs/promises` of `node:fs`. */
function packageOf(specifier: string): string {
  const [first = '', second = ''] = specifier.split('/')
  return first.startsWith('@') ? `${first}/${second}` : first
}

interface Import {
  readonly room: string
  readonly to: string
  readonly isPackage: boolean
}

/** @param path - relative to `src` */
function importsOf(path: string, text: string): readonly Import[] {
  const { module } = parseSync(path, text)
  const specifiers = [
    ...module.staticImports.map(({ moduleRequest }) => moduleRequest.value),
    ...module.staticExports.flatMap(({ entries }) => entries.map(({ moduleRequest }) => moduleRequest?.value)),
    // Of an `import()` the parser gives the place only.
    ...module.dynamicImports.map(({ moduleRequest: { start, end } }) => text.slice(start + 1, end - 1)),
  ]
  const room = roomOf(path)
  return [...new Set(specifiers)].flatMap((specifier): Import[] => {
    if (specifier === undefined) return []
    if (!specifier.startsWith('.')) return [{ room, to: packageOf(specifier), isPackage: true }]
    const to = roomOf(relative(ROOT, join(ROOT, dirname(path), specifier)))
    return to === room ? [] : [{ room, to, isPackage: false }]
  })
}

function isAllowed({ room, to, isPackage }: Import): boolean {
  const rule = RULES[room]
  if (rule === undefined) return false
  if (!isPackage) return rule.rooms.includes(to)
  return rule.packages.includes(to) || (to.startsWith('node:') && rule.packages.includes('node:*'))
}

const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' }).filter((path) => /\.m?ts$|\.mjs$/.test(path))
const imports = files.flatMap((path) =>
  importsOf(path, readFileSync(join(ROOT, path), 'utf8')).map((one) => ({ ...one, path })),
)

describe('the rules of imports', () => {
  it('are kept by every file', () => {
    expect(files.length).toBeGreaterThan(100)
    expect(imports.filter((one) => !isAllowed(one)).map(({ path, to }) => `${path} imports ${to}`)).toEqual([])
  })

  it('allow nothing that no file needs', () => {
    const used = new Set(imports.map(({ room, to }) => `${room} -> ${to}`))
    const needless = Object.entries(RULES).flatMap(([room, { rooms, packages }]) =>
      [...rooms, ...packages].filter((to) => to !== 'node:*' && !used.has(`${room} -> ${to}`)).map((to) => [room, to]),
    )
    expect(needless).toEqual([])
  })

  it.each([
    ['presence/rules.ts', "import { sql } from 'drizzle-orm'"],
    ['presence/rules.ts', "import { jwtVerify } from 'jose'"],
    ['presence/rules.ts', "import type { Hub } from '../fanout/hub.ts'"],
    ['stores/redis/index.ts', "export { openDatabase } from '../../db/client.ts'"],
    ['stores/redis/index.ts', "import { createMemoryStore } from '../memory/index.ts'"],
    ['server/limits/limits.ts', "const { createHub } = await import('../../fanout/hub.ts')"],
    ['a-new-room/file.ts', "import { sleep } from 'node:timers/promises'"],
  ])('refuse %s with %s', (path, text) => {
    expect(importsOf(path, text).map(isAllowed)).toEqual([false])
  })
})
