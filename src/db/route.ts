/**
 * Opens sockets to the hosts of a Postgres address, with TLS if the address asks for it.
 *
 * This module opens the sockets instead of the driver, for four reasons. The driver would wait forever for a silent
 * server, so a silent socket must be destroyed from here. It retries a server that closes each connection immediately,
 * forever. It accepts any bytes of a peer as an answer of Postgres. And with several hosts it tries one after the other
 * without a pause, even for a query that no caller waits for any more.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, isIP, Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import type { DatabaseAddress, DatabaseHost, TlsChoice } from './address.ts'

export interface Route {
  readonly hostCount: number
  /**
   * Opens a socket to the current host.
   *
   * @param sockets - contains the socket from before it is connected, so that it can be destroyed at any time
   * @param isShort - the socket cancels a query: the server closes it at once, which does not count as a failure of the
   *   host
   * @returns a socket that may still be connecting, or is destroyed with the error. Never rejects, since the driver
   *   would lose that connection for good
   */
  open(sockets: Set<Socket>, isShort: boolean): Promise<Socket>
  /**
   * The current host takes no writes: the next socket goes to the next host. Each socket resolves its host's name
   * again.
   */
  turn(): void
}

/** A connection that ends within this time was refused in some way. */
const EARLY_CLOSE_MS = 1000
/** The shortest time from the start of a failed attempt to the next attempt. */
const ATTEMPT_EVERY_MS = 150
/** With several hosts, one that does not answer is skipped while the caller still waits. */
const MOST_CONNECT_MS_OF_MANY = 1000
/** int32 length, int32 80877103 (55.7 of Postgres' manual, "Message Formats"). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47])
/** The longest first message that libpq accepts as one from Postgres (`fe-connect.c`, MAX_ERRLEN). */
const MOST_FIRST_MESSAGE_BYTES = 30_000
/** ErrorResponse, NoticeResponse, AuthenticationRequest and NegotiateProtocolVersion. */
const FIRST_MESSAGES: ReadonlySet<number> = new Set(['E', 'N', 'R', 'v'].map((letter) => letter.charCodeAt(0)))

/** A route to the embedded database. */
export function createLocalRoute(socketPath: () => Promise<string>): Route {
  return {
    hostCount: 1,
    async open(sockets) {
      const socket = connect(await socketPath())
      sockets.add(socket)
      return watchedSocket(socket, () => {})
    },
    turn() {},
  }
}

/**
 * @param timeLimitMs - for one attempt, including TLS
 * @throws Error if a file that the address names cannot be read
 */
export function createRoute(address: DatabaseAddress, timeLimitMs: number): Route {
  const { hosts } = address
  const secrets = address.tls === null ? null : secretsOf(address.tls)
  const attemptLimitMs = Math.min(address.connectTimeoutMs ?? timeLimitMs, timeLimitMs)
  const connectLimitMs = hosts.length === 1 ? attemptLimitMs : Math.min(attemptLimitMs, MOST_CONNECT_MS_OF_MANY)
  let index = 0
  let failedCount = 0
  /** When the last failed attempt started: after one that took long, the next starts at once. */
  let failedStartMs = Number.NEGATIVE_INFINITY

  function turn(): void {
    index = (index + 1) % hosts.length
  }

  function failed(at: number, startedAtMs: number): void {
    failedCount += 1
    failedStartMs = Math.max(failedStartMs, startedAtMs)
    // A concurrent attempt may have called `turn` for this host already.
    if (index === at) turn()
  }

  /** Pauses after an attempt at each host has failed. */
  async function rest(): Promise<void> {
    const restMs = failedStartMs + ATTEMPT_EVERY_MS - performance.now()
    if (restMs > 0 && failedCount % hosts.length === 0) await sleep(restMs)
  }

  async function secured(socket: Socket, host: DatabaseHost, tls: TlsChoice): Promise<Socket> {
    await once(socket, 'connect')
    if (!tls.isDirect) {
      socket.write(SSL_REQUEST)
      const [answer] = (await once(socket, 'data')) as [Buffer]
      // The server sends one byte before TLS; any others were injected (CVE-2021-23222).
      const letter = answer.length === 1 ? answer.toString('latin1') : ''
      if (letter === 'N' && !tls.isRequired) return socket
      if (letter === 'N') throw connectionError('NO_TLS')
      if (letter !== 'S') throw connectionError('NO_POSTGRES')
    }
    const options: ConnectionOptions = {
      ...secrets,
      socket,
      rejectUnauthorized: tls.verifies !== 'nothing',
      ...(isIP(host.name) === 0 ? { servername: host.name } : { host: host.name }),
      ...(tls.isDirect ? { ALPNProtocols: ['postgresql'] } : {}),
      ...(tls.verifies === 'chain' ? { checkServerIdentity: () => undefined } : {}),
    }
    const over = connectTls(options)
    try {
      await once(over, 'secureConnect')
    } catch (error) {
      over.destroy()
      throw error
    }
    return over
  }

  async function openTo(host: DatabaseHost, sockets: Set<Socket>): Promise<Socket> {
    const { socketPath, port } = host
    const socket = socketPath === null ? connect(port, host.ip ?? host.name) : connect(socketPath)
    sockets.add(socket)
    socket.on('error', () => {})
    const limit = setTimeout(() => {
      if (socket.connecting) socket.destroy(connectionError('ETIMEDOUT'))
    }, connectLimitMs)
    socket.once('connect', () => clearTimeout(limit)).once('close', () => clearTimeout(limit))
    if (address.tls === null || socketPath !== null) return socket
    const attemptLimit = setTimeout(() => socket.destroy(connectionError('CONNECT_TIMEOUT')), attemptLimitMs)
    const closed = new Promise<never>((_, fail) => {
      socket.once('close', () => fail(connectionError('CLOSED_EARLY')))
    })
    closed.catch(() => {})
    try {
      const over = await Promise.race([secured(socket, host, address.tls), closed])
      sockets.delete(socket)
      sockets.add(over)
      return over
    } catch (error) {
      socket.destroy()
      return failedSocket(error)
    } finally {
      clearTimeout(attemptLimit)
    }
  }

  return {
    hostCount: hosts.length,

    async open(sockets, isShort) {
      if (!isShort) await rest()
      const at = index
      const startedAtMs = performance.now()
      const socket = await openTo(hosts[at] as DatabaseHost, sockets)
      if (isShort) return socket
      return watchedSocket(socket, () => failed(at, startedAtMs))
    },

    turn,
  }
}

