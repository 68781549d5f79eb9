/**
 * What a subscriber sees of the change log: filters, and the merging of many entries into one change per user.
 *
 * Pure. The hub uses this module for live changes, and the replay for changes that a subscriber missed.
 */
import type { ChangeKind, LogEntry, PresenceStatus, PublicStanding, PublicUser } from './model.ts'
import { hasSamePublicFields } from './rules.ts'

/** Selects the changes that a subscriber gets. */
export type ChangeFilter =
  | { readonly kind: 'everyone' }
  | { readonly kind: 'room'; readonly room: string }
  | { readonly kind: 'users'; readonly userIds: ReadonlySet<string> }

export interface Change {
  readonly kind: ChangeKind
  readonly user: PublicUser
  readonly previousStatus: PresenceStatus
  /** The room of the filter; null if it has none. */
  readonly room: string | null
  readonly seq: number
  readonly atMs: number
}

/** @returns null if the entry is no change under this filter */
export function changeOf(entry: LogEntry, filter: ChangeFilter): Change | null {
  return changeBetween(entry.before, entry.after, entry.seq, entry.atMs, filter)
}

/**
 * Merges entries into at most one change per user: from before the user's first entry to after the last one that the
 * filter shows.
 *
 * If all public fields are equal again, that is no change for a reader who has seen exactly what came before the
 * entries. A reader who comes with a position (`mayHaveSeenLater`) may have seen something else. One who reads a list
 * in pages takes the position with the first page, and finds in a later page what came and went since. One who stopped
 * in the middle of a merged replay lacks what was merged into the changes that did not arrive. Such a reader receives
 * the final state of every user.
 *
 * Each change carries the number of the last entry that it merged, and the changes come in that order. So a reader that
 * stops after any change and comes back with its number misses nothing, because all changes still due have later ones.
 */
export function mergedChanges(
  entries: Iterable<LogEntry>,
  filter: ChangeFilter,
  { mayHaveSeenLater }: { readonly mayHaveSeenLater: boolean } = { mayHaveSeenLater: false },
): Change[] {
  const spans = new Map<string, { readonly before: PublicStanding; readonly last: LogEntry }>()
  for (const entry of entries) {
    if (changeOf(entry, filter) === null) continue
    const userId = entry.after.user.id
    const before = spans.get(userId)?.before ?? entry.before
    // Deleted and set again, not updated in place, so that the map's order is that of each user's last entry.
    spans.delete(userId)
    spans.set(userId, { before, last: entry })
  }
  const changes: Change[] = []
  for (const { before, last } of spans.values()) {
    const change = changeBetween(before, last.after, last.seq, last.atMs, filter)
    if (change !== null) changes.push(change)
    else if (mayHaveSeenLater) changes.push(lastWord(before, last, filter))
  }
  return changes
}

function changeBetween(
  before: PublicStanding,
  after: PublicStanding,
  seq: number,
  atMs: number,
  filter: ChangeFilter,
): Change | null {
  const wasIn = isIn(before, filter)
  const nowIn = isIn(after, filter)
  if (!wasIn && !nowIn) return null
  if (wasIn && nowIn && hasSamePublicFields(before.user, after.user)) return null
  return {
    kind: wasIn ? (nowIn ? 'UPDATE' : 'LEAVE') : 'JOIN',
    user: after.user,
    previousStatus: before.user.status,
    room: filter.kind === 'room' ? filter.room : null,
    seq,
    atMs,
  }
}

/** The final state, in the list or out of it, of a user who is again as they were. */
function lastWord(before: PublicStanding, last: LogEntry, filter: ChangeFilter): Change {
  return {
    kind: isIn(last.after, filter) ? 'UPDATE' : 'LEAVE',
    user: last.after.user,
    previousStatus: before.user.status,
    room: filter.kind === 'room' ? filter.room : null,
    seq: last.seq,
    atMs: last.atMs,
  }
}

function isIn({ user, rooms }: PublicStanding, filter: ChangeFilter): boolean {
  if (!user.isOnline) return false
  if (filter.kind === 'room') return rooms.has(filter.room)
  return filter.kind === 'everyone' || filter.userIds.has(user.id)
}
