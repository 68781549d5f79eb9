/**
 * The public keys of the issuer of tokens, read from JWKS_URL.
 *
 * They are read again when they are `REFRESH_MS` old. An issuer that does not answer refuses nobody whose key is known,
 * for as long as JWKS_MAX_AGE. Whatever tokens come, it is asked at most once in `ASK_REST_MS`.
 */
import { createRemoteJWKSet, errors, type JWTVerifyGetKey, type RemoteJWKSet } from 'jose'
import { unavailable } from '../presence/errors.ts'
import type { OperatorLog } from '../presence/operator-log.ts'
import { withinTime } from '../presence/time-limit.ts'

/**
 * A key that the issuer withdrew verifies no longer than this while the issuer answers. A token that it verified is good
 * for another minute (`PUBLISHED_KEY_MS` in src/server/auth.ts).
 */
const REFRESH_MS = 10 * 60_000
/** A key id that is not known may be a new key, or anybody's invention. */
const ASK_REST_MS = 5000
const ANSWER_TIME_LIMIT_MS = 5000
/** Known keys are enough for an answer: those who ask wait so long for newer ones. */
const NEWER_WAIT_MS = 1000

export interface PublishedKeysOptions {
  readonly url: URL
  /** How long keys are good for that could not be read again. */
  readonly maxAgeMs: number
  readonly monotonicMs: () => number
  readonly log: OperatorLog
}

/** @returns what finds the key of a token. It throws PresenceError `UNAVAILABLE` where the keys cannot be read */
export function createPublishedKeys({ url, maxAgeMs, monotonicMs, log }: PublishedKeysOptions): JWTVerifyGetKey {
  let keys: RemoteJWKSet | null = null
  let readAtMs = Number.NEGATIVE_INFINITY
  let askedAtMs = Number.NEGATIVE_INFINITY
  let isAnswering = true
  let asking: Promise<void> | null = null

  function ageMs(): number {
    return monotonicMs() - readAtMs
  }

  /** Resolves when the issuer was asked, whether it answered or not: at most once in `ASK_REST_MS`. */
  function ask(): Promise<void> {
    if (asking === null && monotonicMs() - askedAtMs >= ASK_REST_MS) {
      askedAtMs = monotonicMs()
      asking = askNow().finally(() => {
        asking = null
      })
    }
    return asking ?? Promise.resolve()
  }

  async function askNow(): Promise<void> {
    // Reads only when it is asked to, and not for each token that it does not know.
    const found = createRemoteJWKSet(url, {
      timeoutDuration: ANSWER_TIME_LIMIT_MS,
      cacheMaxAge: Number.POSITIVE_INFINITY,
      cooldownDuration: Number.POSITIVE_INFINITY,
    })
    try {
      await found.reload()
      // Of an issuer that is down a proxy may answer, in whatever form.
      if (found.jwks()?.keys.length === 0) throw new errors.JWKSInvalid('The JSON Web Key Set holds no key.')
    } catch (error) {
      if (isAnswering) log.warn({ err: error, hasKeys: keys !== null && ageMs() < maxAgeMs }, AWAY)
      isAnswering = false
      return
    }
    keys = found
    readAtMs = monotonicMs()
    if (!isAnswering) log.info({}, 'The keys at JWKS_URL can be read again.')
    isAnswering = true
  }

  /** @throws PresenceError `UNAVAILABLE` */
  function known(): RemoteJWKSet {
    if (keys === null || ageMs() >= maxAgeMs) throw outOfReach()
    return keys
  }

  return async function keyOf(header, token) {
    if (keys === null || ageMs() >= maxAgeMs) await ask()
    else if (ageMs() >= REFRESH_MS)
      await withinTime(ask(), Math.max(0, askedAtMs + NEWER_WAIT_MS - monotonicMs()), undefined)
    try {
      return await known()(header, token)
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error
    }
    await ask()
    try {
      return await known()(header, token)
    } catch (error) {
      // It may be a new key of an issuer that does not answer.
      throw error instanceof errors.JWKSNoMatchingKey && !isAnswering ? outOfReach() : error
    }
  }
}

const AWAY =
  'The keys at JWKS_URL cannot be read. Tokens signed by keys that are known are taken for JWKS_MAX_AGE after they were read; ' +
  'others are answered UNAVAILABLE.'

function outOfReach(): Error {
  return unavailable('server', 'The keys that verify tokens cannot be read just now.')
}
