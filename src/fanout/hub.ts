/**
 * The node's only listener to the change log: it finds the subscriptions that an entry concerns and hands each the
 * same event object. What a subscription cannot take now it reads from the log later.
 */
import { type Change, type ChangeFilter, changeOf } from '../presence/changes.ts'
import { positionExpired, unavailable } from '../presence/errors.ts'
import type { ChangeEvent, ChangeFeed, CountEvent, FeedGroup } from '../presence/feed.ts'
import type { LogEntry } from '../presence/model.ts'
import type { Position } from '../presence/position.ts'
import type { PresenceStore } from '../presence/store.ts'
import { createFilterIndex } from './filter-index.ts'
import { createPaced, type Paced } from './paced.ts'
import { createSubscription, type Subscription } from './subscription.ts'

/** How often `onlineCountChanged` and `viewerChanged` may speak (docs/architecture.md, the API). */
const PACE_MS = 1000
/** How often `positionAdvanced` speaks. */
const POSITION_INTERVAL_MS = 10_000

export interface Hub extends ChangeFeed {
  /** From here on it follows the log. May be called again where it failed. */
  start(): Promise<void>
  /** Lets out what was held back for its pace. To be called often: it costs what waits. */
  tick(): void
  /** Tells every group its position, where `POSITION_INTERVAL_MS` has passed. */
  tickPositions(): void
  /** Ends all subscriptions. */
  close(): void
  readonly subscriptionCount: number
}

/** Events that wait for a reader that is a little slow. They are shared: eight bytes each. */
const WAITING_MOST = 256

export interface HubOptions {
  readonly store: Pick<PresenceStore, 'changes' | 'viewers' | 'count' | 'trouble'>
  readonly monotonicMs: () => number
  /** Fewer, for a test of what happens beyond it. */
  readonly waitingMost?: number
}

