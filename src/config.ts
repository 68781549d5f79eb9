/**
 * Every setting: name, unit, default, least, what it means and why it is so. The only reader of the environment.
 *
 * The table in docs/settings.md is printed from SETTINGS. `createRollcall` takes the same names and the same texts.
 */
import { AddressError, parseAddress } from './db/address.ts'
import { isNetwork } from './networks.ts'
import { parseRoomPatterns } from './presence/bounds.ts'
import type { PresenceTiming } from './presence/timing.ts'
import { parseOriginPattern } from './web-origins.ts'

interface SettingRow {
  /**
   * duration: `90d`, `5m`, `30s`, `1500ms`; count: a whole number; flag: `true` or `false`; list: parts between commas;
   * path: `/`, or `/presence` with or without a slash at its end, which the parsed value never has.
   */
  readonly kind: 'duration' | 'count' | 'flag' | 'text' | 'list' | 'path'
  readonly default: string | null
  readonly least?: string
  readonly most?: string
  readonly oneOf?: readonly string[]
  /** Never printed. */
  readonly isSecret?: boolean
  readonly meaning: string
  readonly reason?: string
}

export const SETTINGS = {
  HOST: {
    kind: 'text',
    default: null,
    meaning: 'the address to listen on; left out, this machine alone in development and every address in production',
    reason: 'with `dev:` tokens anybody may be anybody',
  },
  PORT: {
    kind: 'count',
    default: '4000',
    least: '0',
    most: '65535',
    meaning: 'the port to listen on; 0 takes a free one',
  },
  BASE_PATH: {
    kind: 'path',
    default: '/',
    meaning:
      'the path below which everything lies: with `/presence` the API, for requests and sockets, is at `/presence/graphql` and the page at `/presence/`',
    reason: 'an app has paths of its own on the same host',
  },
  NODE_ENV: {
    kind: 'text',
    default: 'development',
    oneOf: ['development', 'production', 'test'],
    meaning:
      '`production` refuses `dev:` tokens and a start without keys, and closes rooms and origins that nobody allowed',
  },
  LOG_LEVEL: {
    kind: 'text',
    default: 'info',
    oneOf: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'],
    meaning: 'the least level that is logged',
  },

  DATABASE_URL: {
    kind: 'text',
    default: null,
    isSecret: true,
    meaning:
      'a Postgres database, `postgres://…` in the forms of [docs/operations.md](operations.md#postgres); left out, an embedded one in `DATA_DIR`',
  },
  DATABASE_PREPARE: {
    kind: 'flag',
    default: 'true',
    meaning: 'whether statements are prepared; `false` behind a pooler that shares connections between transactions',
  },
  DATABASE_TIME_LIMIT: {
    kind: 'duration',
    default: '10s',
    least: '100ms',
    meaning: 'how long one query may take before it counts as failed',
    reason: 'a batch of the recorder takes milliseconds; what takes seconds hangs',
  },
  DATABASE_WAIT: {
    kind: 'duration',
    default: '2s',
    least: '100ms',
    meaning: 'how long a request waits for Postgres before it is answered with `UNAVAILABLE`',
    reason: 'people wait for it; the records may wait for `DATABASE_TIME_LIMIT`',
  },
  DATA_DIR: { kind: 'text', default: './data', meaning: 'the folder of the embedded database' },
  HISTORY_RETENTION: {
    kind: 'duration',
    default: '90d',
    least: '0ms',
    most: '36500d',
    meaning: 'how long the history keeps a session after its end; 0 keeps all',
    reason: 'three months of active users can be counted, and nobody is followed for longer',
  },

  PAGES: {
    kind: 'flag',
    default: null,
    meaning:
      'whether the page at `/` and GraphiQL at `/graphql` are served; left out, they are in development and not in production',
    reason: 'they are for trying it out; an app brings its own pages',
  },

  METRICS_TOKEN: {
    kind: 'text',
    default: null,
    isSecret: true,
    meaning:
      'what `/metrics` asks for, as a bearer token; left out, anybody reads it in development and nobody in production',
    reason: 'the numbers count hidden users too',
  },

  REDIS_URL: {
    kind: 'text',
    default: null,
    isSecret: true,
    meaning:
      'where the live state of many processes lies: `redis://…` or `rediss://…`, `redis+sentinel://host:26379,…/name` ' +
      'or `redis+cluster://host:6379,…`; left out, one process keeps it in its memory',
  },
  REDIS_APP: {
    kind: 'text',
    default: 'default',
    meaning: 'the name of the app: apps that share a Redis differ in it',
  },
  REDIS_TIME_LIMIT: {
    kind: 'duration',
    default: '2s',
    least: '50ms',
    meaning: 'how long Redis may take to answer before it counts as away',
    reason: 'a script takes less than a millisecond; two renewals of a lease fit into `NODE_TTL`',
  },

  JWT_SECRET: {
    kind: 'text',
    default: null,
    isSecret: true,
    meaning: 'the shared secret of HS256 tokens, 32 bytes or more',
    reason: 'RFC 7518 asks for a key as long as the hash',
  },
  JWKS_URL: { kind: 'text', default: null, meaning: 'where the public keys of the token issuer are' },
  JWKS_MAX_AGE: {
    kind: 'duration',
    default: '12h',
    least: '10m',
    meaning:
      'how long keys from `JWKS_URL` verify tokens after they were last read; they are read again every 10 minutes, where it answers',
    reason:
      'an outage of the issuer signs nobody out, and a key that it withdrew in an outage is good no longer than that',
  },
  JWT_ISSUER: { kind: 'text', default: null, meaning: 'the `iss` that tokens must have' },
  JWT_AUDIENCE: { kind: 'text', default: null, meaning: 'the `aud` that tokens must have' },
  JWT_SUBJECT_CLAIM: {
    kind: 'text',
    default: 'sub',
    meaning: "the path of the claim with the user's id; parts between dots",
    reason: 'some issuers have the id that an app knows beside `sub`',
  },
  JWT_NAME_CLAIM: { kind: 'text', default: 'name', meaning: 'the path of the claim with the display name' },
  JWT_PICTURE_CLAIM: { kind: 'text', default: 'picture', meaning: 'the path of the claim with the picture' },
  JWT_PRESENCE_CLAIM: {
    kind: 'text',
    default: 'presence',
    meaning: 'the path of the claim with `rooms`, `everyone` and `role`; parts between dots',
  },
  TOKEN_MAX_AGE: {
    kind: 'duration',
    default: '366d',
    least: '1m',
    most: '36500d',
    meaning:
      'a token is refused for so long after its `iat`, whatever its `exp` says; revocations of erased users stay as long',
    reason: 'a revocation without a row of its user is needed for as long as a revoked token could still work',
  },
  DEFAULT_ROOMS: {
    kind: 'list',
    default: null,
    meaning:
      'room patterns of a token that names none, with commas between; left out, `**` in development and none in production',
  },
  ALLOWED_ORIGINS: {
    kind: 'list',
    default: null,
    meaning:
      'web origins that may call, with commas between: `https://app.example.com`, `https://*.example.com`, `capacitor://localhost`; left out, any port of this machine in development and none in production',
  },

  HEARTBEAT_INTERVAL: {
    kind: 'duration',
    default: '30s',
    least: '1s',
    meaning: 'how often the server tells clients to send a heartbeat',
  },
  SESSION_TTL: {
    kind: 'duration',
    default: '75s',
    least: '2s',
    meaning: 'how long a heartbeat over HTTP keeps its session alive',
    reason: 'at one beat in 30 s, one may be lost and the next come 15 s late',
  },
  CLOSE_GRACE: {
    kind: 'duration',
    default: '5s',
    least: '0ms',
    meaning: 'how long a session lives on after its client closed the socket',
    reason: 'a page that reloads is back by then',
  },
  RECONNECT_GRACE: {
    kind: 'duration',
    default: '15s',
    least: '0ms',
    meaning: 'how long a session lives on after its connection was lost',
    reason: 'clients wait up to 4 s before the first retry, then longer',
  },
  PING_INTERVAL: {
    kind: 'duration',
    default: '5s',
    least: '1s',
    meaning: 'a socket that sent nothing for so long is pinged by the WebSocket protocol: is the connection there?',
    reason: 'with `PONG_TIMEOUT` it finds a dead connection within 15 s',
  },
  PONG_TIMEOUT: {
    kind: 'duration',
    default: '10s',
    least: '1s',
    meaning: 'how long that ping, or the one that tells a duplicated tab, may go unanswered',
    reason: 'tolerates a stall of up to 9 s, and still detects a dead connection within 15 s',
  },
  PAGE_PING_INTERVAL: {
    kind: 'duration',
    default: '20s',
    least: '1s',
    meaning: 'a client that sent no message for so long is sent a `ping` of graphql-transport-ws: is the page there?',
    reason: 'a browser answers the pings of `PING_INTERVAL` for a page that runs no more',
  },
  PAGE_PONG_TIMEOUT: {
    kind: 'duration',
    default: '10s',
    least: '1s',
    meaning: 'how long a client may send no message after that `ping`',
    reason: 'as `PONG_TIMEOUT`',
  },
  AWAY_AFTER: {
    kind: 'duration',
    default: '5m',
    least: '1s',
    meaning: 'a user without activity for so long is `AWAY`',
  },
  IDLE_TIMEOUT: {
    kind: 'duration',
    default: '30m',
    least: '2s',
    meaning: 'a user without activity for so long is offline, sockets or not',
  },
  SWEEP_INTERVAL: {
    kind: 'duration',
    default: '1s',
    least: '50ms',
    meaning: 'how often deadlines are checked, and so the longest delay before one is noticed',
  },
  NODE_TTL: {
    kind: 'duration',
    default: '10s',
    least: '1s',
    meaning: 'a process that has not renewed its lease for so long counts as dead',
  },
  BEAT_FLUSH: {
    kind: 'duration',
    default: '20ms',
    least: '0ms',
    meaning: 'with Redis, how long heartbeats are gathered to go there together; each is answered after that',
    reason: 'nobody sees 20 ms, and a busy process sends one message in place of hundreds',
  },
  ACTIVITY_LAG: {
    kind: 'duration',
    default: '100s',
    least: '0ms',
    meaning:
      'with Redis, how far `lastActive` of a user whose status does not change may lag for others, while a socket holds the session; at most a third of `AWAY_AFTER`, and 0 tells each heartbeat at once',
    reason: 'three of four heartbeats at the default interval then cost Redis nothing',
  },
  FANOUT_WINDOW: {
    kind: 'duration',
    default: '0ms',
    least: '0ms',
    meaning:
      'subscribers receive all changes to a user within this window as one change; 0 sends each change at once. We recommend 250 ms for audiences over 1,000',
    reason: 'nobody reads a list that changes more often than four times a second',
  },
  DRAIN_TIME: {
    kind: 'duration',
    default: '10s',
    least: '0ms',
    meaning: 'with Redis, how long a process that stops takes to close its sockets, one after the other',
    reason: 'their clients come back elsewhere, and not all at once',
  },
  NODE_RENEW: { kind: 'duration', default: '3s', least: '100ms', meaning: 'how often a process renews its lease' },
  LAST_ACTIVE_FLUSH: {
    kind: 'duration',
    default: '10s',
    least: '100ms',
    meaning:
      'how far `last_active` in the database may lag; with Redis, what waits for `ACTIVITY_LAG` comes later by that',
    reason: 'so many heartbeats become one write a user',
  },
  CHANGE_LOG_COUNT: {
    kind: 'count',
    default: '100000',
    least: '100',
    most: '10000000',
    meaning: 'how many changes the log keeps for those who come back',
  },
  CHANGE_LOG_AGE: { kind: 'duration', default: '5m', least: '10s', meaning: 'how long the log keeps a change' },
  CHANGE_LOG_BYTES: {
    kind: 'count',
    default: '67108864',
    least: '1048576',
    most: '100000000000',
    meaning: 'how many bytes the changes in the log may take; the oldest go first',
    reason: '`CHANGE_LOG_COUNT` changes of about 0.6 KB each',
  },
  SESSIONS_PER_USER: {
    kind: 'count',
    default: '50',
    least: '1',
    most: '1000',
    meaning: 'sessions that one user may have',
  },

  MAX_DOCUMENT_BYTES: {
    kind: 'count',
    default: '16384',
    least: '256',
    most: '65536',
    meaning: 'the longest GraphQL document, in bytes of UTF-8',
  },
  MAX_TOKENS: { kind: 'count', default: '1000', least: '50', most: '100000', meaning: 'tokens of a document' },
  MAX_DEPTH: { kind: 'count', default: '12', least: '3', most: '100', meaning: 'levels of a selection' },
  MAX_ALIASES: { kind: 'count', default: '30', least: '0', most: '1000', meaning: 'aliases of a document' },
  MAX_COMPLEXITY: {
    kind: 'count',
    default: '20000',
    least: '100',
    most: '10000000',
    meaning: 'the highest cost of a document: 1 per field, multiplied by the size of the list that it asks for',
    reason: 'the largest page with every field of a user costs 17,000',
  },
  MAX_FRAME_BYTES: {
    kind: 'count',
    default: '65536',
    least: '1024',
    most: '1048576',
    meaning: 'the longest message of a socket, and the longest request body',
    reason: 'a watch list of 1,000 UUIDs is 39 KB',
  },
  SUBSCRIPTIONS_PER_SOCKET: {
    kind: 'count',
    default: '100',
    least: '1',
    most: '10000',
    meaning: 'operations that one socket may have open at once',
  },
  SOCKETS_PER_USER: {
    kind: 'count',
    default: '100',
    least: '1',
    most: '10000',
    meaning: 'sockets that one user may have open on a process',
  },
  SOCKETS_PER_ADDRESS: {
    kind: 'count',
    default: '10000',
    least: '1',
    most: '1000000',
    meaning: 'sockets that one address may have open on a process; an IPv6 address counts by its first 64 bits',
    reason: 'a company behind one address; behind a proxy of your own, name it in `TRUSTED_PROXIES`',
  },
  SOCKETS_PER_PROCESS: {
    kind: 'count',
    default: '50000',
    least: '1',
    most: '1000000',
    meaning: 'sockets that a process takes; beyond them a new one is answered 503',
    reason: 'an idle one takes some 17 KB',
  },
  CONNECTION_INIT_TIME: {
    kind: 'duration',
    default: '10s',
    least: '100ms',
    meaning: 'how long a new socket may take to say who it is, and wait for its turn before',
    reason: 'a client opens its socket first, and then asks its own server for a token',
  },
  HANDSHAKES_PER_ADDRESS: {
    kind: 'count',
    default: '500',
    least: '1',
    most: '100000',
    meaning: 'sockets of one address that have not said yet who they are; more of them wait for their turn',
    reason: 'at 100 ms a round trip these are some thousands a second',
  },
  HANDSHAKES_PER_PROCESS: {
    kind: 'count',
    default: '5000',
    least: '1',
    most: '100000',
    meaning: 'sockets of a process that have not said yet who they are; more of them wait for their turn',
  },
  BODY_TIME: {
    kind: 'duration',
    default: '10s',
    least: '100ms',
    meaning: 'how long the body of a request may take to arrive',
  },
  KEEP_ALIVE_TIMEOUT: {
    kind: 'duration',
    default: '75s',
    least: '1s',
    meaning: 'how long a connection over HTTP stays open between two requests',
    reason: 'load balancers keep theirs for 60 s; of one that we end first they may answer 502',
  },
  SOCKET_FRAME_RATE: {
    kind: 'count',
    default: '500',
    least: '10',
    most: '1000000',
    meaning: 'messages and pings that one socket may send in a second, and four times as many at once',
    reason: 'a client that comes back with 100 subscriptions sends some 200 at once, and a few a minute later',
  },
  USER_WORK_RATE: {
    kind: 'count',
    default: '10000',
    least: '100',
    most: '1000000000',
    meaning:
      'work that one user may cause in a second, over all sockets and HTTP, in units of about a microsecond: the complexity of each document plus 30, and 500 per connection',
    reason: 'one hundredth of a processor; a heartbeat costs 50',
  },
  USER_WORK_BURST: {
    kind: 'count',
    default: '500000',
    least: '1000',
    most: '1000000000',
    meaning: 'work that one user may cause at once before `USER_WORK_RATE` holds',
    reason: 'fifty tabs that are reloaded and read a page of 1,000 users each',
  },
  ADDRESS_WORK_RATE: {
    kind: 'count',
    default: '10000',
    least: '100',
    most: '1000000000',
    meaning: 'as `USER_WORK_RATE`, of one address without a valid token; a bad token costs 250',
  },
  ADDRESS_WORK_BURST: {
    kind: 'count',
    default: '500000',
    least: '1000',
    most: '1000000000',
    meaning: 'as `USER_WORK_BURST`, of one address without a valid token',
  },
  SUBSCRIPTIONS_PER_USER: {
    kind: 'count',
    default: '1000',
    least: '1',
    most: '1000000',
    meaning: 'subscriptions that one user may have open on a process, on all sockets and event streams',
    reason: 'fifty tabs with twenty each',
  },
  WATCHED_IDS_PER_USER: {
    kind: 'count',
    default: '100000',
    least: '1000',
    most: '100000000',
    meaning: 'ids in the watch lists of all subscriptions that one user has open on a process',
    reason: 'fifty tabs that watch 1,000 users each have half of it',
  },
  INTROSPECTION: {
    kind: 'text',
    default: null,
    oneOf: ['anyone', 'token', 'nobody'],
    meaning:
      'who may read the schema by introspection; left out, `anyone` in development and who has a `token` in production',
  },
  FEDERATION: {
    kind: 'flag',
    default: 'false',
    meaning:
      'whether a gateway of Apollo Federation 2 can compose this server as a subgraph: [docs/federation.md](federation.md)',
    reason: 'the schema of apps without a gateway has no fields that are not for them',
  },
  TRUSTED_PROXIES: {
    kind: 'list',
    default: null,
    meaning:
      'addresses and networks of your own proxies, `10.0.0.0/8`, with commas between: whose `X-Forwarded-For` says where a request comes from; left out, it is never believed',
  },
} as const satisfies Record<string, SettingRow>

