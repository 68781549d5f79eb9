/** Converts answers of the scripts to domain types. In answers `false` stands for null, and `{}` for an empty list. */
import type {
  EndReason,
  PresenceRecord,
  PresenceStatus,
  PublicUser,
  SessionRow,
  SessionView,
  Settings,
  StatusChoice,
  ViewerState,
  Visibility,
} from '../../presence/model.ts'

type Nullable<Value> = Value | false
/** Lua writes an empty list as an empty object. */
export type List<Item> = readonly Item[] | Readonly<Record<string, never>>

/** public_of in lua/shared/user.lua. */
export type PublicAnswer = readonly [
  id: string,
  name: string,
  avatarUrl: Nullable<string>,
  isOnline: boolean,
  status: PresenceStatus,
  statusMessage: Nullable<string>,
  onlineSinceMs: Nullable<number>,
  lastActiveAtMs: Nullable<number>,
  /** Left out in log entries, and in pages, whose users are all online. */
  lastSeenAtMs?: Nullable<number>,
]

/** session_view in lua/shared/user.lua. */
export type SessionAnswer = readonly [
  id: string,
  device: Nullable<string>,
  rooms: List<string>,
  startedAtMs: number,
  lastActiveAtMs: number,
  fence: Nullable<string>,
  leaseEndsAtMs: Nullable<number>,
]

/** session_row in lua/shared/commit.lua. */
type RowAnswer = readonly [
  startId: string,
  sessionId: string,
  device: Nullable<string>,
  rooms: List<string>,
  nodeId: Nullable<string>,
  hadSocket: boolean,
  startedAtMs: number,
  lastActiveAtMs: number,
  endedAtMs: Nullable<number>,
  endReason: Nullable<EndReason>,
]

/** settings_of in lua/shared/steps.lua. For a user who is not in the store, null stands for a missing message. */
export type SettingsAnswer = Omit<Settings, 'statusMessage'> & { readonly statusMessage: Nullable<string> | null }

/** record_of in lua/shared/commit.lua. */
type RecordAnswer = readonly [
  userId: string,
  profile: Nullable<readonly [name: Nullable<string>, avatarUrl: Nullable<string>, issuedAtMs: number]>,
  columns: Nullable<
    readonly [
      isOnline: boolean,
      onlineSinceMs: Nullable<number>,
      lastActiveAtMs: Nullable<number>,
      /** Records of older versions lack it. */
      lastSeenAtMs?: Nullable<number>,
    ]
  >,
  sessions: List<RowAnswer>,
  settings: Nullable<
    readonly [
      version: number,
      statusChoice: StatusChoice,
      statusMessage: Nullable<string>,
      visibility: Visibility,
      hideLastActive: boolean,
    ]
  >,
  isForgotten?: true,
]

/** viewer.lua. */
export type ViewerAnswer = readonly [
  user: PublicAnswer,
  ownStatus: PresenceStatus,
  settings: readonly [
    statusChoice: StatusChoice,
    statusMessage: Nullable<string>,
    visibility: Visibility,
    hideLastActive: boolean,
  ],
  lastActiveAtMs: Nullable<number>,
  sessions: List<SessionAnswer>,
]

export function orNull<Value>(value: Nullable<Value>): Value | null {
  return value === false ? null : value
}

export function listOf<Item>(list: List<Item>): readonly Item[] {
  return Array.isArray(list) ? list : []
}

