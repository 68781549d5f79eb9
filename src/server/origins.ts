/** Checks which web pages may call. A browser sends the page's origin; other programs send none. */
import { LRUCache } from 'lru-cache'
import type { Config } from '../config.ts'
import type { Log } from '../presence/operator-log.ts'
import { parseOrigin, parseOriginPattern, type WebOrigin } from '../web-origins.ts'

export interface Origins {
  /** @param host - the request's own host: a page that Rollcall serves may always call */
  allows(origin: string | null, host: string | null): boolean
  /** Whether pages of this origin may send cookies: only if ALLOWED_ORIGINS contains it. */
  allowsCookies(origin: string): boolean
}

type OriginConfig = Pick<Config, 'ALLOWED_ORIGINS' | 'NODE_ENV'>

const THIS_MACHINE = /^(?:(?:.+\.)?localhost|127\.0\.0\.1|\[::1\])$/
/**
 * How many refused origins are remembered, so that each is logged once. Pages can invent origins, so both this number
 * and the log lines are limited.
 */
const LOGGED_ORIGINS = 1000
const LOG_EVERY_MS = 1000

/**
 * @param usesCookies - whether the app authenticates callers itself. Browsers add cookies to requests of any page, and
 *   another program on this machine may belong to anybody, so no unlisted local port is allowed
 */
export function createOrigins(config: OriginConfig, log: Log, monotonicMs: () => number, usesCookies = false): Origins {
  const listed = (config.ALLOWED_ORIGINS ?? []).map(parseOriginPattern)
  const logged = new LRUCache<string, true>({ max: LOGGED_ORIGINS })
  let loggedAtMs = Number.NEGATIVE_INFINITY

  function isListed(origin: WebOrigin): boolean {
    return listed.some((matches) => matches(origin))
  }

  function logRefusal(origin: string): void {
    const nowMs = monotonicMs()
    if (logged.has(origin) || nowMs - loggedAtMs < LOG_EVERY_MS) return
    logged.set(origin, true)
    loggedAtMs = nowMs
    const setting = `ALLOWED_ORIGINS=${[...(config.ALLOWED_ORIGINS ?? []), origin].join(',')}`
    log.warn({ origin, setting }, 'A page of an origin that is not allowed was refused. If it is yours, allow it.')
  }

  return {
    allows(text, host) {
      if (text === null) return true
      const origin = parseOrigin(text)
      if (origin === null) return false
      if (isOwn(origin, host) || isListed(origin)) return true
      if (!usesCookies && isAnyLocalPort(config) && THIS_MACHINE.test(origin.url?.hostname ?? '')) return true
      logRefusal(origin.text)
      return false
    },

    allowsCookies(text) {
      const origin = parseOrigin(text)
      return usesCookies && origin !== null && isListed(origin)
    },
  }
}

/** For the log at startup. */
export function describeOrigins(config: OriginConfig): string {
  return isAnyLocalPort(config)
    ? 'its own and any port of this machine'
    : ['its own', ...(config.ALLOWED_ORIGINS ?? [])].join(', ')
}

function isAnyLocalPort({ ALLOWED_ORIGINS, NODE_ENV }: OriginConfig): boolean {
  return ALLOWED_ORIGINS === null && NODE_ENV !== 'production'
}

/** A proxy may pass the host with the default port of the page's scheme: `app.example.com:443`. */
function isOwn({ url }: WebOrigin, host: string | null): boolean {
  if (url === null || host === null || !/^https?:$/.test(url.protocol)) return false
  if (url.host === host) return true
  const own = `${url.protocol}//${host}`
  return URL.canParse(own) && new URL(own).host === url.host
}
