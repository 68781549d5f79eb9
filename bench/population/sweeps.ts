/** What a sweep costs and how long it holds up others, by what is due and by what exists. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { SweepAnswer } from '../../src/presence/store.ts'
import { startBackground } from '../../src/process/background.ts'
import { untilDone } from '../../src/slices.ts'
import { acknowledge, attachRequest, type ManualCrowd, randomId, someOf, TIMING } from './crowd.ts'
import {
  createStretches,
  type GcPauses,
  type IdleProcess,
  type LoopDelay,
  type Stretch,
  watchGc,
  watchLoopDelay,
} from './waiting.ts'

/** Users of one slice, as in src/process/jobs.ts. */
export const SLICE = 500
const BACKGROUND_MS = 3000

export type DueKind = 'leases' | 'away' | 'idle'
export const DUE_KINDS: readonly DueKind[] = ['leases', 'away', 'idle']

export interface SweepFigures {
  readonly kind: DueKind
  readonly existing: number
  readonly due: number
  /** The longest call of `store.sweep`, which is one synchronous stretch. */
  readonly longestSlice: Stretch
  /** All slices of it, without the turns of others in between. */
  readonly workMs: number
  readonly gc: GcPauses
}

export async function measureSweep(crowd: ManualCrowd, kind: DueKind, due: number): Promise<SweepFigures> {
  const existing = crowd.userIds.length
  const restore = await makeDue(crowd, kind, due)
  const gcPauses = watchGc()
  const slices = createStretches()
  let workMs = 0
  let count = 0
  await untilDone(async () => {
    slices.begin()
    const answering = crowd.store.sweep(SLICE)
    workMs += slices.end().ms
    const answer = await answering
    count += answer.count
    return answer
  })
  if (count !== due) throw new Error(`${count} users were due, not ${due}.`)
  const gc = await gcPauses()
  await restore()
  return { kind, existing, due, longestSlice: slices.longest(), workMs, gc }
}

export interface BackgroundFigures {
  readonly kind: DueKind
  readonly existing: number
  readonly due: number
  readonly process: LoopDelay
  readonly idleProcess: LoopDelay
  readonly gc: GcPauses
}

/** The same in the background, as the server does it, with the event loop watched. */
export async function measureInBackground(
  crowd: ManualCrowd,
  kind: DueKind,
  due: number,
  idle: IdleProcess,
): Promise<BackgroundFigures> {
  const restore = await makeDue(crowd, kind, due)
  const gcPauses = watchGc()
  const idleDelay = await idle.watch()
  const delay = watchLoopDelay()
  let count = 0
  const sweep = async (): Promise<SweepAnswer> => {
    const answer = await crowd.store.sweep(SLICE)
    count += answer.count
    return answer
  }
  const background = startBackground(
    [{ name: 'sweep', everyMs: TIMING.sweepIntervalMs, run: () => untilDone(sweep) }],
    () => performance.now(),
    (_, error) => {
      throw error
    },
  )
  await sleep(BACKGROUND_MS)
  const figures = { process: delay(), idleProcess: await idleDelay(), gc: await gcPauses() }
  await background.stop()
  if (count !== due) throw new Error(`${count} users were due, not ${due}.`)
  await restore()
  return { kind, existing: crowd.userIds.length, due, ...figures }
}

/** Lets users fall due with the next sweep. @returns what puts the crowd back as it was */
async function makeDue(crowd: ManualCrowd, kind: DueKind, count: number): Promise<() => Promise<void>> {
  const { store } = crowd
  if (kind === 'leases') {
    const userIds = someOf(crowd.userIds, count)
    for (const userId of userIds) {
      const viewer = await store.viewer(userId)
      if (viewer === null || viewer === 'pending') throw new Error(`${userId} is not there.`)
      for (const { id, fence } of viewer.sessions) {
        await store.detach({ userId, sessionId: id, fence: fence as string, cause: 'closed', silentForMs: 0 })
      }
    }
    await crowd.pass(TIMING.closeGraceMs)
    return async () => {
      await acknowledge(store)
      for (const userId of userIds) await store.attach(attachRequest(userId))
      await acknowledge(store)
    }
  }
  // Users who come beside the others, and were active so long ago that a millisecond is lacking.
  const lastActiveForMs = (kind === 'away' ? TIMING.awayAfterMs : TIMING.idleTimeoutMs) - 1
  const userIds = Array.from({ length: count }, randomId)
  for (const userId of userIds) {
    const comeback = { startedForMs: lastActiveForMs, lastActiveForMs, formerFences: [], startId: null }
    await store.attach(attachRequest(userId, { comeback }))
  }
  await acknowledge(store)
  await crowd.pass(1)
  return async () => {
    for (const userId of userIds) {
      await store.end({ userId, sessionId: null, fence: null, reason: 'WENT_OFFLINE' })
    }
    await acknowledge(store)
  }
}