export function createHub({ store, monotonicMs, waitingMost = WAITING_MOST }: HubOptions): Hub {
  const index = createFilterIndex<Subscription>()
  const all = new Set<{ end(): void }>()
  const countsByRoom = new Map<string | null, Set<Paced<CountEvent>>>()
  const viewersById = new Map<string, Set<Paced<string>>>()
  const held = new Set<Paced<unknown>>()
  const waitingForTick: (() => void)[] = []
  const positionsByGroup = new Set<{
    readonly paced: Paced<Position>
    readonly group: FeedGroup
    toldSeq: number
    toldAtMs: number
  }>()
  const stopListening: (() => void)[] = []
  let head: Position = { epoch: '', seq: 0 }

  function take(entry: LogEntry, epoch: string): void {
    // What came between the first word and the answer about the position is in both.
    if (epoch === head.epoch && entry.seq <= head.seq) return
    head = { epoch, seq: entry.seq }
    const { before, after } = entry
    const events = new Map<string | null, ChangeEvent | null>()
    function eventIn(room: string | null): ChangeEvent | null {
      let event = events.get(room)
      if (event === undefined) {
        const change = changeOf(entry, room === null ? { kind: 'everyone' } : { kind: 'room', room })
        event = change === null ? null : eventOf(change)
        events.set(room, event)
      }
      return event
    }

    const toEveryone = eventIn(null)
    if (toEveryone !== null) {
      for (const subscription of index.everyone()) subscription.offer(toEveryone)
      // To a watch list a user's change is the same as to everyone.
      for (const subscription of index.ofUser(after.user.id)) subscription.offer(toEveryone)
    }
    for (const room of union(before.rooms, after.rooms)) {
      const subscriptions = index.ofRoom(room)
      if (subscriptions.size === 0) continue
      const inRoom = eventIn(room)
      if (inRoom !== null) for (const subscription of subscriptions) subscription.offer(inRoom)
    }

    if (before.user.isOnline !== after.user.isOnline) recount(null)
    for (const room of union(before.rooms, after.rooms))
      if (before.rooms.has(room) !== after.rooms.has(room)) recount(room)
  }

  function eventOf(change: Change): ChangeEvent {
    return { change, position: { epoch: head.epoch, seq: change.seq } }
  }

  function recount(room: string | null): void {
    for (const paced of countsByRoom.get(room) ?? []) nudge(paced)
  }

  function nudge(paced: Paced<unknown>): void {
    if (!paced.nudge(monotonicMs())) held.add(paced)
  }

  function loseLog(position: Position): void {
    head = position
    for (const subscription of index.all()) subscription.fail(positionExpired())
    for (const room of countsByRoom.keys()) recount(room)
  }

  /** Keeps a paced stream under its key for as long as somebody reads it. */
  function paced<Key, Event>(
    registry: Map<Key, Set<Paced<Event>>>,
    key: Key,
    read: () => Promise<Event>,
    isFirstNow: boolean,
  ): Paced<Event> {
    const stream: Paced<Event> = createPaced({
      read,
      paceMs: PACE_MS,
      onDelay: () => void held.add(stream),
      onEnd() {
        const streams = registry.get(key)
        streams?.delete(stream)
        if (streams?.size === 0) registry.delete(key)
        held.delete(stream)
        all.delete(stream)
      },
    })
    const streams = registry.get(key)
    if (streams === undefined) registry.set(key, new Set([stream]))
    else streams.add(stream)
    all.add(stream)
    if (isFirstNow) nudge(stream)
    return stream
  }

  return {
    async start() {
      for (const stop of stopListening.splice(0)) stop()
      stopListening.push(
        store.changes.listen({ entry: take, newEpoch: loseLog }),
        store.viewers.listen((userId) => {
          for (const streams of userId === null ? viewersById.values() : [viewersById.get(userId) ?? []]) {
            for (const stream of streams) nudge(stream)
          }
        }),
      )
      const position = await store.changes.position()
      if (head.epoch !== position.epoch || head.seq < position.seq) head = position
    },

    async changes(filter: ChangeFilter, after: Position | null, group: FeedGroup | null) {
      if (after !== null && after.epoch !== head.epoch) await refuse(after)
      const subscription = createSubscription({
        filter,
        // In the index before anything is read: what comes meanwhile is not lost.
        startSeq: after === null ? head.seq : after.seq,
        waitingMost,
        head: () => head,
        read: (position, limit) => store.changes.read(position, limit),
        eventOf,
        untilTick: () => new Promise((resolve) => void waitingForTick.push(resolve)),
        onEnd() {
          index.remove(filter, subscription)
          group?.subscriptions.delete(subscription)
          all.delete(subscription)
        },
      })
      index.add(filter, subscription)
      group?.subscriptions.add(subscription)
      all.add(subscription)
      try {
        await subscription.prepare()
      } catch (error) {
        subscription.end()
        throw error
      }
      return subscription
    },

    counts: (room) => paced(countsByRoom, room, async () => ({ room, count: await store.count(room) }), true),

    viewerTicks: (userId) => paced(viewersById, userId, async () => userId, false),

    positions(group) {
      const entry = {
        group,
        toldSeq: -1,
        toldAtMs: monotonicMs(),
        paced: createPaced({
          read: async () => written(group),
          paceMs: 0,
          onDelay: () => {},
          onEnd() {
            positionsByGroup.delete(entry)
            all.delete(entry.paced)
          },
        }),
      }
      positionsByGroup.add(entry)
      all.add(entry.paced)
      entry.paced.nudge(monotonicMs())
      return entry.paced
    },

    tick() {
      const nowMs = monotonicMs()
      for (const resolve of waitingForTick.splice(0)) resolve()
      for (const stream of held) if (stream.nudge(nowMs)) held.delete(stream)
    },

    tickPositions() {
      const nowMs = monotonicMs()
      // Silence says that what is shown may be old.
      if (store.trouble() !== null) return
      for (const entry of positionsByGroup) {
        if (nowMs - entry.toldAtMs < POSITION_INTERVAL_MS) continue
        const { seq } = written(entry.group)
        // A subscription that just began further back: silence says that not all is shown yet.
        if (seq < entry.toldSeq) continue
        entry.toldSeq = seq
        entry.toldAtMs = nowMs
        entry.paced.nudge(nowMs)
      }
    },

    close() {
      for (const stop of stopListening) stop()
      for (const stream of [...all]) stream.end()
      for (const resolve of waitingForTick.splice(0)) resolve()
    },

    get subscriptionCount() {
      return all.size
    },
  }

  /** @throws always: another node may have given a position of a log that this one has not heard of yet */
  async function refuse(after: Position): Promise<never> {
    const { epoch } = await store.changes.position()
    if (epoch === after.epoch) throw unavailable('store', 'The live state began anew just now: ask again.')
    throw positionExpired()
  }

  function written(group: FeedGroup): Position {
    let seq = head.seq
    for (const subscription of group.subscriptions) seq = Math.min(seq, subscription.writtenSeq())
    return { epoch: head.epoch, seq }
  }
}

function* union<Item>(one: ReadonlySet<Item>, other: ReadonlySet<Item>): Iterable<Item> {
  yield* one
  for (const item of other) if (!one.has(item)) yield item
}
