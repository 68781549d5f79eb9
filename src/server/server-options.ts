/** How long a connection over HTTP may say nothing: what Node's own server is started with. */
import type { ServerOptions } from 'node:http'
import type { Config } from '../config.ts'

/** How long the headers of a request may take to arrive. */
const HEADERS_TIME_MS = 10_000
const CHECK_INTERVAL_MS = 1000

/** @param headersTimeMs - less, for a test that does not wait so long */
export function serverOptions(
  { BODY_TIME, KEEP_ALIVE_TIMEOUT }: Pick<Config, 'BODY_TIME' | 'KEEP_ALIVE_TIMEOUT'>,
  headersTimeMs = HEADERS_TIME_MS,
): ServerOptions {
  return {
    requireHostHeader: false,
    // Node's defaults are a minute and five: a connection that sends its headers or its body drop by drop costs a place.
    // Both times begin with a request, so a connection between two requests may be quiet for longer.
    headersTimeout: headersTimeMs,
    requestTimeout: headersTimeMs + BODY_TIME,
    // Node's default is 5 s, and load balancers send a request over what they take for open.
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT,
    connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, headersTimeMs),
  }
}
