import { describe, expect, it } from 'vitest'
import {
  ConfigError,
  parseConfig,
  renamedIn,
  SETTINGS,
  type SettingName,
  type SettingTexts,
  settingNames,
  settingsOfEnvironment,
  timingOf,
} from '../../src/config.ts'

function problemsOf(texts: Readonly<Record<string, unknown>>): readonly string[] {
  try {
    parseConfig(texts as SettingTexts)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems
  }
}

function problemOf(texts: Readonly<Record<string, unknown>>): string {
  const problems = problemsOf(texts)
  expect(problems).toHaveLength(1)
  return String(problems[0])
}

interface Row {
  readonly kind: string
  readonly default: string | null
  readonly least?: string
  readonly most?: string
  readonly oneOf?: readonly string[]
  readonly isSecret?: boolean
}

const rows = Object.entries(SETTINGS) as readonly (readonly [SettingName, Row])[]
const ofKind = (...kinds: string[]) => rows.filter(([, row]) => kinds.includes(row.kind))

/** The next smaller and the next larger text of the same unit. */
function beside(text: string, step: number): string {
  const [, digits, unit] = /^(\d+)(\D*)$/.exec(text) as RegExpExecArray
  return `${Number(digits) + step}${unit}`
}

/** A neighbour may contradict another setting: that is told of two names, and looked at elsewhere. */
const isOfBound = (problem: string) => /must be at (least|most) \S+, not/.test(problem)

describe('the settings', () => {
  it('have defaults that stand together', () => {
    const config = parseConfig({})
    expect(config).toMatchObject({
      HEARTBEAT_INTERVAL: 30_000,
      SESSION_TTL: 75_000,
      CLOSE_GRACE: 5000,
      RECONNECT_GRACE: 15_000,
      PING_INTERVAL: 5000,
      PONG_TIMEOUT: 10_000,
      PAGE_PING_INTERVAL: 20_000,
      PAGE_PONG_TIMEOUT: 10_000,
      AWAY_AFTER: 300_000,
      IDLE_TIMEOUT: 1_800_000,
      SWEEP_INTERVAL: 1000,
      NODE_TTL: 10_000,
      NODE_RENEW: 3000,
      LAST_ACTIVE_FLUSH: 10_000,
      CHANGE_LOG_COUNT: 100_000,
      CHANGE_LOG_AGE: 300_000,
      CHANGE_LOG_BYTES: 67_108_864,
      SESSIONS_PER_USER: 50,
      PORT: 4000,
      NODE_ENV: 'development',
      DATABASE_URL: null,
      HISTORY_RETENTION: 90 * 86_400_000,
      DATABASE_PREPARE: true,
      DEFAULT_ROOMS: null,
    })
    expect(Object.keys(config).sort()).toEqual([...settingNames()].sort())
  })

  it('give the rules their timing', () => {
    const timing = timingOf(parseConfig({ AWAY_AFTER: '90s', CHANGE_LOG_COUNT: '500', SESSIONS_PER_USER: '3' }))
    expect(timing).toMatchObject({ awayAfterMs: 90_000, logCount: 500, sessionsPerUser: 3, closeGraceMs: 5000 })
    for (const value of Object.values(timing)) expect(Number.isFinite(value)).toBe(true)
  })

  it('that nobody knows are refused by name', () => {
    expect(problemOf({ SESION_TTL: '30s' })).toBe('SESION_TTL is not a setting.')
    expect(problemOf({ toString: 'x' })).toContain('toString')
    expect(problemsOf({ constructor: 'x', session_ttl: '30s' })).toHaveLength(2)
  })

  it('are taken by their old names for a while, but not with two values', () => {
    const texts = { LOG_COUNT: '500', LOG_AGE: '1m' }
    expect(parseConfig(texts)).toMatchObject({ CHANGE_LOG_COUNT: 500, CHANGE_LOG_AGE: 60_000 })
    expect(renamedIn(texts)).toEqual([
      { oldName: 'LOG_COUNT', name: 'CHANGE_LOG_COUNT' },
      { oldName: 'LOG_AGE', name: 'CHANGE_LOG_AGE' },
    ])
    expect(settingsOfEnvironment({ LOG_BYTES: '2000000' })).toEqual({ LOG_BYTES: '2000000' })
    expect(parseConfig({ LOG_COUNT: '500', CHANGE_LOG_COUNT: '500' }).CHANGE_LOG_COUNT).toBe(500)
    expect(problemOf({ LOG_COUNT: '500', CHANGE_LOG_COUNT: '600' })).toBe(
      'LOG_COUNT is the old name of CHANGE_LOG_COUNT, and has another value: set only CHANGE_LOG_COUNT.',
    )
    expect(problemOf({ LOG_COUNT: '5' })).toMatch(/^LOG_COUNT must be at least/)
  })

  it('are all judged at once', () => {
    const problems = problemsOf({ PORT: 'x', SESSION_TTL: '1s', NODE_ENV: 'prod', DATABASE_PREPARE: 'yes', WHAT: '1' })
    expect(problems.map((problem) => problem.split(' ')[0]).sort()).toEqual([
      'DATABASE_PREPARE',
      'NODE_ENV',
      'PORT',
      'SESSION_TTL',
      'WHAT',
    ])
    const error = new ConfigError(problems)
    for (const problem of problems) expect(error.message).toContain(problem)
  })

  it('must be texts', () => {
    for (const value of [4000, true, null, ['a'], {}]) {
      const problems = problemsOf({ PORT: value })
      // Null is as good as left out.
      if (value === null) expect(problems).toEqual([])
      else expect(problems.join()).toContain('PORT must be a text')
    }
  })
})

