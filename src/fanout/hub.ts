/**
 * The node's only listener to the change log: it finds the subscriptions that an entry concerns and hands each the
 * same event object. A subscription that cannot take an event now reads it from the log later.
 */
import { type Change, type ChangeFilter, mergedChanges } from '../presence/changes.ts'
import { positionExpired, unavailable } from '../presence/errors.ts'
import type { ChangeEvent, ChangeFeed, CountEvent, FeedGroup, Follower } from '../presence/feed.ts'
import type { LogEntry } from '../presence/model.ts'
import type { Position } from '../presence/position.ts'
import { hasSamePublicFields } from '../presence/rules.ts'
import type { PresenceStore } from '../presence/store.ts'
import { inSlices } from '../slices.ts'
import { createFilterIndex } from './filter-index.ts'
import { createPaced, type Paced } from './paced.ts'
import { createReplays } from './replays.ts'
import { shareRequest } from './share-request.ts'
import { Subscription, type SubscriptionContext } from './subscription.ts'
import { createWatchedIds } from './watched-ids.ts'

/** The shortest time between two events of an `onlineCountChanged` or `viewerChanged` stream. */
const PACE_MS = 1000
/** Counts of one room that are sent right at a change: about 2 ms of work. */
const MAX_COUNTS_AT_A_CHANGE = 200
/** The cost of merging an entry, in units of about a microsecond. */
const REPLAY_UNITS_AN_ENTRY = 0.25
/** How often `positionAdvanced` sends a position. */
const POSITION_INTERVAL_MS = 10_000

export interface Hub extends ChangeFeed {
  /** Follows the log from here on. May be called again if it failed. */
  start(): Promise<void>
  /** Ends a window: sends the gathered changes. */
  tell(): void
  /** Sends throttled events. Call it often; its cost is proportional to the number of waiting streams. */
  tick(): Promise<void>
  /** Sends every group its position, if `POSITION_INTERVAL_MS` has passed. */
  tickPositions(): Promise<void>
  /** Ends all subscriptions. */
  close(): void
  readonly traffic: {
    readonly subscriptionCount: number
    /** Subscriptions that are behind now. */
    readonly behindCount: number
    /** How often a subscription fell behind or began behind. */
    readonly replayCount: number
  }
}

/** Events that may wait for a slightly slow reader. They are shared: eight bytes each. */
const MAX_WAITING = 256

export interface HubOptions {
  readonly store: Pick<PresenceStore, 'changes' | 'viewers' | 'count' | 'trouble'>
  readonly monotonicMs: () => number
  /** How many changes the log holds. */
  readonly logCount?: number
  /** Changes within this time are merged to one per user; 0: each change is sent as it comes. */
  readonly windowMs?: number
  /** Ids that one user may watch. */
  readonly watchedIdsPerUser?: number
  /** Lower in tests of what happens beyond it. */
  readonly waitingMost?: number
}

