/**
 * Reasons why a Redis server cannot be used as it is, as sentences for the operator. `/readyz` shows them and is
 * public, so they contain no name of a host or a user.
 */

/** A class, because link.ts asks `instanceof`: `/readyz` shows the message of this error, and of no other. */
export class ConnectionUselessError extends Error {
  override readonly name: string = 'ConnectionUselessError'
}

/** The server is reachable, and the operator has to change something. */
export class ServerRefusedError extends ConnectionUselessError {
  override readonly name = 'ServerRefusedError'
}

/** The scripts need `MINID` of XTRIM and `LT` of ZADD: both since 6.2. */
const LEAST_VERSION = [6, 2] as const

/** @param facts - the answer of INFO; @returns null if the version is new enough */
export function whyTooOld(facts: string): string | null {
  const [, major, minor] = /^redis_version:(\d+)\.(\d+)/m.exec(facts) ?? []
  const isOld =
    Number(major) < LEAST_VERSION[0] || (Number(major) === LEAST_VERSION[0] && Number(minor) < LEAST_VERSION[1])
  return isOld ? `Redis ${major}.${minor} is too old: ${LEAST_VERSION.join('.')} or later is needed.` : null
}

/** @returns null if the server evicts no keys */
export function whyEvicting(facts: string): string | null {
  const policy = /^maxmemory_policy:(\S+)/m.exec(facts)?.[1]
  if (policy === undefined || policy === 'noeviction') return null
  return `Redis may throw keys away (maxmemory-policy ${policy}): set \`maxmemory-policy noeviction\`.`
}

export function isReplica(facts: string): boolean {
  return /^role:(slave|replica)/m.test(facts)
}

const WRITE_REFUSALS = [
  [/\bOOM\b/, 'Redis refuses to write: it is full (maxmemory).'],
  [/\bMISCONF\b/, 'Redis refuses to write: it cannot save its data to the disk (stop-writes-on-bgsave-error).'],
  [/\bNOREPLICAS\b/, 'Redis refuses to write: too few replicas follow it (min-replicas-to-write).'],
] as const

/** @param said - an error of a command; @returns null if the error is not a refusal to write */
export function whyNotWriting(said: string): string | null {
  return WRITE_REFUSALS.find(([pattern]) => pattern.test(said))?.[1] ?? null
}

/**
 * @param said - an error of a command
 * @param root - the prefix of all keys
 * @returns a sentence with the right that the user of REDIS_URL lacks; null if the error is another one
 */
export function whyForbidden(said: string, root: string): string | null {
  if (/^(WRONGPASS|NOAUTH)\b/.test(said)) return 'Redis refuses the user or the password in REDIS_URL.'
  if (!/\bNOPERM\b|ACL failure|can't run this command|can't access at least one/.test(said)) return null
  const command = /'([\w|-]+)' command/.exec(said)?.[1]
  return lacking([
    command !== undefined
      ? `the command \`${command.toLowerCase()}\``
      : /channel/.test(said)
        ? `the channel \`${root}:bell\``
        : /key/.test(said)
          ? `the keys \`${root}*\``
          : 'a command that a script calls',
  ])
}

/** @param rights - `the command …`, `the keys …`, `the channel …` */
export function lacking(rights: readonly string[]): string {
  return `The user in REDIS_URL lacks a right in Redis: ${rights.join(', ')} (docs/operations.md, “Least rights”).`
}

/** @param said - an error of a script; @returns null if the error is not that the state belongs to another database */
export function whyForeign(said: string, app: string): string | null {
  if (!said.startsWith('DATABASE ')) return null
  return (
    `The live state of REDIS_APP \`${app}\` belongs to another database than DATABASE_URL. Give this deployment a REDIS_APP ` +
    'or a Redis of its own; if its database was replaced, see docs/operations.md (“Another database”).'
  )
}
