/** Authenticates tokens: JWTs by shared secret or by published keys, and `dev:<userId>` outside production. */
import { webcrypto } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import type { Config } from '../config.ts'
import type { Caller } from '../presence/access.ts'
import { BOUNDS, parseAvatarUrl, parseRoomPatterns, parseUserId } from '../presence/bounds.ts'
import type { UserDirectory } from '../presence/directory.ts'
import { badClaim, isUnavailable, PresenceError, unauthenticated, unavailable } from '../presence/errors.ts'
import type { Profile } from '../presence/model.ts'
import { refuseDismissed } from '../presence/presence.ts'
import { withinTime } from '../presence/time-limit.ts'
import { rememberTokens } from './known-tokens.ts'

/** How long a lookup of dismissed users may take: after that presence goes on without it (rule 8's second). */
const REVOCATION_WAIT_MS = 1000
/** Issuers' clocks differ from ours by a few seconds at most, if they are synchronised at all. */
export const CLOCK_TOLERANCE_SECONDS = 5
/** A token is held against the published keys again after this time, since its key may have been withdrawn. */
const PUBLISHED_KEY_MS = 60_000
/** What a `Date` can hold, from 1970 on: Postgres takes no year before that in the form that `Date` writes. */
const LATEST_SECOND = 8.64e12
const TIME_BOUND = `a number of seconds since 1970, at most ${LATEST_SECOND}`

/** What a request or a socket says about who it is. */
export interface Credentials {
  /** `Bearer <token>` or the token itself; null if there is none. */
  readonly authorization: string | null
  /** What the client of a socket sent; null for a request over HTTP. */
  readonly connectionParams: Readonly<Record<string, unknown>> | null
  /** Node's own request; null if there is none, or if nobody reads it. */
  readonly req: IncomingMessage | null
  /** The request without its body: only for an authenticator that reads requests. */
  toRequest(): Request
}

export interface Authenticator {
  /** Whether these may name a caller: without credentials, the address is not asked whether it may try. */
  mayHave(credentials: Credentials): boolean
  /** Whether it reads more than `authorization`. */
  readonly readsRequests: boolean
  /**
   * @returns null without credentials
   * @throws PresenceError `UNAUTHENTICATED` for invalid ones; `UNAVAILABLE` if they cannot be checked
   */
  authenticate(credentials: Credentials): Promise<Caller | null>
}

/** @param publishedKeys - finds the keys of JWKS_URL; null without that setting */
export function createAuthenticator(
  config: Config,
  directory: Pick<UserDirectory, 'tokensValidAfterMs'>,
  publishedKeys: JWTVerifyGetKey | null,
): Authenticator {
  const isDevelopment = config.NODE_ENV !== 'production'
  const defaultRooms = defaultRoomsOf(config)
  // Imported once: jose would import bytes, and a key object too, for every token.
  const secret = config.JWT_SECRET === null ? null : importSecret(config.JWT_SECRET)
  // A failed import must fail each token, and not the process.
  secret?.catch(() => {})
  const checks = {
    ...(config.JWT_ISSUER === null ? {} : { issuer: config.JWT_ISSUER }),
    ...(config.JWT_AUDIENCE === null ? {} : { audience: config.JWT_AUDIENCE }),
    requiredClaims: ['iat', 'exp'],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
  }

  async function verify(token: string): Promise<JWTPayload> {
    try {
      // The token alone never chooses the key that verifies it: a secret only takes HS256.
      if (secret !== null && algorithmOf(token) === 'HS256') {
        return (await jwtVerify(token, await secret, { ...checks, algorithms: ['HS256'] })).payload
      }
      if (publishedKeys !== null)
        return (await jwtVerify(token, publishedKeys, { ...checks, algorithms: ASYMMETRIC })).payload
    } catch (error) {
      throw error instanceof errors.JWTExpired || error instanceof errors.JWTClaimValidationFailed
        ? refusedWithSignature(authenticationError(error), error.payload, config)
        : authenticationError(error)
    }
    throw unauthenticated('The token is of a kind that is not accepted here.')
  }

  const verifyOnce = rememberTokens({
    verify,
    maxAgeMs: publishedKeys === null ? Number.POSITIVE_INFINITY : PUBLISHED_KEY_MS,
    clockToleranceSeconds: CLOCK_TOLERANCE_SECONDS,
    now: Date.now,
  })

  return {
    mayHave: ({ authorization }) => authorization !== null,
    readsRequests: false,

    async authenticate({ authorization }) {
      if (authorization === null || authorization.trim() === '') return null
      const token = authorization.trim().replace(/^bearer\s+/i, '')
      if (token.startsWith('dev:')) {
        if (!isDevelopment) throw unauthenticated('`dev:` tokens do not work in production.')
        return devCaller(token.slice(4), defaultRooms)
      }
      const payload = await verifyOnce(token)
      try {
        const caller = callerOf(payload, config, defaultRooms)
        await refuseRevoked(caller, directory)
        return caller
      } catch (error) {
        throw refusedWithSignature(error, payload, config)
      }
    },
  }
}

