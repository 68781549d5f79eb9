/**
 * What an adapter hands to the contract suite, and the short forms in which the tests speak to a store.
 */
import { randomUUID } from 'node:crypto'
import { expect, it } from 'vitest'
import type {
  PresenceRecord,
  Profile,
  PublicUser,
  SessionRow,
  SessionView,
  Settings,
  UserSeed,
} from '../../../src/presence/model.ts'
import type {
  AdoptedUser,
  AttachAnswer,
  AttachRequest,
  Beat,
  BeatAnswer,
  Loss,
  PresenceStore,
} from '../../../src/presence/store.ts'
import type { PresenceTiming } from '../../../src/presence/timing.ts'

export interface OpenRequest {
  /** A name never used twice: tests run side by side. */
  readonly namespace: string
  readonly timing: PresenceTiming
}

export interface Harness {
  readonly store: PresenceStore

  /**
   * Moves time on, by a manual clock or a real wait, and does meanwhile what the processes around a store do: it
   * sweeps and reaps every `sweepIntervalMs`, and once more at the end. Nothing sweeps or reaps at other times.
   */
  pass(ms: number, meanwhile?: Meanwhile): Promise<void>

  /** Sets the store's wall clock forward, or back: no time passes. */
  step(ms: number): Promise<void>

  close(): Promise<void>
}

export interface Meanwhile {
  /** Nodes that renew their lease after every step. */
  readonly renewing?: readonly string[]
  /** Those of them that say that they are not back with all of their sockets. */
  readonly returning?: readonly string[]
  /** Nothing is swept, reaped or renewed, at the end neither. */
  readonly isStalled?: boolean
}

export type Open = (request: OpenRequest) => Promise<Harness>

/** Nothing comes due by itself: each test shortens what it is about. */
export const CALM: PresenceTiming = {
  heartbeatIntervalMs: 500,
  sessionTtlMs: 600_000,
  closeGraceMs: 600_000,
  reconnectGraceMs: 600_000,
  pingIntervalMs: 10_000,
  pongTimeoutMs: 5000,
  awayAfterMs: 600_000,
  idleTimeoutMs: 1_200_000,
  sweepIntervalMs: 50,
  nodeTtlMs: 600_000,
  nodeRenewMs: 100,
  lastActiveFlushMs: 200,
  logCount: 10_000,
  logAgeMs: 600_000,
  logBytes: 64 * 1024 * 1024,
  sessionsPerUser: 50,
}

type Run = (harness: Harness) => Promise<void>

/** One rule of the contract: opens a store of its own, and closes it. */
export interface Rule {
  (sentence: string, run: Run): void
  (sentence: string, timing: Partial<PresenceTiming>, run: Run): void
}

export function ruleOf(open: Open): Rule {
  return (sentence: string, ...rest: [Run] | [Partial<PresenceTiming>, Run]) => {
    const [timing, run] = rest.length === 1 ? [{}, rest[0]] : rest
    it(sentence, async () => {
      const harness = await open({ namespace: randomUUID(), timing: { ...CALM, ...timing } })
      try {
        await run(harness)
      } finally {
        await harness.close()
      }
    })
  }
}

/** Long enough for a bell or a listener on another connection, and short beside every deadline of a test. */
export const SETTLE_MS = 20

export const VISIBLE: Settings = {
  version: 1,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}
export const HIDDEN: Settings = { ...VISIBLE, visibility: 'NOBODY' }

export function seedOf(settings: Settings | null, more: Partial<UserSeed> = {}): UserSeed {
  return {
    settings,
    profile: null,
    lastActiveAtMs: null,
    shownLastActiveAtMs: null,
    shownLastSeenAtMs: null,
    isActivityOver: false,
    ...more,
  }
}

/** @returns a profile that was issued at `issuedAtMs`, which is all that makes one newer than another */
export function profileOf(name: string | null, avatarUrl: string | null, issuedAtMs: number): Profile {
  return { name, avatarUrl, issuedAtMs }
}

