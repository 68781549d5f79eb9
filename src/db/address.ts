/**
 * Parses DATABASE_URL in the forms that providers and tools print.
 *
 * A parameter that has a meaning here is used. A known parameter without a meaning is left out and named in the log.
 * Any other parameter is refused: a connection that differs from what the operator wrote would be worse than none. No
 * message repeats a part of the address that could be its password.
 *
 * The grammar is libpq's (34.1.1 of Postgres' manual, "Connection Strings"), plus the socket forms that node tools use.
 * WHATWG's `URL` supports neither several hosts nor a folder as the host.
 */
import { isIP } from 'node:net'

export interface DatabaseHost {
  /** The name that a certificate must have, and the host to connect to if `socketPath` and `ip` are null. */
  readonly name: string
  /** From `hostaddr`: the address to connect to without a DNS lookup. */
  readonly ip: string | null
  readonly port: number
  /** The path of a Unix socket. */
  readonly socketPath: string | null
}

export interface TlsChoice {
  /** If the server has no TLS, true fails the connection and false continues in plain text. */
  readonly isRequired: boolean
  readonly verifies: 'nothing' | 'chain' | 'chain and name'
  /** Starts TLS with the first byte, without an SSLRequest. */
  readonly isDirect: boolean
  /** Null: the certificate authorities that Node trusts. */
  readonly rootFile: string | null
  readonly certificateFile: string | null
  readonly keyFile: string | null
  readonly keyPassword: string | null
}

export interface DatabaseAddress {
  /** At least one. */
  readonly hosts: readonly DatabaseHost[]
  readonly user: string | null
  readonly password: string | null
  readonly database: string | null
  /** Null: plain text. */
  readonly tls: TlsChoice | null
  /** Whether a connection to a standby is rejected and the next host tried. */
  readonly needsPrimary: boolean
  readonly connectTimeoutMs: number | null
  /** Seconds until the first probe of an idle connection; 0: none. */
  readonly keepAliveS: number | null
  /** False if a parameter tells that the server is behind a pooler. */
  readonly isPreparing: boolean
  readonly connectionCount: number | null
  /** Settings that each connection requests from the server. */
  readonly parameters: Readonly<Record<string, string>>
  /** Names of parameters that were left out because they mean nothing here. */
  readonly leftOut: readonly string[]
}

/** The message completes "DATABASE_URL …", and is safe to log. */
export class AddressError extends Error {
  override readonly name = 'AddressError'
}

const DEFAULT_PORT = 5432
const MOST_CONNECTIONS = 100

/** Parameters that only other programs read, or whose setting makes no difference here. */
const LEFT_OUT: ReadonlySet<string> = new Set([
  // libpq: features that the driver lacks
  'channel_binding',
  'gssdelegation',
  'gsslib',
  'keepalives_count',
  'keepalives_interval',
  'krbsrvname',
  'load_balance_hosts',
  'max_protocol_version',
  'min_protocol_version',
  'sslcertmode',
  'sslcompression',
  'sslsni',
  'tcp_user_timeout',
  // Prisma
  'max_connection_lifetime',
  'max_idle_connection_lifetime',
  'pool_timeout',
  'schema',
  'single_use_connections',
  'socket_timeout',
  // pgx, JDBC, Doctrine, node-postgres, Supabase
  'currentSchema',
  'default_query_exec_mode',
  'description_cache_capacity',
  'pool_health_check_period',
  'pool_max_conn_idle_time',
  'pool_max_conn_lifetime',
  'pool_max_conns',
  'pool_min_conns',
  'reWriteBatchedInserts',
  'search_path',
  'serverVersion',
  'statement_cache_capacity',
  'supa',
  'uselibpqcompat',
  'workaround',
])

