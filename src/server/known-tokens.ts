/** Tokens whose signature was checked already: clients send the same one with every request and every reconnect. */
import { createHash } from 'node:crypto'
import type { JWTPayload } from 'jose'
import { LRUCache } from 'lru-cache'

/** An entry takes about a kilobyte. */
const MAX_KNOWN_TOKENS = 10_000

export interface KnownTokensOptions {
  /** Checks signature, times and claims. */
  readonly verify: (token: string) => Promise<JWTPayload>
  /** How long a signature counts as checked: a key may be withdrawn. Infinity: until the token ends. */
  readonly maxAgeMs: number
  readonly clockToleranceSeconds: number
  /** Epoch ms. */
  readonly now: () => number
}

/** @returns `verify`, which checks a token once while it is valid. What it refuses is never remembered */
export function rememberTokens({
  verify,
  maxAgeMs,
  clockToleranceSeconds,
  now,
}: KnownTokensOptions): (token: string) => Promise<JWTPayload> {
  /** By digest: no token stays in memory. */
  const known = new LRUCache<string, { readonly payload: JWTPayload; readonly checkedAtMs: number }>({
    max: MAX_KNOWN_TOKENS,
  })

  /** Whether a check now would have the same result. After a step back of the clock nobody can say. */
  function isStillValid({ exp = 0 }: JWTPayload, checkedAtMs: number): boolean {
    const ageMs = now() - checkedAtMs
    return ageMs >= 0 && ageMs < maxAgeMs && now() < (exp + clockToleranceSeconds) * 1000
  }

  return async function verifyOnce(token) {
    const digest = createHash('sha256').update(token).digest('base64')
    const found = known.get(digest)
    if (found !== undefined && isStillValid(found.payload, found.checkedAtMs)) return found.payload
    known.delete(digest)
    const checkedAtMs = now()
    const payload = await verify(token)
    known.set(digest, { payload, checkedAtMs })
    return payload
  }
}
