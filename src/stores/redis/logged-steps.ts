/**
 * Entries of the change log as Redis stores them. Entries of users in many rooms do not list the rooms. The rooms at an
 * entry are those at the user's previous entry with the changes applied, or the current ones with every later change
 * undone (lua/shared/trail.lua).
 */
import type { LogEntry, PublicUser } from '../../presence/model.ts'
import { type RoomChanges, RoomSet } from '../../presence/room-set.ts'
import {
  areTexts,
  isPublicAnswer,
  type List,
  listOf,
  orNull,
  type PublicAnswer,
  parsed,
  publicUser,
} from './answers.ts'

/** append in lua/shared/commit.lua. */
type StepAnswer = readonly [
  seq: number,
  atMs: number,
  before: PublicAnswer,
  roomsBefore: List<string> | false,
  after: PublicAnswer,
  roomsAfter: List<string> | false,
  /** Left out if the rooms are listed. */
  baseSeq?: number | false,
]

/** An element of a trail: lua/shared/trail.lua. */
type TrailElement = readonly [seq: number, added: List<string>, removed: List<string>]

type Changes = RoomChanges & { readonly added: readonly string[]; readonly removed: readonly string[] }

/** The content of an entry before its rooms are resolved. */
export interface LoggedStep {
  readonly seq: number
  readonly atMs: number
  readonly userBefore: PublicUser
  readonly userAfter: PublicUser
  readonly rooms: ListedRooms | RoomsOnTrail
}

interface ListedRooms {
  readonly kind: 'listed'
  readonly before: readonly string[]
  readonly after: readonly string[]
}

interface RoomsOnTrail {
  readonly kind: 'on trail'
  /** The user's entry to whose rooms the changes apply, 0 if the user was in none. Null if only the trail has them. */
  readonly baseSeq: number | null
  /** Changes of the rooms of all sessions. Null if only the trail has them. */
  readonly changes: Changes | null
}

/** An entry, and the rooms of all sessions of its user after it, also while the user is hidden. */
export interface ResolvedStep {
  readonly entry: LogEntry
  /** Null if the entry lists its rooms: no later entry then refers to it. */
  readonly ownRooms: RoomSet | null
}

/** read-changes.lua: `now` is JSON of the current rooms and the changes since the last entry; elements newest first. */
export type TrailAnswer = readonly [userId: string, now: string, ...elements: readonly string[]]

/**
 * @param element - the trail element in the message, if the entry does not list its rooms
 * @returns null if the text does not have this form: another program may have written it
 */
export function loggedStep(text: string, element?: string): LoggedStep | null {
  const answer = parsed(text)
  if (!isStepAnswer(answer)) return null
  const [seq, atMs, before, roomsBefore, after, roomsAfter, baseSeq] = answer
  const changes = element === undefined || baseSeq === undefined ? null : changesOf(element)
  if (element !== undefined && changes !== null && changes.seq !== seq) return null
  return {
    seq,
    atMs,
    userBefore: publicUser(before),
    userAfter: userAfter(after, atMs),
    rooms:
      baseSeq === undefined
        ? { kind: 'listed', before: listOf(roomsBefore || {}), after: listOf(roomsAfter || {}) }
        : { kind: 'on trail', baseSeq: orNull(baseSeq), changes },
  }
}

/** A user who is offline after an entry left with it, since a hidden user has none: `lastSeenAfterLeaving`. */
function userAfter(answer: PublicAnswer, atMs: number): PublicUser {
  const user = publicUser(answer)
  return user.isOnline || user.lastActiveAtMs === null ? user : { ...user, lastSeenAtMs: atMs }
}

function isStepAnswer(value: unknown): value is StepAnswer {
  if (!Array.isArray(value) || value.length < 6 || value.length > 7) return false
  const [seq, atMs, before, roomsBefore, after, roomsAfter, baseSeq = false] = value as readonly unknown[]
  return (
    Number.isSafeInteger(seq) &&
    typeof atMs === 'number' &&
    isPublicAnswer(before) &&
    isPublicAnswer(after) &&
    before[0] === after[0] &&
    [roomsBefore, roomsAfter].every((rooms) => rooms === false || areTexts(rooms)) &&
    (baseSeq === false || Number.isSafeInteger(baseSeq))
  )
}

