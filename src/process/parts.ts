/** Creates and connects the parts that exist from a start until the stop or the loss of the work. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from '../db/client.ts'
import { createHistory } from '../db/history.ts'
import { createRetention } from '../db/retention.ts'
import { positionOf } from '../execution/selections.ts'
import { createHub, type Hub } from '../fanout/hub.ts'
import { isUnavailable, unavailable } from '../presence/errors.ts'
import { createNodeLease, type NodeLease } from '../presence/node-lease.ts'
import { createPresence, type Presence } from '../presence/presence.ts'
import { createSocketRegistry, type SocketRegistry } from '../presence/socket-registry.ts'
import { createAppAuthenticator } from '../server/app-authentication.ts'
import { createAuthenticator } from '../server/auth.ts'
import { createHttp } from '../server/http.ts'
import { createAdmission } from '../server/limits/admission.ts'
import { createMetrics } from '../server/metrics.ts'
import type { Peer } from '../server/peer.ts'
import { createStreams, type Streams } from '../server/streams.ts'
import { createWebSockets, type WebSockets } from '../server/websocket.ts'
import { startBackground } from './background.ts'
import { adoptWhatWasLeft, dismissRevoked } from './catch-up.ts'
import type { Closers } from './closers.ts'
import type { Core } from './core.ts'
import { jobsOf } from './jobs.ts'
import type { Running } from './life.ts'
import { type LiveState, openLiveState } from './live-state.ts'
import type { Start } from './starts.ts'
import { stopsOf } from './stop.ts'

/** How often a starting process checks whether the live state can be used. */
const JOIN_CHECK_MS = 50

/** Why this process stopped serving, for an operator. */
const LOSS_REASONS = {
  taken:
    'Another process serves this database: this one stood still, or did not reach the database, for longer than NODE_TTL. ' +
    'It waits. To serve with many, set REDIS_URL.',
  unknown:
    'The database is out of reach, and another process waits to take over: it may serve by now. ' +
    'This one waits until the database answers.',
} as const

export interface Parts extends Running {
  readonly http: (request: Request, peer: Peer) => Promise<Response>
  readonly webSockets: WebSockets
}

/** Resolves when the parts serve. */
export async function startParts(core: Core, database: Database, start: Start, closers: Closers): Promise<Parts> {
  const { config, health, monotonicMs } = core
  const live = await openLiveState(core, database, start, closers)
  const { store, recorder, settings } = live
  const sessions = openSessions(core, database, live, closers)
  const { hub, node } = sessions
  const doors = openDoors(core, live, sessions, closers)
  const retention = createRetention({
    database,
    retentionMs: config.HISTORY_RETENTION,
    tokenMaxAgeMs: config.TOKEN_MAX_AGE,
    monotonicMs,
  })
  const background = startBackground(
    jobsOf(core, { ...sessions, ...doors, store, settings, recorder, retention }),
    monotonicMs,
    (job, error) => core.logFailure({ job, err: error }, 'A background job failed; it comes again.'),
  )
  closers.push(() => background.stop())
  await node.renew().catch((error) => core.logFailure({ err: error }, 'The node has no lease yet.'))
  await untilFollowed(core, hub, live, start)
  health.ready(
    () => store.trouble(),
    () => (recorder.excludesOthers() ? null : 'The process stood still, and asks whether another one serves.'),
  )
  return {
    ...doors,
    lost: recorder.lost.then((how) => LOSS_REASONS[how]),
    ...stopsOf(core, { ...sessions, ...doors, store, recorder, background }, closers),
  }
}

interface Sessions {
  readonly hub: Hub
  readonly sockets: SocketRegistry
  readonly streams: Streams
  readonly presence: Presence
  readonly node: NodeLease
}

/** The sockets and streams of this process, and what they subscribe to. */
function openSessions(
  { config, timing, monotonicMs, log, logFailure }: Core,
  database: Database,
  { store, directory, settings }: LiveState,
  closers: Closers,
): Sessions {
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
        dismissRevoked(here, directory, dismiss).catch((error) =>
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
  return { hub, sockets, streams, presence, node }
}

/** HTTP and WebSockets, and their metrics. */
function openDoors(
  core: Core,
  { store, directory, recorder }: LiveState,
  { hub, sockets, streams, presence }: Sessions,
  closers: Closers,
): Pick<Parts, 'http' | 'webSockets'> {
  const { config, authenticate, publishedKeys, log } = core
  const authenticator =
    authenticate === undefined
      ? createAuthenticator(config, directory, publishedKeys)
      : createAppAuthenticator(authenticate, config, directory, log)
  const shared = { ...core, admission: createAdmission(authenticator, core.limits), presence, feed: hub, streams }
  const webSockets = createWebSockets({ ...shared, sockets })
  const metrics = createMetrics({
    stats: () => store.stats(),
    recorder: () => recorder.state(),
    socketCount: () => webSockets.count(),
    traffic: () => hub.traffic,
    isReady: () => core.health.isReady(),
  })
  closers.push(() => metrics.close())
  core.countErrorsBy(metrics.countError)
  return { http: createHttp({ ...shared, socketCountOf: sockets.countOf, positionOf, metrics }), webSockets }
}

/** Resolves when the live state can be read and the hub follows it. */
async function untilFollowed(
  { health }: Core,
  hub: Hub,
  { store, whyUnusable }: LiveState,
  start: Start,
): Promise<void> {
  for (;;) {
    const reason = start.isGivenUp() ? 'The server stops.' : whyUnusable()
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