export type SettingName = keyof typeof SETTINGS
/** Settings that have another name now. The next release takes the old names no longer. */
const OLD_NAMES = {
  LOG_COUNT: 'CHANGE_LOG_COUNT',
  LOG_AGE: 'CHANGE_LOG_AGE',
  LOG_BYTES: 'CHANGE_LOG_BYTES',
} as const satisfies Readonly<Record<string, SettingName>>

type OldName = keyof typeof OLD_NAMES

/** Settings as texts, by their names: what `createRollcall` takes and what the environment holds. */
export type SettingTexts = { readonly [Name in SettingName | OldName]?: string | undefined }

type Value<Row extends SettingRow> = Row['kind'] extends 'duration' | 'count'
  ? number
  : Row['kind'] extends 'flag'
    ? Row['default'] extends null
      ? boolean | null
      : boolean
    : Row['kind'] extends 'list'
      ? Row['default'] extends null
        ? readonly string[] | null
        : readonly string[]
      : Row extends { readonly oneOf: readonly (infer Choice)[] }
        ? Row['default'] extends null
          ? Choice | null
          : Choice
        : Row['default'] extends null
          ? string | null
          : string

/** Every setting, parsed. Durations are milliseconds. */
export type Config = { readonly [Name in SettingName]: Value<(typeof SETTINGS)[Name]> }

