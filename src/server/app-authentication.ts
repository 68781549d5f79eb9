/** Authenticates callers with the app's own function instead of tokens, for example by a session or a cookie. */
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

/** The time limit for the app's function. Clients wait longer than this for an answer. */
const APP_WAIT_MS = 5000

/** The parts of a request that the app's function gets. */
export interface AppCredentials {
  /** The request, or the one that opened the socket: its URL and headers, without its body. */
  readonly request: Request
  /** The same request as Node's object, including what middleware added; null if Rollcall did not get one. */
  readonly req: IncomingMessage | null
  /** The `connectionParams` that a socket's client sent; null for a request over HTTP. */
  readonly connectionParams: Readonly<Record<string, unknown>> | null
}

/** The caller, with the same fields as a token's claims, and the same bounds and defaults. */
export interface AppCaller {
  readonly userId: string
  readonly name?: string | null | undefined
  readonly picture?: string | null | undefined
  /** Room patterns. Default: DEFAULT_ROOMS. */
  readonly rooms?: readonly string[] | undefined
  readonly everyone?: boolean | undefined
  readonly role?: 'member' | 'service' | undefined
  /** When sockets and streams end. Default: never. */
  readonly expiresAt?: Date | null | undefined
  /** When the person signed in: `disconnectUser` and `forgetUser` end sessions of earlier sign-ins. Default: now. */
  readonly issuedAt?: Date | null | undefined
}

/**
 * @returns the caller; null if nobody is signed in
 * @throws anything: the error is logged, and the client gets `UNAVAILABLE` and retries
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
      // Without `issuedAt` the sign-in counts as now, later than any revocation.
      if (answer.issuedAt !== undefined && answer.issuedAt !== null) await refuseRevoked(caller, directory)
      return caller
    },
  }
}

/** @throws PresenceError `UNAUTHENTICATED` that names the field and its bound */
function callerOf(answer: AppCaller, maxAgeMs: number, defaultRooms: readonly string[]): Caller {
  // The app may be JavaScript, so its answer may be any value.
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
