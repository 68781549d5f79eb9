import { describe, expect, it } from 'vitest'
import {
  BOUNDS,
  DEFAULT_SESSION_ID,
  parseAvatarUrl,
  parseDevice,
  parseDisplayName,
  parsePageSize,
  parseRoom,
  parseRoomPatterns,
  parseRooms,
  parseSessionId,
  parseStatusMessage,
  parseUserId,
  parseUserIds,
} from '../../src/presence/bounds.ts'
import { PresenceError } from '../../src/presence/errors.ts'

/** What the refusal says, as a client reads it. */
function refusalOf(parse: () => unknown) {
  try {
    const value = parse()
    throw new Error(`Expected ${JSON.stringify(value)} to be refused.`)
  } catch (error) {
    if (!(error instanceof PresenceError)) throw error
    const { code, message, details } = error
    expect(code).toBe('BAD_USER_INPUT')
    expect(message).toContain(String(details.argument))
    expect(message).toContain(String(details.bound))
    return { argument: details.argument, bound: details.bound }
  }
}

const LONE_SURROGATES = ['a\ud83d', '\ude00a', '\ud83d\ud83d']
const CONTROL_CHARACTERS = ['a\u0000', 'a\nb', 'a\u007f', 'a\u0085b', '\tb\u001f']

describe('a user id or a room', () => {
  for (const [name, parse] of [
    ['userId', parseUserId],
    ['room', parseRoom],
  ] as const) {
    it(`may be any text of 1 to 128 bytes of UTF-8 (${name})`, () => {
      for (const text of [
        'a',
        'provider|id',
        'a@b.test',
        'team:7',
        '\u{1f600}'.repeat(32),
        'x'.repeat(128),
        ' ',
        '__proto__',
      ]) {
        expect(parse(name, text)).toBe(text)
      }
    })

    it(`is refused by its bytes, not by its characters (${name})`, () => {
      for (const text of ['', 'x'.repeat(129), '\u{1f600}'.repeat(33), '\u20ac'.repeat(43)]) {
        expect(refusalOf(() => parse(name, text))).toEqual({
          argument: name,
          bound: '1 to 128 bytes of UTF-8 without control characters',
        })
      }
      expect(parse(name, '\u20ac'.repeat(42))).toHaveLength(42)
    })

    it(`is refused with a control character or half a character (${name})`, () => {
      for (const text of [...CONTROL_CHARACTERS, ...LONE_SURROGATES]) refusalOf(() => parse(name, text))
    })
  }
})

describe('a list of user ids', () => {
  it('holds at most so many, and says which one is wrong', () => {
    const ids = Array.from({ length: BOUNDS.userIds }, (_, index) => `user-${index}`)
    expect(parseUserIds('userIds', ids)).toEqual(ids)
    expect(parseUserIds('userIds', [])).toEqual([])
    expect(refusalOf(() => parseUserIds('userIds', [...ids, 'one more']))).toEqual({
      argument: 'userIds',
      bound: 'at most 1000 ids, not 1001',
    })
    expect(refusalOf(() => parseUserIds('ids', ['a', 'b', '']))).toMatchObject({ argument: 'ids[2]' })
  })
})

describe('the rooms of a session', () => {
  it('are told once each, in their order', () => {
    expect(parseRooms('rooms', ['b', 'a', 'b'])).toEqual(['b', 'a'])
    expect(parseRooms('rooms', [])).toEqual([])
  })

  it('are at most so many, repetitions not counted', () => {
    const rooms = Array.from({ length: BOUNDS.roomsPerSession }, (_, index) => `room-${index}`)
    expect(parseRooms('rooms', [...rooms, ...rooms])).toEqual(rooms)
    expect(refusalOf(() => parseRooms('rooms', [...rooms, 'one more']))).toEqual({
      argument: 'rooms',
      bound: 'at most 100 rooms, not 101',
    })
    expect(refusalOf(() => parseRooms('rooms', ['a', '\n']))).toMatchObject({ argument: 'rooms[1]' })
  })
})

describe('a session id', () => {
  it('is a UUID in lower case, however it was written, or `default`', () => {
    const id = '6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5c'
    expect(parseSessionId('sessionId', id)).toBe(id)
    expect(parseSessionId('sessionId', id.toUpperCase())).toBe(id)
    expect(parseSessionId('sessionId', DEFAULT_SESSION_ID)).toBe('default')
  })

  it('is nothing else', () => {
    const refused = [
      '',
      'Default',
      'tab-1',
      '6f1a3b0c8d2e4f5a9b7c0d1e2f3a4b5c',
      '6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5',
      '6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5cc',
      '6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5g',
      ' 6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5c',
      '6f1a3b0c-8d2e-4f5a-9b7c-0d1e2f3a4b5c\n',
    ]
    for (const text of refused) {
      expect(refusalOf(() => parseSessionId('sessionId', text))).toEqual({
        argument: 'sessionId',
        bound: 'a UUID or `default`',
      })
    }
  })
})

