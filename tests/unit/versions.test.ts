import { describe, expect, it } from 'vitest'
import { createVersionWatch } from '../../src/stores/redis/version-watch.ts'
import {
  isBelow,
  NODE_LINES,
  REDIS_LINES,
  sentenceOf,
  VALKEY_LINES,
  whyServerUnsafe,
  whyUnsafe,
} from '../../src/versions.ts'

describe('a version', () => {
  it.each([
    ['8.9.0', '8.10.0', true],
    ['8.10.0', '8.9.0', false],
    ['7.2.4', '7.2.4', false],
    ['7.2.4-rc1', '7.2.5', true],
    ['10.0.0', '9.9.9', false],
  ])('%s is below %s: %s', (version, other, expected) => {
    expect(isBelow(version, other)).toBe(expected)
  })

  it('is safe from the least one of its line on, and newer than every line', () => {
    for (const lines of [REDIS_LINES, VALKEY_LINES, NODE_LINES]) {
      for (const { line, least, mends, endedOn } of lines) {
        expect(least.startsWith(`${line}.`)).toBe(true)
        expect(mends).toMatch(/CVE-20\d\d-\d+/)
        if (endedOn === undefined) expect([least, whyUnsafe('it', least, lines)]).toEqual([least, null])
        expect(whyUnsafe('it', `${line}.0`, lines)).toMatchObject({ version: `${line}.0`, least, mends })
      }
      expect(whyUnsafe('it', '99.0.0', lines)).toBeNull()
    }
  })

  it('of a line without a fix has to become one of a later line', () => {
    expect(whyUnsafe('Redis', '7.0.15', REDIS_LINES)).toMatchObject({ version: '7.0.15', least: '7.2.16' })
    expect(whyUnsafe('Node', '20.20.2', NODE_LINES)).toMatchObject({ least: '22.23.2', endedOn: '2026-04-30' })
    expect(whyUnsafe('Node', '20.19.0', NODE_LINES)).toMatchObject({ least: '20.20.2' })
    expect(whyUnsafe('Node', '23.1.0', NODE_LINES)).toMatchObject({ least: '24.18.1' })
  })
})

it('is told with what to use instead, and with the end of its line where that is why', () => {
  const old = whyUnsafe('Node', '20.20.2', NODE_LINES)
  expect(old === null ? null : sentenceOf(old)).toBe(
    'Node 20.20.2 is of a line that gets no fixes since 2026-04-30: use 22.23.2 or later, unless your distribution mends this one.',
  )
})

describe('a Redis', () => {
  const info = (...lines: readonly string[]) => ['# Server', ...lines, 'os:Linux', ''].join('\r\n')

  it.each([
    [info('redis_version:7.0.15'), { product: 'Redis', version: '7.0.15', least: '7.2.16' }],
    [info('redis_version:8.10.0'), { product: 'Redis', version: '8.10.0', least: '8.10.1' }],
    [
      info('redis_version:7.2.4', 'server_name:valkey', 'valkey_version:8.1.1'),
      { product: 'Valkey', version: '8.1.1', least: '8.1.9' },
    ],
  ])('says its version, and is held against its lines: %j', (facts, expected) => {
    expect(whyServerUnsafe(facts)).toMatchObject(expected)
  })

  it.each([
    info('redis_version:7.4.11'),
    info('redis_version:7.2.4', 'server_name:valkey', 'valkey_version:9.1.1'),
    info('redis_mode:standalone'),
    '',
  ])('is not warned of where nothing is known against it: %j', (facts) => {
    expect(whyServerUnsafe(facts)).toBeNull()
  })

  it('is warned of once a version, with the version that mends it', () => {
    const said: [object, string][] = []
    const look = createVersionWatch({ warn: (details, message) => void said.push([details, message]) })
    for (const version of ['7.0.15', '7.0.15', '7.4.11', '7.4.0', '7.4.0']) look(info(`redis_version:${version}`))
    expect(said).toEqual([
      [
        expect.objectContaining({
          version: '7.0.15',
          least: '7.2.16',
          mends: expect.stringContaining('CVE-2025-49844'),
        }),
        'Redis 7.0.15 has known vulnerabilities: use 7.2.16 or later, unless your distribution mends this one.',
      ],
      [expect.objectContaining({ version: '7.4.0', least: '7.4.11' }), expect.stringContaining('Redis 7.4.0')],
    ])
  })
})
