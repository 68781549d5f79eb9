/**
 * The queries and operations of presence: the domain's own functions, over the ports.
 *
 * Arguments are parsed here, so that every entry point rejects the same input with the same messages.
 */
import { type Caller, requireAudience, requireRoom, requireRooms, requireService, requireUsers } from './access.ts'
import {
  BOUNDS,
  DEFAULT_SESSION_ID,
  parseAvatarUrl,
  parseDevice,
  parseDisplayName,
  parseMoment,
  parsePageSize,
  parseRoom,
  parseRooms,
  parseSessionId,
  parseStatusMessage,
  parseUserId,
  parseUserIds,
  SESSION_HEADER,
} from './bounds.ts'
import type { SettingsChange, StoredUser, UserDirectory } from './directory.ts'
import { badInput, isUnavailable, notFound, PresenceError, rateLimited, revoked, unavailable } from './errors.ts'
import type { History, HistoryPage, HistoryPlace, HistoryRequest, PastSession, ShownSession } from './history.ts'
import type { PublicUser, SessionView, StatusChoice, UserSeed, ViewerState, Visibility } from './model.ts'
import { OperationQueues } from './operation-queues.ts'
import type { Position } from './position.ts'
import { publicUser } from './rules.ts'
import type { UserSettings } from './settings.ts'
import type { AttachAnswer, AttachRequest, Page, PresenceStore } from './store.ts'
import { withinTime } from './time-limit.ts'
import type { PresenceTiming } from './timing.ts'

/** Rule 8: if Postgres does not answer within this time, the user is admitted and counts as hidden until it does. */
const SEED_WAIT_MS = 1000

/** The session that a request acts on: a session over HTTP, or the socket's own. */
export interface SessionChannel {
  heartbeat(words: HeartbeatInput): Promise<HeartbeatResult>
  changeRoom(kind: 'join' | 'leave', room: string): Promise<SessionView>
  goOffline(): Promise<void>
  /** The session that `isCurrent` refers to; null if the channel has none. */
  readonly sessionId: string | null
}

export interface HeartbeatInput {
  readonly isActive: boolean
  readonly device?: string | null
  readonly rooms?: readonly string[]
  /** Whether the answer needs no session, so that the activity may wait at its node. */
  readonly mayWait?: boolean
}

/** `HeartbeatInput` as a client sends it. */
export interface GivenWords {
  readonly active?: boolean | null | undefined
  readonly device?: string | null | undefined
  readonly rooms?: readonly string[] | null | undefined
}

export interface HeartbeatResult {
  /** Null if the heartbeat counted for the user alone, and if it may wait. */
  readonly session: SessionView | null
  readonly nextHeartbeatInMs: number
}

/** An attach as sockets request it; `createPresence` fills in the rest. */
export type Attach = Omit<AttachRequest, 'seed' | 'profile'>

export interface PresenceOptions {
  readonly store: PresenceStore
  readonly directory: UserDirectory
  readonly history: History
  readonly settings: UserSettings
  readonly timing: PresenceTiming
  /** Notified of the end of sessions and of dismissed users, for the sockets concerned. */
  readonly sockets: {
    ended(fences: readonly string[]): void
    /** @param sessionId - null: all of the user's sessions */
    endedByUser(userId: string, sessionId: string | null): void
    dismiss(userId: string, issuedUpToMs: number | null): void
  }
}

/** A part of the history as a client asks for it. */
export interface AskedHistory {
  readonly from: string | null
  readonly to: string | null
  readonly first: number
  readonly after: HistoryPlace | null
}

function parseHistory({ from, to, first, after }: AskedHistory): HistoryRequest {
  const fromMs = from === null ? null : parseMoment('from', from)
  const toMs = to === null ? null : parseMoment('to', to)
  if (fromMs !== null && toMs !== null && toMs <= fromMs) throw badInput('to', 'later than `from`')
  return { fromMs, toMs, first: parsePageSize('first', first), after }
}

