/**
 * The store for many processes. The live state is in Redis, and each step is one Lua script.
 *
 * An epoch is one life of that state. It ends when the state was lost, or may have been. The nodes then attach their
 * sessions to the next epoch (docs/architecture.md, “Many nodes”).
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { isUnavailable, unavailable } from '../../presence/errors.ts'
import { listenIn } from '../../presence/listeners.ts'
import type { PresenceRecord } from '../../presence/model.ts'
import type { OperatorLog } from '../../presence/operator-log.ts'
import { createPermits } from '../../presence/permits.ts'
import { endReasonOf, graceMs } from '../../presence/rules.ts'
import type {
  AdoptedUser,
  AttachAnswer,
  AttachRequest,
  Beat,
  BeatAnswer,
  EndAnswer,
  Loss,
  NodeListener,
  PresenceStore,
  RoomAnswer,
  RoomRequest,
  SweepAnswer,
} from '../../presence/store.ts'
import type { PresenceTiming } from '../../presence/timing.ts'
import {
  type List,
  listOf,
  orNull,
  type PublicAnswer,
  presenceRecord,
  publicUser,
  type SessionAnswer,
  type SettingsAnswer,
  sessionView,
  settingsOf,
  type ViewerAnswer,
  viewerState,
} from './answers.ts'
import { createBeatBatches } from './beats.ts'
import { openBell } from './bell.ts'
import type { BellMessage } from './bell-message.ts'
import { createCallOrder } from './call-order.ts'
import { createChangeFollower } from './change-follower.ts'
import type { Connection } from './connect.ts'
import { createKeptActivity, type Kept, usableLagMs } from './kept-activity.ts'
import { createLink, type Link, type RunScript } from './link.ts'
import { type LoggedStep, loggedStep, resolveSteps, type TrailAnswer } from './logged-steps.ts'
import { createPages } from './pages.ts'
import type { ScriptName, Scripts } from './scripts.ts'
import { createVersionWatch } from './version-watch.ts'

/** Most attaches in flight. In a storm the others wait for a permit, so that they do not delay the node's renewals. */
const BATCH_ATTACHES = 64
/** Most users per call of a script that handles many: about 5 ms, during which Redis runs nothing else. */
const BATCH_USERS = 100
/** Most entries per read of the log, about 500 KB. */
const BATCH_ENTRIES = 1000
/** Smaller jumps are not logged: a sweep that is a little late causes them. */
const LOGGED_JUMP_MS = 1000
/** Activity that is later than what Redis has by more than the lag is gathered for so long into fewer calls. */
const URGENT_GATHER_MS = 250
/** Foreign messages on the channel trigger at most one read of the log in this time. */
const GAP_LOOK_MS = 100

export interface RedisStoreOptions {
  readonly timing: PresenceTiming
  readonly scripts: Scripts
  /** Separates apps that share a Redis. */
  readonly app: string
  /** The identity of the database. A live state belongs to one database, and rejects nodes with another. */
  readonly databaseId: string
  /** How long heartbeats are gathered into one batch. */
  readonly beatFlushMs: number
  /** How long activity that changes no status may wait at this node. 0: it does not wait. */
  readonly activityLagMs: number
  /** Opens a connection: one for work, one for leases, one for the pub/sub channel. */
  readonly connect: (purpose: 'work' | 'lease' | 'bell') => Connection
  /** Called with a sentence for the operator when Redis is set up in a way that can never work. */
  readonly onUnusable?: (reason: string) => void
  readonly log: OperatorLog
  /** Distinguishes a step of the clock of Redis from time that passed. */
  readonly monotonicMs?: () => number
}

