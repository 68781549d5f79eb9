/**
 * Tells each entry of the change log once, in order, without a gap, whatever the bell loses, doubles or delays: it
 * knows the number that comes next, and reads from the stream what is missing.
 */
import { listenIn } from '../../presence/listeners.ts'
import type { LogEntry } from '../../presence/model.ts'
import type { Position } from '../../presence/position.ts'
import type { ChangeListener } from '../../presence/store.ts'

/** Entries that wait beyond a gap: some 5 MB. Those above it are read from the stream as well. */
const AHEAD_MOST = 5000
const RETRY_MS = 100

export interface ChangeFollower {
  listen(listener: ChangeListener): () => void
  /** From here on it follows the log, from this position. Listeners are told to begin anew. */
  begin(position: Position): void
  /** Until the next `begin` nothing is told. */
  pause(): void
  /** An entry that the bell brought. */
  hear(seq: number, epoch: string, parse: () => LogEntry): void
  /** Reads what came up to this number, where the bell has not brought it. */
  catchUp(seq: number): void
  /** How often entries had to be read from the stream. */
  fillCount(): number
  close(): void
}

/** What the stream holds after a position. */
export interface StreamRead {
  /** Whether it no longer holds everything. */
  readonly isExpired: boolean
  readonly entries: readonly LogEntry[]
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
  const ahead = new Map<number, LogEntry>()
  let wantedSeq = 0
  let filling: Promise<void> | null = null
  let fillCount = 0
  let isClosed = false

  function tell(entry: LogEntry, position: Position): void {
    head = { epoch: position.epoch, seq: entry.seq }
    for (const listener of listeners) listener.entry(entry, position.epoch)
  }

  function tellAhead(): void {
    while (head !== null) {
      const next = ahead.get(head.seq + 1)
      if (next === undefined) return
      ahead.delete(next.seq)
      tell(next, head)
    }
  }

  function begin(position: Position): void {
    head = position
    wantedSeq = position.seq
    ahead.clear()
    for (const listener of listeners) listener.newEpoch(position)
  }

  function fill(): void {
    if (filling !== null || head === null || wantedSeq <= head.seq || isClosed) return
    fillCount += 1
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
    const answer = await read(from)
    // Another epoch began meanwhile.
    if (head === null || head.epoch !== from.epoch) return
    // Trimmed beyond what was told here: whoever follows has to read anew.
    if (answer.isExpired) return begin({ epoch: from.epoch, seq: answer.lastSeq })
    for (const entry of answer.entries) {
      if (entry.seq === head.seq + 1) tell(entry, head)
      ahead.delete(entry.seq)
    }
    wantedSeq = Math.max(wantedSeq, answer.lastSeq)
    tellAhead()
  }

  return {
    listen: (listener) => listenIn(listeners, listener),

    begin,

    pause() {
      head = null
      ahead.clear()
    },

    hear(seq, epoch, parse) {
      if (head === null || epoch !== head.epoch || seq <= head.seq) return
      if (seq === head.seq + 1) {
        tell(parse(), head)
        tellAhead()
        return
      }
      wantedSeq = Math.max(wantedSeq, seq)
      if (ahead.size < AHEAD_MOST) ahead.set(seq, parse())
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
