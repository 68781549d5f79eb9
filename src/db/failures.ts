/**
 * What goes wrong at the database, in two kinds: it is out of reach, or it refused what it was asked.
 *
 * No message holds what a query asked for, nor anything of DATABASE_URL.
 */
import { DrizzleQueryError } from 'drizzle-orm/errors'
import { PresenceError, unavailable } from '../presence/errors.ts'
import type { LockHolder } from './lock-holders.ts'

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

/**
 * Another transaction did not release a lock in time, or it and this one waited for each other. The database is up. A
 * class, because the recorder asks `instanceof`: to everybody else it is `UNAVAILABLE`.
 */
export class LockedError extends PresenceError {
  /** The table whose lock it was; null if the database did not say. */
  readonly relation: string | null

  /** Who has it, if that was looked up. */
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

/** Data exceptions, violated constraints, and rows beyond a limit (appendix A of Postgres' manual). */
const DATA_CLASSES: ReadonlySet<string> = new Set(['22', '23', '54'])

/**
 * Classes of SQLSTATE of a server that could answer the same query later: connection, credentials that are being
 * changed, a database that is rebuilt, a standby, a rollback for others' sake, resources, locks, an operator's
 * hand, the system, and its own errors.
 */
const AWAY_CLASSES: ReadonlySet<string> = new Set(['08', '28', '3D', '25', '40', '53', '55', '57', '58', 'XX'])

/** Failures before any connection was there: the next query would fare the same. */
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
  'CONNECTION_DESTROYED', // the driver ended it, since it leads to a standby
  '57P03', // it is starting or stopping
])

/**
 * Classes of SQLSTATE with which a server ends a busy connection: an operator's hand, a limit on idle or long
 * transactions, its own errors. The driver fails the next query on the same place in its pool with such an error.
 */
const ENDING_CLASSES: ReadonlySet<string> = new Set(['57', '25', 'XX'])

/** For an operator, each as the end of "Postgres cannot be used: …". */
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

/** What callers of the database are told of a failure. */
export function databaseFailure(error: unknown): unknown {
  const cause = causeOf(error)
  if (cause instanceof PresenceError || !(cause instanceof Error)) return cause
  const code = codeOf(cause)
  if (code === null) return cause
  if (LOCK_CODES.has(code))
    return new LockedError(`another transaction locks what it needs (${code})`, lockedRelation(cause))
  // EPIPE has five letters too, so the name tells.
  if (cause.name !== 'PostgresError' || AWAY_CLASSES.has(code.slice(0, 2))) return away(wordsFor(code))
  return new QueryRefusedError(code, cause.message)
}

/** However that is found out. */
const SILENCE = 'it does not answer in time'
const SILENCES: ReadonlySet<string> = new Set(['ETIMEDOUT', 'CONNECT_TIMEOUT', 'SILENT'])

function wordsFor(code: string): string {
  if (SILENCES.has(code)) return SILENCE
  const words = WORDS[code]
  if (words !== undefined) return `${words} (${code})`
  return `the driver or the database said ${code}`
}

/** @param reason - for the operator: clients are not told what the database is called, nor what it said */
export function away(reason: string): PresenceError {
  return unavailable('postgres', OUT_OF_REACH, { cause: new Error(reason) })
}

export function takesNoWrites(): PresenceError {
  return away(wordsFor('25006'))
}

export function tooSlow(): PresenceError {
  return away(SILENCE)
}

/** @returns why Postgres cannot be used just now, for an operator; null where the error says something else */
export function whyAway(error: unknown): string | null {
  if (!(error instanceof PresenceError) || error.details.part !== 'postgres') return null
  return error.cause instanceof Error ? error.cause.message : error.message
}

export function isUnreachable(error: unknown): boolean {
  const code = codeOf(causeOf(error))
  return code !== null && UNREACHABLE.has(code)
}

/** The server takes no writes, so the statement did nothing: another server may be the primary by now. */
export function isReadOnly(error: unknown): boolean {
  return codeOf(causeOf(error)) === '25006'
}

/** Of a query that was never sent: whether the failure is one of a query before, which the driver handed on. */
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

/** Postgres says it in the error's context, in English or not: `… in relation "users"`. */
function lockedRelation(error: Error): string | null {
  const context = 'where' in error && typeof error.where === 'string' ? error.where : ''
  return /tuple \(\d+,\d+\)[^"]*"([^"]+)"/.exec(context)?.[1] ?? null
}
