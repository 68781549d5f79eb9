/**
 * Emits each entry of the change log once, in order and without a gap, even if pub/sub loses, repeats or delays
 * messages. The follower has the number of the next entry, and reads missing entries from the stream. It also reads the
 * stream if an entry contains only a change of rooms, and the rooms before it are not cached.
 */
import { LRUCache } from 'lru-cache'
import { listenIn } from '../../presence/listeners.ts'
import type { Position } from '../../presence/position.ts'
import type { RoomSet } from '../../presence/room-set.ts'
import type { ChangeListener } from '../../presence/store.ts'
import { type LoggedStep, type ResolvedStep, resolveStep } from './logged-steps.ts'

/** Entries kept beyond a gap: about 5 MB. Further entries, and those with many rooms, are read from the stream. */
const MAX_AT_HAND = 5000
const MAX_AT_HAND_ROOMS = 16
const RETRY_MS = 100
/** Cached rooms of users in many rooms, so that their next entry need not be read from the stream: about 30 MB. */
const MAX_KNOWN_ROOMS = 150_000

export interface ChangeFollower {
  listen(listener: ChangeListener): () => void
  /** Follows the log from this position, and notifies the listeners that they have to start over. */
  begin(position: Position): void
  /** Emits nothing until the next `begin`. */
  pause(): void
  /** Takes an entry from a message. @param parse - returns null if it is malformed: it is then read from the stream */
  hear(seq: number, epoch: string, parse: () => LoggedStep | null): void
  /** Reads the entries up to this number that no message has brought. */
  catchUp(seq: number): void
  /** How often missing entries were read from the stream. */
  fillCount(): number
  close(): void
}

/** The entries of the stream after a position. */
export interface StreamRead {
  /** Whether an entry after the position is missing or malformed. */
  readonly isExpired: boolean
  readonly entries: readonly ResolvedStep[]
  readonly lastSeq: number
}

export interface ChangeFollowerOptions {
  readonly read: (after: Position) => Promise<StreamRead>
  readonly onError: (error: unknown) => void
}

export function createChangeFollower({ read, onError }: ChangeFollowerOptions): ChangeFollower {
  const listeners = new Set<ChangeListener>()
  let head: Position | null = null
  /** Entries from messages that lie beyond a gap, by number. */
  const early = new Map<number, LoggedStep>()
  /** For users in many rooms: the number of their last emitted entry, and their rooms after it. */
  const known = new LRUCache<string, { readonly seq: number; readonly ownRooms: RoomSet }>({
    maxSize: MAX_KNOWN_ROOMS,
    sizeCalculation: ({ ownRooms }) => ownRooms.size + 1,
  })
  let wantedSeq = 0
  let filling: Promise<void> | null = null
  let fillCount = 0
  let isClosed = false

  function tell({ entry, ownRooms }: ResolvedStep, position: Position): void {
    head = { epoch: position.epoch, seq: entry.seq }
    if (ownRooms !== null) known.set(entry.after.user.id, { seq: entry.seq, ownRooms })
    for (const listener of listeners) listener.entry(entry, position.epoch)
  }

  /** @returns false if the rooms of the user must be read from the stream */
  function tellStep(step: LoggedStep, position: Position): boolean {
    const resolved = resolveStep(step, known.get(step.userAfter.id))
    if (resolved !== null) tell(resolved, position)
    return resolved !== null
  }

  function emitEarly(): void {
    while (head !== null) {
      const next = early.get(head.seq + 1)
      if (next === undefined || !tellStep(next, head)) return
      early.delete(next.seq)
    }
  }

  function dropEarlyAfter(lastSeq: number): void {
    for (const seq of early.keys()) if (seq > lastSeq) early.delete(seq)
  }

  function begin(position: Position): void {
    head = position
    wantedSeq = position.seq
    early.clear()
    known.clear()
    for (const listener of listeners) listener.newEpoch(position)
  }

  function fill(): void {
    if (filling !== null || head === null || wantedSeq <= head.seq || isClosed) return
    // A message brought the next entry, so it is no gap: only the rooms of its user are read.
    if (!early.has(head.seq + 1)) fillCount += 1
    filling = fillNow(head)
      .catch(async (error) => {
        onError(error)
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS).unref())
      })
      .finally(() => {
        filling = null
        fill()
      })
  }

  async function fillNow(from: Position): Promise<void> {
    // Messages during the read may raise `wantedSeq` again.
    const soughtSeq = wantedSeq
    wantedSeq = from.seq
    const answer = await read(from).catch((error) => {
      if (head?.epoch === from.epoch) wantedSeq = Math.max(wantedSeq, soughtSeq)
      throw error
    })
    // Another epoch began during the read.
    if (head === null || head.epoch !== from.epoch) return
    // A message named an entry that the log does not have, so entries after the end of the log are not real.
    if (soughtSeq > answer.lastSeq) dropEarlyAfter(answer.lastSeq)
    // The log was trimmed past this position: subscribers have to read the list again.
    if (answer.isExpired) return begin({ epoch: from.epoch, seq: answer.lastSeq })
    for (const step of answer.entries) {
      if (step.entry.seq === head.seq + 1) tell(step, head)
      early.delete(step.entry.seq)
    }
    wantedSeq = Math.max(wantedSeq, answer.lastSeq)
    emitEarly()
  }

  return {
    listen: (listener) => listenIn(listeners, listener),

    begin,

    pause() {
      head = null
      early.clear()
      known.clear()
    },

    hear(seq, epoch, parse) {
      if (head === null || epoch !== head.epoch || seq <= head.seq) return
      const step = seq === head.seq + 1 || early.size < MAX_AT_HAND ? parse() : null
      if (step !== null && seq === head.seq + 1 && tellStep(step, head)) {
        emitEarly()
        return
      }
      wantedSeq = Math.max(wantedSeq, seq)
      if (step !== null && isShort(step)) early.set(seq, step)
      fill()
    },

    catchUp(seq) {
      wantedSeq = Math.max(wantedSeq, seq)
      fill()
    },

    fillCount: () => fillCount,

    close() {
      isClosed = true
      listeners.clear()
    },
  }
}

function isShort({ rooms }: LoggedStep): boolean {
  if (rooms.kind === 'listed' || rooms.changes === null) return true
  return rooms.changes.added.length + rooms.changes.removed.length <= MAX_AT_HAND_ROOMS
}