export type Attached = Extract<AttachAnswer, { kind: 'attached' }>

export interface Socket {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  readonly nodeId: string
}

let fenceCount = 0

/** @returns a socket by a name that was never used before */
export function socketOf(userId: string, sessionId: string = randomUUID(), nodeId = 'node-1'): Socket {
  fenceCount += 1
  return { userId, sessionId, nodeId, fence: `${nodeId}:${fenceCount}` }
}

export type AttachDetails = Partial<Omit<AttachRequest, 'userId' | 'sessionId' | 'fence' | 'nodeId'>>

function attachRequest(
  who: Pick<AttachRequest, 'userId' | 'sessionId' | 'fence' | 'nodeId'>,
  details: AttachDetails,
): AttachRequest {
  const { userId, sessionId, fence, nodeId } = who
  return { isActive: true, profile: null, seed: null, comeback: null, ...details, userId, sessionId, fence, nodeId }
}

/** Asks as a node does: first without the user's row, and with it where the store says that it needs it. */
export async function tryAttach(
  store: PresenceStore,
  who: Pick<AttachRequest, 'userId' | 'sessionId' | 'fence' | 'nodeId'>,
  { seed = seedOf(VISIBLE), ...details }: AttachDetails = {},
): Promise<AttachAnswer> {
  const first = await store.attach(attachRequest(who, { ...details, seed: null }))
  return first.kind === 'unseeded' ? store.attach(attachRequest(who, { ...details, seed })) : first
}

export async function attach(store: PresenceStore, socket: Socket, details: AttachDetails = {}): Promise<Attached> {
  const answer = await tryAttach(store, socket, details)
  if (answer.kind !== 'attached') throw new Error(`Expected the socket to be attached, not ${answer.kind}.`)
  return answer
}

/** Opens a new socket and attaches it. */
export async function connect(
  store: PresenceStore,
  userId: string,
  { sessionId, nodeId, ...details }: AttachDetails & { readonly sessionId?: string; readonly nodeId?: string } = {},
): Promise<Socket> {
  const socket = socketOf(userId, sessionId, nodeId)
  await attach(store, socket, details)
  return socket
}

export async function detach(
  store: PresenceStore,
  { userId, sessionId, fence }: Socket,
  cause: 'closed' | 'ended' | 'silent' = 'closed',
  silentForMs = 0,
): Promise<void> {
  await store.detach({ userId, sessionId, fence, cause, silentForMs })
}

/** One beat of a socket's own session. */
export async function beat(store: PresenceStore, socket: Socket, details: Partial<Beat> = {}): Promise<BeatAnswer> {
  const { userId, sessionId, fence } = socket
  return sendBeat(store, { userId, sessionId, fence, ...details })
}

export function sendBeat(
  store: PresenceStore,
  details: Pick<Beat, 'userId' | 'sessionId' | 'fence'> & Partial<Beat>,
): Promise<BeatAnswer> {
  return store.beat({ isActive: true, profile: null, ...details })
}

/** A heartbeat over HTTP, as a node does it: it counts, or else starts the session. */
export async function beatOverHttp(
  store: PresenceStore,
  userId: string,
  sessionId: string | null = null,
  { seed, ...details }: AttachDetails = {},
): Promise<SessionView | null> {
  const answer = await sendBeat(store, { userId, sessionId, fence: null, ...details })
  if (answer.kind === 'counted') return answer.session
  if (answer.kind === 'late') throw new Error('Expected no answer about a fence to a beat without one.')
  const who = { userId, sessionId, fence: null, nodeId: null }
  const started = await tryAttach(store, who, seed === undefined ? details : { seed, ...details })
  if (started.kind !== 'attached') throw new Error(`Expected the session to start, not ${started.kind}.`)
  return started.session
}

const seenLossCounts = new WeakMap<PresenceStore, Map<string, number>>()

