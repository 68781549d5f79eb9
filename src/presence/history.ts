/**
 * The port of the history: the sessions of a user that were, and those that are open, newest first.
 *
 * Every method throws PresenceError `UNAVAILABLE` (`part: postgres`) if the database does not answer in time.
 */
import type { EndReason } from './model.ts'

export interface History {
  /** What everyone could see: nothing of it tells whether or when the user hid. */
  shown(userId: string, request: HistoryRequest): Promise<HistoryPage<ShownSession>>

  /** The truth, for the user alone. */
  own(userId: string, request: HistoryRequest): Promise<HistoryPage<PastSession>>
}

export interface HistoryRequest {
  /** Sessions that were open at some moment from `fromMs` on and before `toMs`; null: without that bound. */
  readonly fromMs: number | null
  readonly toMs: number | null
  readonly first: number
  /** The session after which the page begins; null: at the newest. */
  readonly after: HistoryPlace | null
}

/** The place of a session in the order: by start, then by an id. */
export interface HistoryPlace {
  readonly startedAtMs: number
  readonly id: string
}

export interface HistoryPage<Session> {
  readonly sessions: readonly Session[]
  readonly hasMore: boolean
}

/**
 * A time in which everyone could see a session. A session in which the user hid is several of them: each ends as if the
 * user had gone offline, and the next begins as if they had come.
 */
export interface ShownSession {
  readonly place: HistoryPlace
  readonly startedAtMs: number
  /** Null while it is open. */
  readonly endedAtMs: number | null
  readonly endReason: EndReason | null
  readonly device: string | null
}

export interface PastSession extends ShownSession {
  readonly sessionId: string
  readonly lastActiveAtMs: number
  /** The times of the session in which the user hid, oldest first; null if the session is older than that is kept. */
  readonly hiddenSpans: readonly HiddenSpan[] | null
}

export interface HiddenSpan {
  readonly startedAtMs: number
  /** Null while it goes on. */
  readonly endedAtMs: number | null
}
