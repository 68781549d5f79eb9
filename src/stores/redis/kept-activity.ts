/**
 * Keeps at this node what heartbeats say, if it changes nothing that anyone is told at once: the node's lease proves
 * that its sockets live, and others learn of the activity up to `ACTIVITY_LAG` later, in batches.
 *
 * A heartbeat is kept only while the node knows what Redis has of its session: the session hangs on this socket, has
 * this device and these rooms, and Redis counted activity not longer ago than the lag, or will count some within it.
 * Its user is then neither away nor idle, so more activity changes no status. All other heartbeats go to Redis.
 *
 * Pure: the clock and the sending are arguments, and nothing here waits.
 */
import type { Profile } from '../../presence/model.ts'
import type { Beat, BeatAnswer } from '../../presence/store.ts'
import type { PresenceTiming } from '../../presence/timing.ts'

/** Activity of one session that waited at this node. */
export interface Kept {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  /** How long ago the activity was. */
  readonly agoMs: number
}

export interface KeptActivityOptions {
  /** How long activity waits. 0: nothing is kept. */
  readonly lagMs: number
  /** Most sessions per call. */
  readonly most: number
  /** The clock that measures ages, in monotonic ms. */
  readonly monotonicMs: () => number
  /** Called if something has to be sent before the next sweep: `sendDue` should be called in a moment. */
  readonly onUrgent: () => void
  /** @returns the places of those whose socket no longer has the session */
  readonly send: (kept: readonly Kept[]) => Promise<readonly number[]>
  /** Called if a socket turned out to have lost its session. */
  readonly onLoss: () => void
}

export interface KeptActivity {
  /** Keeps what a heartbeat says, if that may wait. @returns false if the heartbeat has to go to Redis */
  keep(beat: Beat): boolean
  /** A heartbeat goes to Redis. Must be followed by one `answered`. */
  asked(beat: Beat): void
  /** @param answer - null if there is none */
  answered(beat: Beat, answer: BeatAnswer | null): void
  /** Whether Redis has this profile of the session's token already. */
  hasProfile(beat: Beat): boolean
  /** The sessions of this user, or of anyone if null, may have changed: their next heartbeats go to Redis. */
  doubt(userId: string | null): void
  /** Sends what is kept of a user now, so that the user's next call does not overtake it. */
  sendOf(userId: string): void
  /** Sends what has waited for long enough, and what could not be sent before. Called at every sweep. */
  sendDue(): void
  /** Sends everything. Resolves when it is answered. */
  sendAll(): Promise<void>
  /** Forgets everything: the live state was lost, and each session is attached again with its last activity. */
  clear(): void
  /** The number of sessions that the node knows. */
  size(): number
}

/**
 * How long activity may wait. Redis decides by the activity that it has who is away, so what waits must be there in
 * time: the first of what waits came at most one lag after activity that Redis has, and waits for another lag. A node
 * that stands still for less than `NODE_TTL`, and so does not count as dead, must fit in as well.
 */
export function usableLagMs(lagMs: number, { awayAfterMs, nodeTtlMs }: PresenceTiming): number {
  return Math.max(0, Math.min(lagMs, awayAfterMs / 3, (awayAfterMs - nodeTtlMs) / 2))
}

/** A session on a socket of this node. A class, because a node has tens of thousands of them. */
class KnownSession {
  readonly userId: string
  readonly sessionId: string
  readonly fence: string
  /** What Redis has of the session. */
  profile: Profile | null = null
  device: string | null = null
  rooms: readonly string[] = []
  /** The last activity that Redis counted, by the node's clock. -Infinity while nothing is certain. */
  countedAtMs = Number.NEGATIVE_INFINITY
  /** The last activity that waits here; null if none does. */
  keptAtMs: number | null = null
  /** When what waits is sent; if nothing waits, when the session is forgotten. */
  dueAtMs = 0
  /** The number of heartbeats on their way to Redis. */
  underWayCount = 0
  /** The activity of the last one of them. */
  askedAtMs = Number.NEGATIVE_INFINITY
  /** Whether the session may have changed since that one was sent. */
  isDoubtful = false