/** As a node does it that settles at once whatever it is told, or says that it has not. */
export async function renewNode(store: PresenceStore, nodeId: string, isReturning = false): Promise<readonly Loss[]> {
  const seen = seenLossCounts.get(store) ?? new Map<string, number>()
  seenLossCounts.set(store, seen)
  const seenLossCount = seen.get(nodeId) ?? 0
  const { losses, lossCount } = await store.renewNode({ nodeId, seenLossCount, seenDismissalCount: null, isReturning })
  seen.set(nodeId, lossCount)
  return losses
}

export async function goOffline(
  store: PresenceStore,
  userId: string,
  sessionId: string | null = null,
): Promise<number> {
  const { sessionCount } = await store.end({ userId, sessionId, fence: null, reason: 'WENT_OFFLINE' })
  return sessionCount
}

export async function seen(store: PresenceStore, userId: string): Promise<PublicUser | null> {
  const [user] = await store.lookup([userId])
  return user ?? null
}

export async function statusOf(store: PresenceStore, userId: string): Promise<string | null> {
  return (await seen(store, userId))?.status ?? null
}

export async function isOnline(store: PresenceStore, userId: string): Promise<boolean> {
  return (await seen(store, userId))?.isOnline ?? false
}

export async function onlineIds(store: PresenceStore, room: string | null = null): Promise<readonly string[]> {
  const page = await store.page({ room, first: 1000, after: null })
  return page.users.map(({ id }) => id)
}

export async function viewerOf(store: PresenceStore, userId: string) {
  const viewer = await store.viewer(userId)
  if (viewer === null || viewer === 'pending') throw new Error(`Expected a viewer, not ${viewer}.`)
  return viewer
}

export async function sessionOf(
  store: PresenceStore,
  { userId, sessionId }: { readonly userId: string; readonly sessionId: string },
): Promise<SessionView | null> {
  const { sessions } = await viewerOf(store, userId)
  return sessions.find(({ id }) => id === sessionId) ?? null
}

/** What everyone could notice: the log's place, who is listed, in all and in the rooms, and what a look-up says. */
export async function publicTruth(store: PresenceStore, userIds: readonly string[], rooms: readonly string[] = []) {
  const lists = []
  for (const room of [null, ...rooms]) {
    lists.push([await store.page({ room, first: 1000, after: null }), await store.count(room)])
  }
  return [await store.changes.position(), await store.lookup(userIds), lists]
}

/** Everything that was written since a mark: changes, and records. */
export async function markOf(store: PresenceStore) {
  const position = await store.changes.position()
  const { lastSeq } = await store.records.read(0, 1)
  return {
    async changes() {
      const read = await store.changes.read(position, 10_000)
      if (read === 'expired') throw new Error('Expected the log to reach back to the mark.')
      return read.entries
    },
    async records() {
      return (await store.records.read(lastSeq, 10_000)).records
    },
  }
}

/** The kinds of a user's changes since a mark, as `alice JOIN`. */
export function told(entries: Awaited<ReturnType<Awaited<ReturnType<typeof markOf>>['changes']>>): readonly string[] {
  return entries.map(({ before, after }) => {
    const kind = before.user.isOnline ? (after.user.isOnline ? 'UPDATE' : 'LEAVE') : 'JOIN'
    return `${after.user.id} ${kind}`
  })
}

/** The last row of each start, as a database would have it after all records. */
export function rowsOf(records: readonly PresenceRecord[], userId: string) {
  const rows = new Map(
    records
      .filter((record) => record.userId === userId)
      .flatMap(({ sessions }) => sessions.map((row) => [row.startId, row])),
  )
  return [...rows.values()]
}

export async function rowOf(store: PresenceStore, { userId, sessionId }: Pick<Socket, 'userId' | 'sessionId'>) {
  const { records } = await store.records.read(0, 10_000)
  const row = rowsOf(records, userId)
    .filter((one) => one.sessionId === sessionId)
    .at(-1)
  if (row === undefined) throw new Error('Expected a record of the session.')
  return row
}