/** Parses JSON; undefined if the text is not JSON. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Whether the value is a list of strings, as Lua encodes one. */
export function areTexts(value: unknown): value is List<string> {
  if (Array.isArray(value)) return value.every((item) => typeof item === 'string')
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

const STATUSES: readonly unknown[] = ['ONLINE', 'AWAY', 'BUSY', 'OFFLINE'] satisfies readonly PresenceStatus[]

export function isPublicAnswer(value: unknown): value is PublicAnswer {
  if (!Array.isArray(value) || value.length > 8) return false
  const [id, name, avatarUrl, isOnline, status, statusMessage, onlineSinceMs, lastActiveAtMs] = value as unknown[]
  return (
    typeof id === 'string' &&
    typeof name === 'string' &&
    isOrFalse('string', avatarUrl) &&
    typeof isOnline === 'boolean' &&
    STATUSES.includes(status) &&
    isOrFalse('string', statusMessage) &&
    isOrFalse('number', onlineSinceMs) &&
    isOrFalse('number', lastActiveAtMs)
  )
}

function isOrFalse(type: 'string' | 'number', value: unknown): boolean {
  return value === false || value === null || value === undefined || typeof value === type
}

export function publicUser(answer: PublicAnswer): PublicUser {
  const [id, name, avatarUrl, isOnline, status, statusMessage, onlineSinceMs, lastActiveAtMs, lastSeenAtMs = false] =
    answer
  return {
    id,
    name,
    avatarUrl: orNull(avatarUrl),
    isOnline,
    status,
    statusMessage: orNull(statusMessage),
    onlineSinceMs: orNull(onlineSinceMs),
    lastActiveAtMs: orNull(lastActiveAtMs),
    lastSeenAtMs: orNull(lastSeenAtMs),
  }
}

export function sessionView(answer: SessionAnswer): SessionView {
  const [id, device, rooms, startedAtMs, lastActiveAtMs, fence, leaseEndsAtMs] = answer
  return {
    id,
    device: orNull(device),
    rooms: listOf(rooms),
    startedAtMs,
    lastActiveAtMs,
    fence: orNull(fence),
    leaseEndsAtMs: orNull(leaseEndsAtMs),
  }
}

export function viewerState([user, status, settings, lastActiveAtMs, sessions]: ViewerAnswer): ViewerState {
  const [statusChoice, statusMessage, visibility, hideLastActive] = settings
  return {
    user: publicUser(user),
    isOnline: status !== 'OFFLINE',
    status,
    statusChoice,
    statusMessage: orNull(statusMessage),
    lastActiveAtMs: orNull(lastActiveAtMs),
    visibility,
    hideLastActive,
    sessions: listOf(sessions).map(sessionView),
  }
}

export function settingsOf(answer: Nullable<SettingsAnswer>): Settings | null {
  if (answer === false) return null
  const { version, statusChoice, visibility, hideLastActive } = answer
  const statusMessage = answer.statusMessage === false ? null : answer.statusMessage
  return { version, statusChoice, statusMessage, visibility, hideLastActive }
}

/** @returns null if the text does not have this form: another program may have written it */
export function presenceRecord(seq: number, text: string): PresenceRecord | null {
  const answer = parsed(text)
  if (!isRecordAnswer(answer)) return null
  const [userId, profile, columns, sessions, settings, isForgotten] = answer
  return {
    seq,
    userId,
    profile:
      profile === false ? null : { name: orNull(profile[0]), avatarUrl: orNull(profile[1]), issuedAtMs: profile[2] },
    columns:
      columns === false
        ? null
        : {
            isOnline: columns[0],
            onlineSinceMs: orNull(columns[1]),
            lastActiveAtMs: orNull(columns[2]),
            lastSeenAtMs: orNull(columns[3] ?? false),
          },
    settings:
      settings === false
        ? null
        : {
            version: settings[0],
            statusChoice: settings[1],
            statusMessage: orNull(settings[2]),
            visibility: settings[3],
            hideLastActive: settings[4],
          },
    sessions: listOf(sessions).map(sessionRow),
    ...(isForgotten === undefined ? {} : { isForgotten }),
  }
}

function isRecordAnswer(value: unknown): value is RecordAnswer {
  // Only records of forgotten users have the sixth item.
  if (!Array.isArray(value) || value.length < 5 || value.length > 6) return false
  const [userId, profile, columns, sessions, settings] = value as unknown[]
  return (
    typeof userId === 'string' &&
    [profile, columns, settings].every((part) => part === false || Array.isArray(part)) &&
    (areTexts(sessions) || (Array.isArray(sessions) && sessions.every(Array.isArray)))
  )
}

function sessionRow(answer: RowAnswer): SessionRow {
  const [startId, sessionId, device, rooms, nodeId, hadSocket, startedAtMs, lastActiveAtMs, endedAtMs, endReason] =
    answer
  return {
    startId,
    sessionId,
    device: orNull(device),
    rooms: listOf(rooms),
    nodeId: orNull(nodeId),
    hadSocket,
    startedAtMs,
    lastActiveAtMs,
    endedAtMs: orNull(endedAtMs),
    endReason: orNull(endReason),
  }
}