/** Parameters that ask for something that Rollcall cannot do. */
const REFUSED: Readonly<Record<string, string>> = {
  passfile: 'names a file that is not read: write the password into the address',
  replication: 'asks for a connection that replicates, and Rollcall sends queries',
  require_auth: 'cannot be promised: the driver answers with the method that the server asks for',
  requirepeer: 'cannot be promised: the driver does not look at the owner of a socket',
  service: 'names an entry of a file that is not read: write the address out',
  servicefile: 'names a file that is not read: write the address out',
  sslaccept: 'is not read: write `sslmode=verify-full` to check the certificate, or `sslmode=require` not to',
  sslcrl: 'names a list of revoked certificates, which is not read',
  sslcrldir: 'names lists of revoked certificates, which are not read',
  sslidentity: 'is not read: name PEM files with `sslcert` and `sslkey`',
  ssl_min_protocol_version: 'is not read: Node decides (`NODE_OPTIONS=--tls-min-v1.3`)',
  ssl_max_protocol_version: 'is not read: Node decides (`NODE_OPTIONS=--tls-max-v1.2`)',
}

/** Postgres settings that may be written as parameters of the address; `options` may hold any setting. */
const SESSION_SETTINGS: ReadonlySet<string> = new Set([
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'lock_timeout',
  'statement_timeout',
  'timezone',
])

const SSL_MODES = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full', 'no-verify'] as const
type SslMode = (typeof SSL_MODES)[number]

/** @throws AddressError */
export function parseAddress(text: string): DatabaseAddress {
  const parts = split(text.trim())
  const given = parametersOf(parts.query)
  const leftOut: string[] = []
  const take = createTaker(given, leftOut)

  const user = take('user', 'username') ?? parts.user
  const password = take('password') ?? parts.password
  const database = take('dbname', 'database', 'db') ?? parts.database
  const hosts = hostsOf(parts, { host: take('host'), hostaddr: take('hostaddr'), port: take('port') })
  const tls = tlsOf(take)
  const target = targetOf(take('target_session_attrs'))
  const connectTimeoutS = whole('connect_timeout', take('connect_timeout'), 0, 3600)
  const keepAliveS = keepAliveOf(take)
  const connectionCount = whole('connection_limit', take('connection_limit'), 1, MOST_CONNECTIONS)
  const isPreparing = isPreparingWith(take)
  const parameters = sessionParametersOf(take)
  refuseRest(given, leftOut)

  return {
    hosts,
    user,
    password,
    database,
    tls: hosts.every((host) => host.socketPath !== null) ? null : tls,
    // Rollcall writes, so if there are several hosts only the primary is useful.
    needsPrimary: target !== null || hosts.length > 1,
    connectTimeoutMs: connectTimeoutS === null || connectTimeoutS === 0 ? null : 1000 * connectTimeoutS,
    keepAliveS,
    isPreparing,
    connectionCount,
    parameters,
    leftOut: leftOut.toSorted(),
  }
}

/** Hosts and database for the log, without secrets. */
export function describeAddress({ hosts, database }: DatabaseAddress): string {
  const places = hosts.map(
    ({ name, port, socketPath }) => socketPath ?? `${isIP(name) === 6 ? `[${name}]` : name}:${port}`,
  )
  return `${places.join(',')}${database === null ? '' : `/${database}`}`
}

interface Parts {
  readonly user: string | null
  readonly password: string | null
  /** Host and port as written; empty if the address has none. */
  readonly places: readonly { readonly host: string; readonly port: string }[]
  readonly database: string | null
  readonly query: string
}

