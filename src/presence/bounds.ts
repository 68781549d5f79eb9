/**
 * The bounds of what clients send, and the functions that check input against them.
 *
 * Every error is `BAD_USER_INPUT` and names the argument and the bound.
 */
import { badInput } from './errors.ts'

export const BOUNDS = {
  /** A token's `sub`. 128 bytes hold any UUID, ULID, email address or `provider|id` pair in use. */
  userIdBytes: 128,
  roomBytes: 128,
  /** Rooms of one session. A client that shows more at once is better served by watch lists. */
  roomsPerSession: 100,
  /** Patterns of one token, or of `DEFAULT_ROOMS`: each room that a caller names is compared with every pattern. */
  roomPatterns: 100,
  roomPatternBytes: 256,
  roomPatternsBytes: 8192,
  roomPatternsStars: 200,
  deviceCharacters: 100,
  statusMessageCharacters: 140,
  nameCharacters: 100,
  avatarUrlCharacters: 2048,
  /** `users(ids:)` and `presenceChanged(userIds:)`. */
  userIds: 1000,
  pageSize: 1000,
} as const

/** The session of a client that sends heartbeats over HTTP without naming a session (rule 7). */
export const DEFAULT_SESSION_ID = 'default'

/** The header in which an HTTP request names its session once, for all `sessionId` arguments left out (rule 7). */
export const SESSION_HEADER = 'Rollcall-Session'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const CONTROL_CHARACTER = /\p{Cc}/u
/** Half of a surrogate pair: it has no UTF-8 encoding, so neither store nor database could keep it. */
const LONE_SURROGATE = /\p{Cs}/u

const utf8 = new TextEncoder()

export function parseUserId(argument: string, value: string): string {
  return parseName(argument, value, BOUNDS.userIdBytes)
}

/** @param itemOf - what the value at an index is called in errors */
export function parseUserIds(
  argument: string,
  values: readonly string[],
  itemOf = (index: number): string => `${argument}[${index}]`,
): readonly string[] {
  if (values.length > BOUNDS.userIds) throw badInput(argument, `at most ${BOUNDS.userIds} ids, not ${values.length}`)
  for (const [index, value] of values.entries()) parseUserId(itemOf(index), value)
  return values
}

export function parseRoom(argument: string, value: string): string {
  return parseName(argument, value, BOUNDS.roomBytes)
}

/** @returns the rooms without duplicates */
export function parseRooms(argument: string, values: readonly string[]): readonly string[] {
  for (const [index, value] of values.entries()) parseRoom(`${argument}[${index}]`, value)
  const rooms = [...new Set(values)]
  if (rooms.length > BOUNDS.roomsPerSession) {
    throw badInput(argument, `at most ${BOUNDS.roomsPerSession} rooms, not ${rooms.length}`)
  }
  return rooms
}

/** @returns the patterns without duplicates */
export function parseRoomPatterns(argument: string, values: readonly string[]): readonly string[] {
  const { roomPatterns, roomPatternBytes, roomPatternsBytes, roomPatternsStars } = BOUNDS
  if (values.length > roomPatterns) throw badInput(argument, `at most ${roomPatterns} patterns, not ${values.length}`)
  for (const [index, value] of values.entries()) parseName(`${argument}[${index}]`, value, roomPatternBytes)
  const patterns = [...new Set(values)]
  const text = patterns.join('')
  if (utf8.encode(text).length > roomPatternsBytes || text.replace(/[^*]/g, '').length > roomPatternsStars) {
    throw badInput(argument, `patterns of at most ${roomPatternsBytes} bytes and ${roomPatternsStars} stars together`)
  }
  return patterns
}

/** @returns the id in lower case, so that one UUID is one session in whatever case it was sent */
export function parseSessionId(argument: string, value: string): string {
  if (value === DEFAULT_SESSION_ID) return value
  if (!UUID.test(value)) throw badInput(argument, `a UUID or \`${DEFAULT_SESSION_ID}\``)
  return value.toLowerCase()
}

export function parseDevice(argument: string, value: string): string {
  return parseText(argument, value, BOUNDS.deviceCharacters)
}

export function parseStatusMessage(argument: string, value: string): string | null {
  const message = parseText(argument, value, BOUNDS.statusMessageCharacters)
  return message === '' ? null : message
}

export function parseDisplayName(argument: string, value: string): string {
  const name = parseText(argument, value, BOUNDS.nameCharacters)
  if (name === '') throw badInput(argument, `1 to ${BOUNDS.nameCharacters} characters`)
  return name
}

/** Accepts web addresses only: an app shows the avatar as a picture, and `javascript:` must not get there. */
export function parseAvatarUrl(argument: string, value: string): string {
  const bound = `an http or https address of at most ${BOUNDS.avatarUrlCharacters} characters`
  if (value.length > BOUNDS.avatarUrlCharacters || !URL.canParse(value)) throw badInput(argument, bound)
  const { protocol } = new URL(value)
  if (protocol !== 'http:' && protocol !== 'https:') throw badInput(argument, bound)
  return value
}

const MOMENT = /^(\d{4})-(\d{2})-(\d{2})T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/

/** @returns epoch ms */
export function parseMoment(argument: string, value: string): number {
  const [, year, month, day] = MOMENT.exec(value) ?? []
  // `Date` takes the 30th of February for the 2nd of March.
  const isDay = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).getUTCDate() === Number(day)
  const atMs = isDay ? Date.parse(value) : Number.NaN
  if (Number.isNaN(atMs)) throw badInput(argument, 'a moment as RFC 3339 writes it, like `2026-01-31T09:30:00Z`')
  return atMs
}

export function parsePageSize(argument: string, value: number): number {
  if (value < 1 || value > BOUNDS.pageSize) throw badInput(argument, `1 to ${BOUNDS.pageSize}, not ${value}`)
  return value
}

function parseName(argument: string, value: string, mostBytes: number): string {
  const bound = `1 to ${mostBytes} bytes of UTF-8 without control characters`
  // A character is at least one byte, so a long text is rejected without being encoded.
  if (value.length === 0 || value.length > mostBytes || utf8.encode(value).length > mostBytes)
    throw badInput(argument, bound)
  if (CONTROL_CHARACTER.test(value) || LONE_SURROGATE.test(value)) throw badInput(argument, bound)
  return value
}

function parseText(argument: string, value: string, mostCharacters: number): string {
  const bound = `at most ${mostCharacters} characters without control characters`
  const text = value.trim()
  // A character is at most two UTF-16 units.
  if (text.length > 2 * mostCharacters || [...text].length > mostCharacters) throw badInput(argument, bound)
  if (CONTROL_CHARACTER.test(text) || LONE_SURROGATE.test(text)) throw badInput(argument, bound)
  return text
}
