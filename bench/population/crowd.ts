/** People for the benchmarks of a population: each with one session, under random ids like those of real users. */
import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parseConfig, timingOf } from '../../src/config.ts'
import type { Settings, UserSeed } from '../../src/presence/model.ts'
import type { AttachRequest, PresenceStore } from '../../src/presence/store.ts'
import { createMemoryStore } from '../../src/stores/memory/index.ts'
import { createStretches, type Stretch } from './waiting.ts'

export interface Crowd {
  readonly store: PresenceStore
  readonly userIds: readonly string[]
}

/** In a memory store, whose time passes when it is told to. */
export interface ManualCrowd extends Crowd {
  readonly userIds: string[]
  /** Moves time on, less than what would make a sweep late. */
  moveOn(ms: number): void
  /** Moves time on. The next sweep judges whatever fell due. */
  pass(ms: number): Promise<void>
}

export const ROOM = 'hall'
export const NODE_ID = 'node-1'
/** The defaults of the settings, as in production. */
export const TIMING = timingOf(parseConfig({}))

const START_MS = Date.UTC(2026, 0, 1)
/** How long a crowd takes to come, so that their deadlines differ. */
const FILL_MS = 60_000
const SETTINGS: Settings = {
  version: 1,
  statusChoice: 'AUTOMATIC',
  statusMessage: null,
  visibility: 'EVERYONE',
  hideLastActive: false,
}

export function openCrowd(): ManualCrowd {
  let nowMs = START_MS
  const store = createMemoryStore({
    timing: TIMING,
    clock: () => ({ steadyMs: Math.floor(nowMs), wallMs: Math.floor(nowMs) }),
  })
  return {
    store,
    userIds: [],
    moveOn(ms) {
      nowMs += ms
    },
    async pass(ms) {
      nowMs += ms
      // After a long step this one comes late and judges nobody; the next one comes in time.
      await store.sweep(0)
    },
  }
}

export interface Filling {
  readonly longestAttach: Stretch
  readonly over10MsCount: number
}

/** Fills a crowd. @returns the longest attach, and how many took longer than 10 ms of processor time */
export async function fill(crowd: ManualCrowd, count: number): Promise<Filling> {
  const attaches = createStretches()
  let over10MsCount = 0
  for (let index = 0; index < count; index += 1) {
    const request = attachRequest(randomId())
    attaches.begin()
    await crowd.store.attach(request)
    if (attaches.end().processorMs > 10) over10MsCount += 1
    crowd.userIds.push(request.userId)
    crowd.moveOn(FILL_MS / count)
    // As a recorder does, by its batches.
    if (index % 500 === 499) {
      await acknowledge(crowd.store)
      await turn()
    }
  }
  await acknowledge(crowd.store)
  return { longestAttach: attaches.longest(), over10MsCount }
}

export function attachRequest(userId: string, more: Partial<AttachRequest> = {}): AttachRequest {
  return {
    userId,
    sessionId: randomId(),
    fence: randomId(),
    nodeId: NODE_ID,
    isActive: true,
    device: 'browser',
    rooms: [ROOM],
    profile: { name: `Name of ${userId}`, avatarUrl: null, issuedAtMs: START_MS },
    seed: seed(),
    comeback: null,
    ...more,
  }
}

/** An object of its own a user, as from a row. */
export function seed(): UserSeed {
  return {
    settings: { ...SETTINGS },
    profile: null,
    lastActiveAtMs: null,
    shownLastActiveAtMs: null,
    shownLastSeenAtMs: null,
    isActivityOver: false,
  }
}

/** Flat in memory, as what comes over a wire is: `randomUUID` gives a text in twenty pieces. */
export function randomId(): string {
  return Buffer.from(randomUUID()).toString('latin1')
}

/** @returns so many different ones, from anywhere in the crowd */
export function someOf(userIds: readonly string[], count: number): string[] {
  const some = new Set<string>()
  while (some.size < count) some.add(anyOf(userIds))
  return [...some]
}

export function anyOf(userIds: readonly string[]): string {
  return userIds[Math.floor(Math.random() * userIds.length)] as string
}

/** All records are in the database: whoever has left leaves the store. */
export async function acknowledge(store: PresenceStore): Promise<void> {
  const { epoch, lastSeq } = await store.records.read(0, 1)
  await store.records.ack(epoch, lastSeq)
}