  constructor(userId: string, sessionId: string, fence: string) {
    this.userId = userId
    this.sessionId = sessionId
    this.fence = fence
  }

  has({ profile, device, rooms }: Beat): boolean {
    if (profile !== this.profile) return false
    if (device !== undefined && device !== this.device) return false
    return rooms === undefined || areSame(rooms, this.rooms)
  }
}

export function createKeptActivity(options: KeptActivityOptions): KeptActivity {
  const { lagMs, most, monotonicMs, onUrgent, send, onLoss } = options
  const byUser = new Map<string, KnownSession[]>()
  /** All sessions, in the order of `dueAtMs`. */
  const inOrder = new Set<KnownSession>()
  /** Sessions whose activity is sent as soon as possible: it could not be sent, or Redis is behind by the lag. */
  const urgent = new Set<KnownSession>()
  const sending = new Set<Promise<void>>()

  function known({ userId, fence }: Beat): KnownSession | undefined {
    return byUser.get(userId)?.find((session) => session.fence === fence)
  }

  function isKnown(session: KnownSession): boolean {
    return inOrder.has(session)
  }

  function learn(userId: string, sessionId: string, fence: string): KnownSession {
    const session = new KnownSession(userId, sessionId, fence)
    const ofUser = byUser.get(userId)
    if (ofUser === undefined) byUser.set(userId, [session])
    else ofUser.push(session)
    return session
  }

  function forget(session: KnownSession): void {
    inOrder.delete(session)
    urgent.delete(session)
    const ofUser = byUser.get(session.userId)
    if (ofUser === undefined) return
    const others = ofUser.filter((other) => other !== session)
    if (others.length > 0) byUser.set(session.userId, others)
    else byUser.delete(session.userId)
  }

  function forgetIfIdle(session: KnownSession): void {
    if (session.keptAtMs === null && session.underWayCount === 0) forget(session)
  }

  /** The session is due in one lag from now, so it goes behind all others. */
  function delay(session: KnownSession, nowMs: number): void {
    session.dueAtMs = nowMs + lagMs
    inOrder.delete(session)
    inOrder.add(session)
  }

  function distrust(session: KnownSession): void {
    session.countedAtMs = Number.NEGATIVE_INFINITY
    session.isDoubtful = true
  }

  function doubt(userId: string | null): void {
    for (const session of userId === null ? inOrder : (byUser.get(userId) ?? [])) distrust(session)
  }

  function sendTogether(sessions: readonly KnownSession[]): void {
    const nowMs = monotonicMs()
    const atMs = sessions.map(({ keptAtMs }) => keptAtMs ?? nowMs)
    const kept = sessions.map(({ userId, sessionId, fence }, place) => ({
      userId,
      sessionId,
      fence,
      agoMs: Math.max(0, Math.round(nowMs - (atMs[place] as number))),
    }))
    for (const [place, session] of sessions.entries()) {
      session.keptAtMs = null
      // Redis runs the calls of one connection in order, so later heartbeats may count on this one.
      if (session.countedAtMs > Number.NEGATIVE_INFINITY) session.countedAtMs = atMs[place] as number
      urgent.delete(session)
      delay(session, nowMs)
    }
    const sent = send(kept).then(
      (lostPlaces) => {
        for (const place of lostPlaces) {
          const session = sessions[place]
          if (session === undefined || !isKnown(session)) continue
          distrust(session)
          forgetIfIdle(session)
        }
        if (lostPlaces.length > 0) onLoss()
      },
      () => {
        // It was answered, so it has to be counted as soon as Redis is back.
        for (const [place, session] of sessions.entries()) {
          if (!isKnown(session)) continue
          distrust(session)
          session.keptAtMs ??= atMs[place] as number
          urgent.add(session)
        }
      },
    )
    sending.add(sent)
    void sent.then(() => sending.delete(sent))
  }

  function sendInBatches(sessions: readonly KnownSession[]): void {
    for (let from = 0; from < sessions.length; from += most) sendTogether(sessions.slice(from, from + most))
  }

  function takeDue(nowMs: number): KnownSession[] {
    const due = [...urgent]
    for (const session of inOrder) {
      if (session.dueAtMs > nowMs) break
      if (session.keptAtMs !== null) {
        if (!urgent.has(session)) due.push(session)
      } else if (session.countedAtMs + lagMs > nowMs || session.underWayCount > 0) delay(session, nowMs)
      else forget(session)
    }
    return due
  }

  return {
    keep(beat) {
      if (lagMs === 0 || beat.mayWait !== true || beat.fence === null) return false
      const session = known(beat)
      if (session === undefined) return false
      const nowMs = monotonicMs()
      const behindMs = nowMs - session.countedAtMs
      // What waits already is sent in time, and later activity goes along with it.
      if (behindMs > (session.keptAtMs === null ? lagMs : 2 * lagMs) || !session.has(beat)) return false
      if (!beat.isActive) return true
      if (session.keptAtMs === null) delay(session, nowMs)
      session.keptAtMs = nowMs
      // Others would be told of a moment further back than the lag.
      if (behindMs > lagMs && !urgent.has(session)) {
        urgent.add(session)
        onUrgent()
      }
      return true
    },

    asked(beat) {
      const { userId, sessionId, fence } = beat
      if (lagMs === 0) return
      if (fence === null || sessionId === null) {
        if (beat.rooms !== undefined || beat.device !== undefined) doubt(userId)
        return
      }
      const nowMs = monotonicMs()
      const found = known(beat)
      const session = found ?? learn(userId, sessionId, fence)
      if (found === undefined) delay(session, nowMs)
      // Until the answer, nothing is certain.
      session.countedAtMs = Number.NEGATIVE_INFINITY
      session.isDoubtful = false
      session.underWayCount += 1
      session.askedAtMs = beat.isActive ? nowMs : Number.NEGATIVE_INFINITY
    },

    answered(beat, answer) {
      const session = lagMs === 0 || beat.fence === null ? undefined : known(beat)
      if (session === undefined) return
      session.underWayCount -= 1
      // The answer to the last heartbeat is the one that holds.
      if (session.underWayCount > 0 || session.isDoubtful) return
      if (answer === null) return
      if (answer.kind !== 'counted' || answer.session === null) return forgetIfIdle(session)
      session.profile = beat.profile
      session.device = answer.session.device
      session.rooms = answer.session.rooms
      session.countedAtMs = session.askedAtMs
      if (session.keptAtMs !== null && session.keptAtMs > session.askedAtMs) return
      session.keptAtMs = null
      urgent.delete(session)
      delay(session, monotonicMs())
    },

    hasProfile(beat) {
      return known(beat)?.profile === beat.profile
    },

    doubt,

    sendOf(userId) {
      const kept = byUser.get(userId)?.filter(({ keptAtMs }) => keptAtMs !== null)
      if (kept !== undefined && kept.length > 0) sendInBatches(kept)
    },

    sendDue() {
      if (inOrder.size > 0) sendInBatches(takeDue(monotonicMs()))
    },

    async sendAll() {
      sendInBatches([...inOrder].filter(({ keptAtMs }) => keptAtMs !== null))
      await Promise.all(sending)
    },

    clear() {
      byUser.clear()
      inOrder.clear()
      urgent.clear()
    },

    size: () => inOrder.size,
  }
}

/** Whether both lists have the same rooms. Clients send them in the same order each time. */
function areSame(some: readonly string[], others: readonly string[]): boolean {
  if (some.length !== others.length) return false
  if (some.every((room, place) => room === others[place])) return true
  const all = new Set(others)
  return some.every((room) => all.has(room))
}
