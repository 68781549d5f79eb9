/**
 * The composition root: the one file that knows every part. It touches no global, so that a server of somebody
 * else's can mount what it makes.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Job, startBackground } from './background.ts'
import { type Closers, createClosers } from './closers.ts'
import { type Config, parseConfig, renamedIn, type SettingTexts, timingOf } from './config.ts'
import { parseAddress } from './db/address.ts'
import { type Database, openDatabase } from './db/client.ts'
import { createDirectory } from './db/directory.ts'
import { whyAway } from './db/failures.ts'
import { createHistory } from './db/history.ts'
import { readDatabaseId } from './db/identity.ts'
import { migrate } from './db/migrate.ts'
import { createRecorder } from './db/recorder.ts'
import { createRetention, type Retention } from './db/retention.ts'
import { createHub, type Hub } from './fanout/hub.ts'
import { createSelections, positionOf } from './fanout/selections.ts'
import { createShareability } from './fanout/shareable.ts'
import { createLife, type Running } from './life.ts'
import type { UserDirectory } from './presence/directory.ts'
import { isUnavailable, unavailable } from './presence/errors.ts'
import { createNodeLease, type NodeLease } from './presence/node-lease.ts'
import type { Log } from './presence/operator-log.ts'
import { createPresence, type Presence } from './presence/presence.ts'
import type { Recorder } from './presence/recorder.ts'
import { createUserSettings, type UserSettings } from './presence/settings.ts'
import { createSocketRegistry } from './presence/socket-registry.ts'
import type { PresenceStore } from './presence/store.ts'
import { createStepWatch, processClock } from './presence/timing.ts'
import { schema as plainSchema } from './schema/index.ts'
import { createSubgraph } from './schema/subgraph.ts'
import { NOT_SERVING, ORIGIN_REFUSED, problem, problemOf } from './server/answers.ts'
import { type Authenticate, createAppAuthenticator } from './server/app-authentication.ts'
import { createAuthenticator } from './server/auth.ts'
import { createErrorMask, maskedResult } from './server/client-errors.ts'
import { createEdge } from './server/edge.ts'
import { createHealth } from './server/health.ts'
import { createHttp } from './server/http.ts'
import { createAddresses } from './server/limits/addresses.ts'
import { createAdmission } from './server/limits/admission.ts'
import { createLimits } from './server/limits/limits.ts'
import { payloadText } from './server/messages.ts'
import { createMetrics, type Metrics } from './server/metrics.ts'
import { createNodeRequests, type HandleOptions, type Next, refuse } from './server/node-requests.ts'
import { createOperations } from './server/operations.ts'
import { createOrigins } from './server/origins.ts'
import { loadPages, NO_PAGES } from './server/pages.ts'
import type { Peer } from './server/peer.ts'
import { createPublishedKeys } from './server/published-keys.ts'
import { createRoutes } from './server/routes.ts'
import { createStreams, type Streams } from './server/streams.ts'
import { webResponse } from './server/web-response.ts'
import { createWebSockets, SOCKET_CHECK_MS, type WebSockets } from './server/websocket.ts'
import { untilDone } from './slices.ts'
import { createMemoryStore } from './stores/memory/index.ts'
import { connectTo } from './stores/redis/connect.ts'
import { createRedisStore } from './stores/redis/index.ts'
import { loadScripts } from './stores/redis/scripts.ts'

/** Users of one slice of a sweep: a few milliseconds, then others have their turn. */
const SWEEP_SLICE = 500
/** Users of one page of what an earlier run left open. */
const BATCH_ADOPTED = 500
/** How long the records may take to reach the database when the process stops. */
const FLUSH_WAIT_MS = 10_000
/** How often a process that starts looks whether the live state can be used. */
const JOIN_CHECK_MS = 50
/** How often the history is shortened. Nothing to delete costs one look at an index. */
const RETENTION_EVERY_MS = 1000
/** How long requests under way may take when the process stops. */
const REQUEST_WAIT_MS = 5000

/** Why this process serves no more, for an operator. */
const LOSS_REASONS = {
  taken:
    'Another process serves this database: this one stood still, or did not reach the database, for longer than NODE_TTL. ' +
    'It waits. To serve with many, set REDIS_URL.',
  unknown:
    'The database is out of reach, and another process waits to take over: it may serve by now. ' +
    'This one waits until the database answers.',
} as const

/** Why a process without Redis waits for the work, for an operator. */
const WAIT_REASONS = {
  taken: 'Another process serves this database. To serve with many, set REDIS_URL.',
  away: 'Postgres cannot be used, and another process may serve its database. The server waits for it.',
} as const

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
 * @throws ConfigError that names each setting that cannot be used, unknown ones too
 */