/** What is wrong with the settings, all of it at once. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly string[]

  constructor(problems: readonly string[]) {
    super(`The settings cannot be used:\n${problems.map((problem) => `- ${problem}`).join('\n')}`)
    this.problems = problems
  }
}

/** What the environment says of our settings. An empty variable counts as left out. */
export function settingsOfEnvironment(environment: NodeJS.ProcessEnv = process.env): SettingTexts {
  const texts: { [Name in SettingName | OldName]?: string } = {}
  for (const name of [...settingNames(), ...oldNames()]) {
    const text = environment[name]
    if (text !== undefined && text !== '') texts[name] = text
  }
  return texts
}

/**
 * @param isAppAuthenticating - the app says who a caller is: there are no tokens, and no key is needed
 * @throws ConfigError that names each setting and its bound
 */
export function parseConfig(texts: SettingTexts, isAppAuthenticating = false): Config {
  const problems: string[] = []
  for (const name of Object.keys(texts)) {
    if (!Object.hasOwn(SETTINGS, name) && !Object.hasOwn(OLD_NAMES, name)) problems.push(`${name} is not a setting.`)
  }
  const renamed = new Map(renamedIn(texts).map(({ oldName, name }) => [name, oldName]))
  for (const [name, oldName] of renamed) {
    // Both are set while old and new processes have one environment.
    if (texts[name] === undefined || texts[name] === texts[oldName]) continue
    problems.push(`${oldName} is the old name of ${name}, and has another value: set only ${name}.`)
  }
  const values: Record<string, unknown> = {}
  for (const name of settingNames()) {
    const row: SettingRow = SETTINGS[name]
    const oldName = texts[name] === undefined ? renamed.get(name) : undefined
    const usedName = oldName ?? name
    const text: unknown = texts[usedName] ?? row.default
    if (text === null) {
      values[name] = null
    } else if (typeof text !== 'string') {
      problems.push(`${usedName} must be a text, as in the environment.`)
    } else {
      values[name] = parseValue(usedName, row, text.trim(), problems)
    }
  }
  const config = values as Config
  if (problems.length === 0) findContradictions(config, isAppAuthenticating, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return config
}

export function timingOf(config: Config): PresenceTiming {
  return {
    heartbeatIntervalMs: config.HEARTBEAT_INTERVAL,
    sessionTtlMs: config.SESSION_TTL,
    closeGraceMs: config.CLOSE_GRACE,
    reconnectGraceMs: config.RECONNECT_GRACE,
    pingIntervalMs: config.PING_INTERVAL,
    pongTimeoutMs: config.PONG_TIMEOUT,
    awayAfterMs: config.AWAY_AFTER,
    idleTimeoutMs: config.IDLE_TIMEOUT,
    sweepIntervalMs: config.SWEEP_INTERVAL,
    nodeTtlMs: config.NODE_TTL,
    nodeRenewMs: config.NODE_RENEW,
    lastActiveFlushMs: config.LAST_ACTIVE_FLUSH,
    logCount: config.CHANGE_LOG_COUNT,
    logAgeMs: config.CHANGE_LOG_AGE,
    logBytes: config.CHANGE_LOG_BYTES,
    sessionsPerUser: config.SESSIONS_PER_USER,
  }
}

/** The settings that these texts have by their old names. */
export function renamedIn(texts: SettingTexts): { readonly oldName: OldName; readonly name: SettingName }[] {
  return oldNames()
    .filter((oldName) => texts[oldName] !== undefined)
    .map((oldName) => ({ oldName, name: OLD_NAMES[oldName] }))
}

function oldNames(): readonly OldName[] {
  return Object.keys(OLD_NAMES) as OldName[]
}

export function settingNames(): readonly SettingName[] {
  return Object.keys(SETTINGS) as SettingName[]
}

/** The largest duration, unless its row says otherwise: what a timer of Node can wait, in whole hours. */
const MOST_DURATION = '500h'
const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

function parseDuration(text: string): number | null {
  // Nothing needs no unit.
  if (text === '0') return 0
  const match = DURATION.exec(text)
  if (match === null) return null
  return Number(match[1]) * Number(UNIT_MS[String(match[2])])
}

function parseCount(text: string): number | null {
  return /^\d{1,12}$/.test(text) ? Number(text) : null
}

function parseValue(name: string, row: SettingRow, text: string, problems: string[]): unknown {
  switch (row.kind) {
    case 'duration':
      return parseNumber(name, row, text, parseDuration, 'a duration like `90d`, `5m`, `30s` or `1500ms`', problems)
    case 'count':
      return parseNumber(name, row, text, parseCount, 'a whole number', problems)
    case 'flag':
      if (text !== 'true' && text !== 'false') problems.push(`${name} must be \`true\` or \`false\`, not \`${text}\`.`)
      return text === 'true'
    case 'list':
      return text
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '')
    case 'path':
      return parsePath(name, text, problems)
    case 'text':
      if (row.oneOf !== undefined && !row.oneOf.includes(text)) {
        problems.push(`${name} must be one of ${row.oneOf.map((one) => `\`${one}\``).join(', ')}, not \`${text}\`.`)
      }
      return text
  }
}

