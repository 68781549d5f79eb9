/**
 * Who may see and do what: the claims of a token, and the checks against them.
 *
 * Pure. Callers may always see and do what concerns themselves.
 */
import { forbidden, unauthenticated } from './errors.ts'
import type { Profile } from './model.ts'

/** The caller of a request, as their token identifies them. */
export interface Caller {
  readonly userId: string
  /** Null if the token has neither a name nor a picture. */
  readonly profile: Profile | null
  /** Patterns of the rooms that the caller may enter and see. */
  readonly rooms: readonly string[]
  /** Whether the caller may see others outside rooms. */
  readonly everyone: boolean
  readonly role: 'member' | 'service'
  /** When the token was issued, and when it expires, in epoch ms by the issuer's clock; null if it does not say. */
  readonly issuedAtMs: number
  readonly expiresAtMs: number | null
}

/** @throws PresenceError `UNAUTHENTICATED` if there was no token */
export function requireCaller(caller: Caller | null): Caller {
  if (caller !== null) return caller
  throw unauthenticated(
    'Nobody is signed in. Send a token as `Authorization: Bearer …` or as `authorization` in connectionParams, or sign in to the app where its sessions count.',
  )
}

/** @throws PresenceError `FORBIDDEN` */
export function requireService(caller: Caller): void {
  if (caller.role !== 'service') throw forbidden('Only tokens with the role `service` may do this.')
}

/**
 * Requires that the caller asks for users within a room that they may see, or may see everyone.
 *
 * @throws PresenceError `FORBIDDEN`
 */
export function requireAudience(caller: Caller, room: string | null): void {
  if (room !== null) requireRoom(caller, room)
  else if (!caller.everyone) throw forbidden('This token may only see users within a room: name one in `room`.')
}

/** @throws PresenceError `FORBIDDEN` if one of the ids is not the caller's own, and they may not see everyone */
export function requireUsers(caller: Caller, userIds: Iterable<string>): void {
  if (caller.everyone) return
  for (const userId of userIds) {
    if (userId !== caller.userId) throw forbidden('This token may not look up other users by their id.')
  }
}

/** @throws PresenceError `FORBIDDEN` */
export function requireRoom(caller: Caller, room: string): void {
  if (caller.role === 'service' || caller.rooms.some((pattern) => matchesRoom(pattern, room))) return
  throw forbidden(`This token does not allow the room ${JSON.stringify(room)}.`)
}

export function requireRooms(caller: Caller, rooms: Iterable<string>): void {
  for (const room of rooms) requireRoom(caller, room)
}

/** Whether the pattern matches the room. `*` stands for any text within one part between colons, `**` for any text. */
export function matchesRoom(pattern: string, room: string): boolean {
  return compareRoom(pattern, room).matches
}

export interface RoomComparison {
  readonly matches: boolean
  /** The number of characters compared: at most twice the pattern's length times one more than the room's length. */
  readonly steps: number
}

/**
 * Follows every path through the pattern at once. A regular expression tries one path after the other, and a pattern
 * with a dozen stars has more paths than anything can try.
 */
export function compareRoom(pattern: string, room: string): RoomComparison {
  // An entry is 1 if the part of the pattern read so far matches that many characters of the room.
  let matched = new Uint8Array(room.length + 1)
  matched[0] = 1
  let steps = 0
  for (const part of pattern.split(/(\*\*|\*)/)) {
    if (part === '') continue
    const isStar = part === '*' || part === '**'
    const stopsAtColon = part === '*'
    const next = new Uint8Array(room.length + 1)
    let isWithinStar = false
    for (let length = matched.indexOf(1); length <= room.length; length += 1) {
      steps += 1
      if (isStar) {
        if (stopsAtColon && room[length - 1] === ':') isWithinStar = false
        isWithinStar ||= matched[length] === 1
        if (isWithinStar) next[length] = 1
      } else if (matched[length] === 1) {
        steps += part.length
        if (room.startsWith(part, length)) next[length + part.length] = 1
      }
    }
    if (!next.includes(1)) return { matches: false, steps }
    matched = next
  }
  return { matches: matched[room.length] === 1, steps }
}