export function createRedisStore(options: RedisStoreOptions): PresenceStore {
  const { timing, scripts, app, databaseId, beatFlushMs, activityLagMs, connect, onUnusable = () => {}, log } = options
  const monotonicMs = options.monotonicMs ?? (() => performance.now())
  const root = `{rollcall:${app}}`
  /** Identifies this process among those that announce their sessions. */
  const announcer = randomUUID()
  const nodeListeners = new Set<NodeListener>()
  const viewerListeners = new Set<(userId: string | null) => void>()
  const recordBells = new Set<() => void>()
  let epoch = ''
  let runId = ''
  let isReading = false
  let opening: Promise<void> | null = null
  let lastJoin: Promise<void> = Promise.resolve()
  let heardBell = 0
  /** The node id of the last renewal. */
  let nodeId: string | null = null
  /** Users that `endNode` has handled and whose deadlines remain in its range: the next call skips them. */
  let flushedCount = 0
  /** The newest message number at the last renewal. It must have arrived by the next renewal. */
  let expected: { readonly epoch: string; readonly bell: number } | null = null
  /** When the last answered sweep was sent, by this process's own clock. */
  let sweepSentMs: number | null = null
  let knownSkewMs: number | null = null
  const counters = { epochs: 0, bellGaps: 0, reaped: 0 }
  /** Kinds of foreign data in Redis that are already logged: each is logged once. */
  const loggedStrange = new Set<string>()
  let gapLook: NodeJS.Timeout | null = null
  /** Gathers activity that has to be sent before the next sweep. */
  let keptTimer: NodeJS.Timeout | null = null
  /** What the operator has to change in Redis although it works; null if nothing. */
  let concern: string | null = null

  const follower = createChangeFollower({
    read: (after) => readStream(after.seq, BATCH_ENTRIES),
    onError(error) {
      // If Redis is unreachable, its connections log that.
      if (!isUnavailable(error)) log.error({ err: error }, 'Missed changes could not be read.')
    },
  })

  /** Makes a node that was cut off renew at once, because an unstable link may work for a second only. */
  const onOpen = (): void => {
    if (!work.isOpen() || !lease.isOpen()) return
    kept.sendDue()
    tellNews()
  }
  const onServer = createVersionWatch(log)
  const linkOptions = {
    app,
    root,
    scripts,
    epoch: () => epoch,
    join,
    onOpen,
    onServer,
    onUnusable,
    onConcern,
    onReplica: reconnectOpen,
    log,
  }
  const work = createLink({ ...linkOptions, connection: connect('work') })
  const lease = createLink({ ...linkOptions, connection: connect('lease') })
  const bell = openBell({
    connection: connect('bell'),
    channel: `${root}:bell`,
    onMessage: hear,
    onStrange() {
      logStrange('message', { channel: `${root}:bell` })
      lookForGap()
    },
    onListening() {
      // The streams have the entries and records of missed messages, but not the users whose own view changed.
      tellEveryViewer()
      for (const ring of recordBells) ring()
      if (isReading) lastSeqNow().then(follower.catchUp, () => {})
    },
    onError: (error) => log.warn({ err: error }, 'Cannot subscribe to Redis pub/sub yet; retrying.'),
    onRefused: (reason) => log.warn({ reason }, 'Redis cannot be used as it is.'),
  })
  const permits = createPermits(BATCH_ATTACHES, () => unavailable('store', 'Too many sockets are attaching at once.'))
  const beats = createBeatBatches({ flushMs: beatFlushMs, most: BATCH_USERS, send: sendBeats })
  const kept = createKeptActivity({
    lagMs: usableLagMs(activityLagMs, timing),
    most: BATCH_USERS,
    monotonicMs,
    onUrgent() {
      keptTimer ??= setTimeout(() => {
        keptTimer = null
        if (work.isOpen()) kept.sendDue()
      }, URGENT_GATHER_MS)
    },
    send: countKept,
    onLoss: tellNews,
  })
  const order = createCallOrder()

  /** Runs on each connection before anything else: compares the epoch of the live state with that of this node. */
  function join(foundRunId: string, run: RunScript): Promise<void> {
    // One connection at a time, because the second one must use the epoch that the first one found.
    const mine = lastJoin.catch(() => {}).then(() => joinNow(foundRunId, run))
    lastJoin = mine
    return mine
  }

  async function joinNow(foundRunId: string, run: RunScript): Promise<void> {
    const fresh = randomBytes(8).toString('hex')
    const [found, isAnnouncing] = (await run('join-epoch', foundRunId, fresh, announcer, epoch, databaseId)) as [
      string,
      number,
    ]
    const isMoved = runId !== '' && runId !== foundRunId
    runId = foundRunId
    if (found !== epoch) {
      const isFirst = epoch === ''
      epoch = found
      isReading = false
      heardBell = 0
      expected = null
      kept.clear()
      follower.pause()
      counters.epochs += 1
      const fields = { epoch, isOpenedHere: found === fresh }
      if (isFirst) log.info(fields, 'Joined the live state.')
      else log.warn(fields, 'The live state in Redis was lost; it is rebuilt from the sockets that are open.')
      if (!isFirst) for (const listener of nodeListeners) listener.startAnew()
    }
    // The other connections may still lead to the previous server.
    if (isMoved) reconnectOpen()
    // Do not await it: it needs the pub/sub connection.
    if (isAnnouncing === 0) startReading(() => run('position', found)).catch(() => {})
  }

  function onConcern(found: string | null): void {
    if (found === concern) return
    if (found !== null)
      log.warn({ reason: found }, 'Redis was set in a way that loses presence; it is used all the same.')
    else log.info({}, 'Redis is set as it has to be again.')
    concern = found
  }

  function reconnectOpen(): void {
    for (const link of [work, lease]) if (link.isOpen()) link.reconnect()
    bell.reconnect()
  }

  /** Starts to follow the log, once announcements are over. @param ask - calls the script `position` */
  async function startReading(ask: () => Promise<unknown>): Promise<void> {
    if (isReading) return
    opening ??= (async () => {
      const of = epoch
      const [lastSeq, bellCount] = (await ask()) as PositionReply
      // Wait for the subscription: without it, entries from here on would be missed until the next renewal.
      await bell.listening
      if (of !== epoch || isReading) return
      isReading = true
      // The position covers all messages up to `bellCount`.
      heardBell = Math.max(heardBell, bellCount)
      follower.begin({ epoch, seq: lastSeq })
      tellEveryViewer()
      for (const ring of recordBells) ring()
    })().finally(() => {
      opening = null
    })
    await opening
  }

  async function lastSeqNow(): Promise<number> {
    const [lastSeq] = (await work.call('position')) as PositionReply
    return lastSeq
  }

  function hear(message: BellMessage): void {
    if (message.epoch !== epoch) return
    if (message.bell > heardBell + 1 && heardBell > 0) {
      counters.bellGaps += 1
      tellEveryViewer()
    }
    heardBell = Math.max(heardBell, message.bell)
    const { seq, entry, rooms, viewer, record, dismissal, lostBy, isOpen } = message
    if (isOpen === true) startReading(() => work.call('position')).catch(() => {})
    if (seq !== undefined && entry !== undefined) follower.hear(seq, epoch, () => stepOf(seq, entry, rooms))
    if (viewer !== undefined) tellViewer(viewer)
    if (record !== undefined) for (const ring of recordBells) ring()
    const isLoss = lostBy !== undefined && nodeId !== null && lostBy.includes(nodeId)
    if (dismissal !== undefined || isLoss) tellNews()
  }

  /** @returns null if the message is foreign: the entry is then read from the stream */
  function stepOf(seq: number, entry: string, rooms: string | undefined): LoggedStep | null {
    const step = loggedStep(entry, rooms)
    if (step?.seq === seq) return step
    logStrange('message', { channel: `${root}:bell` })
    return null
  }

  function logStrange(what: keyof typeof STRANGE, fields: object): void {
    if (loggedStrange.has(what)) return
    loggedStrange.add(what)
    log.warn(fields, STRANGE[what])
  }

  /** Reads the log after a dropped message, which can be a damaged one of Rollcall. */
  function lookForGap(): void {
    if (!isReading) return
    gapLook ??= setTimeout(() => {
      gapLook = null
      lastSeqNow().then(follower.catchUp, () => {})
    }, GAP_LOOK_MS).unref()
  }

  /** @param userId - null: it can be anyone's */
  function tellViewer(userId: string | null): void {
    kept.doubt(userId)
    for (const listener of viewerListeners) listener(userId)
  }

  function tellEveryViewer(): void {
    tellViewer(null)
  }

  function tellNews(): void {
    for (const listener of nodeListeners) listener.news()
  }

  /** Calls a script that takes and returns JSON. */
  async function ask<Answer>(link: Link, script: ScriptName, request: unknown): Promise<Answer> {
    return JSON.parse(String(await link.call(script, JSON.stringify(request)))) as Answer
  }

  const page = createPages(async (request) => String(await work.call('page', JSON.stringify(request))))

  async function readStream(afterSeq: number, limit: number) {
    const answer = await work.call('read-changes', JSON.stringify([afterSeq, Math.min(limit, BATCH_ENTRIES)]))
    const [lastSeq, isWhole, texts, trails] = answer as ChangesReply
    const entries = isWhole === 1 ? entriesOf(afterSeq, lastSeq, texts, trails) : null
    return { isExpired: entries === null, entries: entries ?? [], lastSeq }
  }

  /** @returns null if an entry after this number is missing or foreign */
  function entriesOf(afterSeq: number, lastSeq: number, texts: readonly string[], trails: readonly TrailAnswer[]) {
    const steps: LoggedStep[] = []
    for (const text of texts) {
      const step = loggedStep(text)
      if (step === null) logStrange('entry', { stream: `${root}:log` })
      if (step?.seq !== afterSeq + steps.length + 1) return null
      steps.push(step)
    }
    return steps.length === 0 && lastSeq > afterSeq ? null : resolveSteps(steps, trails)
  }

  /**
   * Calls a script about one user, after all earlier calls for the user were sent. All of them go through one
   * connection, and Redis executes them in that order.
   */
  function callOf(userId: string, script: ScriptName, request: unknown): Promise<unknown> {
    return order.send(userId, () => {
      sendHeartbeatsOf(userId)
      // The call may end a session, or change its rooms: what a heartbeat after it says has to go to Redis.
      if (script !== 'viewer') kept.doubt(userId)
      return work.call(script, JSON.stringify(request))
    })
  }

  /** Must be called before any other call for the user is sent. */
  function sendHeartbeatsOf(userId: string): void {
    beats.sendOf(userId)
    kept.sendOf(userId)
  }

  function beat(one: Beat): Promise<BeatAnswer> {
    // While a connection is lost, this node cannot learn that a session changed, and heartbeats fail.
    const mayKeep = work.isOpen() && lease.isOpen() && bell.isListening() && !order.isWaiting(one.userId)
    if (mayKeep && kept.keep(one)) return KEPT
    kept.asked(one)
    return order.send(one.userId, () => beats.beat(one))
  }

  async function sendBeats(batch: readonly Beat[]): Promise<readonly BeatAnswer[]> {
    const request = JSON.stringify(batch.map((one) => beatRow(one, kept.hasProfile(one))))
    let answers: readonly BeatAnswer[] | null = null
    try {
      answers = (JSON.parse(String(await work.call('beat', request))) as BeatReply[]).map(beatAnswer)
      return answers
    } finally {
      for (const [place, one] of batch.entries()) kept.answered(one, answers?.[place] ?? null)
    }
  }

  async function countKept(sessions: readonly Kept[]): Promise<readonly number[]> {
    const rows = sessions.flatMap(({ userId, sessionId, fence, agoMs }) => [userId, sessionId, fence, agoMs])
    return (await work.call('count-kept', JSON.stringify(rows))) as number[]
  }

  async function askOf<Answer>(userId: string, script: ScriptName, request: unknown): Promise<Answer> {
    return JSON.parse(String(await callOf(userId, script, request))) as Answer
  }

  async function attach(request: AttachRequest, release: () => void): Promise<AttachAnswer> {
    try {
      sendHeartbeatsOf(request.userId)
      kept.doubt(request.userId)
      const startId = request.comeback?.startId ?? randomUUID()
      const answer = await ask<AttachReply>(work, 'attach', { ...request, startId })
      const [kind, session, replacedFence, lastActiveAtMs, lastActiveForMs, atMs, isResumed, knownStartId] = answer
      if (kind !== 'attached') return { kind }
      return {
        kind,
        session: session === false ? null : sessionView(session),
        startId: orNull(knownStartId),
        isResumed,
        replacedFence: orNull(replacedFence),
        lastActiveAtMs: orNull(lastActiveAtMs),
        lastActiveForMs,
        atMs,
      }
    } finally {
      release()
    }
  }

  async function changeRoom(request: RoomRequest, isJoin: boolean): Promise<RoomAnswer> {
    const asked = { ...request, isJoin }
    const [kind, session] = await askOf<[RoomAnswer['kind'], SessionAnswer]>(request.userId, 'change-room', asked)
    return kind === 'done' ? { kind, session: sessionView(session) } : { kind }
  }

  async function sweep(limit: number): Promise<SweepAnswer> {
    lease.look()
    if (work.isOpen()) kept.sendDue()
    const sentMs = monotonicMs()
    const ownGapMs = sweepSentMs === null ? '' : String(Math.ceil(sentMs - sweepSentMs))
    const answer = await lease.call('sweep', String(Math.min(limit, BATCH_USERS)), ownGapMs)
    const [count, hasMore, wasLate, skewMs] = JSON.parse(String(answer)) as [number, boolean, boolean, number]
    sweepSentMs = sentMs
    const jumpMs = skewMs - (knownSkewMs ?? skewMs)
    knownSkewMs = skewMs
    if (Math.abs(jumpMs) >= LOGGED_JUMP_MS) {
      log.info({ jumpMs }, 'The clock of Redis was set, or Redis was away. Ages and leases stand still for as long.')
    }
    return { count, hasMore, wasLate }
  }

  return {
    attach(request) {
      const release = order.isWaiting(request.userId) ? null : permits.tryAcquire()
      if (release !== null) return attach(request, release)
      return order.sendWhen(request.userId, async () => {
        const permit = await permits.acquire(timing.nodeTtlMs)
        return () => attach(request, permit)
      })
    },

    async detach({ cause, silentForMs, ...request }) {
      await callOf(request.userId, 'detach', {
        ...request,
        graceMs: Math.round(graceMs(cause, silentForMs, timing)),
        reason: endReasonOf(cause),
      })
    },

    beat,

    async end(request) {
      const answer = await askOf<[EndAnswer['kind'], number, string[]]>(request.userId, 'end', request)
      const [kind, sessionCount, fences] = answer
      return { kind, sessionCount, fences: listOf(fences) }
    },

    async forget(request) {
      return Number(await callOf(request.userId, 'forget', request))
    },

    join: (request) => changeRoom(request, true),
    leave: (request) => changeRoom(request, false),

    async setUser(request) {
      return settingsOf(await askOf<false | SettingsAnswer>(request.userId, 'set-user', request))
    },

    async inherited(limit) {
      const answer = JSON.parse(String(await work.call('inherited', String(limit)))) as InheritedReply
      return listOf(answer).map(([userId, startIds]) => ({ userId, startIds: listOf(startIds) }))
    },

    async adopt(users) {
      for (let from = 0; from < users.length; from += BATCH_USERS) {
        const slice = users.slice(from, from + BATCH_USERS).map(withFreshStarts)
        await work.call('adopt', JSON.stringify(slice))
      }
    },

    async adopted() {
      await lease.call('adopted')
    },

    async announced() {
      await lease.call('announced', announcer)
    },

    async renewNode(request) {
      nodeId = request.nodeId
      const heardBefore = { epoch, bell: heardBell }
      const answer = await ask<RenewReply>(lease, 'renew-node', request)
      const [losses, lossCount, dismissals, dismissalCount, isMissed, mustAdopt, isAnnouncing, seq, bellCount] = answer
      if (!isAnnouncing) startReading(() => lease.call('position')).catch(() => {})
      if (expected !== null && expected.epoch === epoch && heardBell < expected.bell) {
        // The message did not arrive in a whole renewal interval, so the pub/sub connection is dead.
        counters.bellGaps += 1
        heardBell = expected.bell
        tellEveryViewer()
        for (const ring of recordBells) ring()
        bell.reconnect()
      }
      if (heardBefore.epoch === epoch && heardBefore.bell > bellCount) {
        // A foreign message had a number that was too high, which hid every gap below it.
        heardBell = bellCount
        logStrange('message', { channel: `${root}:bell` })
        tellEveryViewer()
        for (const ring of recordBells) ring()
      }
      expected = { epoch, bell: bellCount }
      if (isReading) follower.catchUp(seq)
      return {
        losses: listOf(losses).map(([fence, cause]) => ({ fence, cause })),
        lossCount,
        dismissals: isMissed
          ? 'unknown'
          : listOf(dismissals).map(([userId, issuedUpToMs]) => ({ userId, issuedUpToMs })),
        dismissalCount,
        mustAdopt,
      }
    },

    async endNode(nodeId, limit) {
      await kept.sendAll()
      const request = [nodeId, Math.min(limit, BATCH_USERS), flushedCount]
      const [count, hasMore, stayedCount] = await ask<[number, boolean, number]>(lease, 'end-node', request)
      flushedCount = hasMore ? flushedCount + stayedCount : 0
      return { count, hasMore }
    },

    async reapNodes(limit) {
      const answer = await lease.call('reap-nodes', String(Math.min(limit, BATCH_USERS)))
      const [count, hasMore, wasLate] = JSON.parse(String(answer)) as [number, boolean, boolean]
      counters.reaped += count
      return { count, hasMore, wasLate }
    },
    sweep,

    page,

    budgets: {
      async take(taken) {
        const rows = taken.map(({ key, refillMs, burstMs }) => [key, refillMs, burstMs])
        const fullInMs = (await work.call('take-budgets', JSON.stringify(rows))) as List<number>
        return listOf(fullInMs).map(Number)
      },
    },

    async count(room) {
      return Number(await work.call('count', JSON.stringify([room])))
    },

    async lookup(userIds) {
      const users = await ask<(PublicAnswer | false)[]>(work, 'lookup', userIds)
      return listOf(users).map((user) => (user === false ? null : publicUser(user)))
    },

    async viewer(userId) {
      const viewer = await askOf<false | 'pending' | ViewerAnswer>(userId, 'viewer', [userId])
      if (viewer === false) return null
      return viewer === 'pending' ? viewer : viewerState(viewer)
    },

    changes: {
      async position() {
        const of = epoch
        return { epoch: of, seq: await lastSeqNow() }
      },

      async read(after, limit) {
        const of = epoch
        if (after.epoch !== of) return 'expired'
        const read = await readStream(after.seq, limit)
        if (read.isExpired) return 'expired'
        const entries = read.entries.map(({ entry }) => entry)
        return { entries, position: { epoch: of, seq: entries.at(-1)?.seq ?? after.seq } }
      },

      listen: (listener) => follower.listen(listener),
    },

    viewers: { listen: (listener) => listenIn(viewerListeners, listener) },
    nodes: { listen: (listener) => listenIn(nodeListeners, listener) },

    records: {
      async read(afterSeq, limit) {
        const of = epoch
        for (let from = afterSeq; ; ) {
          const answer = await work.call('read-records', JSON.stringify([from, limit]))
          const [lastSeq, isGap, ...numbered] = answer as [number, number, ...(number | string)[]]
          const { records, strangeSeq } = recordsOf(numbered)
          if (strangeSeq !== null) logStrange('record', { stream: `${root}:records` })
          const isLost = isGap === 1 || (records[0]?.seq ?? lastSeq + 1) !== afterSeq + 1
          if (records.length > 0 || strangeSeq === null) return { epoch: of, records, isGap: isLost, lastSeq }
          from = strangeSeq
        }
      },

      async ack(of, seq) {
        if (of !== epoch) return
        for (let hasMore = true; hasMore; ) {
          hasMore = (await work.call('ack-records', JSON.stringify([seq, BATCH_USERS]))) === 1
        }
      },

      async snapshot(after, limit) {
        const [seq, ...records] = (await work.call('snapshot', JSON.stringify([after, limit]))) as [number, ...string[]]
        return records.map((record) => presenceRecord(seq, record)).filter((record) => record !== null)
      },

      listen: (ring) => listenIn(recordBells, ring),
    },

    trouble() {
      const trouble = work.trouble() ?? lease.trouble() ?? bell.trouble() ?? concern
      if (trouble !== null) return trouble
      return isReading ? null : 'The nodes announce their sessions to a new live state.'
    },

    async stats() {
      const counts = (await work.call('stats')) as [number, number, number, number, number, number]
      const [nodeCount, onlineCount, sessionCount, logCount, logBytes, recordCount] = counts
      return {
        nodeCount,
        onlineCount,
        sessionCount,
        logCount,
        logBytes,
        recordCount,
        epochCount: counters.epochs,
        gapFillCount: follower.fillCount(),
        bellGapCount: counters.bellGaps,
        reapedCount: counters.reaped,
      }
    },

    async close() {
      follower.close()
      clearTimeout(gapLook ?? undefined)
      clearTimeout(keptTimer ?? undefined)
      const reason = unavailable('server', 'The server stops.')
      await Promise.all([beats.close(reason), kept.sendAll()])
      await permits.close(reason)
      bell.close()
      work.close()
      lease.close()
    },
  }
}

