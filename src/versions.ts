/**
 * What this server runs on, and the least versions of it that are safe: Node, Redis and Valkey, a row a release line.
 * The packages that it is built of are in scripts/least-safe-versions.json.
 *
 * Pure. An advisory is named by the id under which it was published.
 */

/** A release line that gets, or got, fixes of its own. */
export interface ReleaseLine {
  /** The parts that all of its versions begin with: `22`, `7.2`. */
  readonly line: string
  readonly least: string
  /** What the least version mends, of what concerns this server most. */
  readonly mends: string
  /** Since when it gets no fixes any more. */
  readonly endedOn?: string
}

/** From the oldest line to the newest. */
export const NODE_LINES: readonly ReleaseLine[] = [
  {
    line: '20',
    least: '20.20.2',
    mends: 'CVE-2026-21710, a request header that crashed the process, and CVE-2026-21717, colliding hashes',
    endedOn: '2026-04-30',
  },
  {
    line: '22',
    least: '22.23.2',
    mends:
      'CVE-2026-58044, requests beyond the bound of headers, and CVE-2026-21710, a header that crashed the process',
  },
  {
    line: '24',
    least: '24.18.1',
    mends:
      'CVE-2026-58044, requests beyond the bound of headers, and CVE-2026-21710, a header that crashed the process',
  },
  { line: '26', least: '26.3.1', mends: 'the security release of 18 June 2026, such as CVE-2026-48618 in TLS' },
]

const REDIS_MENDS =
  'CVE-2026-81934, code execution by a TLS connection, CVE-2026-23479, by a blocked client, and CVE-2025-49844, by a Lua script'
const VALKEY_MENDS =
  'CVE-2026-56684, code execution by a TLS connection, CVE-2026-23631, by a Lua script, and CVE-2025-49844, by another'

export const REDIS_LINES: readonly ReleaseLine[] = [
  { line: '6.2', least: '6.2.24', mends: REDIS_MENDS },
  { line: '7.2', least: '7.2.16', mends: REDIS_MENDS },
  { line: '7.4', least: '7.4.11', mends: REDIS_MENDS },
  { line: '8.2', least: '8.2.9', mends: REDIS_MENDS },
  { line: '8.4', least: '8.4.6', mends: REDIS_MENDS },
  { line: '8.6', least: '8.6.6', mends: REDIS_MENDS },
  { line: '8.8', least: '8.8.2', mends: REDIS_MENDS },
  { line: '8.10', least: '8.10.1', mends: REDIS_MENDS },
]

export const VALKEY_LINES: readonly ReleaseLine[] = [
  { line: '7.2', least: '7.2.14', mends: VALKEY_MENDS },
  { line: '8.0', least: '8.0.10', mends: VALKEY_MENDS },
  { line: '8.1', least: '8.1.9', mends: VALKEY_MENDS },
  { line: '9.0', least: '9.0.5', mends: VALKEY_MENDS },
  { line: '9.1', least: '9.1.1', mends: VALKEY_MENDS },
]

/** Why a version is not safe, for an operator. */
export interface UnsafeVersion {
  readonly product: string
  readonly version: string
  /** The least version to use instead. */
  readonly least: string
  readonly mends: string
  /** Set where the version is the last of its line, and the line gets no fixes any more. */
  readonly endedOn?: string
}

/** @returns null where nothing is known against the version, as of one that is newer than every line */
export function whyUnsafe(product: string, version: string, lines: readonly ReleaseLine[]): UnsafeVersion | null {
  const own = lines.find(({ line }) => `${version}.`.startsWith(`${line}.`))
  // A line that is not in the table has no fix of its own: the next one has.
  const row = own ?? lines.find(({ least }) => isBelow(version, least))
  if (row === undefined) return null
  const { least, mends, endedOn } = row
  if (isBelow(version, least)) return { product, version, least, mends }
  if (endedOn === undefined) return null
  const next = lines.find((line) => line.endedOn === undefined && isBelow(version, line.least))
  return next === undefined ? null : { product, version, least: next.least, mends: next.mends, endedOn }
}

/** @param facts - what the command `INFO server` answers */
export function whyServerUnsafe(facts: string): UnsafeVersion | null {
  const valkey = versionIn(facts, 'valkey_version')
  // Valkey also says which Redis it began as.
  if (valkey !== null) return whyUnsafe('Valkey', valkey, VALKEY_LINES)
  const redis = versionIn(facts, 'redis_version')
  return redis === null ? null : whyUnsafe('Redis', redis, REDIS_LINES)
}

/** As the log says it to an operator. */
export function sentenceOf({ product, version, least, endedOn }: UnsafeVersion): string {
  const fault = endedOn === undefined ? 'has known vulnerabilities' : `is of a line that gets no fixes since ${endedOn}`
  return `${product} ${version} ${fault}: use ${least} or later, unless your distribution mends this one.`
}

/** By its numbers alone: a distribution's own suffix says nothing here. */
export function isBelow(version: string, other: string): boolean {
  const [left, right] = [numbersOf(version), numbersOf(other)]
  for (let index = 0; index < 3; index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0)
    if (difference !== 0) return difference < 0
  }
  return false
}

function versionIn(facts: string, name: string): string | null {
  return new RegExp(`^${name}:(\\d+\\.\\d+\\.\\d+)`, 'm').exec(facts)?.[1] ?? null
}

function numbersOf(version: string): readonly number[] {
  return String(version.split('-')[0]).split('.').map(Number)
}