describe('a text', () => {
  it('is trimmed, and counted in characters', () => {
    expect(parseDevice('device', '  phone ')).toBe('phone')
    expect(parseDevice('device', '\u{1f600}'.repeat(100))).toBe('\u{1f600}'.repeat(100))
    expect(parseStatusMessage('message', ' lunch ')).toBe('lunch')
    expect(parseStatusMessage('message', 'x'.repeat(140))).toHaveLength(140)
    expect(parseDisplayName('name', ' Alice ')).toBe('Alice')
  })

  it('that is too long is refused with its bound', () => {
    expect(refusalOf(() => parseDevice('device', 'x'.repeat(101)))).toEqual({
      argument: 'device',
      bound: 'at most 100 characters without control characters',
    })
    expect(refusalOf(() => parseDevice('device', '\u{1f600}'.repeat(101)))).toMatchObject({ argument: 'device' })
    expect(refusalOf(() => parseStatusMessage('message', 'x'.repeat(141))).bound).toContain('140')
    expect(refusalOf(() => parseDisplayName('name', 'x'.repeat(101))).bound).toContain('100')
    expect(refusalOf(() => parseDevice('device', 'x'.repeat(1_000_000)))).toMatchObject({ argument: 'device' })
  })

  it('with a control character or half a character is refused', () => {
    for (const parse of [parseDevice, parseStatusMessage, parseDisplayName]) {
      for (const text of [...CONTROL_CHARACTERS, ...LONE_SURROGATES]) refusalOf(() => parse('text', text))
    }
  })

  it('that is empty is no message, and no name', () => {
    expect(parseStatusMessage('message', '')).toBeNull()
    expect(parseStatusMessage('message', '   ')).toBeNull()
    expect(refusalOf(() => parseDisplayName('name', '  '))).toEqual({ argument: 'name', bound: '1 to 100 characters' })
  })
})

describe('a picture', () => {
  it('is an http or https address', () => {
    for (const text of ['https://pictures.test/a.png', 'http://localhost:3000/a?b=c']) {
      expect(parseAvatarUrl('avatarUrl', text)).toBe(text)
    }
    const refused = [
      '',
      'a.png',
      '//pictures.test/a.png',
      'javascript:alert(1)',
      'JavaScript:alert(1)',
      ' javascript:alert(1)',
      'data:image/png;base64,AA',
      'file:///etc/passwd',
      'https://',
      `https://pictures.test/${'x'.repeat(2048)}`,
    ]
    for (const text of refused) {
      expect(refusalOf(() => parseAvatarUrl('avatarUrl', text))).toEqual({
        argument: 'avatarUrl',
        bound: 'an http or https address of at most 2048 characters',
      })
    }
  })
})

describe('the size of a page', () => {
  it('is 1 to 1,000', () => {
    expect([parsePageSize('first', 1), parsePageSize('first', 1000)]).toEqual([1, 1000])
    for (const size of [0, -1, 1001, 2 ** 31 - 1]) {
      expect(refusalOf(() => parsePageSize('first', size))).toEqual({
        argument: 'first',
        bound: `1 to 1000, not ${size}`,
      })
    }
  })
})

describe('room patterns', () => {
  it('may be as many and as long as the bounds, and come without repetitions', () => {
    const longest = Array.from({ length: 32 }, (_, index) => String(index).padEnd(256, 'x'))
    expect(parseRoomPatterns('rooms', longest)).toEqual(longest)
    const most = Array.from({ length: 100 }, (_, index) => `team:${index}:**`)
    expect(parseRoomPatterns('rooms', most)).toEqual(most)
    expect(parseRoomPatterns('rooms', ['team:*', '**', 'team:*'])).toEqual(['team:*', '**'])
    expect(parseRoomPatterns('rooms', [])).toEqual([])
  })

  it('are refused by their count, their bytes and their stars', () => {
    const refusalFor = (values: readonly string[]) => refusalOf(() => parseRoomPatterns('rooms', values))
    expect(refusalFor(new Array(101).fill('lobby'))).toEqual({
      argument: 'rooms',
      bound: 'at most 100 patterns, not 101',
    })
    for (const pattern of ['', 'x'.repeat(257), '\u20ac'.repeat(86), ...LONE_SURROGATES, ...CONTROL_CHARACTERS]) {
      expect(refusalFor(['lobby', pattern])).toEqual({
        argument: 'rooms[1]',
        bound: '1 to 256 bytes of UTF-8 without control characters',
      })
    }
    const together = { argument: 'rooms', bound: 'patterns of at most 8192 bytes and 200 stars together' }
    expect(refusalFor(Array.from({ length: 33 }, (_, index) => String(index).padEnd(256, 'x')))).toEqual(together)
    expect(refusalFor(['*'.repeat(200), 'team:*'])).toEqual(together)
  })
})