/** The answer to every heartbeat that waits at this node. */
const KEPT = Promise.resolve<BeatAnswer>({ kind: 'kept' })

/** Log lines for the operator about data in Redis, or messages, that another program may have written. */
const STRANGE = {
  message:
    'A message on the Redis channel is not of Rollcall, and was dropped, as others of its kind will be. ' +
    'What it may have said is read from the log. Does another program publish there?',
  entry:
    'An entry of the change log in Redis is not of Rollcall. Subscribers who have not come beyond it read the list again. ' +
    'Does another program write there?',
  record:
    'A record in Redis is not of Rollcall, and is skipped. The recorder rebuilds the current state. ' +
    'Does another program write there?',
} as const

type AttachReply = readonly [
  kind: AttachAnswer['kind'],
  session: SessionAnswer | false,
  replacedFence: string | false,
  lastActiveAtMs: number | false,
  lastActiveForMs: number,
  atMs: number,
  isResumed: boolean,
  startId: string | false,
]

type BeatReply = readonly [kind: BeatAnswer['kind'], session: SessionAnswer | false, lastActiveAtMs: number | false]

/** position.lua. */
type PositionReply = readonly [lastSeq: number, bell: number]

/** read-changes.lua. */
type ChangesReply = readonly [
  lastSeq: number,
  isWhole: number,
  entries: readonly string[],
  trails: readonly TrailAnswer[],
]