/**
 * @param known - the number of the user's last entry, and the rooms after it
 * @returns null if that is not enough: the rooms must then be read from the trail
 */
export function resolveStep(
  step: LoggedStep,
  known: { readonly seq: number; readonly ownRooms: RoomSet } | undefined,
): ResolvedStep | null {
  const { rooms } = step
  if (rooms.kind === 'listed') return resolvedByLists(step, rooms)
  if (rooms.changes === null) return null
  const base = rooms.baseSeq === 0 ? RoomSet.empty : rooms.baseSeq === known?.seq ? known.ownRooms : null
  return base === null ? null : resolved(step, base, rooms.changes, base.changed(rooms.changes))
}

/**
 * @param trails - the trail of each user with a step that does not list its rooms
 * @returns null if a trail lacks a step, or is malformed: the position has then expired
 */
export function resolveSteps(
  steps: readonly LoggedStep[],
  trails: readonly TrailAnswer[],
): readonly ResolvedStep[] | null {
  const ofTrails = trails.map(placesOf)
  if (ofTrails.includes(null)) return null
  const places = new Map(ofTrails.flatMap((ofTrail) => ofTrail ?? []))
  const found: ResolvedStep[] = []
  for (const step of steps) {
    if (step.rooms.kind === 'listed') {
      found.push(resolvedByLists(step, step.rooms))
      continue
    }
    const place = places.get(step.seq)
    if (place === undefined) return null
    found.push(resolved(step, place.before, place.changes, place.after))
  }
  return found
}

interface Place {
  readonly before: RoomSet
  readonly after: RoomSet
  readonly changes: Changes
}

/** The rooms before and after each entry of a trail, from the current rooms back. Null if an element is malformed. */
function placesOf([, now, ...elements]: TrailAnswer): readonly (readonly [seq: number, Place])[] | null {
  const [rooms, added, removed] = JSON.parse(now) as readonly [List<string>, List<string>, List<string>]
  const places: (readonly [number, Place])[] = []
  let after = undone(RoomSet.of(listOf(rooms)), { added: listOf(added), removed: listOf(removed) })
  for (const element of elements) {
    const changes = changesOf(element)
    if (changes === null) return null
    const before = undone(after, changes)
    places.push([changes.seq, { before, after, changes }])
    after = before
  }
  return places
}

function undone(rooms: RoomSet, { added, removed }: Changes): RoomSet {
  return rooms.changed({ added: removed, removed: added })
}

function resolvedByLists(step: LoggedStep, { before, after }: ListedRooms): ResolvedStep {
  const [isBefore, isAfter] = [new Set(before), new Set(after)]
  const left = before.filter((room) => !isAfter.has(room))
  const entered = after.filter((room) => !isBefore.has(room))
  return {
    entry: entryOf(step, RoomSet.of(before), RoomSet.of(after), [...left, ...entered]),
    ownRooms: null,
  }
}

function resolved(step: LoggedStep, before: RoomSet, changes: Changes, after: RoomSet): ResolvedStep {
  const [wasShown, isShown] = [step.userBefore.isOnline, step.userAfter.isOnline]
  const moved = wasShown && isShown ? [...changes.added, ...changes.removed] : wasShown ? before : after
  const entry = entryOf(step, wasShown ? before : RoomSet.empty, isShown ? after : RoomSet.empty, moved)
  return { entry, ownRooms: after }
}

function entryOf(
  { seq, atMs, userBefore, userAfter }: LoggedStep,
  roomsBefore: RoomSet,
  roomsAfter: RoomSet,
  movedRooms: LogEntry['movedRooms'],
): LogEntry {
  return {
    seq,
    atMs,
    before: { user: userBefore, rooms: roomsBefore },
    after: { user: userAfter, rooms: roomsAfter },
    movedRooms,
  }
}

/** @returns null if the element does not have this form */
function changesOf(element: string): (Changes & { readonly seq: number }) | null {
  const answer = parsed(element)
  if (!isTrailElement(answer)) return null
  const [seq, added, removed] = answer
  return { seq, added: listOf(added), removed: listOf(removed) }
}

function isTrailElement(value: unknown): value is TrailElement {
  if (!Array.isArray(value) || value.length !== 3) return false
  const [seq, added, removed] = value as readonly unknown[]
  return Number.isSafeInteger(seq) && areTexts(added) && areTexts(removed)
}