describe('a duration', () => {
  it('is a whole number with its unit', () => {
    const read = (text: string) => parseConfig({ IDLE_TIMEOUT: text, AWAY_AFTER: '1s' }).IDLE_TIMEOUT
    expect(['2500ms', '45s', '5m', '2h', '1d', ' 45s '].map(read)).toEqual([
      2500, 45_000, 300_000, 7_200_000, 86_400_000, 45_000,
    ])
    expect(parseConfig({ CLOSE_GRACE: '0', HISTORY_RETENTION: '0' })).toMatchObject({
      CLOSE_GRACE: 0,
      HISTORY_RETENTION: 0,
    })
  })

  it('in any other form is refused with the form', () => {
    for (const text of [
      '30',
      '30 s',
      '1.5s',
      '-1s',
      '5min',
      '1w',
      's',
      '0x10s',
      '1e3ms',
      '30S',
      'Infinity',
      '9999999999s',
      ' ',
    ]) {
      const problem = problemOf({ SESSION_TTL: text })
      expect(problem).toContain('SESSION_TTL must be a duration like')
      expect(problem).toContain(`\`${text.trim()}\``)
    }
  })

  it('may not be more than a timer can wait, unless none waits for it', () => {
    for (const [name] of ofKind('duration').filter(([, { most }]) => most === undefined)) {
      const problem = problemsOf({ [name]: '501h' }).find(isOfBound)
      expect([name, problem]).toEqual([name, `${name} must be at most 500h, not \`501h\`.`])
    }
    expect(500 * 3_600_000).toBeLessThan(2 ** 31)
  })
})

describe('a count', () => {
  it('is a whole number in digits', () => {
    expect(parseConfig({ PORT: '0' }).PORT).toBe(0)
    for (const text of ['1.5', '-1', '+1', '1e3', '0x10', '4,000', 'many', 'NaN', '1234567890123', ' ']) {
      expect(problemOf({ PORT: text })).toContain('PORT must be a whole number')
    }
  })
})

