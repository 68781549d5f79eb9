/**
 * The PresenceStore port under random histories, held against tests/contract/reference-model.ts after every step.
 *
 * Few users, sessions and rooms, so that everything meets everything. Moments are compared in whole steps of time, and
 * every deadline lies between two steps, so that a store in real time has half a step to be late.
 */
import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Change, type ChangeFilter, changeOf, mergedChanges } from '../../src/presence/changes.ts'
import type { LogEntry, PresenceRecord, PublicUser, SessionRow, UserSeed } from '../../src/presence/model.ts'
import type { Position } from '../../src/presence/position.ts'
import type { AttachAnswer, AttachRequest, BeatAnswer } from '../../src/presence/store.ts'
import { acknowledge, CALM, type Harness, type Open, renewNode, storeNowMs } from './presence-store/harness.ts'
import {
  createModel,
  type Model,
  type ModelSession,
  type ModelSettings,
  type ModelSocket,
  type ModelTiming,
  type ModelUser,
  type Standing,
} from './reference-model.ts'

export interface PropertyOptions {
  /** One step of time. Half of it is what the store and the machine may be late. */
  readonly stepMs: number
  readonly runs: number
  readonly mostCommands: number
  /** Whether the store pauses after a great step of its clock, as one whose clock is another host's. */
  readonly pausesAfterStep: boolean
  /**
   * In steps: for how long the store may keep heartbeats that may wait. All but moments of activity is then as
   * without, and those are right wherever the user's own state is looked at, or a session ends.
   */
  readonly activityLag?: number
}

/** In steps. */
const TIMING = {
  sessionTtl: 5.5,
  closeGrace: 1.5,
  reconnectGrace: 3.5,
  awayAfter: 6.5,
  idleTimeout: 10.5,
  nodeTtl: 4.5,
  lastActiveFlush: 2.5,
  sessionsPerUser: 3,
}
/** What differs where activity may wait: a node's lease, beside AWAY_AFTER, leaves room for a lag. */
const LAGGING = { nodeTtl: 2.5 }
/** Where activity may wait, all users' own state is looked at after each so many steps: a look ends the waiting. */
const LOOK_EVERY = 5
/** In steps: what the store's clock may be set by, and from where on a store that pauses takes it for great. */
const CLOCK_STEPS = [1000, -1000, 5, -5] as const
const GREAT_STEP = 100
const CHANGE_LOG_COUNT = 40
/** How far what the records say of activity may be behind: a flush, and the sweep that does it. */
const RECORD_LAG = 4

const USERS = ['a', 'b', '\uff5e', '\u{1f600}'] as const
const SESSIONS = ['one', 'two', 'three', 'default'] as const
const ROOMS = ['x', 'y'] as const
const NODES = ['node-1', 'node-2'] as const
const FILTERS: readonly ChangeFilter[] = [
  { kind: 'everyone' },
  ...ROOMS.map((room) => ({ kind: 'room', room }) as const),
  { kind: 'users', userIds: new Set(['a', '\u{1f600}']) },
]

/** Of a user whom the store asks for: read now, read before the last settings came, or not to be had in time. */
type Row = 'read' | 'read before' | 'unread'

// Some are met more often than others, so that long stories happen to them.
const user = fc.constantFrom<(typeof USERS)[number][]>('a', 'a', 'a', 'b', 'b', '\uff5e', '\u{1f600}')
const sessionId = fc.constantFrom<(typeof SESSIONS)[number][]>('one', 'one', 'one', 'two', 'two', 'three', 'default')
const nodeId = fc.constantFrom(...NODES)
const room = fc.constantFrom(...ROOMS)
const isActive = fc.oneof({ weight: 3, arbitrary: fc.constant(true) }, { weight: 1, arbitrary: fc.constant(false) })
const profile = fc.option(
  fc.record({
    name: fc.option(fc.constantFrom('Ann', 'Bea'), { nil: null }),
    avatarUrl: fc.option(fc.constantFrom('https://pictures.test/1', 'https://pictures.test/2'), { nil: null }),
    issuedAtMs: fc.integer({ min: 1, max: 6 }),
  }),
  { nil: null, freq: 2 },
)
const touch = {
  isActive,
  profile,
  rooms: fc.option(fc.subarray([...ROOMS]), { nil: undefined }),
  device: fc.option(fc.constantFrom('phone', null), { nil: undefined }),
}
/** Which of all sockets that there ever were, the newest first: old ones speak as well. */
const socket = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.nat({ max: 12 }))