const PATH = /^(?:\/[A-Za-z0-9._~-]+)+$/
const MOST_PATH_CHARACTERS = 200

/** @returns the path without a slash at its end: an empty text for `/` */
function parsePath(name: string, text: string, problems: string[]): string {
  const path = text.replace(/\/$/, '')
  // A client resolves `.` and `..` before it asks.
  const isDotted = path.split('/').some((part) => part === '.' || part === '..')
  if (path !== '' && (!PATH.test(path) || isDotted || path.length > MOST_PATH_CHARACTERS)) {
    problems.push(
      `${name} must be \`/\` or a path like \`/presence\`: at most ${MOST_PATH_CHARACTERS} letters, digits, \`.\`, \`_\`, \`~\` and \`-\`, with a slash before each part, not \`${text}\`.`,
    )
  }
  return path
}

function parseNumber(
  name: string,
  row: SettingRow,
  text: string,
  parse: (text: string) => number | null,
  form: string,
  problems: string[],
): number {
  const most = row.most ?? MOST_DURATION
  const value = parse(text)
  if (value === null) {
    problems.push(`${name} must be ${form}, not \`${text}\`.`)
    return Number.NaN
  }
  if (value < Number(parse(row.least ?? '0'))) problems.push(`${name} must be at least ${row.least}, not \`${text}\`.`)
  if (value > Number(parse(most))) problems.push(`${name} must be at most ${most}, not \`${text}\`.`)
  return value
}

