/** The code that the demo page shows to be copied. It is type-checked with the page: `tsc --noEmit -p web`. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const page = new URL('../../web/page/', import.meta.url)
const snippets = new URL('snippets/', page)
const MAX_LINES = 8

const names = readdirSync(snippets)
const pageText = readdirSync(page)
  .filter((name) => name.endsWith('.tsx'))
  .map((name) => readFileSync(new URL(name, page), 'utf8'))
  .join('\n')

describe.each(names)('the snippet %s', (name) => {
  const text = readFileSync(new URL(name, snippets), 'utf8').trim()

  it('is short, and made with the kit', () => {
    expect(text.split('\n').length).toBeLessThanOrEqual(MAX_LINES)
    expect(text).toMatch(/from '@rollcall\/client(\/react)?'/)
  })

  it('is shown', () => {
    expect(pageText).toContain(`'./snippets/${name}?raw'`)
  })
})
