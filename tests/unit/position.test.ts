import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PresenceError } from '../../src/presence/errors.ts'
import { formatPosition, parsePosition } from '../../src/presence/position.ts'

const EPOCH = '0123456789abcdef'

describe('a position', () => {
  it('survives the way to a client and back', () => {
    const epoch = fc.string({ unit: fc.constantFrom(...EPOCH), minLength: 16, maxLength: 16 })
    fc.assert(
      fc.property(epoch, fc.integer({ min: 0, max: 999_999_999_999_999 }), (epoch, seq) => {
        expect(parsePosition('after', formatPosition({ epoch, seq }))).toEqual({ epoch, seq })
      }),
    )
  })

  it('has one form only', () => {
    expect(formatPosition({ epoch: EPOCH, seq: 42 })).toBe(`${EPOCH}:42`)
    const refused = [
      '',
      EPOCH,
      `${EPOCH}:`,
      `${EPOCH}:-1`,
      `${EPOCH}:+1`,
      `${EPOCH}:01`,
      `${EPOCH}:00`,
      `${EPOCH}:1.0`,
      `${EPOCH}:1e3`,
      `${EPOCH}:1 `,
      ` ${EPOCH}:1`,
      `${EPOCH}:1\n`,
      `${EPOCH}:\u0661`,
      `${EPOCH}:1000000000000000`,
      `${EPOCH.toUpperCase()}:1`,
      `${EPOCH.slice(1)}:1`,
      `${EPOCH}0:1`,
      `g${EPOCH.slice(1)}:1`,
      ':1',
    ]
    for (const text of refused) {
      expect(() => parsePosition('after', text), JSON.stringify(text)).toThrow(PresenceError)
    }
  })

  it('that is none is refused by the name of its argument', () => {
    expect(() => parsePosition('after', 'nonsense')).toThrow(
      expect.objectContaining({ code: 'BAD_USER_INPUT', details: expect.objectContaining({ argument: 'after' }) }),
    )
  })
})
