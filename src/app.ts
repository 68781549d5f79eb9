/**
 * The server as a program of somebody else's has it: made of its settings, mounted, and closed. It touches no global.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Config, parseConfig, renamedIn, type SettingTexts } from './config.ts'
import { parseAddress } from './db/address.ts'
import { createLog } from './log.ts'
import { unavailable } from './presence/errors.ts'
import type { Log } from './presence/operator-log.ts'
import { createCore } from './process/core.ts'
import { createOwnDatabase } from './process/database.ts'
import { createLife } from './process/life.ts'
import type { Parts } from './process/parts.ts'
import { createStarts } from './process/starts.ts'
import { REQUEST_WAIT_MS } from './process/stop.ts'
import { NOT_SERVING, ORIGIN_REFUSED, problem, problemOf } from './server/answers.ts'
import type { Authenticate } from './server/app-authentication.ts'
import { createEdge } from './server/edge.ts'
import { createNodeRequests, type HandleOptions, type Next, refuse } from './server/node-requests.ts'
import { createOrigins } from './server/origins.ts'
import type { Peer } from './server/peer.ts'
import { webResponse } from './server/web-response.ts'

export { type Config, ConfigError, type SettingTexts } from './config.ts'
export type { Log } from './presence/operator-log.ts'
export type { AppCaller, AppCredentials, Authenticate } from './server/app-authentication.ts'
export type { HandleOptions, Next } from './server/node-requests.ts'

export interface Rollcall {
  /**
   * Answers an HTTP request.
   *
   * @param from - `{ req }`, Node's own request, as `createServerAdapter` of `@whatwg-node/server` hands it over: its
   *   address pays for what is asked without a token. Left out, such requests are not counted
   */
  fetch(request: Request, from?: object): Promise<Response>
  /**
   * Answers everything that a server of Node's emits. Its option `requireHostHeader: false` leaves that check to us. It
   * answers 404 to every path that is not ours: in a server that has more than Rollcall, take `handle` and `upgrade`.
   */
  mount(server: Server): void
  /**
   * Answers a request of Node's: a handler for `node:http`, Express, Koa, Next.js and what else has Node's own objects.
   *
   * @param rest - `next`, which is called for a path that is not ours, or `{ next, body }`: `body` is the parsed body in
   *   a framework that does not leave it in `request.body`, such as Fastify. Without `next` such a path is answered 404
   * @returns a promise that resolves when the request is answered, or when `next` is done with it
   */
  handle(request: IncomingMessage, response: ServerResponse, rest?: Next | HandleOptions): Promise<void>
  /**
   * Takes over a WebSocket of ours: what a server of Node's emits as `upgrade`.
   *
   * @returns false for a socket at any other path, which it leaves alone for another listener
   */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean
  /** Resolves when requests are served; rejects where that cannot come about. */
  readonly ready: Promise<void>
  /** Is not ready any more and closes the sockets so that their clients come back. Requests are still answered. */
  drain(): Promise<void>
  /** Drains, and brings every record to the database. */
  close(): Promise<void>
  readonly config: Config
}

export interface RollcallOptions {
  /** The app's own sessions in place of tokens (docs/embedding.md). */
  readonly authenticate?: Authenticate
}

/**
 * @param settings - by the names and in the form of the environment; what is left out has its default
 * @param givenLog - pino's, or any object with its four methods; left out, lines of JSON on the standard output, from
 *   `LOG_LEVEL` on
 * @throws ConfigError that names each setting that cannot be used, unknown ones too
 */
export function createRollcall(
  settings: SettingTexts,
  givenLog?: Log,
  { authenticate }: RollcallOptions = {},
): Rollcall {
  const config = parseConfig(settings, authenticate !== undefined)
  const log = givenLog ?? createLog(config.LOG_LEVEL)
  for (const { oldName, name } of renamedIn(settings)) {
    log.warn({ oldName, name }, 'A setting has a new name; the next release takes the old name no longer.')
  }
  const leftOut = config.DATABASE_URL === null ? [] : parseAddress(config.DATABASE_URL).leftOut
  if (leftOut.length > 0) {
    log.warn({ parameters: leftOut }, 'DATABASE_URL has parameters that mean nothing here: they are left out.')
  }
  const usesCookies = authenticate !== undefined
  const core = createCore(config, log, authenticate)
  const { health, addresses, routes, mask } = core
  const origins = createOrigins(config, log, core.monotonicMs, usesCookies)
  const database = createOwnDatabase(config, health, log)
  const starts = createStarts(core, database)
  const life = createLife<Parts>({
    start: starts.start,
    mayStartLater: database.mayComeBack,
    giveUp: starts.giveUp,
    end: database.close,
    health,
    log,
  })
  let underWayCount = 0

  async function untilAnswered(): Promise<void> {
    for (let waitedMs = 0; underWayCount > 0 && waitedMs < REQUEST_WAIT_MS; waitedMs += 20) await sleep(20)
  }

  /** Null while it starts, and after it lost the work. */
  function serving(): ((request: Request, peer: Peer) => Promise<Response>) | null {
    const parts = life.serving()
    if (parts === null) return null
    return async (request, peer) => {
      underWayCount += 1
      try {
        return await parts.http(request, peer)
      } finally {
        underWayCount -= 1
      }
    }
  }

  function openSocket(request: IncomingMessage, socket: Duplex, head: Buffer, host: string | null): void {
    const parts = health.isServing() ? life.serving() : null
    if (parts === null) refuse(socket, problemOf(unavailable('server', NOT_SERVING)))
    else if (!origins.allows(request.headers.origin ?? null, host)) refuse(socket, problem('FORBIDDEN', ORIGIN_REFUSED))
    else {
      const forwardedFor = request.headers['x-forwarded-for']?.toString() ?? null
      const from = addresses.of(request.socket.remoteAddress ?? null, forwardedFor)
      parts.webSockets.upgrade(request, socket, head, from)
    }
  }

  let isMountWarned = false

  function warnOfMount(path: string): void {
    if (isMountWarned || path === '') return
    isMountWarned = true
    log.warn(
      { path, sockets: routes.graphqlPath },
      'Requests come below a path that the framework cuts off, and WebSockets do not: set BASE_PATH to that path (docs/embedding.md).',
    )
  }

  const fetch = createEdge({ origins, usesCookies, health, mask, routes, serving })
  const requests = createNodeRequests({
    fetch,
    routes,
    openSocket,
    isDraining: () => health.isDraining(),
    mask,
    onConnectionError: (error) => log.debug({ err: error }, 'A connection failed before it was answered.'),
    onMountedAt: warnOfMount,
  })

  return {
    config,
    ready: life.ready,

    fetch: async (request, from) => webResponse(await fetch(request, from)),
    handle: requests.handle,
    upgrade: requests.upgrade,
    mount: requests.mount,

    drain: () => life.drain(),
    close: () => life.close(untilAnswered),
  }
}
