/**
 * Tells each entry of the change log once, in order, without a gap, whatever the bell loses, doubles or delays: it
 * knows the number that comes next, and reads from the stream what is missing. It reads there, too, the rooms of a user
 * that it does not know and an entry only says the change of.
 */
import { LRUCache } from 'lru-cache'
import { listenIn } from '../../presence/listeners.ts'
import type { Position } from '../../presence/position.ts'
import type { RoomSet } from '../../presence/room-set.ts'
import type { ChangeListener } from '../../presence/store.ts'
import { type LoggedStep, type ResolvedStep, resolveStep } from './logged-steps.ts'

/** Entries that wait beyond a gap: some 5 MB. Those above it, and long ones, are read from the stream as well. */
const MAX_AT_HAND = 5000
const MAX_AT_HAND_ROOMS = 16
const RETRY_MS = 100
/** Rooms of users in many that are remembered, so that the next entry of theirs need not be read: some 30 MB. */
const MAX_KNOWN_ROOMS = 150_000

export interface ChangeFollower {
  listen(listener: ChangeListener): () => void
  /** From here on it follows the log, from this position. Listeners have to start over. */
  begin(position: Position): void
  /** Until the next `begin` nothing is told. */
  pause(): void
  /** An entry that the bell brought. @param parse - returns null where it is not understood: the stream says it */
  hear(seq: number, epoch: string, parse: () => LoggedStep | null): void
  /** Reads what came up to this number, where the bell has not brought it. */
  catchUp(seq: number): void
  /** How often entries had to be read from the stream. */
  fillCount(): number
  close(): void
}

/** What the stream holds after a position. */
export interface StreamRead {
  /** Whether it no longer holds everything, or something that is not understood. */
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
  /** What the bell brought beyond a gap, by number. */
  const early = new Map<number, LoggedStep>()
  /** Of users in many rooms: their rooms after the last entry that the listeners have, and its number. */
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

  /** @returns false where the stream has to say the rooms of its user */
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
    // An entry that is at hand came by the bell: only the rooms of its user have to be read.
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
    // What is heard while the stream is read is added to it below.
    const soughtSeq = wantedSeq
    wantedSeq = from.seq
    const answer = await read(from).catch((error) => {
      if (head?.epoch === from.epoch) wantedSeq = Math.max(wantedSeq, soughtSeq)
      throw error
    })
    // Another epoch began in between.
    if (head === null || head.epoch !== from.epoch) return
    // A message named an entry that the log does not have: what it brought is not the log's.
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