/** What a node may ask for without waiting for the answers before. */
const calls = [
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('attach'),
      user,
      sessionId,
      nodeId,
      row: fc.constantFrom<Row[]>('read', 'read', 'read before', 'unread'),
      ...touch,
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('detach'),
      socket,
      cause: fc.constantFrom('closed', 'ended', 'silent'),
      silentFor: fc.integer({ min: 0, max: 5 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('beat of a socket'), socket, mayWait: fc.boolean(), ...touch }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('beat over HTTP'),
      user,
      sessionId: fc.option(sessionId, { nil: null, freq: 2 }),
      row: fc.constantFrom<Row[]>('read', 'read', 'read before', 'unread'),
      ...touch,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('end'),
      user,
      sessionId: fc.option(sessionId, { nil: null, freq: 2 }),
      reason: fc.constantFrom('WENT_OFFLINE', 'DISCONNECTED'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('end by a socket'), socket }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('room'), socket, room, isIn: fc.boolean(), isOverHttp: fc.boolean() }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('settings'),
      user,
      // Beside that of the user: a store that went back brings an old one, or another under the same number.
      versionStep: fc.constantFrom(1, 1, 1, 1, 0, -1),
      statusChoice: fc.constantFrom('AUTOMATIC', 'AUTOMATIC', 'AWAY', 'BUSY'),
      statusMessage: fc.constantFrom(null, 'here'),
      visibility: fc.constantFrom('EVERYONE', 'EVERYONE', 'NOBODY'),
      hideLastActive: fc.constantFrom(false, false, true),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('profile'), user, profile }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('row'), user }) },
] as const

const command = fc.oneof(
  ...calls,
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('together'),
      calls: fc.array(fc.oneof(...calls), { minLength: 2, maxLength: 5 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('comeback'), socket }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('return after beats'),
      socket,
      leaves: fc.constantFrom('not', 'here', 'everywhere', 'everywhere'),
      beats: fc.constantFrom('not', 'as default', 'as default', 'as its session'),
      returnsBy: fc.constantFrom('any', 'any', 'own'),
      ...touch,
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('active for a while'),
      socket,
      pauses: fc.array(fc.constantFrom(0, 0, 1, 1, 2), { minLength: 1, maxLength: 8 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('pass'),
      steps: fc.integer({ min: 1, max: 4 }),
      renewing: fc.oneof(
        { weight: 4, arbitrary: fc.constant([...NODES]) },
        { weight: 1, arbitrary: fc.subarray([...NODES]) },
      ),
      returning: fc.oneof({ weight: 3, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.subarray([...NODES]) }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('set clock'), by: fc.constantFrom(...CLOCK_STEPS) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('record'), share: fc.constantFrom(0.5, 1, 1) }) },
)
type Call = (typeof calls)[number]['arbitrary'] extends fc.Arbitrary<infer Value> ? Value : never
type Command = typeof command extends fc.Arbitrary<infer Value> ? Value : never

/** One command, and how a subscriber who was away replays the log after it: from which step, in pieces of which size. */
const step = fc.record({ command, replayFrom: fc.nat({ max: 40 }), replayLimit: fc.integer({ min: 1, max: 9 }) })

export function describePresenceStoreProperties(name: string, open: Open, options: PropertyOptions): void {
  const { stepMs, runs, mostCommands, pausesAfterStep, activityLag = 0 } = options
  const ownTiming = { ...TIMING, ...(activityLag > 0 ? LAGGING : {}) }
  const timing = {
    ...CALM,
    sessionTtlMs: TIMING.sessionTtl * stepMs,
    closeGraceMs: TIMING.closeGrace * stepMs,
    reconnectGraceMs: TIMING.reconnectGrace * stepMs,
    awayAfterMs: TIMING.awayAfter * stepMs,
    idleTimeoutMs: TIMING.idleTimeout * stepMs,
    nodeTtlMs: ownTiming.nodeTtl * stepMs,
    lastActiveFlushMs: TIMING.lastActiveFlush * stepMs,
    sweepIntervalMs: stepMs,
    sessionsPerUser: TIMING.sessionsPerUser,
    logCount: CHANGE_LOG_COUNT,
  }

  describe(name, () => {
    it('does after every step of any history what the rules say', { timeout: 120_000 }, async () => {
      let keptCount = 0
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: mostCommands, size: 'max' }), async (steps) => {
          const harness = await open({ namespace: randomUUID(), timing })
          try {
            const pause = pausesAfterStep
              ? { noLease: timing.heartbeatIntervalMs / stepMs + ownTiming.nodeTtl, noReaping: ownTiming.nodeTtl }
              : null
            const history = await createHistory(harness, { stepMs, timing: { ...ownTiming, pause }, activityLag })
            for (const { command, replayFrom, replayLimit } of steps) {
              await history.run(command)
              await history.expectReplay(replayFrom, replayLimit)
            }
            await history.expectRecordsComplete()
            keptCount += history.keptCount()
          } finally {
            await harness.close()
          }
        }),
        { numRuns: runs },
      )
      if (activityLag > 0) expect(keptCount).toBeGreaterThan(0)
      else expect(keptCount).toBe(0)
    })
  })
}

interface HistoryOptions {
  readonly stepMs: number
  readonly timing: ModelTiming
  readonly activityLag: number
}

