/**
 * What subscriptions that are behind have missed, merged to one change per user. Subscriptions at the same place share
 * one read of the log and one merge, and equal changes are the same event for all.
 */
import { LRUCache } from 'lru-cache'
import { type Change, type ChangeFilter, mergedChanges } from '../presence/changes.ts'
import { positionExpired } from '../presence/errors.ts'
import type { ChangeEvent } from '../presence/feed.ts'
import type { LogEntry } from '../presence/model.ts'
import { createNumberedLog } from '../presence/numbered-log.ts'
import type { Position } from '../presence/position.ts'
import { RoomSet } from '../presence/room-set.ts'
import type { ChangeLog } from '../presence/store.ts'
import type { IndexedFilter } from './filter-index.ts'
import { shareRequest } from './share-request.ts'

/** Entries that one replay merges: a few milliseconds of work. */
const MAX_REPLAY = 5000
/** The last entries are kept at hand, so that a crowd that comes back asks the store for nothing: about 2 MB. */
const MAX_AT_HAND = 5000
/** Fewer entries are kept if their users entered more rooms than this: about 10 MB. */
const MAX_AT_HAND_ROOMS = 50_000
/** Events kept for reuse: the members of a crowd that comes back have missed mostly the same. About 1 MB. */
const MAX_EVENTS = 1000

export interface Replay {
  readonly events: readonly ChangeEvent[]
  /** The events cover everything up to this number. */
  readonly upToSeq: number
}

export interface Replays {
  /** Adds the entry that follows the last one. */
  add(entry: LogEntry): void
  /** Forgets everything: the log starts over. */
  clear(): void
  /** The event of a change: the same object for every caller. For a watch list a change is the same as for everyone. */
  eventOf(change: Change): ChangeEvent
  /**
   * What the filter lets through after `seq`, up to what has been sent, or up to a bound before that.
   *
   * @throws PresenceError `POSITION_EXPIRED` if the log no longer reaches back to `seq`
   */
  after(seq: number, filter: IndexedFilter, mayHaveSeenLater: boolean): Promise<Replay>
  /** Forgets the shared reads and merges. Call it now and then: it bounds what is kept. */
  forget(): void
}

interface Reading {
  readonly entries: readonly LogEntry[]
  readonly upToSeq: number
}

export interface ReplaysOptions {
  readonly read: ChangeLog['read']
  /** How far the subscriptions that are not behind have got: a replay never gets ahead of them. */
  readonly announced: () => Position
  /** How many changes the log holds: no more are kept at hand. */
  readonly logCount: number
}

export function createReplays({ read, announced, logCount }: ReplaysOptions): Replays {
  let atHand = createNumberedLog<LogEntry>()
  /** The number of rooms that each entry at hand brought, if any. */
  const roomCounts = new Map<number, number>()
  let roomCount = 0
  /** Room sets already counted: entries of users who hide and come back share theirs. */
  let seenRooms = new WeakSet<RoomSet>()
  const events = new LRUCache<string, ChangeEvent>({ max: MAX_EVENTS })
  const readings = new Map<number, Promise<Reading>>()
  const merged = new Map<string, Promise<Replay>>()

  async function readAfter(seq: number): Promise<Reading> {
    const { epoch, seq: announcedSeq } = announced()
    const most = Math.min(MAX_REPLAY, announcedSeq - seq)
    if (atHand.size() > 0 && atHand.reaches(seq)) {
      const entries = atHand.after(seq, most)
      return { entries, upToSeq: seq + entries.length }
    }
    const entries: LogEntry[] = []
    let position: Position = { epoch, seq }
    while (entries.length < most) {
      const answer = await read(position, most - entries.length)
      if (answer === 'expired') throw positionExpired()
      if (answer.entries.length === 0) break
      entries.push(...answer.entries)
      position = answer.position
    }
    return { entries, upToSeq: position.seq }
  }

  async function merge(seq: number, filter: ChangeFilter, mayHaveSeenLater: boolean): Promise<Replay> {
    const { epoch } = announced()
    const { entries, upToSeq } = await shareRequest(readings, seq, () => readAfter(seq))
    if (announced().epoch !== epoch) throw positionExpired()
    return { events: mergedChanges(entries, filter, { mayHaveSeenLater }).map(eventOf), upToSeq }
  }

  function eventOf(change: Change): ChangeEvent {
    // An entry's number identifies the user's state after it; the rest is what a change says about the state before.
    const key = `${change.seq} ${change.kind} ${change.previousStatus} ${change.room ?? ''}`
    const known = events.get(key)
    if (known !== undefined) return known
    const event = { change, position: { epoch: announced().epoch, seq: change.seq } }
    events.set(key, event)
    return event
  }

  function clearAtHand(): void {
    atHand = createNumberedLog()
    roomCounts.clear()
    roomCount = 0
    seenRooms = new WeakSet()
  }

  function countRooms({ seq, after, movedRooms }: LogEntry): void {
    const isSeen = seenRooms.has(after.rooms)
    seenRooms.add(after.rooms)
    const count = movedRooms instanceof RoomSet ? movedRooms.size : movedRooms.length
    if (isSeen || count === 0) return
    roomCounts.set(seq, count)
    roomCount += count
  }

  function dropThrough(lastSeq: number): void {
    for (let seq = atHand.firstSeq(); seq <= lastSeq; seq += 1) {
      roomCount -= roomCounts.get(seq) ?? 0
      roomCounts.delete(seq)
    }
    atHand.dropThrough(lastSeq)
  }

  return {
    eventOf,

    add(entry) {
      if (entry.seq !== atHand.lastSeq() + 1) clearAtHand()
      atHand.push(entry)
      countRooms(entry)
      dropThrough(atHand.lastSeq() - Math.min(MAX_AT_HAND, logCount))
      while (roomCount > MAX_AT_HAND_ROOMS) dropThrough(atHand.firstSeq())
    },

    clear() {
      clearAtHand()
      events.clear()
      readings.clear()
      merged.clear()
    },

    async after(seq, filter, mayHaveSeenLater) {
      if (seq >= announced().seq) return { events: [], upToSeq: seq }
      // Hardly two watch lists are the same, and merging for one costs only its few users.
      if (filter.kind === 'users')
        return merge(seq, { kind: 'users', userIds: new Set(filter.userIds) }, mayHaveSeenLater)
      const room = filter.kind === 'room' ? filter.room : ''
      const key = `${seq} ${mayHaveSeenLater} ${filter.kind} ${room}`
      return shareRequest(merged, key, () => merge(seq, filter, mayHaveSeenLater))
    },

    forget() {
      readings.clear()
      merged.clear()
    },
  }
}