export type Presence = ReturnType<typeof createPresence>

export function createPresence({ store, directory, history, settings, timing, sockets }: PresenceOptions) {
  /** Users who were admitted without their row, each with the caller to read the row for. */
  const unseeded = new Map<string, Caller>()
  const operations = new OperationQueues()
  /** By user: the last change of their row that was requested in this process and is under way. */
  const rowChanges = new Map<string, Promise<unknown>>()

  async function attach(caller: Caller, request: Attach): Promise<Exclude<AttachAnswer, { kind: 'unseeded' }>> {
    const known = await store.attach({ ...request, profile: caller.profile, seed: null })
    const answer = known.kind === 'unseeded' ? await attachSeeded(caller, request) : known
    if (answer.kind === 'unseeded') throw new Error('The store asked for a seed that it was given.')
    if (answer.kind === 'full') {
      throw rateLimited(
        `A user may have ${timing.sessionsPerUser} sessions at once, and all of them are in use.`,
        timing.heartbeatIntervalMs,
      )
    }
    return answer
  }

  async function attachSeeded(caller: Caller, request: Attach): Promise<AttachAnswer> {
    const stored = await readSeed(caller)
    if (stored === null) unseeded.set(caller.userId, caller)
    // The earlier check may have been too slow to decide.
    else refuseDismissed(caller, stored.tokensValidAfterMs)
    return store.attach({ ...request, profile: caller.profile, seed: stored?.seed ?? UNKNOWN })
  }

  function ensure({ userId, profile, issuedAtMs }: Caller): Promise<StoredUser> {
    return directory.ensure(userId, profile, issuedAtMs)
  }

  async function readSeed(caller: Caller): Promise<StoredUser | null> {
    try {
      return await withinTime(ensure(caller), SEED_WAIT_MS, null)
    } catch (error) {
      if (isUnavailable(error)) return null
      throw error
    }
  }

  /**
   * Changes a user's row after the changes that were requested before: two statements on two connections to Postgres
   * could overtake each other. Heartbeats do not wait for row changes, because Postgres may be slow.
   */
  async function inRowOrder<Result>(userId: string, change: () => Promise<Result>): Promise<Result> {
    const before = rowChanges.get(userId)
    // If the change before got no answer in time, the changes behind it fail at once instead of waiting as well.
    const mine = before === undefined ? change() : before.catch(throwUnavailable).then(change)
    rowChanges.set(userId, mine)
    try {
      return await mine
    } finally {
      if (rowChanges.get(userId) === mine) rowChanges.delete(userId)
    }
  }

  async function changeSettings(caller: Caller, change: SettingsChange): Promise<void> {
    const { userId } = caller
    const isThere = await inRowOrder(userId, () => settings.change(userId, change, () => ensure(caller)))
    if (!isThere) throw notFound('userId', 'user')
  }

  async function viewer(caller: Caller): Promise<ViewerState> {
    const live = await store.viewer(caller.userId)
    if (live === 'pending') throw unavailable('postgres', 'Your settings cannot be read just now.')
    return live ?? viewerAway(await ensure(caller), timing)
  }

  async function users(caller: Caller, userIds: readonly string[]): Promise<(PublicUser | null)[]> {
    requireUsers(caller, userIds)
    if (userIds.length === 0) return []
    const live = await store.lookup(userIds)
    // A user who left the live store is in the database: they leave only when their last record is written. A user who
    // is there but hidden is read as well, so that neither an outage nor the response time sets them apart from a user
    // who is away (rule 8).
    const missing = userIds.filter((_, index) => live[index]?.isOnline !== true)
    if (missing.length === 0) return [...live]
    const stored = new Map(missing.map((userId) => [userId, null as PublicUser | null]))
    const rows = await directory.read([...stored.keys()])
    for (const row of rows) if (row !== null) stored.set(row.id, row)
    return userIds.map((userId, index) => {
      const [known, row] = [live[index] ?? null, stored.get(userId) ?? null]
      if (known === null || row === null) return known ?? row
      // For a user admitted without their row, what was shown before is still shown.
      return unseeded.has(userId) && !known.isOnline ? row : known
    })
  }

  /** The session channel of an HTTP request, and of an observer's socket. */
  function httpChannel(caller: Caller, namedSessionId: string | null): SessionChannel {
    const sessionId = namedSessionId ?? DEFAULT_SESSION_ID
    return {
      sessionId,

      heartbeat(words) {
        const request = { userId: caller.userId, sessionId: namedSessionId, fence: null, ...words }
        return operations.run(caller.userId, async () => {
          const answer = await store.beat({ ...request, profile: caller.profile })
          if (answer.kind === 'counted') return heartbeatResult(answer.session)
          const started = await attach(caller, { ...request, nodeId: null, comeback: null })
          return heartbeatResult(started.kind === 'attached' ? started.session : null)
        })
      },

      changeRoom: (kind, room) =>
        operations.run(caller.userId, async () => {
          const request = { userId: caller.userId, sessionId, fence: null, room }
          const answer = await (kind === 'join' ? store.join(request) : store.leave(request))
          if (answer.kind === 'unknown' && namedSessionId === null) throw noDefaultSession(`Name the session ${NAMED}.`)
          return sessionOf(answer)
        }),

      async goOffline() {
        const endedCount = await end(caller, sessionId)
        // A client that names a session wants it over, and it is. A client that names none may mean its own tab.
        if (endedCount === 0 && namedSessionId === null) {
          throw noDefaultSession(`Name the session ${NAMED}, or end all of them by \`everywhere: true\`.`)
        }
      },
    }
  }

  function heartbeatResult(session: SessionView | null): HeartbeatResult {
    return { session, nextHeartbeatInMs: timing.heartbeatIntervalMs }
  }

  /**
   * @param sessionId - null: all of the user's sessions
   * @returns how many sessions ended
   */
  function end({ userId }: Caller, sessionId: string | null): Promise<number> {
    return operations.run(userId, async () => {
      const { sessionCount, fences } = await store.end({ userId, sessionId, fence: null, reason: 'WENT_OFFLINE' })
      sockets.ended(fences)
      sockets.endedByUser(userId, sessionId)
      return sessionCount
    })
  }

  return {
    operations,
    attach,
    viewer,
    httpChannel,
    heartbeatResult,

    /** @param argument - the name of the session id in the request */
    parseSessionId: (argument: string, value: string | null | undefined): string | null =>
      value === null || value === undefined ? null : parseSessionId(argument, value),

    /** @param prefix - precedes the argument names in errors, for arguments that are fields of another argument */
    parseHeartbeatInput(
      caller: Caller,
      { active, device, rooms }: GivenWords,
      { prefix = '', mayWait = false }: { readonly prefix?: string; readonly mayWait?: boolean } = {},
    ): HeartbeatInput {
      const words: { -readonly [Name in keyof HeartbeatInput]: HeartbeatInput[Name] } = { isActive: active ?? true }
      if (mayWait) words.mayWait = true
      if (device !== null && device !== undefined) words.device = parseDevice(`${prefix}device`, device)
      if (rooms !== null && rooms !== undefined) {
        words.rooms = parseRooms(`${prefix}rooms`, rooms)
        requireRooms(caller, words.rooms)
      }
      return words
    },

    changeRoom(caller: Caller, channel: SessionChannel, kind: 'join' | 'leave', room: string): Promise<SessionView> {
      parseRoom('room', room)
      if (kind === 'join') requireRoom(caller, room)
      return channel.changeRoom(kind, room)
    },

    async goOffline(caller: Caller, channel: SessionChannel, everywhere: boolean): Promise<void> {
      if (everywhere) await end(caller, null)
      else await channel.goOffline()
    },

    async user(caller: Caller, userId: string): Promise<PublicUser | null> {
      const [user] = await users(caller, [parseUserId('id', userId)])
      return user ?? null
    },

    users: (caller: Caller, userIds: readonly string[]) => users(caller, parseUserIds('ids', userIds)),

    /** As `users`, for a gateway that names each user by an object with the id in it. */
    entities: (caller: Caller, userIds: readonly string[]) =>
      users(
        caller,
        parseUserIds('representations', userIds, (index) => `representations[${index}].id`),
      ),

    page(caller: Caller, room: string | null, first: number, after: string | null): Promise<Page> {
      if (room !== null) parseRoom('room', room)
      requireAudience(caller, room)
      return store.page({ room, first: parsePageSize('first', first), after })
    },

    count(caller: Caller, room: string | null): Promise<number> {
      if (room !== null) parseRoom('room', room)
      requireAudience(caller, room)
      return store.count(room)
    },

    position: (): Promise<Position> => store.changes.position(),

    /** The history of a user as everyone could see it. */
    async history(caller: Caller, userId: string, asked: AskedHistory): Promise<HistoryPage<ShownSession>> {
      requireService(caller)
      return history.shown(parseUserId('userId', userId), parseHistory(asked))
    },

    ownHistory: async (caller: Caller, asked: AskedHistory): Promise<HistoryPage<PastSession>> =>
      history.own(caller.userId, parseHistory(asked)),

    /** @param message - null clears the message, undefined keeps it */
    setStatus(caller: Caller, statusChoice: StatusChoice, message: string | null | undefined): Promise<void> {
      if (message === undefined) return changeSettings(caller, { statusChoice })
      const statusMessage = message === null ? null : parseStatusMessage('message', message)
      return changeSettings(caller, { statusChoice, statusMessage })
    },

    setVisibility(caller: Caller, visibility: Visibility, hideLastActive: boolean | null | undefined): Promise<void> {
      return changeSettings(caller, { visibility, ...(typeof hideLastActive === 'boolean' ? { hideLastActive } : {}) })
    },

    async disconnectUser(caller: Caller, userId: string): Promise<{ userId: string; sessionCount: number }> {
      requireService(caller)
      parseUserId('userId', userId)
      const validAfterMs = await directory.revokeTokens(userId)
      if (validAfterMs === null) throw notFound('userId', 'user')
      return operations.run(userId, async () => {
        const { sessionCount } = await store.end({
          userId,
          sessionId: null,
          fence: null,
          reason: 'DISCONNECTED',
          tokensIssuedUpToMs: validAfterMs,
        })
        sockets.dismiss(userId, null)
        return { userId, sessionCount }
      })
    },

    /**
     * Forgets a user: their sessions, row and history are gone, and no token that was issued until now works. A user who
     * was never seen is forgotten as well. Call it again if it throws `UNAVAILABLE`.
     */
    async forgetUser(caller: Caller, userId: string): Promise<{ userId: string; sessionCount: number }> {
      requireService(caller)
      parseUserId('userId', userId)
      return inRowOrder(userId, async () => {
        // Revoked first: from here on no token of before can make a row, or bring the user back to the live store.
        const tokensIssuedUpToMs = await directory.revokeForGood(userId)
        const sessionCount = await operations.run(userId, async () => {
          const endedCount = await store.forget({ userId, tokensIssuedUpToMs })
          unseeded.delete(userId)
          sockets.dismiss(userId, null)
          return endedCount
        })
        await directory.forget(userId)
        return { userId, sessionCount }
      })
    },

    async updateUser(
      caller: Caller,
      userId: string,
      { name, avatarUrl }: { name?: string | null; avatarUrl?: string | null },
    ): Promise<PublicUser> {
      requireService(caller)
      parseUserId('userId', userId)
      const change = {
        ...(typeof name === 'string' ? { name: parseDisplayName('name', name) } : {}),
        ...(typeof avatarUrl === 'string' ? { avatarUrl: parseAvatarUrl('avatarUrl', avatarUrl) } : {}),
      }
      await inRowOrder(userId, async () => {
        const profile = await directory.setProfile(userId, change)
        if (profile === null) throw notFound('userId', 'user')
        await store.setUser({ userId, profile })
      })
      const [user] = await users({ ...caller, everyone: true }, [userId])
      if (user === null || user === undefined) throw notFound('userId', 'user')
      return user
    },

    /**
     * Reads the rows of users who were admitted without them, and applies each row.
     *
     * @returns how many users still wait
     */
    async seedWaiting(): Promise<number> {
      for (const userId of [...unseeded.keys()]) {
        const caller = unseeded.get(userId)
        if (caller === undefined) continue
        // The user moves to the end of the line: a locked or refused row holds up the others for one round at most.
        unseeded.delete(userId)
        unseeded.set(userId, caller)
        const stored = await readSeed(caller).catch(throwUnlessRevoked)
        // If the database is still unavailable, the others would wait in vain as well.
        if (stored === null) break
        if (stored === 'revoked') {
          unseeded.delete(userId)
          sockets.dismiss(userId, caller.issuedAtMs)
          continue
        }
        if (stored.tokensValidAfterMs !== null) sockets.dismiss(userId, stored.tokensValidAfterMs)
        // If the live state cannot take the seed, `setUser` throws, and the user stays in the line.
        await store.setUser({ userId, seed: stored.seed })
        if (unseeded.get(userId) === caller) unseeded.delete(userId)
      }
      return unseeded.size
    },
  }
}