/** renew-node.lua. */
type RenewReply = readonly [
  losses: readonly (readonly [string, Loss['cause']])[],
  lossCount: number,
  dismissals: readonly (readonly [string, number])[],
  dismissalCount: number,
  isMissed: boolean,
  mustAdopt: boolean,
  isAnnouncing: boolean,
  seq: number,
  bell: number,
]

/** inherited.lua. */
type InheritedReply = List<readonly [userId: string, startIds: List<string>]>

/**
 * Takes the first run of records without a gap, and skips malformed records before it.
 *
 * @param numbered - alternately the number and the text of a record
 * @returns `strangeSeq`: the number of the last malformed record, null if there was none
 */
function recordsOf(numbered: readonly (number | string)[]) {
  const records: PresenceRecord[] = []
  let strangeSeq: number | null = null
  for (let index = 0; index < numbered.length; index += 2) {
    const seq = Number(numbered[index])
    const record = presenceRecord(seq, String(numbered[index + 1]))
    if (record === null) strangeSeq = seq
    const last = records.at(-1)
    if (last !== undefined && (record === null || seq !== last.seq + 1)) break
    if (record !== null) records.push(record)
  }
  return { records, strangeSeq }
}

/** Adds a `freshStartId` to each ended row: a session that continues on a socket then counts as another start. */
function withFreshStarts(user: AdoptedUser): object {
  const sessions = user.sessions.map((row) => (row.endedAtMs === null ? row : { ...row, freshStartId: randomUUID() }))
  return { ...user, sessions }
}

/** A beat as beat.lua reads it. A profile that Redis has is left out. */
function beatRow({ userId, sessionId, fence, isActive, profile, device, rooms }: Beat, hasProfile: boolean) {
  const row = [userId, sessionId ?? false, fence ?? false, isActive, hasProfile ? false : (profile ?? false)]
  if (device === undefined && rooms === undefined) return row
  return [...row, device === undefined ? false : device, rooms ?? false]
}

function beatAnswer([kind, session, lastActiveAtMs]: BeatReply): BeatAnswer {
  if (kind !== 'counted') return { kind }
  return {
    kind,
    session: session === false ? null : sessionView(session),
    lastActiveAtMs: orNull(lastActiveAtMs),
  }
}