/** The rooms of a caller who names none. */
export function defaultRoomsOf({
  DEFAULT_ROOMS,
  NODE_ENV,
}: Pick<Config, 'DEFAULT_ROOMS' | 'NODE_ENV'>): readonly string[] {
  return DEFAULT_ROOMS ?? (NODE_ENV === 'production' ? [] : ['**'])
}

/** @throws PresenceError `UNAUTHENTICATED` if the caller was dismissed since; not if that cannot be looked up in time */
export async function refuseRevoked(
  caller: Caller,
  directory: Pick<UserDirectory, 'tokensValidAfterMs'>,
): Promise<void> {
  let validAfterMs: number | null
  try {
    validAfterMs = await withinTime(directory.tokensValidAfterMs(caller.userId), REVOCATION_WAIT_MS, null)
  } catch (error) {
    if (isUnavailable(error)) return
    throw error
  }
  refuseDismissed(caller, validAfterMs)
}

/** The user of each token that was refused although its signature is valid, by the error. */
const subjects = new WeakMap<object, string>()

/** @returns the user whose token was refused; null if its signature is invalid: then anybody may have made it */
export function subjectOfRefused(error: unknown): string | null {
  return (typeof error === 'object' && error !== null ? subjects.get(error) : undefined) ?? null
}

function refusedWithSignature(
  error: unknown,
  payload: JWTPayload,
  { JWT_SUBJECT_CLAIM }: Pick<Config, 'JWT_SUBJECT_CLAIM'>,
): unknown {
  const subject = claimAt(payload, JWT_SUBJECT_CLAIM)
  if (error instanceof PresenceError && typeof subject === 'string') subjects.set(error, subject)
  return error
}

const TIME_CLAIMS: ReadonlySet<string> = new Set(['iat', 'exp', 'nbf'])

/** Algorithms that sign with a private key, which only the issuer has. */
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

function importSecret(secret: string): Promise<webcrypto.CryptoKey> {
  const hmac = { name: 'HMAC', hash: 'SHA-256' }
  return webcrypto.subtle.importKey('raw', new TextEncoder().encode(secret), hmac, false, ['verify'])
}

function algorithmOf(token: string): unknown {
  try {
    return (JSON.parse(Buffer.from(String(token.split('.')[0]), 'base64url').toString()) as { alg?: unknown }).alg
  } catch {
    throw unauthenticated('The token is not a JWT.')
  }
}

function authenticationError(error: unknown): unknown {
  if (error instanceof PresenceError) return error
  if (error instanceof errors.JWTExpired) return unauthenticated('The token has run out.')
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.reason === 'missing') return badClaim(error.claim, 'there')
    if (TIME_CLAIMS.has(error.claim) && error.reason === 'invalid') return badClaim(error.claim, TIME_BOUND)
    if (error.claim === 'nbf') return badClaim('nbf', 'a time that has come')
    return badClaim(error.claim, 'what this server is set to')
  }
  if (!(error instanceof errors.JOSEError)) {
    return unavailable('server', 'The keys that verify tokens cannot be used just now.', { cause: error })
  }
  return unauthenticated('The token is not signed by a key that is accepted here.')
}

function devCaller(userId: string, rooms: readonly string[]): Caller {
  try {
    parseUserId('sub', userId)
  } catch (error) {
    throw unauthenticated(`The token cannot be used: ${error instanceof Error ? error.message : ''}`)
  }
  return {
    userId,
    profile: null,
    rooms,
    everyone: true,
    role: 'member',
    issuedAtMs: Date.now(),
    expiresAtMs: null,
  }
}

/**
 * A claim that gives rights must have its one form. If it has another form, nobody can tell what its issuer meant, and
 * the default may give more rights than that.
 *
 * @throws PresenceError `UNAUTHENTICATED` that names the claim and its bound
 */