/** @throws PresenceError `UNAUTHENTICATED` for a token that was issued before its user was disconnected */
export function refuseDismissed({ issuedAtMs }: Caller, tokensValidAfterMs: number | null): void {
  if (tokensValidAfterMs !== null && issuedAtMs <= tokensValidAfterMs) {
    throw revoked()
  }
}

function throwUnlessRevoked(error: unknown): 'revoked' {
  if (error instanceof PresenceError && error.code === 'UNAUTHENTICATED') return 'revoked'
  throw error
}

function throwUnavailable(error: unknown): void {
  if (isUnavailable(error)) throw error
}

const NAMED = `by \`sessionId\`, or over HTTP by the header \`${SESSION_HEADER}\``

/** The error for a request that named no session, of a user without a session that lives by unnamed heartbeats. */
function noDefaultSession(hint: string): PresenceError {
  return notFound('sessionId', `session as \`${DEFAULT_SESSION_ID}\``, hint)
}

/** @returns the session of a room answer. @throws PresenceError `BAD_USER_INPUT` for `full`, else `NOT_FOUND` */
export function sessionOf(answer: Awaited<ReturnType<PresenceStore['join']>>): SessionView {
  if (answer.kind === 'done') return answer.session
  if (answer.kind === 'full') throw badInput('room', `one of at most ${BOUNDS.roomsPerSession} rooms of a session`)
  throw notFound('sessionId', 'session')
}

/** The seed of a user whose row did not arrive in time. */
const UNKNOWN: UserSeed = {
  settings: null,
  profile: null,
  lastActiveAtMs: null,
  shownLastActiveAtMs: null,
  shownLastSeenAtMs: null,
  isActivityOver: false,
}

/** The viewer state of a user without a session, from their row. */
function viewerAway({ userId, seed }: StoredUser, timing: PresenceTiming): ViewerState {
  const { settings, lastActiveAtMs } = seed
  const facts = { id: userId, ...seed, hasLiveSession: false, lastActiveSteadyMs: null, shownSinceMs: null }
  return {
    user: publicUser(facts, 0, timing),
    isOnline: false,
    status: 'OFFLINE',
    statusChoice: settings.statusChoice,
    statusMessage: settings.statusMessage,
    lastActiveAtMs,
    visibility: settings.visibility,
    hideLastActive: settings.hideLastActive,
    sessions: [],
  }
}
