/** How long what is done for many at once holds up others: the logs, the records, a start, and what an operator asks. */

import type { AdoptedUser } from '../../src/presence/store.ts'
import { untilDone } from '../../src/slices.ts'
import { type ManualCrowd, NODE_ID, ROOM, randomId, seed, someOf, TIMING } from './crowd.ts'
import { SLICE } from './sweeps.ts'
import { type GcPauses, longestStretch, type Stretch, watchGc } from './waiting.ts'

/** Users of one page of a start, and records of one batch of the recorder. */
const PAGE = 500
/** Entries of one read of the log by the hub. */
const ENTRIES = 1000

export interface StretchFigures {
  readonly what: string
  readonly count: number
  readonly longest: Stretch
  readonly totalMs: number
  readonly gc: GcPauses
}

async function stretchOf(what: string, count: number, work: () => Promise<unknown>): Promise<StretchFigures> {
  const gcPauses = watchGc()
  const startedAtMs = performance.now()
  const longest = await longestStretch(work)
  const totalMs = performance.now() - startedAtMs
  return { what, count, longest, totalMs, gc: await gcPauses() }
}

/** The logs of a crowd at their full length, which must not be empty otherwise. */
export async function measureLogs(crowd: ManualCrowd): Promise<StretchFigures[]> {
  const { store } = crowd
  const figures = []
  const before = await store.changes.position()
  const recordsBefore = (await store.records.read(0, 1)).lastSeq
  // One room more and one less: two changes and two records a user.
  for (const userId of someOf(crowd.userIds, TIMING.logCount / 2)) {
    const viewer = await store.viewer(userId)
    if (viewer === null || viewer === 'pending') throw new Error(`${userId} is not there.`)
    for (const { id } of viewer.sessions) {
      await store.join({ userId, sessionId: id, fence: null, room: 'lobby' })
      await store.leave({ userId, sessionId: id, fence: null, room: 'lobby' })
    }
  }
  const { logCount, recordCount } = await store.stats()
  figures.push(
    await stretchOf('stats', 1, () => store.stats()),
    await stretchOf('changes.read, one of many', ENTRIES, () => store.changes.read(before, ENTRIES)),
    await stretchOf('changes.read, all at once', logCount, () => store.changes.read(before, logCount)),
    await stretchOf('records.read', PAGE, () => store.records.read(recordsBefore, PAGE)),
    await stretchOf('records.snapshot', PAGE, () => store.records.snapshot(null, PAGE)),
  )
  const { epoch, lastSeq } = await store.records.read(0, 1)
  figures.push(
    await stretchOf('records.ack, one batch', PAGE, () => store.records.ack(epoch, recordsBefore + PAGE)),
    await stretchOf('records.ack, all at once', recordCount - PAGE, () => store.records.ack(epoch, lastSeq)),
  )
  await crowd.pass(TIMING.logAgeMs)
  // Users fall AWAY by then, so only the trimming is looked at: at most no user.
  figures.push(await stretchOf('the log, past its age', logCount, () => store.changes.read(before, 1)))
  return figures
}

/** Everybody goes, while the database is away; then it is back. */
export async function measureDeparture({ store, userIds }: ManualCrowd): Promise<StretchFigures[]> {
  const leave = async (): Promise<void> => {
    for (const [index, userId] of userIds.entries()) {
      await store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
      if (index % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const figures = [await stretchOf('end, 100 in one go', userIds.length, leave)]
  const { epoch, lastSeq } = await store.records.read(0, 1)
  return [
    ...figures,
    await stretchOf('records.ack, everybody left', userIds.length, () => store.records.ack(epoch, lastSeq)),
  ]
}

/** What an earlier run left open is taken over, and nobody comes back: all their leases pass at once. */
export async function measureRestart(crowd: ManualCrowd, count: number): Promise<StretchFigures[]> {
  const adopt = async (): Promise<void> => {
    for (let doneCount = 0; doneCount < count; doneCount += PAGE) {
      await crowd.store.adopt(Array.from({ length: PAGE }, adoptedUser))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const figures = [await stretchOf('adopt, page by page', count, adopt)]
  await crowd.pass(TIMING.reconnectGraceMs)
  return [
    ...figures,
    await stretchOf('sweep, nobody came back', count, () => untilDone(() => crowd.store.sweep(SLICE))),
  ]
}

function adoptedUser(): AdoptedUser {
  const atMs = Date.UTC(2025, 11, 31)
  const row = {
    startId: randomId(),
    sessionId: randomId(),
    device: 'browser',
    rooms: [ROOM],
    nodeId: NODE_ID,
    hadSocket: true,
    startedAtMs: atMs,
    lastActiveAtMs: atMs,
    endedAtMs: null,
    endReason: null,
  }
  return {
    userId: randomId(),
    seed: { ...seed(), lastActiveAtMs: atMs },
    onlineSinceMs: atMs,
    sessions: [row],
    tokensValidAfterMs: null,
  }
}