function callerOf(payload: JWTPayload, config: Config, defaultRooms: readonly string[]): Caller {
  const issuedAtMs = timeOf('iat', payload.iat)
  if (issuedAtMs > Date.now() + CLOCK_TOLERANCE_SECONDS * 1000) {
    // Such a token would outlive the dismissal of its user.
    throw badClaim('iat', `a time in seconds, at most ${CLOCK_TOLERANCE_SECONDS} of them after now`)
  }
  if (issuedAtMs < Date.now() - config.TOKEN_MAX_AGE) {
    // A revocation may be gone by then.
    throw badClaim('iat', 'a time that is no longer ago than TOKEN_MAX_AGE')
  }
  if (payload.nbf !== undefined) timeOf('nbf', payload.nbf)
  return {
    userId: userIdOf(payload, config.JWT_SUBJECT_CLAIM),
    profile: profileOf(claimAt(payload, config.JWT_NAME_CLAIM), claimAt(payload, config.JWT_PICTURE_CLAIM), issuedAtMs),
    ...rightsOf(payload, config.JWT_PRESENCE_CLAIM, defaultRooms),
    issuedAtMs,
    expiresAtMs: timeOf('exp', payload.exp),
  }
}

function rightsOf(
  payload: JWTPayload,
  path: string,
  defaultRooms: readonly string[],
): Pick<Caller, 'rooms' | 'everyone' | 'role'> {
  const claims = claimAt(payload, path, badClaim)
  if (claims !== undefined && !isRecord(claims)) throw badClaim(path, 'an object')
  const { rooms = defaultRooms, everyone = true, role = 'member' } = claims ?? {}
  if (typeof everyone !== 'boolean') throw badClaim(`${path}.everyone`, '`true` or `false`')
  if (role !== 'member' && role !== 'service') throw badClaim(`${path}.role`, '`member` or `service`')
  if (!isTexts(rooms)) throw badClaim(`${path}.rooms`, 'a list of texts')
  return { rooms: rooms === defaultRooms ? rooms : patternsOf(`${path}.rooms`, rooms), everyone, role }
}

function patternsOf(path: string, rooms: readonly string[]): readonly string[] {
  return withinClaim(path, () => parseRoomPatterns(path, rooms))
}

function userIdOf(payload: JWTPayload, path: string): string {
  const subject = claimAt(payload, path, badClaim)
  if (subject === undefined) throw badClaim(path, 'there')
  if (typeof subject !== 'string') throw badClaim(path, 'a text')
  return withinClaim(path, () => parseUserId(path, subject))
}

/** Turns an input error about a claim into one about the token: no argument is wrong. */
function withinClaim<Value>(path: string, parse: () => Value): Value {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof PresenceError)) throw error
    throw badClaim(String(error.details.argument ?? path), String(error.details.bound))
  }
}

/** @returns epoch ms */
function timeOf(claim: string, seconds: unknown): number {
  if (typeof seconds !== 'number' || !(seconds >= 0 && seconds <= LATEST_SECOND)) throw badClaim(claim, TIME_BOUND)
  return Math.floor(seconds * 1000)
}

/**
 * Finds a claim by its whole name, else by its path: names may contain dots.
 *
 * @param refuse - makes the error if a part of the path is present but no object; without it, the claim is absent
 * @returns undefined if the claim is absent
 */
function claimAt(payload: JWTPayload, path: string, refuse?: (claim: string, bound: string) => PresenceError): unknown {
  if (Object.hasOwn(payload, path)) return payload[path]
  let value: unknown = payload
  const names = path.split('.')
  for (const [index, name] of names.entries()) {
    if (!isRecord(value)) {
      if (refuse !== undefined) throw refuse(names.slice(0, index).join('.'), 'an object')
      return undefined
    }
    if (!Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

/** Profile values beyond our bounds are cut or left out: a long name locks nobody out. */
export function profileOf(name: unknown, picture: unknown, issuedAtMs: number): Profile | null {
  const shortName =
    typeof name === 'string'
      ? [...name.replace(/\p{Cc}|\p{Cs}/gu, ' ').trim()].slice(0, BOUNDS.nameCharacters).join('')
      : ''
  const profile = { name: shortName === '' ? null : shortName, avatarUrl: pictureOf(picture), issuedAtMs }
  return profile.name === null && profile.avatarUrl === null ? null : profile
}

function pictureOf(picture: unknown): string | null {
  try {
    return typeof picture === 'string' ? parseAvatarUrl('picture', picture) : null
  } catch {
    return null
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