async function createHistory({ store, pass, step }: Harness, { stepMs, timing, activityLag }: HistoryOptions) {
  const startMs = await storeNowMs(store)
  const rows = new Map<string, ModelSettings>(USERS.map((id, index) => [id, firstRow(index)]))
  const model: Model = createModel(timing, rows)
  const sockets: ModelSocket[] = []
  const database = createDatabase()
  const watchers = FILTERS.map((filter) => ({ filter, users: new Map<string, Standing>() }))
  const places: { readonly position: Position; readonly lists: readonly ReadonlyMap<string, Standing>[] }[] = []
  const setAhead = new Set<string>()
  const highest = new Map<string, { own: number; shown: number }>()
  /** What a listener heard, by its number. A later read of the log must say the same. */
  const heardBySeq = new Map<number, readonly Standing[]>()
  let heard: LogEntry[] = []
  let keptCount = 0
  let comparedCount = 0
  let position = await store.changes.position()
  store.changes.listen({
    entry(entry) {
      heard.push(entry)
    },
    newEpoch() {
      throw new Error('Expected the log to last.')
    },
  })

  const inSteps = (ms: number | null) => (ms === null ? null : Math.round((ms - startMs) / stepMs))
  const inMs = (steps: number | null) => (steps === null ? null : startMs + steps * stepMs)

  function plain(shown: PublicUser, rooms: Iterable<string>): Standing {
    const { id, name, avatarUrl, isOnline, status, statusMessage } = shown
    const onlineSince = inSteps(shown.onlineSinceMs)
    return { id, name, avatarUrl, isOnline, status, statusMessage, onlineSince, rooms: [...rooms].sort() }
  }

  function standingsOf({ before, after }: LogEntry): readonly [before: Standing, after: Standing] {
    return [plain(before.user, before.rooms), plain(after.user, after.rooms)]
  }

  /** By a filter, without the rooms: a change of a user says nothing of them. */
  const withoutRooms = (standing: Standing): Standing => ({ ...standing, rooms: [] })

  function apply(users: Map<string, Standing>, change: Change): void {
    if (change.kind === 'LEAVE') users.delete(change.user.id)
    else users.set(change.user.id, plain(change.user, []))
  }

  function seedOf(userId: string, row: Row): UserSeed {
    if (row === 'unread') return NOTHING_READ
    const user = model.userOf(userId)
    return {
      settings: row === 'read' ? user.settings : user.storedSettings,
      profile: user.profile,
      lastActiveAtMs: inMs(model.lastActiveOf(user)),
      shownLastActiveAtMs: inMs(model.shownMoments(user).lastActive),
      shownLastSeenAtMs: inMs(model.shownMoments(user).lastSeen),
      isActivityOver: user.isActivityOver,
    }
  }

  /** As a node does it: the row only where the store asks for it. */
  async function attach(request: Omit<AttachRequest, 'seed'>, row: Row): Promise<AttachAnswer> {
    const wasKnown = model.userOf(request.userId).isInStore
    const answer = await store.attach({ ...request, seed: null })
    expect(answer.kind === 'unseeded').toBe(!wasKnown)
    return answer.kind === 'unseeded' ? store.attach({ ...request, seed: seedOf(request.userId, row) }) : answer
  }

  /**
   * Settings that came while the user was not there are remembered for a while: then the row is no secret. And who
   * starts without activity has, without a row, no moment but the start, which the model would not call activity.
   */
  function rowFor(userId: string, { row, isActive }: { readonly row: Row; readonly isActive: boolean }): Row {
    return row === 'unread' && (setAhead.has(userId) || !isActive) ? 'read' : row
  }

  function given<Value>(value: Value | undefined, key: string): Record<string, Value> {
    return value === undefined ? {} : { [key]: value }
  }

  const details = (one: Pick<Extract<Command, { kind: 'attach' }>, 'isActive' | 'profile' | 'rooms' | 'device'>) => ({
    isActive: one.isActive,
    profile: one.profile,
    ...given(one.rooms, 'rooms'),
    ...given(one.device, 'device'),
  })

  async function attachSocket(socket: ModelSocket, one: Parameters<typeof details>[0], asked: Row) {
    if (model.hasRoomFor(model.userOf(socket.userId), socket.sessionId, { isSocket: true }) === 'tie') return
    const row = rowFor(socket.userId, { row: asked, isActive: one.isActive })
    await renewNode(store, socket.nodeId)
    model.renewNode(socket.nodeId)
    const answer = await attach({ ...socket, ...details(one), comeback: null }, row)
    expect(answer).toMatchObject(model.attach(socket, { ...details(one), isPending: row === 'unread' }))
  }

  async function beatOverHttp(one: Extract<Command, { kind: 'beat over HTTP' }>) {
    const beat = { userId: one.user, sessionId: one.sessionId, fence: null, ...details(one) }
    const answer = await store.beat(beat)
    const expected = model.userOf(one.user).isInStore
      ? model.beat(one.user, one.sessionId, null, details(one))
      : 'unknown'
    const said = answer?.kind === 'counted' ? (answer.session === null ? 'alone' : 'counted') : answer?.kind
    expect(said).toBe(expected)
    if (expected !== 'unknown') return
    if (model.hasRoomFor(model.userOf(one.user), one.sessionId ?? 'default') === 'tie') return
    await compare()
    const row = rowFor(one.user, one)
    const started = await attach({ ...beat, nodeId: null, comeback: null }, row)
    expect(started).toMatchObject(
      model.startOverHttp(one.user, one.sessionId, { ...details(one), isPending: row === 'unread' }),
    )
  }

  async function beatOfSocket(one: Extract<Command, { kind: 'beat of a socket' }>, socket: ModelSocket) {
    const answer = await store.beat({ ...socket, ...details(one), mayWait: one.mayWait })
    const { userId, sessionId, fence } = socket
    const expected = model.userOf(userId).isInStore ? model.beat(userId, sessionId, fence, details(one)) : 'unknown'
    expectBeat(answer, expected, one.mayWait)
    // What a node does for a socket whose session ended.
    if (expected === 'unknown' && one.isActive) {
      await compare()
      await attachSocket(socket, one, 'read')
    }
  }

  function expectBeat({ kind }: BeatAnswer, expected: string, mayWait: boolean): void {
    if (kind === 'kept') keptCount += 1
    expectSame(kind === 'kept' && mayWait && activityLag > 0 ? 'counted' : kind, expected)
  }

  async function comeBack(socket: ModelSocket) {
    const user = model.userOf(socket.userId)
    if (model.hasRoomFor(user, socket.sessionId, { isSocket: true }) === 'tie') return
    const last = user.sessions.filter((one) => one.sessionId === socket.sessionId).at(-1)
    // A session without activity of its own has none to bring.
    if (last === undefined || last.lastActiveTime < last.startedTime || model.lastActiveOf(user) === null) return
    // A node cannot tell what its user did in hiding from what they did in sight.
    if (model.isVisible(user) && last.lastActive > (model.shownMoments(user).lastActive ?? -1)) return
    const ages = { startedFor: model.now() - last.startedTime, lastActiveFor: model.now() - last.lastActiveTime }
    await renewNode(store, socket.nodeId)
    model.renewNode(socket.nodeId)
    const comeback = {
      startedForMs: ages.startedFor * stepMs,
      lastActiveForMs: ages.lastActiveFor * stepMs,
      formerFences: [],
      startId: null,
    }
    const answer = await attach({ ...socket, isActive: false, profile: null, comeback }, 'read')
    expect(answer).toMatchObject(model.comeBack(socket, ages))
  }

  /** A tab goes offline, its app beats over HTTP, and its node tries to bring its session back, by a new name. */
  async function returnAfterBeats(
    one: Extract<Command, { kind: 'return after beats' }>,
    { userId, sessionId, nodeId }: ModelSocket,
  ) {
    const named = { user: userId as (typeof USERS)[number], sessionId: sessionId as (typeof SESSIONS)[number] }
    if (one.leaves !== 'not') {
      const meant = one.leaves === 'here' ? named : { ...named, sessionId: null }
      await execute({ kind: 'end', ...meant, reason: 'WENT_OFFLINE' })
      await compare()
    }
    if (one.beats !== 'not') {
      const meant = one.beats === 'as its session' ? named : { ...named, sessionId: null }
      await execute({ ...one, kind: 'beat over HTTP', ...meant, row: 'read' })
      await compare()
    }
    const socket = { userId, sessionId, nodeId, fence: `${nodeId}:${sockets.length}` }
    sockets.push(socket)
    await renewNode(store, nodeId)
    model.renewNode(nodeId)
    const by = one.returnsBy
    const request = { ...socket, isActive: false, profile: null, seed: null, comeback: null, onlyAfterBeats: by }
    expect(await store.attach(request)).toMatchObject(model.returnAfterBeats(socket, by))
  }

  async function changeSettings(one: Extract<Command, { kind: 'settings' }>) {
    const user = model.userOf(one.user)
    // A row that was not read yet is known by no version: an old one could not be told from it.
    if (one.versionStep < 1 && (user.isPending || !user.isInStore)) return
    const { statusChoice, statusMessage, visibility, hideLastActive } = one
    const version = user.settings.version + one.versionStep
    const settings = { version, statusChoice, statusMessage, visibility, hideLastActive }
    if (!user.isInStore) setAhead.add(one.user)
    // The settings alone would leave the rest of the row unknown.
    const row = user.isPending && { seed: seedOf(one.user, 'read') }
    const answering = store.setUser({ userId: one.user, settings, ...row })
    model.setUser(one.user, { settings })
    const expected = model.userOf(one.user).settings
    expectSame(await answering, expected)
  }

  async function recordAll(share: number) {
    await database.read(store)
    const unacknowledged = database.unacknowledged()
    const upTo = unacknowledged.at(Math.ceil(unacknowledged.length * share) - 1)
    if (upTo === undefined) return
    await acknowledge(store, upTo.seq)
    database.acknowledge(upTo.seq)
    const open = new Set(database.unacknowledged().map(({ userId }) => userId))
    model.acknowledge(USERS.filter((id) => database.hasSeen(id) && !open.has(id)))
  }

  async function passStep(renewing: readonly string[], returning: readonly string[] = []) {
    await pass(stepMs, { renewing, returning })
    model.pass(renewing, returning)
  }

  function newSocket({ user: userId, sessionId, nodeId }: Extract<Call, { kind: 'attach' }>): ModelSocket {
    const socket = { userId, sessionId, nodeId, fence: `${nodeId}:${sockets.length}` }
    sockets.push(socket)
    return socket
  }

  async function execute(one: Command): Promise<void> {
    switch (one.kind) {
      case 'attach':
        return attachSocket(newSocket(one), one, one.row)
      case 'beat over HTTP':
        return beatOverHttp(one)
      case 'beat of a socket':
        return withSocket(one, (socket) => beatOfSocket(one, socket))
      case 'comeback':
        return withSocket(one, comeBack)
      case 'return after beats':
        return withSocket(one, (socket) => returnAfterBeats(one, socket))
      case 'together': {
        // None waits for an answer before. By the model, each is done when the next one is called.
        const calling = one.calls.map((call) => {
          const answered = callNow(call)
          standings.push(standingsNow())
          return answered
        })
        await Promise.all(calling)
        return
      }
      case 'pass': {
        for (let count = 1; count < one.steps; count += 1) {
          await passStep(one.renewing, one.returning)
          await compare()
        }
        return passStep(one.renewing, one.returning)
      }
      case 'active for a while': {
        const still = { mayWait: true, isActive: true, profile: null, rooms: undefined, device: undefined } as const
        const beat = { ...still, kind: 'beat of a socket', socket: one.socket } as const
        for (const pause of one.pauses) {
          await withSocket(beat, (socket) => beatOfSocket(beat, socket))
          await compare()
          for (let count = 0; count < pause; count += 1) {
            await passStep(NODES)
            await compare()
          }
        }
        return
      }
      case 'set clock': {
        // Activity that waits is dated when it comes, by the clock of then: its moments are not those of the model.
        if (activityLag > 0) return
        await step(one.by * stepMs)
        // The processes around it look at once, so that no time passes unseen beside the step.
        await store.sweep(1000)
        await store.reapNodes(1000)
        model.stepClock(one.by, Math.abs(one.by) >= GREAT_STEP)
        return
      }
      case 'record':
        return recordAll(one.share)
      default:
        return callNow(one)
    }
  }

  async function withSocket(
    one: { readonly socket: number },
    run: (socket: ModelSocket) => Promise<void>,
  ): Promise<void> {
    const socket = sockets.at(-1 - one.socket)
    if (socket !== undefined) await run(socket)
  }

  /** Calls the store, and then the model, before it waits for the store's answer. */
  async function callNow(one: Call): Promise<void> {
    switch (one.kind) {
      case 'attach': {
        const known = model.userOf(one.user)
        if (model.hasRoomFor(known, one.sessionId) === 'tie') return
        const row = rowFor(one.user, one)
        const seed = known.isInStore ? null : seedOf(one.user, row)
        const socket = newSocket(one)
        const answering = store.attach({ ...socket, ...details(one), seed, comeback: null })
        const expected = model.attach(socket, { ...details(one), isPending: row === 'unread' })
        if (expected.kind === 'attached') model.leaseNode(socket.nodeId)
        expect(await answering).toMatchObject(expected)
        return
      }
      case 'beat over HTTP': {
        const answering = store.beat({ userId: one.user, sessionId: one.sessionId, fence: null, ...details(one) })
        const expected = model.userOf(one.user).isInStore
          ? model.beat(one.user, one.sessionId, null, details(one))
          : 'unknown'
        const answer = await answering
        expect(answer.kind === 'counted' && answer.session === null ? 'alone' : answer.kind).toBe(expected)
        return
      }
      case 'end': {
        const answering = store.end({ userId: one.user, sessionId: one.sessionId, fence: null, reason: one.reason })
        const expected = model.end(one.user, one.sessionId, null, one.reason)
        const { sessionCount, fences } = await answering
        expect({ count: sessionCount, fences: [...fences].sort() }).toEqual({
          count: expected.count,
          fences: expected.fences.sort(),
        })
        return
      }
      case 'settings':
        return changeSettings(one)
      case 'profile': {
        if (one.profile === null) return
        const done = store.setUser({ userId: one.user, profile: one.profile })
        model.setUser(one.user, { profile: one.profile })
        await done
        return
      }
      case 'row': {
        if (!model.userOf(one.user).isPending) return
        const done = store.setUser({ userId: one.user, seed: seedOf(one.user, 'read') })
        model.bringRow(one.user)
        await done
        return
      }
      default:
        return withSocket(one, (socket) => callOfSocket(one, socket))
    }
  }

  async function callOfSocket(one: Extract<Call, { readonly socket: number }>, socket: ModelSocket): Promise<void> {
    const { userId, sessionId, fence } = socket
    switch (one.kind) {
      case 'detach': {
        const silentForMs = one.silentFor * stepMs
        const done = store.detach({ userId, sessionId, fence, cause: one.cause, silentForMs })
        model.detach(socket, one.cause, one.silentFor)
        return done
      }
      case 'beat of a socket': {
        const answering = store.beat({ ...socket, ...details(one), mayWait: one.mayWait })
        const isKnown = model.userOf(userId).isInStore
        const expected = isKnown ? model.beat(userId, sessionId, fence, details(one)) : 'unknown'
        expectBeat(await answering, expected, one.mayWait)
        return
      }
      case 'end by a socket': {
        const answering = store.end({ userId, sessionId, fence, reason: 'WENT_OFFLINE' })
        const { count } = model.end(userId, sessionId, fence, 'WENT_OFFLINE')
        expect((await answering).sessionCount).toBe(count)
        return
      }
      case 'room': {
        const request = { userId, sessionId, fence: one.isOverHttp ? null : fence, room: one.room }
        const answering = one.isIn ? store.join(request) : store.leave(request)
        const expected = model.setRoom(userId, sessionId, request.fence, one.room, one.isIn)
        expect((await answering).kind).toBe(expected)
        return
      }
    }
  }

  /** What everyone saw before the step under way, by the model. */
  let before = standingsNow()
  /** What they saw after each call within it. */
  const standings: (typeof before)[] = []

  function standingsNow(): Map<string, Standing> {
    return new Map(model.standings().map((standing) => [standing.id, standing]))
  }

  async function compare(): Promise<void> {
    await compareChanges()
    for (const { id } of model.users) if (model.takeCut(id)) highest.delete(id)
    await compareLists()
    comparedCount += 1
    const isLook = activityLag === 0 || comparedCount % LOOK_EVERY === 0
    if (isLook) for (const user of model.users) await compareViewer(user.id)
    compareRecords(await database.read(store))
    places.push({ position, lists: watchers.map(({ users }) => new Map(users)) })
  }

  async function compareChanges(): Promise<void> {
    const previous = position
    position = await store.changes.position()
    expectSame(position.epoch, previous.epoch)
    // What a listener hears may come a little later.
    for (let waits = 0; waits < 500 && heard.length < position.seq - previous.seq; waits += 1) {
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    const entries = heard
    heard = []
    for (const entry of entries) heardBySeq.set(entry.seq, standingsOf(entry))
    expectSame(
      entries.map(({ seq }) => seq),
      entries.map((_, index) => previous.seq + 1 + index),
    )
    expectSame(entries.length, position.seq - previous.seq)

    compareSteps(entries, [...standings.splice(0), standingsNow()])

    for (const { filter, users } of watchers) {
      for (const entry of entries) {
        const change = changeOf(entry, filter)
        if (change !== null) apply(users, change)
      }
    }
  }

  /**
   * One entry for each change of a user's standing, and for nothing else, from what it was to what it is. Of one user
   * they come in the order in which it was asked; of two users they need not, where heartbeats are gathered.
   */
  function compareSteps(entries: readonly LogEntry[], steps: readonly Map<string, Standing>[]): void {
    const changes = new Map<string, { readonly was: Standing | undefined; readonly now: Standing }[]>()
    for (const after of steps) {
      for (const now of after.values()) {
        const was = before.get(now.id)
        if (isSame(now, was)) continue
        const ofUser = changes.get(now.id) ?? []
        changes.set(now.id, ofUser)
        ofUser.push({ was, now })
      }
      before = after
    }
    for (const entry of entries) {
      const [said, told] = standingsOf(entry)
      const { isOnline, lastActiveAtMs, lastSeenAtMs } = entry.after.user
      expectSame(lastSeenAtMs, isOnline || lastActiveAtMs === null ? null : entry.atMs)
      const change = changes.get(entry.after.user.id)?.shift()
      expectSame(told, change?.now)
      // Of who was not to be seen, nothing but that is told.
      if (change?.was?.isOnline) expectSame(said, change.was)
      else
        expect(said).toMatchObject({
          isOnline: false,
          status: 'OFFLINE',
          statusMessage: null,
          onlineSince: null,
          rooms: [],
        })
    }
    expectSame([...changes.values()].flat(), [])
  }

  async function compareLists(): Promise<void> {
    for (const { filter, users } of watchers) {
      const expected = [...before.values()]
        .filter((one) => isIn(one, filter))
        .sort((one, other) => byUtf8(one.id, other.id))
      const followed = [...users.values()].sort((one, other) => byUtf8(one.id, other.id))
      expectSame(followed, expected.map(withoutRooms))
      if (filter.kind === 'users') continue
      const room = filter.kind === 'room' ? filter.room : null
      const page = await store.page({ room, first: 10, after: null })
      expectSame(
        page.users.map((user) => plain(user, [])),
        expected.map(withoutRooms),
      )
      expect(page).toMatchObject({ totalCount: expected.length, hasMore: false, position })
      expectSame(await store.count(room), expected.length)
    }
    const found = await store.lookup(USERS)
    for (const [index, user] of model.users.entries()) {
      const shown = found[index]
      expectSame(shown === null, !user.isInStore)
      if (shown === null || shown === undefined) continue
      // Without the row there is nothing to tell but that nobody is to be seen.
      if (user.isPending) {
        expect(shown).toMatchObject({ id: user.id, isOnline: false, status: 'OFFLINE', statusMessage: null })
        continue
      }
      expectSame(plain(shown, []), withoutRooms(before.get(user.id) as Standing))
      const isHidden = model.isVisible(user) && user.settings.hideLastActive
      const activeAt = isHidden ? null : model.shownMoments(user).lastActive
      if (user.touchedTime + activityLag + 1 <= model.now()) expectSame(inSteps(shown.lastActiveAtMs), activeAt)
      else
        expectInOrder(inSteps(shown.lastActiveAtMs) ?? Number.NEGATIVE_INFINITY, activeAt ?? Number.NEGATIVE_INFINITY)
      expectSame(inSteps(shown.lastSeenAtMs), model.lastSeenOf(user))
      // Where it is hidden, or was hidden along with the user, null is no moment.
      if (shown.lastActiveAtMs !== null) expectNeverBack(user.id, 'shown', shown.lastActiveAtMs)
    }
  }

  async function compareViewer(userId: string): Promise<void> {
    const user = model.userOf(userId)
    const viewer = await store.viewer(userId)
    if (!user.isInStore) return expectSame(viewer, null)
    if (user.isPending) return expectSame(viewer, 'pending')
    if (viewer === null || viewer === 'pending') throw new Error(`Expected a viewer, not ${viewer}.`)
    expectSame(
      { ...viewer, user: null, sessions: [], lastActiveAtMs: inSteps(viewer.lastActiveAtMs) },
      {
        user: null,
        sessions: [],
        isOnline: model.isOnline(user),
        status: model.statusOf(user),
        statusChoice: user.settings.statusChoice,
        statusMessage: user.settings.statusMessage,
        visibility: user.settings.visibility,
        hideLastActive: user.settings.hideLastActive,
        lastActiveAtMs: model.lastActiveOf(user),
      },
    )
    expectSame(viewer.user, (await store.lookup([userId]))[0])
    expectNeverBack(userId, 'own', viewer.lastActiveAtMs)
    const told = viewer.sessions.map((session) => ({
      ...session,
      rooms: [...session.rooms].sort(),
      startedAtMs: inSteps(session.startedAtMs),
      lastActiveAtMs: inSteps(session.lastActiveAtMs),
      leaseEndsAtMs: session.leaseEndsAtMs === null ? null : Math.floor((session.leaseEndsAtMs - startMs) / stepMs),
    }))
    expectSame(
      sorted(told),
      sorted(
        model.liveSessions(user).map((session) => ({
          id: session.sessionId,
          device: session.device,
          rooms: [...session.rooms].sort(),
          startedAtMs: session.startedAt,
          lastActiveAtMs: session.lastActive,
          fence: session.fence,
          leaseEndsAtMs: session.lease === null ? null : Math.floor(session.lease.endsAt + model.offset()),
        })),
      ),
    )
  }

  function expectNeverBack(userId: string, which: 'own' | 'shown', moment: number | null): void {
    const known = highest.get(userId) ?? { own: 0, shown: 0 }
    highest.set(userId, known)
    expectInOrder(known[which], moment ?? 0)
    known[which] = moment ?? 0
  }

  function compareRecords(records: readonly PresenceRecord[]): void {
    for (const { columns } of records) {
      if (columns?.isOnline) expect(columns.onlineSinceMs).not.toBeNull()
    }
    for (const user of model.users) {
      const columns = database.columns.get(user.id)
      const standing = before.get(user.id)
      if (user.isInStore && !user.isPending) {
        expectSame(
          {
            isOnline: columns?.isOnline,
            since: inSteps(columns?.onlineSinceMs ?? null),
            lastSeen: inSteps(columns?.lastSeenAtMs ?? null),
          },
          {
            isOnline: standing?.isOnline,
            since: standing?.onlineSince,
            lastSeen: model.lastSeenOf(user),
          },
        )
        const shown = model.isVisible(user) && user.settings.hideLastActive ? null : model.shownMoments(user).lastActive
        expectRecorded(columns?.lastActiveAtMs ?? null, shown, user)
      }
      if (user.profile !== null && user.isInStore && !user.isPending) {
        expectSame(database.profiles.get(user.id), user.profile)
      }
      const rows = database.rowsOf(user.id)
      expect(rows).toHaveLength(user.sessions.length)
      // In the order of their starts: the database saw each of them for the first time then.
      for (const [index, session] of user.sessions.entries()) compareRow(rows[index], session, user)
    }
  }

  function compareRow(row: SessionRow | undefined, session: ModelSession, user: ModelUser): void {
    if (row === undefined) throw new Error('Expected a row for each start.')
    expectSame(
      {
        sessionId: row.sessionId,
        device: row.device,
        rooms: [...row.rooms].sort(),
        nodeId: row.nodeId,
        hadSocket: row.hadSocket,
        startedAt: inSteps(row.startedAtMs),
        endReason: row.endReason,
      },
      {
        sessionId: session.sessionId,
        device: session.device,
        rooms: [...session.rooms].sort(),
        nodeId: session.nodeId,
        hadSocket: session.hadSocket,
        startedAt: session.startedAt,
        endReason: session.end?.reason ?? null,
      },
    )
    const endedAt = inSteps(row.endedAtMs)
    expectSame(endedAt === null, session.end === null)
    if (endedAt !== null && session.end !== null) {
      expectSame(endedAt, session.end.at)
      // An end is recorded whole.
      expectSame(inSteps(row.lastActiveAtMs), session.lastActive)
    }
    expectRecorded(row.lastActiveAtMs, session.lastActive, user)
  }

  /** Activity may come to the records a little later, and never comes to more than it was. */
  function expectRecorded(moment: number | null, truth: number | null, user: ModelUser): void {
    const recorded = inSteps(moment)
    if (recorded !== null) expectInOrder(recorded, truth ?? Number.POSITIVE_INFINITY)
    const settledAt = Math.max(user.touchedTime, model.pausedUntil()) + RECORD_LAG + activityLag
    if (truth !== null && settledAt <= model.now()) expectSame(recorded, truth)
  }

  return {
    keptCount: () => keptCount,

    async run(one: Command): Promise<void> {
      await execute(one)
      await compare()
    },

    /** Whoever read the lists at an earlier step and replays what came since has the lists of now. */
    async expectReplay(from: number, limit: number): Promise<void> {
      const place = places[from % places.length]
      if (place === undefined) return
      const entries: LogEntry[] = []
      let after = place.position
      while (after.seq < position.seq) {
        const read = await store.changes.read(after, limit)
        if (read === 'expired') {
          expectInOrder(CHANGE_LOG_COUNT + 1, position.seq - after.seq)
          return
        }
        expectInOrder(0 + 1, read.entries.length)
        for (const entry of read.entries) expectSame(standingsOf(entry), heardBySeq.get(entry.seq))
        entries.push(...read.entries)
        after = read.position
      }
      for (const [index, { filter, users }] of watchers.entries()) {
        const replayed = new Map(place.lists[index])
        const changes = mergedChanges(entries, filter)
        expectSame(new Set(changes.map((change) => change.user.id)).size, changes.length)
        for (const change of changes) apply(replayed, change)
        expectSame(sorted([...replayed.values()]), sorted([...users.values()]))
      }
    },

    /** Once nothing happens any more, the database knows everything. */
    async expectRecordsComplete(): Promise<void> {
      const untilTime = Math.max(model.now(), model.pausedUntil()) + RECORD_LAG + activityLag
      while (model.now() <= untilTime) {
        await passStep(NODES)
        await compare()
      }
      for (const user of model.users) {
        const rows = database.rowsOf(user.id)
        expectSame(
          rows.map(({ lastActiveAtMs }) => inSteps(lastActiveAtMs)),
          user.sessions.map(({ lastActive }) => lastActive),
        )
      }
    },
  }
}

const NOTHING_READ: UserSeed = {
  settings: null,
  profile: null,
  lastActiveAtMs: null,
  shownLastActiveAtMs: null,
  shownLastSeenAtMs: null,
  isActivityOver: false,
}

function firstRow(index: number): ModelSettings {
  return {
    version: 1,
    statusChoice: 'AUTOMATIC',
    statusMessage: null,
    visibility: index === 3 ? 'NOBODY' : 'EVERYONE',
    hideLastActive: false,
  }
}

/** Keeps of the records what a database would: the last state of each row. */
function createDatabase() {
  const columns = new Map<string, NonNullable<PresenceRecord['columns']>>()
  const profiles = new Map<string, PresenceRecord['profile']>()
  const rows = new Map<string, Map<string, SessionRow>>()
  let unacknowledged: { readonly seq: number; readonly userId: string }[] = []
  let lastSeq = 0

  return {
    columns,
    profiles,
    rowsOf: (userId: string) => [...(rows.get(userId)?.values() ?? [])],
    hasSeen: (userId: string) => rows.has(userId),
    unacknowledged: () => unacknowledged,

    async read(store: Harness['store']): Promise<readonly PresenceRecord[]> {
      const { records, isGap } = await store.records.read(lastSeq, 1000)
      expectSame(isGap, false)
      for (const record of records) {
        expectInOrder(lastSeq + 1, record.seq)
        lastSeq = record.seq
        unacknowledged.push({ seq: record.seq, userId: record.userId })
        if (record.columns !== null) columns.set(record.userId, record.columns)
        if (record.profile !== null) profiles.set(record.userId, record.profile)
        const known = rows.get(record.userId) ?? new Map<string, SessionRow>()
        rows.set(record.userId, known)
        for (const row of record.sessions) {
          expectInOrder(known.get(row.startId)?.lastActiveAtMs ?? 0, row.lastActiveAtMs)
          known.set(row.startId, row)
        }
      }
      return records
    },

    acknowledge(seq: number): void {
      unacknowledged = unacknowledged.filter((one) => one.seq > seq)
    },
  }
}

/** `toEqual`, at a tenth of its price where it holds: it is asked a million times. */
function expectSame<Value>(actual: Value, expected: unknown): void {
  if (!isDeepStrictEqual(actual, expected)) expect(actual).toEqual(expected)
}

function expectInOrder(first: number, second: number): void {
  if (!(first <= second)) expect(first).toBeLessThanOrEqual(second)
}

function isIn(standing: Standing, filter: ChangeFilter): boolean {
  if (!standing.isOnline) return false
  if (filter.kind === 'room') return standing.rooms.includes(filter.room)
  return filter.kind === 'everyone' || filter.userIds.has(standing.id)
}

/** Whether anything changed that is a change: of who cannot be seen, nothing is. */
function isSame(one: Standing, other: Standing | undefined): boolean {
  if (!one.isOnline && !other?.isOnline) return true
  return JSON.stringify(one) === JSON.stringify(other)
}

function sorted<Item extends { readonly id: string }>(items: readonly Item[]): Item[] {
  return [...items].sort((one, other) => (one.id < other.id ? -1 : one.id > other.id ? 1 : 0))
}

function byUtf8(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other))
}
