/** How long ago a moment was, in words: "now", "2 min. ago", "yesterday". Pure, and in the language of the reader. */

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

const UNITS: readonly { readonly unit: Intl.RelativeTimeFormatUnit; readonly ms: number }[] = [
  { unit: 'year', ms: 365 * DAY_MS },
  { unit: 'month', ms: 30 * DAY_MS },
  { unit: 'day', ms: DAY_MS },
  { unit: 'hour', ms: HOUR_MS },
  { unit: 'minute', ms: MINUTE_MS },
]

/** What is less than a minute ago, or by another clock still to come, is now. */
export function relativeTime(atMs: number, nowMs: number, locale?: string): string {
  const format = new Intl.RelativeTimeFormat(locale, { numeric: 'auto', style: 'short' })
  const { unit, ms } = unitOf(atMs, nowMs) ?? { unit: 'second' as const, ms: Number.POSITIVE_INFINITY }
  return format.format(-Math.floor((nowMs - atMs) / ms) || 0, unit)
}

/** When the words will be others, in milliseconds: at most a day, which every timer can wait for. */
export function changesInMs(atMs: number, nowMs: number): number {
  const { ms } = unitOf(atMs, nowMs) ?? { ms: MINUTE_MS }
  return Math.min(DAY_MS, ms - (Math.max(0, nowMs - atMs) % ms))
}

function unitOf(atMs: number, nowMs: number): (typeof UNITS)[number] | undefined {
  return UNITS.find(({ ms }) => nowMs - atMs >= ms)
}
