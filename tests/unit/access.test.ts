import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareRoom, matchesRoom } from '../../src/presence/access.ts'

/** The rule as it is said, by trying everything: only for short texts. */
function matchesByTrying(pattern: string, room: string): boolean {
  if (pattern === '') return room === ''
  const star = pattern.startsWith('**') ? '**' : pattern.startsWith('*') ? '*' : null
  if (star === null) return room !== '' && pattern[0] === room[0] && matchesByTrying(pattern.slice(1), room.slice(1))
  const rest = pattern.slice(star.length)
  for (let length = 0; length <= room.length; length += 1) {
    if (star === '*' && room.slice(0, length).includes(':')) return false
    if (matchesByTrying(rest, room.slice(length))) return true
  }
  return false
}

describe('a room pattern', () => {
  it.each([
    ['lobby', 'lobby', true],
    ['lobby', 'lobby2', false],
    ['team:*', 'team:one', true],
    ['team:*', 'team:', true],
    ['team:*', 'team:one:two', false],
    ['team:**', 'team:one:two', true],
    ['team:*:chat', 'team:one:chat', true],
    ['team:*:chat', 'team:one:two:chat', false],
    ['**:chat', 'team:one:chat', true],
    ['***', 'team:one', true],
    ['a.c', 'abc', false],
    ['[a]+', '[a]+', true],
    ['*\u{1f600}', 'a\u{1f600}', true],
    ['line*', 'line\nbreak', true],
    ['', '', true],
    ['', 'a', false],
  ])('%j against %j: %s', (pattern, room, expected) => {
    expect(matchesRoom(pattern, room)).toBe(expected)
    expect(matchesByTrying(pattern, room)).toBe(expected)
  })

  it('matches what the rule says, for any pattern and any room', () => {
    const text = (alphabet: readonly string[], maxLength: number) =>
      fc.array(fc.constantFrom(...alphabet), { maxLength }).map((letters) => letters.join(''))
    fc.assert(
      fc.property(text(['a', 'b', ':', '*', '**', '.'], 8), text(['a', 'b', ':', '.'], 10), (pattern, room) => {
        expect(matchesRoom(pattern, room)).toBe(matchesByTrying(pattern, room))
      }),
      { numRuns: 3000 },
    )
  })

  it.each([
    ['**a'.repeat(8), 'a'.repeat(7)],
    ['**'.repeat(8), 'team:one'],
    ['*ab'.repeat(8), 'ab'.repeat(7)],
    ['team:**'.repeat(4), 'team:'.repeat(4)],
    [`${'**e'.repeat(8)}x`, 'e'.repeat(20)],
  ])('with many stars (%s) costs no more than its length times the room’s', (pattern, room) => {
    const { steps } = compareRoom(pattern, room)
    expect(steps).toBeGreaterThan(0)
    expect(steps).toBeLessThanOrEqual(2 * pattern.length * (room.length + 1))
  })
})
