import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { changesInMs, relativeTime } from '../../client/src/react/relative-time.ts'
import { retryMs, waitMs } from '../../client/src/schedule.ts'
import { ComputedStore, StoreCache } from '../../client/src/store.ts'

const NOW_MS = Date.parse('2026-06-15T12:00:00Z')
const ago = (ms: number, locale = 'en'): string => relativeTime(NOW_MS - ms, NOW_MS, locale)
const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000]

describe('how long ago a moment was', () => {
  it.each([
    [0, 'now'],
    [59 * SECOND, 'now'],
    [-5 * SECOND, 'now'],
    [MINUTE, '1 min. ago'],
    [59 * MINUTE + 59 * SECOND, '59 min. ago'],
    [HOUR, '1 hr. ago'],
    [23 * HOUR, '23 hr. ago'],
    [DAY, 'yesterday'],
    [29 * DAY, '29 days ago'],
    [30 * DAY, 'last mo.'],
    [365 * DAY, 'last yr.'],
  ])('%i ms: %s', (ms, words) => {
    expect(ago(ms)).toBe(words)
  })

  it('is told in the language of the reader', () => {
    expect(ago(2 * MINUTE, 'de')).toBe('vor 2 Min.')
  })

  it('is told in other words when it is said to be', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 20 * DAY }), (ms) => {
        const laterMs = changesInMs(NOW_MS - ms, NOW_MS)
        expect(laterMs).toBeGreaterThan(0)
        expect(relativeTime(NOW_MS - ms, NOW_MS + laterMs - 1, 'en')).toBe(ago(ms))
        expect(relativeTime(NOW_MS - ms, NOW_MS + laterMs, 'en')).not.toBe(ago(ms))
      }),
    )
  })
})

describe('the waits of a link', () => {
  it.each([
    ['silence', [500, 1000, 2000, 2000]],
    ['broken', [2000, 4000, 8000, 16_000, 30_000, 30_000]],
    ['refused', [4000, 8000, 16_000, 30_000]],
  ] as const)('double up to their bound after %s', (loss, bounds) => {
    expect(bounds.map((_, failures) => waitMs(loss, failures, 1))).toEqual(bounds)
    expect(waitMs(loss, 1000, 1)).toBe(bounds.at(-1))
  })

  it('are anything below it, so that clients do not come together', () => {
    expect(waitMs('refused', 3, 0)).toBe(0)
    expect(waitMs('refused', 3, 0.5)).toBe(15_000)
    expect(retryMs(0, 1)).toBe(500)
    expect(retryMs(20, 1)).toBe(15_000)
  })
})

describe('the stores of one question', () => {
  beforeEach(() => {
    vi.useFakeTimers()
    cache = new StoreCache()
    following.count = 0
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const following = { count: 0 }
  let value = 0
  let cache: StoreCache<number>
  const ask = () =>
    cache.get('question', (start) => {
      const begin = () => {
        following.count += 1
        return () => {
          following.count -= 1
        }
      }
      return new ComputedStore<number>(
        () => value,
        () => start(begin),
      )
    })

  it('are one store while somebody reads it, and for a moment after', () => {
    const first = ask()
    const stop = first.subscribe(() => {})
    expect(ask()).toBe(first)
    expect(following.count).toBe(1)
    stop()
    expect(ask()).toBe(first)
    vi.advanceTimersByTime(1000)
    expect(following.count).toBe(0)
    expect(ask()).not.toBe(first)
  })

  it('are forgotten where nobody ever reads them, and still told where somebody does', () => {
    const early = ask()
    vi.advanceTimersByTime(10_000)
    const late = ask()
    expect(late).not.toBe(early)
    const heard: string[] = []
    late.subscribe(() => heard.push('late'))
    early.subscribe(() => heard.push('early'))
    expect(following.count).toBe(1)
    value += 1
    cache.changed('question')
    expect(heard.sort()).toEqual(['early', 'late'])
    expect([early.getSnapshot(), late.getSnapshot()]).toEqual([value, value])
  })
})