function split(text: string): Parts {
  if (text.startsWith('/')) return splitPath(text)
  const scheme = /^(postgres(ql)?:\/\/|socket:)/i.exec(text)
  if (scheme === null) throw new AddressError(whyNoAddress(text))
  if (/[\s#]/.test(text)) {
    throw new AddressError('must have no spaces and no `#` in it: write `%20` for a space and `%23` for `#`.')
  }
  if (/^socket:/i.test(text)) return splitSocket(text)
  const rest = text.slice(scheme[0].length)
  const [beforeQuery, query] = cut(rest, '?')
  const [authority, path] = cut(beforeQuery, '/')
  const at = authority.lastIndexOf('@')
  // A raw `/` or `?` in a password ends the host too early; do not parse the rest of the password as a path or query.
  if (path.includes('@') || (at < 0 && query.includes('@') && !/^[a-z_]+=/i.test(query))) throw misread()
  const places = authority
    .slice(at + 1)
    .split(',')
    .map(placeOf)
  return {
    ...userOf(authority.slice(0, Math.max(at, 0))),
    places: places.length === 1 && places[0]?.host === '' && places[0].port === '' ? [] : places,
    database: path === '' ? null : decoded(path),
    query,
  }
}

function whyNoAddress(text: string): string {
  const form = 'must be an address that begins with `postgres://` or `postgresql://`'
  if (/^jdbc:/i.test(text)) return `${form}: leave out \`jdbc:\`.`
  if (/^postgres(ql)?\+\w+:/i.test(text)) return `${form}: leave out the name of the driver behind \`+\`.`
  if (/^prisma(\+postgres)?:/i.test(text)) return `${form}: this one leads to a service of Prisma, not to a Postgres.`
  if (/^\w+\s*=/.test(text)) return `${form}: words like \`host=…\` may follow a \`?\` in it.`
  return `${form}.`
}

/** `/var/run/postgresql name`, the form of node-postgres. */
function splitPath(text: string): Parts {
  const [folder, database] = cut(text, ' ')
  return {
    user: null,
    password: null,
    places: [{ host: folder, port: '' }],
    database: database.trim() === '' ? null : database.trim(),
    query: '',
  }
}

/** `socket:/var/run/postgresql?db=name`, optionally with `//user:password@` before the folder. */
function splitSocket(text: string): Parts {
  const [beforeQuery, query] = cut(text.replace(/^socket:/i, ''), '?')
  const withUser = /^\/\/([^/]*)@(\/.*)$/.exec(beforeQuery)
  const folder = withUser?.[2] ?? beforeQuery.replace(/^\/\/(?=\/)/, '')
  if (!folder.startsWith('/')) throw new AddressError('must have the folder of the socket behind `socket:`.')
  return {
    ...userOf(withUser?.[1] ?? ''),
    places: [{ host: decoded(folder), port: '' }],
    database: null,
    query,
  }
}

function userOf(text: string): Pick<Parts, 'user' | 'password'> {
  const [user, password] = cut(text, ':')
  return {
    user: user === '' ? null : decoded(user),
    password: password === '' ? null : decoded(password),
  }
}

function placeOf(text: string): { readonly host: string; readonly port: string } {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text)
  if (bracketed !== null) return { host: decoded(String(bracketed[1])), port: bracketed[2] ?? '' }
  const [host, port] = cut(text, ':')
  if (port.includes(':')) {
    throw new AddressError('must have an IPv6 address between brackets, `[::1]`, and one port a host.')
  }
  return { host: decoded(host), port: decoded(port) }
}

function hostsOf(
  parts: Parts,
  given: { readonly host: string | null; readonly hostaddr: string | null; readonly port: string | null },
): readonly DatabaseHost[] {
  const names = given.host?.split(',') ?? parts.places.map((place) => place.host)
  const ips = given.hostaddr?.split(',') ?? []
  const count = Math.max(names.length, ips.length, 1)
  const ports = given.port?.split(',') ?? parts.places.map((place) => place.port)
  if (ports.length > 1 && ports.length !== count) {
    throw new AddressError('must have one port for all of its hosts, or one for each of them.')
  }
  if (ips.length > 0 && names.length > 0 && ips.length !== names.length) {
    throw new AddressError('must have as many addresses in `hostaddr` as it has hosts.')
  }
  return Array.from({ length: count }, (_, index) => {
    const ip = ips[index]?.trim() ?? ''
    if (ip !== '' && isIP(ip) === 0) throw new AddressError('must have IP addresses in `hostaddr`.')
    const name = names[index]?.trim() ?? ''
    const portText = (ports.length === 1 ? ports[0] : ports[index])?.trim() ?? ''
    const port = portText === '' ? DEFAULT_PORT : portOf(portText)
    return {
      name: name === '' ? (ip === '' ? 'localhost' : ip) : name,
      ip: ip === '' ? null : ip,
      port,
      socketPath: name.startsWith('/') ? socketFile(name, port) : null,
    }
  })
}

