/** SECURITY.md: what it says of versions, bounds and tests is so. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { SETTINGS } from '../../src/config.ts'
import { BOUNDS } from '../../src/presence/bounds.ts'
import { ERROR_CODES } from '../../src/presence/errors.ts'
import { NODE_LINES, REDIS_LINES, VALKEY_LINES } from '../../src/versions.ts'

const ROOT = new URL('../../', import.meta.url)
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8')
const page = read('SECURITY.md')
const packages: Record<string, { version: string; reason: string }> = JSON.parse(
  read('scripts/least-safe-versions.json'),
)

/** The cells of the table below a heading. */
function rowsBelow(heading: string): readonly (readonly string[])[] {
  const section = page.split(`## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
  const lines = section.split('\n').filter((line) => line.startsWith('| '))
  return lines.slice(2).map((line) =>
    line
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.trim()),
  )
}

const advisories = rowsBelow('Known advisories')
const ADVISORY = /CVE-\d{4}-\d+|GHSA-[\w-]+/g

describe('the table of advisories', () => {
  it('has rows, and each has an answer: a version that the lists have, or a test that is there', () => {
    expect(advisories.length).toBeGreaterThan(20)
    for (const row of advisories) {
      const answer = String(row.at(-1))
      const versions = [...answer.matchAll(/\d+\.\d+\.\d+/g)].map(([version]) => version)
      const tests = [...answer.matchAll(/(tests\/[\w./-]+): “([^”]+)”/g)]
      expect([row, versions.length + tests.length]).not.toEqual([row, 0])
      for (const [, path, name] of tests) {
        expect([path, existsSync(new URL(String(path), ROOT))]).toEqual([path, true])
        expect([name, read(String(path)).includes(String(name))]).toEqual([name, true])
      }
      const least = [
        ...Object.values(packages).map(({ version }) => version),
        ...[...NODE_LINES, ...REDIS_LINES, ...VALKEY_LINES].map((line) => line.least),
      ]
      for (const version of versions) expect(least).toContain(version)
    }
  })

  it('has every advisory and every version of the lists that concerns a running server', () => {
    const cells = advisories.flat().join('\n')
    for (const [name, { version, reason }] of Object.entries(packages)) {
      // These are for the benchmark and the build alone.
      if (['vite', 'esbuild', 'engine.io', 'socket.io-parser'].includes(name)) continue
      expect(cells).toContain(`${name} ${version}`)
      for (const [id] of reason.matchAll(ADVISORY)) expect(cells).toContain(id)
    }
    for (const { least, mends } of [...REDIS_LINES, ...VALKEY_LINES]) {
      expect(cells).toContain(least)
      for (const [id] of mends.matchAll(ADVISORY)) expect(cells).toContain(id)
    }
  })
})

describe('the limits', () => {
  it('are those that input is held against, all of them', () => {
    const said = Object.fromEntries(
      rowsBelow('Limits').map(([name, most]) => [name?.replaceAll('`', ''), Number(most)]),
    )
    expect(said).toEqual(BOUNDS)
  })

  it('name settings that are there, here and on the page of limits', () => {
    const pages = page + read('docs/limits.md')
    const names = [...pages.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, name]) => String(name))
    expect(names.length).toBeGreaterThan(10)
    for (const name of names) {
      if (name !== 'BOUNDS' && !Object.hasOwn(ERROR_CODES, name))
        expect([name, Object.hasOwn(SETTINGS, name)]).toEqual([name, true])
    }
  })
})

it('links to files that are there, and so does the page on privacy', () => {
  for (const [path, text] of [
    ['SECURITY.md', page],
    ['docs/privacy.md', read('docs/privacy.md')],
  ] as const) {
    const links = [...text.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, link]) => String(link))
    expect(links.length).toBeGreaterThan(3)
    for (const link of links) expect([link, existsSync(new URL(link, new URL(path, ROOT)))]).toEqual([link, true])
  }
})