/** As a recorder does when records up to this one are in the database. */
export async function acknowledge(store: PresenceStore, seq: number): Promise<void> {
  const { epoch } = await store.changes.position()
  await store.records.ack(epoch, seq)
}

/** The store's own clock, read by the activity of somebody whom nobody sees. */
export async function storeNowMs(store: PresenceStore): Promise<number> {
  const who = { userId: 'clock', sessionId: 'default', fence: null, nodeId: null }
  const started = await tryAttach(store, who, { seed: seedOf(HIDDEN) })
  const answer = await sendBeat(store, { ...who, isActive: true })
  if (started.kind !== 'attached' || answer.kind !== 'counted') throw new Error('Expected the clock to tick.')
  return Number(answer.lastActiveAtMs)
}

export function adoptedUser(userId: string, nowMs: number, details: Partial<AdoptedUser> = {}): AdoptedUser {
  return {
    userId,
    seed: seedOf(VISIBLE, { lastActiveAtMs: nowMs - 2000, shownLastActiveAtMs: nowMs - 2000 }),
    onlineSinceMs: nowMs - 9000,
    sessions: [],
    tokensValidAfterMs: null,
    ...details,
  }
}

/** A session that a database has open. */
export function openRow(nowMs: number, details: Partial<SessionRow> = {}): SessionRow {
  return {
    startId: randomUUID(),
    sessionId: randomUUID(),
    device: 'phone',
    rooms: ['hall'],
    nodeId: 'node-0',
    hadSocket: true,
    startedAtMs: nowMs - 9000,
    lastActiveAtMs: nowMs - 2000,
    endedAtMs: null,
    endReason: null,
    ...details,
  }
}

/** Asks again until it holds: what a listener or a bell tells may come a little later. */
export async function eventually(pass: Harness['pass'], holds: () => void): Promise<void> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    try {
      holds()
      return
    } catch {
      await pass(SETTLE_MS)
    }
  }
  holds()
}

/** Asserts that a step showed nothing to anyone. */
export async function expectNothingShown(
  store: PresenceStore,
  userIds: readonly string[],
  rooms: readonly string[],
  step: () => Promise<unknown>,
): Promise<void> {
  const before = await publicTruth(store, userIds, rooms)
  await step()
  expect(await publicTruth(store, userIds, rooms)).toEqual(before)
}

/** Of a store that was opened with 100,000 bytes for records: each of a session in 100 long rooms has some 13,000. */
export async function expectFewLongRecords(store: PresenceStore): Promise<void> {
  const rooms = Array.from({ length: 99 }, (_, index) => `room ${index} `.padEnd(128, '.'))
  const socket = await connect(store, 'alice', { rooms })
  for (let step = 0; step < 20; step += 1) {
    await (step % 2 === 0 ? store.join({ ...socket, room: 'hall' }) : store.leave({ ...socket, room: 'hall' }))
  }
  const { isGap, lastSeq } = await store.records.read(0, 100)
  expect(isGap).toBe(true)
  const { recordCount } = await store.stats()
  expect(recordCount).toBeGreaterThan(2)
  expect(recordCount).toBeLessThan(10)
  const { records } = await store.records.read(lastSeq - recordCount, 100)
  expect(records).toHaveLength(recordCount)
  expect(records.at(-1)?.sessions[0]?.rooms).toHaveLength(99)

  // What is acknowledged counts no longer.
  await acknowledge(store, lastSeq)
  await store.join({ ...socket, room: 'hall' })
  expect((await store.records.read(lastSeq, 100)).isGap).toBe(false)
  expect((await store.stats()).recordCount).toBe(1)
  for (let step = 0; step < 3; step += 1) {
    await (step % 2 === 0 ? store.leave({ ...socket, room: 'hall' }) : store.join({ ...socket, room: 'hall' }))
  }
  expect((await store.stats()).recordCount).toBe(4)
}