/** `path` is a folder, with or without a trailing slash, or the socket file itself. */
function socketFile(path: string, port: number): string {
  return /\/\.s\.PGSQL\.\d+$/.test(path) ? path : `${path.replace(/\/+$/, '')}/.s.PGSQL.${port}`
}

function portOf(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  // The message does not repeat the text: in `postgres://user:password/name` it is the password.
  if (port < 1 || port > 65_535) {
    throw new AddressError(
      'must have ports from 1 to 65535. Between a password and the host there is an `@`; `:`, `/`, `?` and `@` within a password are written `%3A`, `%2F`, `%3F` and `%40`.',
    )
  }
  return port
}

type Take = (...names: readonly string[]) => string | null

/** Returns each parameter once. If two names mean the same, the first name in the call wins. */
function createTaker(given: Map<string, string>, leftOut: string[]): Take {
  for (const name of [...given.keys()]) {
    if (!LEFT_OUT.has(name)) continue
    given.delete(name)
    leftOut.push(name)
  }
  return (...names) => {
    let found: string | null = null
    for (const name of names) {
      const value = given.get(name)
      given.delete(name)
      if (found === null && value !== undefined && value !== '') found = value
    }
    return found
  }
}

function tlsOf(take: Take): TlsChoice | null {
  const rootFile = take('sslrootcert')
  const certificateFile = take('sslcert')
  const keyFile = take('sslkey')
  const keyPassword = take('sslpassword')
  const negotiation = take('sslnegotiation')
  const encryption = take('gssencmode')
  if (encryption === 'require')
    throw new AddressError('has `gssencmode=require`, and the driver has no GSSAPI: use TLS.')
  const asked = sslModeOf(take('sslmode'), take('ssl'))
  if ((certificateFile === null) !== (keyFile === null)) {
    throw new AddressError('must have `sslcert` and `sslkey` together.')
  }
  if (negotiation !== null && negotiation !== 'postgres' && negotiation !== 'direct') {
    throw new AddressError('must have `postgres` or `direct` as its `sslnegotiation`.')
  }
  // As in libpq, `system` asks for all checks.
  const mode = rootFile === 'system' ? 'verify-full' : (asked ?? (rootFile === null ? 'disable' : 'verify-full'))
  const isDirect = negotiation === 'direct'
  if (isDirect && ['disable', 'allow', 'prefer'].includes(mode)) {
    throw new AddressError('must have `sslmode=require` or stricter with `sslnegotiation=direct`.')
  }
  if (mode === 'disable') return null
  return {
    isRequired: mode !== 'allow' && mode !== 'prefer',
    verifies: checksOf(mode, rootFile),
    isDirect,
    rootFile: rootFile === 'system' ? null : rootFile,
    certificateFile,
    keyFile,
    keyPassword,
  }
}

function sslModeOf(mode: string | null, flag: string | null): SslMode | null {
  if (mode === null) {
    if (flag === null) return null
    if (['true', '1', 'on', 'required'].includes(flag)) return 'require'
    if (['false', '0', 'off'].includes(flag)) return 'disable'
  }
  const found = SSL_MODES.find((one) => one === (mode ?? flag))
  if (found === undefined) {
    const modes = SSL_MODES.map((one) => `\`${one}\``).join(', ')
    throw new AddressError(`must have one of ${modes} as its \`${mode === null ? 'ssl' : 'sslmode'}\`.`)
  }
  return found
}

function checksOf(mode: SslMode, rootFile: string | null): TlsChoice['verifies'] {
  if (mode === 'verify-full') return 'chain and name'
  if (mode === 'verify-ca') return 'chain'
  // As in libpq, `require` with a root certificate checks the chain.
  return mode === 'require' && rootFile !== null ? 'chain' : 'nothing'
}