describe('each bound', () => {
  for (const [name, { least, most }] of ofKind('duration', 'count')) {
    if (least !== undefined) {
      it(`${name} may be ${least}, and not less`, () => {
        expect(problemsOf({ [name]: least }).filter(isOfBound)).toEqual([])
        if (Number.parseInt(least, 10) === 0) return
        const text = beside(least, -1)
        expect(problemsOf({ [name]: text })).toContain(`${name} must be at least ${least}, not \`${text}\`.`)
      })
    }
    if (most !== undefined) {
      it(`${name} may be ${most}, and not more`, () => {
        expect(problemsOf({ [name]: most }).filter(isOfBound)).toEqual([])
        const text = beside(most, 1)
        expect(problemsOf({ [name]: text })).toContain(`${name} must be at most ${most}, not \`${text}\`.`)
      })
    }
  }

  it('of presence is that of the design', () => {
    const least = {
      HEARTBEAT_INTERVAL: '1s',
      SESSION_TTL: '2s',
      PING_INTERVAL: '1s',
      PONG_TIMEOUT: '1s',
      PAGE_PING_INTERVAL: '1s',
      PAGE_PONG_TIMEOUT: '1s',
      AWAY_AFTER: '1s',
      IDLE_TIMEOUT: '2s',
      CHANGE_LOG_COUNT: '100',
      CHANGE_LOG_AGE: '10s',
      CHANGE_LOG_BYTES: '1048576',
      CLOSE_GRACE: '0ms',
      RECONNECT_GRACE: '0ms',
      NODE_TTL: '1s',
      NODE_RENEW: '100ms',
      SWEEP_INTERVAL: '50ms',
      LAST_ACTIVE_FLUSH: '100ms',
      SESSIONS_PER_USER: '1',
    } as const
    for (const [name, text] of Object.entries(least)) {
      expect([name, (SETTINGS[name as SettingName] as Row).least]).toEqual([name, text])
    }
  })
})

describe('a flag, a choice and a list', () => {
  it('are read in their forms', () => {
    expect(parseConfig({ DATABASE_PREPARE: 'false' }).DATABASE_PREPARE).toBe(false)
    expect([parseConfig({}).PAGES, parseConfig({ PAGES: 'true' }).PAGES]).toEqual([null, true])
    expect(parseConfig({ DEFAULT_ROOMS: 'team:*, lobby ,,' }).DEFAULT_ROOMS).toEqual(['team:*', 'lobby'])
    expect(parseConfig({ LOG_LEVEL: 'silent' }).LOG_LEVEL).toBe('silent')
  })

  it('of room patterns have the bounds that those of a token have', () => {
    expect(problemOf({ DEFAULT_ROOMS: new Array(101).fill('lobby').join(',') })).toBe(
      'DEFAULT_ROOMS must be at most 100 patterns, not 101.',
    )
    expect(problemOf({ DEFAULT_ROOMS: `lobby,${'x'.repeat(257)}` })).toContain('DEFAULT_ROOMS[1]')
  })

  it('are refused in others, with what may be there', () => {
    for (const [name] of ofKind('flag')) {
      for (const text of ['yes', '1', 'TRUE', 'no']) {
        expect(problemOf({ [name]: text })).toBe(`${name} must be \`true\` or \`false\`, not \`${text}\`.`)
      }
    }
    for (const [name, { oneOf }] of rows) {
      if (oneOf === undefined) continue
      const problem = problemOf({ [name]: 'nonsense' })
      for (const choice of [name, ...oneOf]) expect(problem).toContain(choice)
    }
  })
})

describe('a contradiction', () => {
  it('is told with both names', () => {
    const contradictions = [
      [{ SESSION_TTL: '29s' }, 'SESSION_TTL', 'HEARTBEAT_INTERVAL'],
      [{ IDLE_TIMEOUT: '299s' }, 'IDLE_TIMEOUT', 'AWAY_AFTER'],
      [{ NODE_TTL: '5999ms' }, 'NODE_TTL', 'NODE_RENEW'],
    ] as const
    for (const [texts, ...names] of contradictions) {
      const problem = problemOf(texts)
      for (const name of names) expect(problem).toContain(name)
    }
  })

  it('begins beyond equality', () => {
    expect(problemsOf({ SESSION_TTL: '30s' })).toEqual([])
    expect(problemsOf({ IDLE_TIMEOUT: '5m' })).toEqual([])
    expect(problemsOf({ NODE_TTL: '6s' })).toEqual([])
  })

  it('is a history that forgets how a user left while they may come back', () => {
    expect(problemOf({ HISTORY_RETENTION: '29m' })).toMatch(/^HISTORY_RETENTION must be 0 or not below IDLE_TIMEOUT/)
    for (const text of ['0', '0ms', '30m', '36500d']) expect(problemsOf({ HISTORY_RETENTION: text })).toEqual([])
  })

  it('is told of each pair, all at once', () => {
    expect(problemsOf({ SESSION_TTL: '2s', IDLE_TIMEOUT: '2s', NODE_TTL: '1s' })).toHaveLength(3)
  })

  it('is nothing else: graces, pings and flushes may be as they like', () => {
    const texts = {
      CLOSE_GRACE: '1h',
      RECONNECT_GRACE: '0ms',
      PONG_TIMEOUT: '1h',
      PAGE_PONG_TIMEOUT: '1h',
      SWEEP_INTERVAL: '1h',
      LAST_ACTIVE_FLUSH: '1h',
    }
    expect(problemsOf(texts)).toEqual([])
  })
})

