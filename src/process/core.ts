/** What a process creates once. It survives the loss of the work and is shared by all later starts. */
import type { JWTVerifyGetKey } from 'jose'
import { type Config, timingOf } from '../config.ts'
import { createErrorMask, type ErrorMask, maskedResult } from '../execution/client-errors.ts'
import { createKeptTexts } from '../execution/kept-texts.ts'
import { createOperations, type Operations } from '../execution/operations.ts'
import { createSelections } from '../execution/selections.ts'
import { createShareability } from '../execution/shareable.ts'
import { isUnavailable } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'
import { type Clock, type PresenceTiming, processClock } from '../presence/timing.ts'
import { schema as plainSchema } from '../schema/index.ts'
import { createSubgraph } from '../schema/subgraph.ts'
import type { Authenticate } from '../server/app-authentication.ts'
import { createHealth, type Health } from '../server/health.ts'
import { type Addresses, createAddresses } from '../server/limits/addresses.ts'
import { createLimits, type Limits } from '../server/limits/limits.ts'
import { payloadText } from '../server/messages.ts'
import type { Metrics } from '../server/metrics.ts'
import { loadPages, NO_PAGES, type Pages } from '../server/pages.ts'
import { createPublishedKeys } from '../server/published-keys.ts'
import { createRoutes, type Routes } from '../server/routes.ts'

export interface Core {
  readonly config: Config
  readonly log: Log
  readonly timing: PresenceTiming
  readonly clock: Clock
  readonly monotonicMs: () => number
  /** Without Redis the live state is in this process, and no other process serves the same database. */
  readonly isAlone: boolean
  /** Undefined: callers authenticate with tokens. */
  readonly authenticate: Authenticate | undefined
  readonly mask: ErrorMask
  readonly health: Health
  readonly limits: Limits
  readonly addresses: Addresses
  readonly pages: Pages
  readonly routes: Routes
  readonly operations: Operations
  /** Null without JWKS_URL. */
  readonly publishedKeys: JWTVerifyGetKey | null
  /** Counts errors in these metrics from now on. */
  countErrorsBy(count: Metrics['countError']): void
  /** Logs an outage at `debug`, because the part that is away reports it; any other error is a bug. */
  logFailure(fields: { readonly err: unknown; readonly job?: string }, message: string): void
}

export function createCore(config: Config, log: Log, authenticate: Authenticate | undefined): Core {
  const monotonicMs = () => performance.now()
  let countError: Metrics['countError'] = () => {}
  const mask = createErrorMask(log, (code, part) => countError(code, part))
  const schema = config.FEDERATION ? createSubgraph(plainSchema) : plainSchema
  const execute = createKeptTexts(schema)
  const subscribe = createSelections({
    execute,
    isShareable: createShareability(schema),
    write: (result) => payloadText(maskedResult(result, mask)),
  })
  const limits = createLimits(config, monotonicMs)
  const pages = (config.PAGES ?? config.NODE_ENV !== 'production') ? loadPages() : NO_PAGES

  return {
    config,
    log,
    timing: timingOf(config),
    clock: processClock(),
    monotonicMs,
    isAlone: config.REDIS_URL === null,
    authenticate,
    mask,
    health: createHealth('The server is starting.'),
    limits,
    addresses: createAddresses(config.TRUSTED_PROXIES ?? [], (peer) =>
      log.warn(
        { peer },
        'A request has `X-Forwarded-For` and comes from no trusted proxy: the header is not believed, and the clients behind it ' +
          'cannot be told apart. If this is a proxy of yours, name it in TRUSTED_PROXIES (docs/limits.md).',
      ),
    ),
    pages,
    routes: createRoutes(config, pages),
    operations: createOperations({ schema, config, limits, mask, execute, subscribe }),
    // Outlives a start: cached keys survive the loss of the work.
    publishedKeys:
      config.JWKS_URL === null
        ? null
        : createPublishedKeys({ url: new URL(config.JWKS_URL), maxAgeMs: config.JWKS_MAX_AGE, monotonicMs, log }),

    countErrorsBy(count) {
      countError = count
    },

    logFailure(fields, message) {
      if (isUnavailable(fields.err)) log.debug(fields, message)
      else log.error(fields, message)
    },
  }
}
