/**
 * Database errors of two kinds: the database is out of reach, or it refused a query.
 *
 * No message contains parameters of a query or any part of DATABASE_URL.
 */
import { DrizzleQueryError } from 'drizzle-orm/errors'
import { PresenceError, unavailable } from '../presence/errors.ts'
import type { LockHolder } from './lock-holders.ts'

/** The database answered and refused the query. A class, because the recorder uses `instanceof`. */
export class QueryRefusedError extends Error {
  override readonly name = 'QueryRefusedError'
  /** The SQLSTATE. */
  readonly code: string

  constructor(code: string, message: string) {
    super(`Postgres refused a query: ${message} (${code})`)
    this.code = code
  }

  /** Whether the data was refused, rather than the tables or the statement. */
  get isOfData(): boolean {
    return DATA_CLASSES.has(this.code.slice(0, 2))
  }
}

/**
 * Another transaction did not release a lock in time, or a deadlock was detected. The database is up. A class, because
 * the recorder uses `instanceof`; all other callers see `UNAVAILABLE`.
 */
export class LockedError extends PresenceError {
  /** The locked table; null if the error does not name it. */
  readonly relation: string | null

  /** The sessions that hold the lock, if they were looked up. */
  readonly lockedBy: readonly LockHolder[]

  constructor(reason: string, relation: string | null, lockedBy: readonly LockHolder[] = []) {
    super('UNAVAILABLE', OUT_OF_REACH, { part: 'postgres' }, { cause: new Error(reason) })
    this.relation = relation
    this.lockedBy = lockedBy
  }
}

/** `lock_not_available` and `deadlock_detected`. */
const LOCK_CODES: ReadonlySet<string> = new Set(['55P03', '40P01'])

const OUT_OF_REACH = 'The database is out of reach just now.'

/** SQLSTATE classes: data exceptions, violated constraints, and exceeded limits (appendix A of Postgres' manual). */
const DATA_CLASSES: ReadonlySet<string> = new Set(['22', '23', '54'])

/**
 * SQLSTATE classes after which the server may answer the same query later: connection, credentials that are being
 * changed, a database that is being rebuilt, a standby, a rollback caused by other transactions, resources, locks,
 * operator intervention, the system, and internal errors.
 */
const AWAY_CLASSES: ReadonlySet<string> = new Set(['08', '28', '3D', '25', '40', '53', '55', '57', '58', 'XX'])

/** Failures before a connection was established: the next query would fail the same way. */
const UNREACHABLE: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ENOENT',
  'EACCES',
  'ETIMEDOUT',
  'CONNECT_TIMEOUT',
  'CLOSED_EARLY',
  'NO_POSTGRES',
  'NO_TLS',
  'CONNECTION_DESTROYED', // the driver closed it, because it leads to a standby
  '57P03', // the server is starting or stopping
])

/**
 * SQLSTATE classes with which a server ends a busy connection: operator intervention, a limit on idle or long
 * transactions, internal errors. The driver fails the next query on the same connection of its pool with such an error.
 */
const ENDING_CLASSES: ReadonlySet<string> = new Set(['57', '25', 'XX'])

/** For operators: each completes "Postgres cannot be used: …". */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens at its address',
  EHOSTUNREACH: 'no network leads to its address',
  ENETUNREACH: 'no network leads to its address',
  ENOTFOUND: 'its name is not known to the DNS',
  EAI_AGAIN: 'the DNS does not answer',
  ENOENT: 'there is no socket at its path',
  EACCES: 'this user may not open its socket',
  CLOSED_EARLY: 'it closes each connection at once',
  NO_POSTGRES: 'what answers at its address is no Postgres',
  NO_TLS: 'it has no TLS, and DATABASE_URL asks for TLS',
  CONNECTION_DESTROYED: 'it is a standby and takes no writes',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by nobody that is trusted here',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by nobody that is trusted here',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by nobody that is trusted here',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'its certificate is signed by nobody that is trusted here',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate has another name',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  '25006': 'it is a standby, or is set to take no writes',
  '28000': 'it refuses the role of DATABASE_URL, or connections from here (pg_hba.conf)',
  '28P01': 'it refuses the password of DATABASE_URL',
  '3D000': 'it has no database of this name',
  '53300': 'it has no connection left',
  '57P03': 'it is starting or stopping',
}

/** Maps an error of the driver to the one that callers of the database get. */
export function databaseFailure(error: unknown): unknown {
  const cause = causeOf(error)
  if (cause instanceof PresenceError || !(cause instanceof Error)) return cause
  const code = codeOf(cause)
  if (code === null) return cause
  if (LOCK_CODES.has(code))
    return new LockedError(`another transaction locks what it needs (${code})`, lockedRelation(cause))
  // EPIPE has five letters like a SQLSTATE, so check the error's name.
  if (cause.name !== 'PostgresError' || AWAY_CLASSES.has(code.slice(0, 2))) return away(wordsFor(code))
  return new QueryRefusedError(code, cause.message)
}

/** The same sentence for every kind of timeout. */
const SILENCE = 'it does not answer in time'
const SILENCES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'CONNECT_TIMEOUT', 'SILENT'])

function wordsFor(code: string): string {
  if (SILENCES.has(code)) return SILENCE
  const words = WORDS[code]
  if (words !== undefined) return `${words} (${code})`
  return `the driver or the database said ${code}`
}

/** @param reason - for the operator's log: clients do not see the database's name or its messages */
export function away(reason: string): PresenceError {
  return unavailable('postgres', OUT_OF_REACH, { cause: new Error(reason) })
}

export function takesNoWrites(): PresenceError {
  return away(wordsFor('25006'))
}

export function tooSlow(): PresenceError {
  return away(SILENCE)
}

/** @returns why Postgres cannot be used now, for an operator; null if the error has another cause */
export function whyAway(error: unknown): string | null {
  if (!(error instanceof PresenceError) || error.details.part !== 'postgres') return null
  return error.cause instanceof Error ? error.cause.message : error.message
}

export function isUnreachable(error: unknown): boolean {
  const code = codeOf(causeOf(error))
  return code !== null && UNREACHABLE.has(code)
}

/** The server takes no writes, so the statement did nothing; another server may be the primary by now. */
export function isReadOnly(error: unknown): boolean {
  return codeOf(causeOf(error)) === '25006'
}

/** For a query that was never sent: whether the driver failed it with the error of an earlier query. */
export function isOfAnother(error: unknown): boolean {
  const cause = causeOf(error)
  const code = codeOf(cause)
  if (!(cause instanceof Error) || cause.name !== 'PostgresError' || code === null) return false
  return ENDING_CLASSES.has(code.slice(0, 2)) && !UNREACHABLE.has(code)
}

function causeOf(error: unknown): unknown {
  return error instanceof DrizzleQueryError ? error.cause : error
}

function codeOf(error: unknown): string | null {
  if (!(error instanceof Error) || !('code' in error)) return null
  return typeof error.code === 'string' ? error.code : null
}

/** Parses the error's context, whose quoted name is the same in every language: `… in relation "users"`. */
function lockedRelation(error: Error): string | null {
  const context = 'where' in error && typeof error.where === 'string' ? error.where : ''
  return /tuple \(\d+,\d+\)[^"]*"([^"]+)"/.exec(context)?.[1] ?? null
}
