/**
 * What goes wrong at the database, in two kinds: it is out of reach, or it refused what it was asked.
 *
 * No message holds what a query asked for, nor anything of DATABASE_URL.
 */
import { DrizzleQueryError } from 'drizzle-orm/errors'
import { PresenceError, unavailable } from '../presence/errors.ts'

/** The database answered, and refused. A class, because the recorder asks `instanceof`. */
export class QueryRefusedError extends Error {
  override readonly name = 'QueryRefusedError'
  /** The SQLSTATE. */
  readonly code: string

  constructor(code: string, message: string) {
    super(`Postgres refused a query: ${message} (${code})`)
    this.code = code
  }

  /** Whether what was to be written is at fault, and not the tables or the statement. */
  get isOfData(): boolean {
    return DATA_CLASSES.has(this.code.slice(0, 2))
  }
}

/** Data exceptions, violated constraints, and rows beyond a limit (appendix A of Postgres' manual). */
const DATA_CLASSES: ReadonlySet<string> = new Set(['22', '23', '54'])

/**
 * Classes of SQLSTATE of a server that could answer the same query later: connection, credentials that are being
 * changed, a database that is rebuilt, a standby, a rollback for others' sake, resources, locks, an operator's
 * hand, the system, and its own errors.
 */
const AWAY_CLASSES: ReadonlySet<string> = new Set(['08', '28', '3D', '25', '40', '53', '55', '57', '58', 'XX'])

/** Failures of the driver and of Node before any connection was there: the next query would fare the same. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'ETIMEDOUT',
  'CONNECT_TIMEOUT',
  '57P03', // it is starting or stopping
])

/** What callers of the database are told of a failure. */
export function databaseFailure(error: unknown): unknown {
  const cause = error instanceof DrizzleQueryError ? error.cause : error
  if (cause instanceof PresenceError || !(cause instanceof Error)) return cause
  const code = codeOf(cause)
  if (code === null) return cause
  // EPIPE has five letters too, so the name tells.
  if (cause.name !== 'PostgresError' || AWAY_CLASSES.has(code.slice(0, 2)))
    return away(`The driver or the database said ${code}.`)
  return new QueryRefusedError(code, cause.message)
}

/** @param reason - for the operator: clients are not told what the database is called, nor what it said */
export function away(reason: string): PresenceError {
  return unavailable('postgres', 'The database is out of reach just now.', { cause: new Error(reason) })
}

export function isUnreachable(error: unknown): boolean {
  const cause = error instanceof DrizzleQueryError ? error.cause : error
  const code = codeOf(cause)
  return code !== null && UNREACHABLE.has(code)
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null
  return typeof error.code === 'string' ? error.code : null
}
