/** Authenticates callers by the app's own function, in place of tokens: by its session, its cookie or what else it has. */
import type { IncomingMessage } from 'node:http'
import type { Config } from '../config.ts'
import type { Caller } from '../presence/access.ts'
import { parseRoomPatterns, parseUserId } from '../presence/bounds.ts'
import type { UserDirectory } from '../presence/directory.ts'
import { PresenceError, unauthenticated, unavailable } from '../presence/errors.ts'
import type { Log } from '../presence/operator-log.ts'
import { withinTime } from '../presence/time-limit.ts'
import {
  type Authenticator,
  CLOCK_TOLERANCE_SECONDS,
  type Credentials,
  defaultRoomsOf,
  profileOf,
  refuseRevoked,
} from './auth.ts'

/** How long the app may take. Clients wait longer for an answer. */
const APP_WAIT_MS = 5000

/** What the app sees of a request. */
export interface AppCredentials {
  /** The request, or the one that opened the socket: its address and headers, without its body. */
  readonly request: Request
  /** The same as Node's own object, with what middleware put there; null if Rollcall got none. */
  readonly req: IncomingMessage | null
  /** What the client of a socket sent; null for a request over HTTP. */
  readonly connectionParams: Readonly<Record<string, unknown>> | null
}

/** Who asks: the same as the claims of a token, with the same bounds and defaults. */
export interface AppCaller {
  readonly userId: string
  readonly name?: string | null | undefined
  readonly picture?: string | null | undefined
  /** Patterns of rooms. Left out: DEFAULT_ROOMS. */
  readonly rooms?: readonly string[] | undefined
  readonly everyone?: boolean | undefined
  readonly role?: 'member' | 'service' | undefined
  /** When sockets and streams end. Left out: never. */
  readonly expiresAt?: Date | null | undefined
  /** When the person signed in: `disconnectUser` and `forgetUser` end sessions of before. Left out: now. */
  readonly issuedAt?: Date | null | undefined
}

/**
 * @returns the caller; null if nobody is signed in
 * @throws anything: the client is answered `UNAVAILABLE` and comes back, and the log has the error
 */
export type Authenticate = (credentials: AppCredentials) => AppCaller | null | Promise<AppCaller | null>

const TOO_LATE = Symbol('too late')

export function createAppAuthenticator(
  authenticate: Authenticate,
  config: Pick<Config, 'DEFAULT_ROOMS' | 'NODE_ENV' | 'TOKEN_MAX_AGE'>,
  directory: Pick<UserDirectory, 'tokensValidAfterMs'>,
  log: Log,
): Authenticator {
  const defaultRooms = defaultRoomsOf(config)

  async function ask({ toRequest, req, connectionParams }: Credentials): Promise<AppCaller | null> {
    try {
      const credentials = { request: toRequest(), req, connectionParams }
      const asked = Promise.resolve(authenticate(credentials))
      const answer = await withinTime(asked, APP_WAIT_MS, TOO_LATE)
      if (answer !== TOO_LATE) return answer ?? null
    } catch (error) {
      log.warn({ err: error }, "The app's `authenticate` failed: the client is answered UNAVAILABLE.")
      throw unavailable('server', 'It cannot be checked just now who you are.', { cause: error })
    }
    log.warn({ withinMs: APP_WAIT_MS }, "The app's `authenticate` did not answer: the client is answered UNAVAILABLE.")
    throw unavailable('server', 'It cannot be checked just now who you are.')
  }

  return {
    mayHave: () => true,
    readsRequests: true,

    async authenticate(credentials) {
      const answer = await ask(credentials)
      if (answer === null) return null
      const caller = callerOf(answer, config.TOKEN_MAX_AGE, defaultRooms)
      // A sign-in of now is younger than any revocation.
      if (answer.issuedAt !== undefined && answer.issuedAt !== null) await refuseRevoked(caller, directory)
      return caller
    },
  }
}

/** @throws PresenceError `UNAUTHENTICATED` that names the field and its bound */
function callerOf(answer: AppCaller, maxAgeMs: number, defaultRooms: readonly string[]): Caller {
  // The app may be JavaScript: its answer may be anything.
  if (typeof answer !== 'object') throw badCaller('caller', 'an object or null')
  const { userId, rooms = defaultRooms, everyone = true, role = 'member', name, picture }: AppCaller = answer
  if (typeof userId !== 'string') throw badCaller('userId', 'a text')
  if (typeof everyone !== 'boolean') throw badCaller('everyone', '`true` or `false`')
  if (role !== 'member' && role !== 'service') throw badCaller('role', '`member` or `service`')
  if (!Array.isArray(rooms) || !rooms.every((room) => typeof room === 'string')) {
    throw badCaller('rooms', 'a list of texts')
  }
  const nowMs = Date.now()
  const issuedAtMs = timeOf('issuedAt', answer.issuedAt) ?? nowMs
  if (issuedAtMs > nowMs + CLOCK_TOLERANCE_SECONDS * 1000) {
    throw badCaller('issuedAt', `at most ${CLOCK_TOLERANCE_SECONDS} s after now`)
  }
  if (issuedAtMs < nowMs - maxAgeMs) throw badCaller('issuedAt', 'no longer ago than TOKEN_MAX_AGE')
  const expiresAtMs = timeOf('expiresAt', answer.expiresAt)
  if (expiresAtMs !== null && expiresAtMs <= nowMs) throw unauthenticated('The session has run out.')
  return {
    userId: within('userId', () => parseUserId('userId', userId)),
    profile: profileOf(name, picture, issuedAtMs),
    rooms: rooms === defaultRooms ? rooms : within('rooms', () => parseRoomPatterns('rooms', rooms)),
    everyone,
    role,
    issuedAtMs,
    expiresAtMs,
  }
}

function timeOf(field: string, moment: unknown): number | null {
  if (moment === undefined || moment === null) return null
  if (!(moment instanceof Date) || !(moment.getTime() >= 0)) throw badCaller(field, 'a Date since 1970')
  return moment.getTime()
}

/** Turns an input error into one about the app's answer: no argument of the client is wrong. */
function within<Value>(field: string, parse: () => Value): Value {
  try {
    return parse()
  } catch (error) {
    if (!(error instanceof PresenceError)) throw error
    throw badCaller(String(error.details.argument ?? field), String(error.details.bound))
  }
}

function badCaller(field: string, bound: string): PresenceError {
  const message = `\`${field}\` of the caller that the app's \`authenticate\` returned must be ${bound}.`
  return new PresenceError('UNAUTHENTICATED', message, { field, bound })
}