const REDIS_ADDRESS = /^rediss?(\+sentinel|\+cluster)?:\/\/[^/]/

function findContradictions(config: Config, isAppAuthenticating: boolean, problems: string[]): void {
  if (config.SESSION_TTL < config.HEARTBEAT_INTERVAL) {
    problems.push('SESSION_TTL must not be below HEARTBEAT_INTERVAL: sessions would end between two heartbeats.')
  }
  if (config.IDLE_TIMEOUT < config.AWAY_AFTER) {
    problems.push('IDLE_TIMEOUT must not be below AWAY_AFTER: users would be offline before they are away.')
  }
  if (config.HISTORY_RETENTION !== 0 && config.HISTORY_RETENTION < config.IDLE_TIMEOUT) {
    problems.push(
      'HISTORY_RETENTION must be 0 or not below IDLE_TIMEOUT: how a user left counts for as long as they may come back.',
    )
  }
  if (config.NODE_TTL < 2 * config.NODE_RENEW) {
    problems.push('NODE_TTL must be at least twice NODE_RENEW: one renewal that is late would lose the lease.')
  }
  if (config.REDIS_URL !== null && config.NODE_TTL < 4 * config.SWEEP_INTERVAL) {
    problems.push(
      'NODE_TTL must be at least four times SWEEP_INTERVAL with REDIS_URL: a sweep that is a little late would look like an outage.',
    )
  }
  if (config.REDIS_URL !== null && !REDIS_ADDRESS.test(config.REDIS_URL)) {
    problems.push(
      'REDIS_URL must be an address that begins with `redis://`, `rediss://`, `redis+sentinel://` or `redis+cluster://`.',
    )
  }
  if (!/^[\w.-]{1,64}$/.test(config.REDIS_APP)) {
    problems.push('REDIS_APP must be 1 to 64 letters, digits, dots, underscores and hyphens.')
  }
  try {
    parseRoomPatterns('DEFAULT_ROOMS', config.DEFAULT_ROOMS ?? [])
  } catch (error) {
    problems.push(error instanceof Error ? error.message : String(error))
  }
  for (const origin of config.ALLOWED_ORIGINS ?? []) {
    try {
      parseOriginPattern(origin)
    } catch (error) {
      problems.push(`ALLOWED_ORIGINS ${error instanceof RangeError ? error.message : String(error)}`)
    }
  }
  if (config.JWT_SECRET !== null && Buffer.byteLength(config.JWT_SECRET) < 32) {
    problems.push('JWT_SECRET must have at least 32 bytes.')
  }
  if (config.DATABASE_URL !== null) {
    try {
      parseAddress(config.DATABASE_URL)
    } catch (error) {
      if (!(error instanceof AddressError)) throw error
      problems.push(`DATABASE_URL ${error.message}`)
    }
  }
  const { JWKS_URL } = config
  if (JWKS_URL !== null && !(URL.canParse(JWKS_URL) && ['http:', 'https:'].includes(new URL(JWKS_URL).protocol))) {
    problems.push('JWKS_URL must be an address that begins with `http://` or `https://`.')
  }
  for (const proxy of config.TRUSTED_PROXIES ?? []) {
    if (!isNetwork(proxy)) {
      problems.push(`TRUSTED_PROXIES must be IP addresses and networks like \`10.0.0.0/8\`, not \`${proxy}\`.`)
    }
  }
  const hasKey = config.JWT_SECRET !== null || config.JWKS_URL !== null
  if (isAppAuthenticating) {
    if (hasKey) problems.push('JWT_SECRET and JWKS_URL must be left out with `authenticate`: there are no tokens then.')
    if (config.ALLOWED_ORIGINS?.includes('null')) {
      problems.push('ALLOWED_ORIGINS must not contain `null` with `authenticate`: any page can have that origin.')
    }
  } else if (config.NODE_ENV === 'production' && !hasKey) {
    problems.push('JWT_SECRET or JWKS_URL must be set in production: without a key nobody could sign in.')
  }
}