describe('keys and addresses', () => {
  const secret = 'k'.repeat(32)

  it('are asked for in production', () => {
    expect(problemOf({ NODE_ENV: 'production' })).toMatch(/JWT_SECRET or JWKS_URL/)
    expect(problemsOf({ NODE_ENV: 'production', JWT_SECRET: secret })).toEqual([])
    expect(problemsOf({ NODE_ENV: 'production', JWKS_URL: 'https://issuer.test/keys' })).toEqual([])
  })

  it('are long enough, in bytes', () => {
    expect(problemOf({ JWT_SECRET: 'k'.repeat(31) })).toContain('32')
    expect(problemsOf({ JWT_SECRET: '\u{1f600}'.repeat(8) })).toEqual([])
  })

  it('are never printed', () => {
    const secrets = { JWT_SECRET: 'too-short-secret', DATABASE_URL: 'mysql://user:password@host/db' }
    const text = problemsOf(secrets).join('\n')
    expect(problemsOf(secrets)).toHaveLength(2)
    expect(text).not.toContain('too-short-secret')
    expect(text).not.toContain('password')
    for (const name of Object.keys(secrets)) expect((SETTINGS[name as SettingName] as Row).isSecret).toBe(true)
  })

  it('have the schemes that are understood', () => {
    for (const url of ['postgres://localhost/db', 'postgresql://user:password@host:5432/db']) {
      expect(problemsOf({ DATABASE_URL: url })).toEqual([])
    }
    for (const url of ['localhost/db', 'http://host/db', 'postgres']) {
      expect(problemOf({ DATABASE_URL: url })).toMatch(/^DATABASE_URL must be an address/)
    }
    expect(problemOf({ JWKS_URL: 'file:///keys' })).toMatch(/^JWKS_URL must be an address/)
  })
})

describe('the environment', () => {
  it('gives our names only, and an empty variable counts as left out', () => {
    expect(settingsOfEnvironment({ PORT: '5000', HOME: '/root', SESSION_TTL: '', DATA_DIR: undefined })).toEqual({
      PORT: '5000',
    })
  })
})

describe('BASE_PATH', () => {
  it.each([
    ['/', ''],
    ['/presence', '/presence'],
    ['/presence/', '/presence'],
    ['/a/b-c_d.e~f/', '/a/b-c_d.e~f'],
    [`/${'a'.repeat(199)}`, `/${'a'.repeat(199)}`],
  ])('is taken without a slash at its end: %s', (text, path) => {
    expect(parseConfig({ BASE_PATH: text }).BASE_PATH).toBe(path)
  })

  it.each([
    'presence',
    '//presence',
    '/presence//',
    '/a//b',
    '/a/../b',
    '/.',
    '/a b',
    '/a?b',
    '/a#b',
    '/%61',
    '/ä',
    'http://a/b',
    `/${'a'.repeat(200)}`,
  ])('is refused with its name and its form where it is no such path: %s', (text) => {
    expect(problemOf({ BASE_PATH: text })).toMatch(/^BASE_PATH must be `\/` or a path like `\/presence`: at most 200 /)
  })
})