export function createHub({
  store,
  monotonicMs,
  logCount = Number.POSITIVE_INFINITY,
  windowMs = 0,
  watchedIdsPerUser = Number.POSITIVE_INFINITY,
  waitingMost = MAX_WAITING,
}: HubOptions): Hub {
  const index = createFilterIndex<Subscription>()
  const watchedIds = createWatchedIds(watchedIdsPerUser)
  const all = new Set<{ end(): void }>()
  const countsByRoom = new Map<string | null, Set<Paced<CountEvent>>>()
  const counted = new Map<string | null, Promise<CountEvent>>()
  const viewersById = new Map<string, Set<Paced<string>>>()
  const throttled = new Set<Paced<unknown>>()
  const waitingForTick: (() => void)[] = []
  const positionsByGroup = new Set<{
    readonly paced: Paced<Position>
    readonly group: FeedGroup
    announcedSeq: number
    announcedAtMs: number
  }>()
  const stopListening: (() => void)[] = []
  /** The position of the last entry received. */
  let head: Position = { epoch: '', seq: 0 }
  /** The position up to which changes are sent: `head`, except for what waits in a window. */
  let announced = head
  let gathered: LogEntry[] = []
  /** Subscriptions that began within a window: they must not get changes merged with earlier ones. */
  const early = new Set<Subscription>()
  const traffic = { behindCount: 0, replayCount: 0 }
  const replays = createReplays({
    read: (position, limit) => store.changes.read(position, limit),
    announced: () => announced,
    logCount,
  })
  const context: SubscriptionContext = {
    replays,
    waitingMost,
    announcedSeq: () => announced.seq,
    untilTick: () => new Promise((resolve) => void waitingForTick.push(resolve)),
    fellBehind() {
      traffic.behindCount += 1
      traffic.replayCount += 1
    },
    caughtUp() {
      traffic.behindCount -= 1
    },
  }

  function take(entry: LogEntry, epoch: string): void {
    // Entries between `listen()` and `position()` arrive twice; skip them.
    if (epoch === head.epoch && entry.seq <= head.seq) return
    head = { epoch, seq: entry.seq }
    replays.add(entry)
    if (entry.before.user.isOnline !== entry.after.user.isOnline) recount(null)
    for (const room of entry.movedRooms) recount(room)
    gathered.push(entry)
    if (windowMs === 0) tell()
  }

  /** Sends the gathered changes, merged to one per user. */
  function tell(): void {
    if (gathered.length === 0) return
    const entries = gathered
    gathered = []
    announced = head
    const isMerged = entries.length > 1
    for (const change of mergedChanges(entries, { kind: 'everyone' })) {
      // For a watch list a user's change is the same as for everyone.
      offer(change, isMerged, index.everyone(), index.ofUser(change.user.id))
    }
    for (const [room, concerning] of entriesByRoom(entries)) {
      const subscriptions = index.ofRoom(room)
      for (const change of mergedChanges(concerning, { kind: 'room', room })) offer(change, isMerged, subscriptions)
    }
    for (const subscription of early) {
      const writtenSeq = subscription.writtenSeq()
      if (writtenSeq !== null && writtenSeq > announced.seq) continue
      early.delete(subscription)
      subscription.resume()
    }
  }

  /** The entries that may be a change in a room, for each room with subscribers. */
  function entriesByRoom(entries: readonly LogEntry[]): ReadonlyMap<string, LogEntry[]> {
    const byRoom = new Map<string, LogEntry[]>()
    for (const entry of entries) {
      for (const room of watchedRooms(entry)) {
        const concerning = byRoom.get(room)
        if (concerning === undefined) byRoom.set(room, [entry])
        else concerning.push(entry)
      }
    }
    return byRoom
  }

  /** Rooms with subscribers in which an entry may be a change. */
  function* watchedRooms({ before, after, movedRooms }: LogEntry): Iterable<string> {
    if (hasSamePublicFields(before.user, after.user)) {
      for (const room of movedRooms) if (index.ofRoom(room).size > 0) yield room
      return
    }
    yield* index.watchedRooms(before.rooms)
    if (before.rooms === after.rooms) return
    for (const room of index.watchedRooms(after.rooms)) if (!before.rooms.has(room)) yield room
  }

  function offer(change: Change, isMerged: boolean, ...audiences: readonly Iterable<Subscription>[]): void {
    let event: ChangeEvent | null = null
    for (const audience of audiences) {
      for (const subscription of audience) {
        event ??= replays.eventOf(change)
        subscription.offer(event, isMerged)
      }
    }
  }

  /** The same event for every caller until the number changes. */
  function countOf(room: string | null): Promise<CountEvent> {
    return shareRequest(counted, room, async () => ({ room, count: await store.count(room) }))
  }

  function recount(room: string | null): void {
    counted.delete(room)
    const streams = countsByRoom.get(room)
    if (streams === undefined) return
    // Each stream is woken and written to. A crowd of streams waits for the next tick, which runs in slices.
    const isCrowd = streams.size > MAX_COUNTS_AT_A_CHANGE
    for (const paced of streams) {
      if (isCrowd) throttled.add(paced)
      else nudge(paced)
    }
  }

  function nudge(paced: Paced<unknown>): void {
    if (!paced.nudge(monotonicMs())) throttled.add(paced)
  }

  function beginAt(position: Position): void {
    head = position
    announced = position
    gathered = []
    replays.clear()
  }

  function loseLog(position: Position): void {
    beginAt(position)
    const lost = [...index.all()]
    for (const subscription of lost) subscription.lose()
    void inSlices(lost, monotonicMs, async (subscription) => subscription.fail(positionExpired()))
    for (const room of countsByRoom.keys()) recount(room)
    // The new log begins again with small numbers.
    for (const entry of positionsByGroup) entry.announcedSeq = -1
  }

  /** Keeps a paced stream under its key while somebody reads it. */
  function paced<Key, Event>(
    registry: Map<Key, Set<Paced<Event>>>,
    key: Key,
    read: () => Promise<Event>,
    { isFirstNow, onLastEnd }: { readonly isFirstNow: boolean; readonly onLastEnd: () => void },
  ): Paced<Event> {
    const stream: Paced<Event> = createPaced({
      read,
      paceMs: PACE_MS,
      onDelay: () => void throttled.add(stream),
      onEnd() {
        const streams = registry.get(key)
        streams?.delete(stream)
        if (streams?.size === 0) {
          registry.delete(key)
          onLastEnd()
        }
        throttled.delete(stream)
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
          if (userId !== null) for (const stream of viewersById.get(userId) ?? []) nudge(stream)
          else for (const streams of viewersById.values()) for (const stream of streams) throttled.add(stream)
        }),
      )
      const position = await store.changes.position()
      if (head.epoch === position.epoch && head.seq >= position.seq) return
      beginAt(position)
    },

    async changes(filter: ChangeFilter, after: Position | null, group: FeedGroup, follower: Follower) {
      if (after !== null && after.epoch !== head.epoch) await refuse(after)
      if (after !== null) follower.charge(REPLAY_UNITS_AN_ENTRY * Math.max(0, head.seq - after.seq))
      const unwatch = watchedIds.add(follower.userId, filter)
      const startSeq = after?.seq ?? head.seq
      // Within a window the subscription is behind until the window ends; without one, it gets nothing twice.
      const isAtHead = startSeq === announced.seq || (windowMs === 0 && startSeq > announced.seq)
      const indexedFilter = index.keep(filter)
      const subscription = new Subscription(context, indexedFilter, startSeq, isAtHead, (ended) => {
        index.remove(indexedFilter, ended)
        unwatch()
        group.subscriptions.delete(ended)
        early.delete(ended)
        all.delete(ended)
      })
      // Index the subscription before anything is read, so that changes in between are not lost.
      index.add(indexedFilter, subscription)
      group.subscriptions.add(subscription)
      all.add(subscription)
      if (startSeq > announced.seq && !isAtHead) early.add(subscription)
      try {
        await subscription.prepare()
      } catch (error) {
        subscription.end()
        throw error
      }
      return subscription
    },

    counts: (room) =>
      paced(countsByRoom, room, () => countOf(room), {
        isFirstNow: true,
        onLastEnd: () => counted.delete(room),
      }),

    viewerTicks: (userId) => paced(viewersById, userId, async () => userId, { isFirstNow: false, onLastEnd() {} }),

    positions(group) {
      let hasCaughtUp = false
      const entry = {
        group,
        announcedSeq: -1,
        announcedAtMs: monotonicMs(),
        paced: createPaced({
          async read() {
            // A client takes the first one for the word that it shows everything: what it missed comes before.
            const position = await whenKnown(group, hasCaughtUp ? null : announced)
            hasCaughtUp = true
            return position
          },
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

    reached: written,

    tell,

    async tick() {
      const nowMs = monotonicMs()
      replays.forget()
      for (const resolve of waitingForTick.splice(0)) resolve()
      await inSlices(throttled, monotonicMs, (stream) => {
        if (!stream.nudge(nowMs)) return
        throttled.delete(stream)
        return Promise.resolve()
      })
    },

    async tickPositions() {
      const nowMs = monotonicMs()
      // Silence tells clients that what they show may be old.
      if (store.trouble() !== null) return
      await inSlices(positionsByGroup, monotonicMs, (entry) => {
        if (nowMs - entry.announcedAtMs < POSITION_INTERVAL_MS) return
        const position = written(entry.group)
        // A subscription has just begun further back: silence tells its client that not everything is shown yet.
        if (position === null || position.seq < entry.announcedSeq) return
        entry.announcedSeq = position.seq
        entry.announcedAtMs = nowMs
        entry.paced.nudge(nowMs)
        return Promise.resolve()
      })
    },

    close() {
      for (const stop of stopListening) stop()
      for (const stream of [...all]) stream.end()
      for (const resolve of waitingForTick.splice(0)) resolve()
    },

    get traffic() {
      return { ...traffic, subscriptionCount: all.size }
    },
  }

  /** @throws always: another node may have issued a position in a log that this node does not know of yet */
  async function refuse(after: Position): Promise<never> {
    const { epoch } = await store.changes.position()
    if (epoch === after.epoch) throw unavailable('store', 'The live state was rebuilt just now: ask again.')
    throw positionExpired()
  }

  /** Null if a subscription has yet to learn that its log is lost: a position in the new log would hide that. */
  function written(group: FeedGroup): Position | null {
    let seq = announced.seq
    for (const subscription of group.subscriptions) {
      const writtenSeq = subscription.writtenSeq()
      if (writtenSeq === null) return null
      seq = Math.min(seq, writtenSeq)
    }
    return { epoch: announced.epoch, seq }
  }

  /** @param least - waits until the group has been written so far, or the log is another one */
  async function whenKnown(group: FeedGroup, least: Position | null): Promise<Position> {
    for (;;) {
      const position = written(group)
      if (position !== null && (position.epoch !== least?.epoch || position.seq >= least.seq)) return position
      await context.untilTick()
    }
  }
}