export function createRollcall(settings: SettingTexts, log: Log, { authenticate }: RollcallOptions = {}): Rollcall {
  const config = parseConfig(settings, authenticate !== undefined)
  for (const { oldName, name } of renamedIn(settings)) {
    log.warn({ oldName, name }, 'A setting has a new name; the next release takes the old name no longer.')
  }
  const leftOut = config.DATABASE_URL === null ? [] : parseAddress(config.DATABASE_URL).leftOut
  if (leftOut.length > 0) {
    log.warn({ parameters: leftOut }, 'DATABASE_URL has parameters that mean nothing here: they are left out.')
  }
  const timing = timingOf(config)
  const schema = config.FEDERATION ? createSubgraph(plainSchema) : plainSchema
  /** Without Redis the live state is in this process, and no other one serves the same database. */
  const isAlone = config.REDIS_URL === null
  const monotonicMs = () => performance.now()
  const clock = processClock()
  let countError: Metrics['countError'] = () => {}
  const mask = createErrorMask(log, (code, part) => countError(code, part))
  const origins = createOrigins(config, log, monotonicMs, authenticate !== undefined)
  const health = createHealth('The server is starting.')
  const subscribe = createSelections({
    isShareable: createShareability(schema),
    write: (result) => payloadText(maskedResult(result, mask)),
  })
  const limits = createLimits(config, monotonicMs)
  const addresses = createAddresses(config.TRUSTED_PROXIES ?? [], (peer) =>
    log.warn(
      { peer },
      'A request has `X-Forwarded-For` and comes from no trusted proxy: the header is not believed, and the clients behind it ' +
        'cannot be told apart. If this is a proxy of yours, name it in TRUSTED_PROXIES (docs/limits.md).',
    ),
  )
  const pages = (config.PAGES ?? config.NODE_ENV !== 'production') ? loadPages() : NO_PAGES
  const routes = createRoutes(config, pages)
  const operations = createOperations({ schema, config, limits, mask, subscribe })
  // Longer than a start: keys that are known outlast the loss of the work.
  const publishedKeys =
    config.JWKS_URL === null
      ? null
      : createPublishedKeys({ url: new URL(config.JWKS_URL), maxAgeMs: config.JWKS_MAX_AGE, monotonicMs, log })

  interface Parts extends Running {
    readonly http: (request: Request, peer: Peer) => Promise<Response>
    readonly webSockets: WebSockets
  }

  /** The name of this process among those that may have the work. */
  const holder = randomUUID()
  let opened: Database | null = null
  /** Whether the database is asked for the first time: nothing else waits for it yet. */
  let isOpening = false
  /** Why the database cannot be used, as the log had it last. */
  let waitedFor: string | null = null
  let isGivenUp = false
  /** Stops the wait for the work. */
  let stopWaiting = async (): Promise<void> => {}

  /** Gives up a start that is under way, or the wait after a loss. */
  async function giveUp(): Promise<void> {
    isGivenUp = true
    // A start that waits for the database fails by this.
    if (isOpening) await endDatabase()
    await stopWaiting()
  }

  async function start(): Promise<Parts> {
    const closers = createClosers()
    try {
      return await startOn(await readyDatabase(), closers)
    } catch (error) {
      await closers.close()
      await endDatabase()
      throw error
    }
  }

  async function readyDatabase(): Promise<Database> {
    if (opened !== null) return opened
    const database = await openDatabase(config, log)
    opened = database
    if (isGivenUp) throw unavailable('server', 'The server stops.')
    isOpening = true
    try {
      await migrate(database)
    } finally {
      isOpening = false
    }
    if (waitedFor !== null) {
      health.notReady('The server is starting.')
      log.info({}, 'Postgres answers.')
    }
    waitedFor = null
    return database
  }

  /** @returns whether the same start may succeed later: an operator can mend at Postgres what keeps it away */
  function awaitsDatabase(error: unknown): boolean {
    const reason = whyAway(error)
    if (reason === null) return false
    const sentence = `Postgres cannot be used: ${reason}. The server waits for it.`
    health.notReady(sentence)
    // Once for each reason, however often it is tried.
    if (reason !== waitedFor) log.warn({}, sentence)
    waitedFor = reason
    return true
  }

  async function endDatabase(): Promise<void> {
    await opened?.close()
    opened = null
  }

  async function startOn(database: Database, closers: Closers): Promise<Parts> {
    const directory = createDirectory({
      database,
      waitMs: Math.min(config.DATABASE_WAIT, config.DATABASE_TIME_LIMIT),
    })
    let unusable: string | null = null
    const store = await openStore(database, (reason) => {
      unusable = reason
    })
    closers.push(() => store.close())
    const settings = createUserSettings({ store, directory, monotonicMs })
    const recorder = createRecorder({
      database,
      records: store.records,
      timing,
      holder,
      isFenced: isAlone,
      onNewerSettings: settings.doubt,
      log,
    })
    closers.push(() => recorder.stop())
    stopWaiting = () => recorder.stop()
    if (isGivenUp) throw unavailable('server', 'The server stops.')
    if (isAlone) {
      await takeTheWork(recorder)
      await adoptWhatWasLeft(directory, store)
      await store.adopted()
      recorder.follow()
    } else {
      // The process that holds the work does it for all.
      recorder.start().then(
        () => recorder.follow(),
        (error) => logFailure({ err: error }, 'Records are not brought to the database.'),
      )
    }

    const hub = createHub({
      store,
      monotonicMs,
      logCount: config.CHANGE_LOG_COUNT,
      windowMs: config.FANOUT_WINDOW,
      watchedIdsPerUser: config.WATCHED_IDS_PER_USER,
    })
    closers.push(() => hub.close())
    const sockets = createSocketRegistry({
      store,
      timing,
      monotonicMs,
      onError: (error) => logFailure({ err: error }, 'A socket failed with an internal error.'),
    })
    const streams = createStreams({
      monotonicMs,
      onError: (error) => log.error({ err: error }, 'A stream could not be ended.'),
    })
    function dismiss(userId: string, issuedUpToMs: number | null): void {
      sockets.dismiss(userId, issuedUpToMs)
      streams.dismiss(userId, issuedUpToMs)
    }
    const presence = createPresence({
      store,
      directory,
      history: createHistory({ database }),
      settings,
      timing,
      sockets: { ...sockets, dismiss },
    })
    const node = createNodeLease({
      store,
      sockets,
      adopt: () => adoptWhatWasLeft(directory, store),
      writeEnds(ends) {
        const nowMs = monotonicMs()
        return directory.recordEnds(
          ends.map(({ startedAtMs, lastActiveAtMs, endedAtMs, ...end }) => ({
            ...end,
            startedAgoMs: nowMs - startedAtMs,
            lastActiveAgoMs: nowMs - lastActiveAtMs,
            endedAgoMs: nowMs - endedAtMs,
          })),
        )
      },
      dismissed(dismissals) {
        if (dismissals === 'unknown') {
          const here = new Set([...sockets.userIds(), ...streams.userIds()])
          dismissAnew(here, directory, dismiss).catch((error) =>
            logFailure({ err: error }, 'Revoked tokens could not be looked up.'),
          )
          return
        }
        for (const { userId, issuedUpToMs } of dismissals) {
          directory.learnRevocation(userId, issuedUpToMs)
          dismiss(userId, issuedUpToMs)
        }
      },
      onError: (error) => log.error({ err: error }, 'The node failed with an internal error.'),
    })
    closers.push(() => node.stop())
    const admission = createAdmission(
      authenticate === undefined
        ? createAuthenticator(config, directory, publishedKeys)
        : createAppAuthenticator(authenticate, config, directory, log),
      limits,
    )
    const isReady = () => health.isReady()
    const webSockets = createWebSockets({
      config,
      admission,
      presence,
      sockets,
      feed: hub,
      operations,
      limits,
      streams,
      mask,
      log,
      monotonicMs,
      health,
    })
    const metrics = createMetrics({
      stats: () => store.stats(),
      recorder: () => recorder.state(),
      socketCount: () => webSockets.count(),
      traffic: () => hub.traffic,
      isReady,
    })
    closers.push(() => metrics.close())
    countError = metrics.countError
    const http = createHttp({
      config,
      admission,
      addresses,
      limits,
      socketCountOf: sockets.countOf,
      presence,
      feed: hub,
      operations,
      positionOf,
      streams,
      routes,
      pages,
      health,
      metrics,
      mask,
    })
    const background = startBackground(
      jobs({ store, hub, node, presence, settings, webSockets, streams, recorder, retention: retentionOf(database) }),
      monotonicMs,
      (job, error) => logFailure({ job, err: error }, 'A background job failed; it comes again.'),
    )
    closers.push(() => background.stop())
    await untilFollowed(hub, node, store, () => (isGivenUp ? 'The server stops.' : unusable))
    health.ready(
      () => store.trouble(),
      () => (recorder.excludesOthers() ? null : 'The process stood still, and asks whether another one serves.'),
    )

    /** Nothing happens by itself any more, and what was gathered is among the records. */
    async function comeToRest(): Promise<void> {
      await background.stop()
      await node.stop()
      hub.close()
      await untilDone(() => store.endNode(sockets.nodeId(), SWEEP_SLICE)).catch((error) =>
        logFailure({ err: error }, 'The last activity could not be recorded.'),
      )
    }

    return {
      http,
      webSockets,
      lost: recorder.lost.then((how) => LOSS_REASONS[how]),

      async drain() {
        if (isAlone) {
          // From here on the sweep rests: who is here now gets the grace of the next start.
          await background.stop()
          await webSockets.close({ overMs: 0, answersWithinMs: REQUEST_WAIT_MS, leavesSessions: true })
          await streams.close(0)
        } else {
          const { DRAIN_TIME } = config
          await Promise.all([
            webSockets.close({ overMs: DRAIN_TIME, answersWithinMs: REQUEST_WAIT_MS, leavesSessions: false }),
            streams.close(DRAIN_TIME),
          ])
        }
      },

      async retire() {
        let isWorkKept = false
        try {
          await webSockets.close({ overMs: 0, answersWithinMs: 0, leavesSessions: true })
          await streams.close(0)
          await comeToRest()
          while (!isWorkKept && (await recorder.regain()) === 'nobody wrote') {
            isWorkKept = (await recorder.flush(FLUSH_WAIT_MS)).isComplete
          }
          const { waitingCount } = recorder.state()
          if (!isWorkKept && waitingCount > 0) {
            log.warn({ waitingCount }, 'Another process served in between: records that waited here were dropped.')
          }
        } finally {
          await recorder.stop({ isWorkKept })
          await closers.close()
        }
      },

      async close() {
        try {
          await comeToRest()
          const isLost = isAlone && !recorder.state().isHolder
          const { isComplete } = isLost ? { isComplete: false } : await recorder.flush(FLUSH_WAIT_MS)
          if (!isComplete)
            log.error({}, 'The database did not take the last records in time: the next start repairs it.')
        } finally {
          await closers.close()
        }
      },
    }
  }

  async function openStore(database: Database, onUnusable: (reason: string) => void): Promise<PresenceStore> {
    if (config.REDIS_URL === null) return createMemoryStore({ timing, clock })
    const url = config.REDIS_URL
    return createRedisStore({
      timing,
      scripts: loadScripts({ timing }),
      app: config.REDIS_APP,
      databaseId: await readDatabaseId(database),
      beatFlushMs: config.BEAT_FLUSH,
      connect: (purpose) =>
        connectTo({
          url,
          app: config.REDIS_APP,
          // A lease that could not be renewed is tried again before it is over.
          timeLimitMs:
            purpose === 'work' ? config.REDIS_TIME_LIMIT : Math.min(config.REDIS_TIME_LIMIT, config.NODE_RENEW),
          retryWithinMs: config.NODE_RENEW,
        }),
      onUnusable,
      log,
    })
  }

  /** What is out of reach says so where it is told; what else fails is a fault of ours. */
  function logFailure(fields: { readonly err: unknown; readonly job?: string }, message: string): void {
    if (isUnavailable(fields.err)) log.debug(fields, message)
    else log.error(fields, message)
  }

  /** Resolves when the live state is there to be read, and the hub follows it. */
  async function untilFollowed(
    hub: Hub,
    node: NodeLease,
    store: PresenceStore,
    inVain: () => string | null,
  ): Promise<void> {
    await node.renew().catch((error) => logFailure({ err: error }, 'The node has no lease yet.'))
    for (;;) {
      const reason = inVain()
      if (reason !== null) throw unavailable('store', reason)
      const trouble = store.trouble()
      if (trouble === null && (await follows(hub))) return
      if (trouble !== null) health.notReady(trouble)
      await sleep(JOIN_CHECK_MS)
    }
  }

  async function follows(hub: Hub): Promise<boolean> {
    try {
      await hub.start()
      return true
    } catch (error) {
      if (isUnavailable(error)) return false
      throw error
    }
  }

  /** Tokens of any of these users may have been revoked on another node. */
  async function dismissAnew(
    userIds: ReadonlySet<string>,
    directory: UserDirectory,
    dismiss: (userId: string, issuedUpToMs: number) => void,
  ): Promise<void> {
    directory.forgetRevocations()
    for (const userId of userIds) {
      const validAfterMs = await directory.tokensValidAfterMs(userId)
      if (validAfterMs !== null) dismiss(userId, validAfterMs)
    }
  }

  /** Without Redis one process has the live state, and a second one waits for it to stop. */
  async function takeTheWork(recorder: Recorder): Promise<void> {
    let reason: string | null = null
    const waits = setInterval(() => {
      const current = recorder.state().isDatabaseUp ? WAIT_REASONS.taken : WAIT_REASONS.away
      if (current === reason) return
      reason = current
      health.notReady(reason)
      log.warn({}, reason)
    }, config.NODE_RENEW)
    try {
      await recorder.start()
    } finally {
      clearInterval(waits)
    }
  }

  async function adoptWhatWasLeft(directory: UserDirectory, store: PresenceStore): Promise<void> {
    for (;;) {
      const users = await store.inherited(BATCH_ADOPTED)
      if (users.length === 0) break
      const recorded = await directory.recorded(users)
      // An older copy of the live state may have users who were forgotten since.
      for (const { userId, tokensValidAfterMs, isForgotten } of recorded) {
        if (isForgotten) await store.forget({ userId, tokensIssuedUpToMs: tokensValidAfterMs ?? 0 })
      }
      await store.adopt(recorded.filter(({ isForgotten }) => !isForgotten))
    }
    let after: string | null = null
    for (;;) {
      const users = await directory.leftOpen(after, BATCH_ADOPTED)
      await store.adopt(users)
      after = users.at(-1)?.userId ?? null
      if (users.length < BATCH_ADOPTED) return
    }
  }

  interface Busy {
    readonly streams: Streams
    readonly store: PresenceStore
    readonly hub: Hub
    readonly node: NodeLease
    readonly presence: Presence
    readonly settings: UserSettings
    readonly webSockets: WebSockets
    readonly recorder: Recorder
    readonly retention: Retention
  }

  function retentionOf(database: Database): Retention {
    return createRetention({
      database,
      retentionMs: config.HISTORY_RETENTION,
      tokenMaxAgeMs: config.TOKEN_MAX_AGE,
      monotonicMs,
    })
  }

  function jobs({ store, hub, node, presence, settings, webSockets, streams, recorder, retention }: Busy): Job[] {
    const clockStepMs = createStepWatch(clock)
    /** Nothing is said of anybody while another process may serve. */
    const alone = (run: Job['run']): Job['run'] => {
      return (wasLate) => (recorder.excludesOthers() ? run(wasLate) : undefined)
    }
    const sweep = alone(() => untilDone(() => store.sweep(SWEEP_SLICE)))
    const reap = alone(() => untilDone(() => store.reapNodes(SWEEP_SLICE)))
    return [
      { name: 'sweep', everyMs: config.SWEEP_INTERVAL, run: sweep },
      { name: 'renew', everyMs: config.NODE_RENEW, run: () => node.renew() },
      { name: 'reap', everyMs: config.SWEEP_INTERVAL, run: reap },
      { name: 'sockets', everyMs: SOCKET_CHECK_MS, run: (wasLate) => webSockets.check(wasLate) },
      { name: 'streams', everyMs: 1000, run: () => streams.check() },
      {
        name: 'limits',
        everyMs: 1000,
        async run() {
          limits.forget()
          const { budgets } = store
          if (budgets !== null) await limits.share((taken) => budgets.take(taken))
        },
      },
      { name: 'pace', everyMs: 100, run: () => hub.tick() },
      ...(config.FANOUT_WINDOW > 0 ? [{ name: 'window', everyMs: config.FANOUT_WINDOW, run: () => hub.tell() }] : []),
      {
        name: 'clock',
        everyMs: 1000,
        run() {
          const stepMs = clockStepMs()
          if (stepMs !== 0) log.info({ stepMs }, "This host's clock was set, or the host slept.")
        },
      },
      {
        name: 'retention',
        everyMs: RETENTION_EVERY_MS,
        // The process that writes the history also shortens it: two would only wait for each other's rows.
        run: () => (recorder.state().isHolder ? retention.run() : undefined),
      },
      { name: 'positions', everyMs: 1000, run: alone(() => hub.tickPositions()) },
      {
        name: 'settings',
        everyMs: 1000,
        async run() {
          await settings.settle()
          await presence.seedWaiting()
        },
      },
    ]
  }

  const life = createLife<Parts>({
    start,
    mayStartLater: awaitsDatabase,
    giveUp,
    end: endDatabase,
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

  const fetch = createEdge({ origins, usesCookies: authenticate !== undefined, health, mask, routes, serving })
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
