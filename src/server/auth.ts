/** Who sends a token: JWTs by shared secret or by published keys, and outside production `dev:<userId>`. */
import { createRemoteJWKSet, errors, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose'
import type { Config } from '../config.ts'
import type { Caller } from '../presence/access.ts'
import { BOUNDS, parseAvatarUrl, parseUserId } from '../presence/bounds.ts'
import type { UserDirectory } from '../presence/directory.ts'
import { isUnavailable, PresenceError, unauthenticated, unavailable } from '../presence/errors.ts'
import type { Profile } from '../presence/model.ts'
import { refuseDismissed } from '../presence/presence.ts'
import { withinTime } from '../presence/time-limit.ts'

/** How long a look at dismissed users may take: beyond it presence goes on without (rule 8's second). */
const REVOCATION_WAIT_MS = 1000
/** Issuers' clocks differ from ours by a few seconds at most where they are kept at all. */
const CLOCK_TOLERANCE = '5s'

export interface Authenticator {
  /**
   * @param authorization - `Bearer <token>` or the token itself; null where there is none
   * @returns null without a token
   * @throws PresenceError `UNAUTHENTICATED` for a token that does not hold; `UNAVAILABLE` where its keys cannot be read
   */
  authenticate(authorization: string | null): Promise<Caller | null>
}

export function createAuthenticator(
  config: Config,
  directory: Pick<UserDirectory, 'tokensValidAfterMs'>,
): Authenticator {
  const isDevelopment = config.NODE_ENV !== 'production'
  const defaultRooms = config.DEFAULT_ROOMS ?? (isDevelopment ? ['**'] : [])
  const secret = config.JWT_SECRET === null ? null : new TextEncoder().encode(config.JWT_SECRET)
  const publishedKeys = config.JWKS_URL === null ? null : createRemoteJWKSet(new URL(config.JWKS_URL))
  const checks = {
    ...(config.JWT_ISSUER === null ? {} : { issuer: config.JWT_ISSUER }),
    ...(config.JWT_AUDIENCE === null ? {} : { audience: config.JWT_AUDIENCE }),
    requiredClaims: ['sub', 'iat', 'exp'],
    clockTolerance: CLOCK_TOLERANCE,
  }

  async function verify(token: string): Promise<JWTPayload> {
    try {
      // Which key a token is held against is never the token's choice alone: a secret only takes HS256.
      if (secret !== null && algorithmOf(token) === 'HS256') {
        return (await jwtVerify(token, secret, { ...checks, algorithms: ['HS256'] })).payload
      }
      if (publishedKeys !== null)
        return (await jwtVerify(token, publishedKeys as JWTVerifyGetKey, { ...checks, algorithms: ASYMMETRIC })).payload
    } catch (error) {
      throw authenticationError(error)
    }
    throw unauthenticated('The token is of a kind that is not accepted here.')
  }

  async function lookForDismissal(caller: Caller): Promise<void> {
    let validAfterMs: number | null
    try {
      validAfterMs = await withinTime(directory.tokensValidAfterMs(caller.userId), REVOCATION_WAIT_MS, null)
    } catch (error) {
      if (isUnavailable(error)) return
      throw error
    }
    refuseDismissed(caller, validAfterMs)
  }

  return {
    async authenticate(authorization) {
      if (authorization === null || authorization.trim() === '') return null
      const token = authorization.trim().replace(/^bearer\s+/i, '')
      if (token.startsWith('dev:')) {
        if (!isDevelopment) throw unauthenticated('`dev:` tokens do not work in production.')
        return devCaller(token.slice(4), defaultRooms)
      }
      const caller = callerOf(await verify(token), config, defaultRooms)
      await lookForDismissal(caller)
      return caller
    },
  }
}

/** What jose says where the keys' server is away, or answers with something else. */
const KEYS_OUT_OF_REACH: ReadonlySet<string> = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JWKS_INVALID', 'ERR_JOSE_GENERIC'])

/** Signatures by a private key, which only the issuer has. */
const ASYMMETRIC = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

function algorithmOf(token: string): unknown {
  try {
    return (JSON.parse(Buffer.from(String(token.split('.')[0]), 'base64url').toString()) as { alg?: unknown }).alg
  } catch {
    throw unauthenticated('The token is no JWT.')
  }
}

function authenticationError(error: unknown): unknown {
  if (error instanceof PresenceError) return error
  if (error instanceof errors.JWTExpired) return unauthenticated('The token has run out.')
  if (error instanceof errors.JWTClaimValidationFailed)
    return unauthenticated(`The token's claim \`${error.claim}\` does not hold: ${error.reason}.`)
  if (!(error instanceof errors.JOSEError) || KEYS_OUT_OF_REACH.has(error.code)) {
    return unavailable('server', 'The keys that tokens are held against cannot be read just now.', { cause: error })
  }
  return unauthenticated('The token is not signed by a key that is accepted here.')
}

function devCaller(userId: string, rooms: readonly string[]): Caller {
  return {
    userId: userIdOf(userId),
    profile: null,
    rooms,
    everyone: true,
    role: 'member',
    issuedAtMs: Date.now(),
    expiresAtMs: null,
  }
}

function callerOf(payload: JWTPayload, config: Config, defaultRooms: readonly string[]): Caller {
  const issuedAtMs = Number(payload.iat) * 1000
  const presence = claimAt(payload, config.JWT_PRESENCE_CLAIM)
  const claims = isRecord(presence) ? presence : {}
  return {
    userId: userIdOf(payload.sub),
    profile: profileOf(claimAt(payload, config.JWT_NAME_CLAIM), claimAt(payload, config.JWT_PICTURE_CLAIM), issuedAtMs),
    rooms: Array.isArray(claims.rooms) ? claims.rooms.filter((room) => typeof room === 'string') : defaultRooms,
    everyone: claims.everyone !== false,
    role: claims.role === 'service' ? 'service' : 'member',
    issuedAtMs,
    expiresAtMs: Number(payload.exp) * 1000,
  }
}

function userIdOf(subject: unknown): string {
  try {
    return parseUserId('sub', String(subject))
  } catch (error) {
    throw unauthenticated(`The token cannot be used: ${error instanceof Error ? error.message : ''}`)
  }
}

/** A claim by its whole name, else by its path: names may hold dots themselves. */
function claimAt(payload: JWTPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path]
  let value: unknown = payload
  for (const name of path.split('.')) {
    if (!isRecord(value) || !Object.hasOwn(value, name)) return undefined
    value = value[name]
  }
  return value
}

/** What an identity provider says beyond our bounds is cut or left out: nobody is locked out for a long name. */
function profileOf(name: unknown, picture: unknown, issuedAtMs: number): Profile | null {
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