function targetOf(text: string | null): 'primary' | null {
  if (text === null || text === 'any') return null
  if (text === 'read-write' || text === 'primary') return 'primary'
  throw new AddressError(
    'must have `any`, `read-write` or `primary` as its `target_session_attrs`: Rollcall writes, and a standby takes no writes.',
  )
}

function keepAliveOf(take: Take): number | null {
  const isOn = whole('keepalives', take('keepalives'), 0, 1)
  const idleS = whole('keepalives_idle', take('keepalives_idle'), 0, 86_400)
  if (isOn === 0) return 0
  return idleS === 0 ? null : idleS
}

/** Each of these parameters tells that a pooler shares connections between transactions. */
function isPreparingWith(take: Take): boolean {
  const pgbouncer = flag('pgbouncer', take('pgbouncer'))
  const cacheSize = whole('statement_cache_size', take('statement_cache_size'), 0, 1_000_000)
  const threshold = whole('prepareThreshold', take('prepareThreshold'), 0, 1_000_000)
  const prepare = flag('prepare', take('prepare'))
  const prepared = flag('prepared_statements', take('prepared_statements'))
  return pgbouncer !== true && cacheSize !== 0 && threshold !== 0 && prepare !== false && prepared !== false
}

function sessionParametersOf(take: Take): Readonly<Record<string, string>> {
  const encoding = take('client_encoding', 'encoding', 'charset')
  if (encoding !== null && !/^(utf-?8|auto|unicode)$/i.test(encoding)) {
    throw new AddressError('must have `UTF8` as its encoding: names are in every script.')
  }
  const [name, fallbackName] = [take('application_name', 'ApplicationName'), take('fallback_application_name')]
  const options = take('options')
  const parameters: Record<string, string> = { application_name: name ?? fallbackName ?? 'rollcall' }
  if (options !== null) parameters.options = options
  for (const setting of SESSION_SETTINGS) {
    const value = take(setting)
    if (value !== null) parameters[setting] = value
  }
  return parameters
}

function refuseRest(given: ReadonlyMap<string, string>, leftOut: string[]): void {
  for (const [name, value] of given) {
    const why = REFUSED[name]
    if (why !== undefined) throw new AddressError(`has the parameter \`${name}\`, which ${why}.`)
    if (value === '' && /^\w{1,40}$/.test(name)) {
      leftOut.push(name)
      continue
    }
    // A password with a raw `&` or `?` may contain what looks like a parameter name.
    if (!/^\w{1,40}$/.test(name) || value.includes('@')) throw misread()
    throw new AddressError(
      `has the parameter \`${name}\`, which Rollcall does not know. Leave it out; a setting of Postgres is written \`options=-c%20${name}%3D…\`.`,
    )
  }
}

function misread(): AddressError {
  return new AddressError(
    'cannot be read: `@`, `:`, `/`, `?`, `&` and `%` within a user, a password or a database are written `%40`, `%3A`, `%2F`, `%3F`, `%26` and `%25`.',
  )
}

function parametersOf(query: string): Map<string, string> {
  const parameters = new Map<string, string>()
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const [name, value] = cut(pair, '=')
    parameters.set(decoded(name), decoded(value.replaceAll('+', '%20')))
  }
  return parameters
}

function whole(name: string, text: string | null, least: number, most: number): number | null {
  if (text === null) return null
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN
  if (value >= least && value <= most) return value
  throw new AddressError(`must have a whole number from ${least} to ${most} as its \`${name}\`.`)
}

function flag(name: string, text: string | null): boolean | null {
  if (text === null) return null
  if (['true', '1', 'on'].includes(text)) return true
  if (['false', '0', 'off'].includes(text)) return false
  throw new AddressError(`must have \`true\` or \`false\` as its \`${name}\`.`)
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw misread()
  }
}

/** @returns the text before the first `mark`, and the text after it */
function cut(text: string, mark: string): readonly [string, string] {
  const at = text.indexOf(mark)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + mark.length)]
}
