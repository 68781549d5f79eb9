/** Which web pages may call: a browser names the page's origin, other programs name none. */
import type { Config } from '../config.ts'

export interface Origins {
  /** @param host - the request's own host: a page that we serve may always call */
  allows(origin: string | null, host: string | null): boolean
  /** For the log at startup. */
  readonly description: string
}

const THIS_MACHINE = new Set(['localhost', '127.0.0.1', '[::1]'])

export function createOrigins({ ALLOWED_ORIGINS, NODE_ENV }: Pick<Config, 'ALLOWED_ORIGINS' | 'NODE_ENV'>): Origins {
  const listed = new Set(ALLOWED_ORIGINS)
  const isAnyLocalPort = ALLOWED_ORIGINS === null && NODE_ENV !== 'production'

  return {
    allows(origin, host) {
      if (origin === null) return true
      if (!URL.canParse(origin)) return false
      const url = new URL(origin)
      if (listed.has(url.origin) || (host !== null && url.host === host)) return true
      return isAnyLocalPort && THIS_MACHINE.has(url.hostname)
    },
    description: isAnyLocalPort ? 'its own and any port of this machine' : ['its own', ...listed].join(', '),
  }
}
