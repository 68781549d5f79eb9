import { readdirSync } from 'node:fs'
import { expect, it } from 'vitest'
import { loadScripts } from '../../src/stores/redis/scripts.ts'
import { CALM } from '../contract/presence-store/harness.ts'

const scripts = loadScripts({ timing: CALM })

it('knows every script that lies in the folder, and no other', () => {
  expect(
    readdirSync(new URL('../../src/stores/redis/lua/', import.meta.url))
      .filter((file) => file.endsWith('.lua'))
      .map((file) => file.replace('.lua', ''))
      .sort(),
  ).toEqual(Object.keys(scripts).sort())
})

it('heads every script with what it takes and what it returns', () => {
  for (const [name, { source }] of Object.entries(scripts)) {
    expect(source, name).toMatch(
      new RegExp(`^-- ${name}: [\\s\\S]*-- KEYS\\[1\\] .*\\n-- ARGV\\[1\\] [\\s\\S]*-- Returns `, 'm'),
    )
  }
})