export function connectionError(code: string): Error {
  return Object.assign(new Error(`The connection failed: ${code}.`), { code })
}

/** A socket that fails once its caller listens: Node emits the error in `nextTick`, after all pending microtasks. */
export function failedSocket(reason: unknown): Socket {
  return new Socket().on('error', () => {}).destroy(reason instanceof Error ? reason : connectionError('CLOSED_EARLY'))
}

const RESET_CODES: ReadonlySet<string> = new Set(['ECONNRESET', 'EPIPE'])

/** Sockets that have received a Postgres message. */
const answered = new WeakSet<Socket>()

export function hasAnswered(socket: Socket): boolean {
  return answered.has(socket)
}

/** Destroys the socket if its peer is no Postgres, and turns an early end into an error. */
function watchedSocket(socket: Socket, onEarlyEnd: () => void): Socket {
  const openedAtMs = performance.now()
  socket.on('error', () => {})
  socket.once('data', (chunk: Buffer) => {
    if (isOfPostgres(chunk)) answered.add(socket)
    else socket.destroy(connectionError('NO_POSTGRES'))
  })
  // A reset is the same early end, if the driver's bytes were still under way.
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (!answered.has(socket) && RESET_CODES.has(String(error.code))) error.code = 'CLOSED_EARLY'
  })
  socket.on('close', (hadError) => {
    const isEarly = performance.now() < openedAtMs + EARLY_CLOSE_MS || !answered.has(socket)
    if (!isEarly) return
    onEarlyEnd()
    // The driver does not treat this as a failure, and would retry immediately, forever.
    if (!hadError) socket.emit('error', connectionError('CLOSED_EARLY'))
  })
  return socket
}

function isOfPostgres(chunk: Buffer): boolean {
  if (!FIRST_MESSAGES.has(Number(chunk[0]))) return false
  return chunk.length < 5 || chunk.readUInt32BE(1) <= MOST_FIRST_MESSAGE_BYTES
}

function secretsOf(tls: TlsChoice): Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'passphrase'> {
  return {
    ...(tls.rootFile === null ? {} : { ca: contentOf('sslrootcert', tls.rootFile) }),
    ...(tls.certificateFile === null ? {} : { cert: contentOf('sslcert', tls.certificateFile) }),
    ...(tls.keyFile === null ? {} : { key: contentOf('sslkey', tls.keyFile) }),
    ...(tls.keyPassword === null ? {} : { passphrase: tls.keyPassword }),
  }
}

function contentOf(parameter: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new Error(`The file that DATABASE_URL names as \`${parameter}\` cannot be read.`, { cause: error })
  }
}
