/**
 * A WebSocket client that costs little: text messages over one connection (RFC 6455), and pongs.
 *
 * One of the `ws` package took 13.5 µs for a message where this one took 9, of which JSON.parse is 2, and the time of
 * the clients is a part of every latency here. It takes what these servers send: no fragments, no extensions.
 */
import { createHash, randomBytes } from 'node:crypto'
import { connect } from 'node:net'

export interface Wire {
  /** Hands it to the kernel before it returns. */
  send(text: string): void
  close(): void
}

export interface WireOptions {
  readonly url: URL
  readonly subprotocol: string | null
  /** Its own end of the connection: ports are counted by address. */
  readonly localAddress: string
  readonly onOpen: () => void
  /** @param bytes - its length on the wire, without the frame's head */
  readonly onText: (text: string, bytes: number) => void
  readonly onFault: (fault: string) => void
}

const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const TEXT = 0x1
const CLOSE = 0x8
const PING = 0x9
const PONG = 0xa
const FINAL = 0x80
const MASKED = 0x80
/** What all connections read into, one after the other: none reads before the last one has taken its part. */
const readInto = Buffer.allocUnsafe(256 * 1024)

export function openWire(options: WireOptions): Wire {
  const { url, subprotocol, localAddress, onOpen, onText, onFault } = options
  const key = randomBytes(16).toString('base64')
  let isOpen = false
  let isClosed = false
  /** What came of a frame, or of the answer to the handshake, that is not complete yet. */
  let rest: Buffer | null = null

  const socket = connect({
    host: url.hostname,
    port: Number(url.port),
    localAddress,
    noDelay: true,
    onread: {
      buffer: readInto,
      callback(byteCount) {
        const read = readInto.subarray(0, byteCount)
        const bytes = rest === null ? read : Buffer.concat([rest, read])
        const taken = takeFrames(bytes, isOpen ? 0 : takeHandshake(bytes))
        rest = taken === bytes.length ? null : Buffer.from(bytes.subarray(taken))
        return true
      },
    },
  })
  socket.on('connect', () => {
    const lines = [
      `GET ${url.pathname}${url.search} HTTP/1.1`,
      `Host: ${url.host}`,
      'Upgrade: websocket',
      'Connection: Upgrade',
      `Sec-WebSocket-Key: ${key}`,
      'Sec-WebSocket-Version: 13',
      ...(subprotocol === null ? [] : [`Sec-WebSocket-Protocol: ${subprotocol}`]),
    ]
    socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  })
  socket.on('error', (error) => fail(`A socket failed: ${error.message}`))
  socket.on('close', () => fail('The server ended a connection.'))

  function fail(fault: string): void {
    if (isClosed) return
    isClosed = true
    socket.destroy()
    onFault(fault)
  }

  /** @returns how many bytes were its answer, 0 where it is not complete */
  function takeHandshake(bytes: Buffer): number {
    const end = bytes.indexOf('\r\n\r\n')
    if (end === -1) return 0
    const head = bytes.subarray(0, end).toString()
    const accept = createHash('sha1').update(`${key}${KEY_SUFFIX}`).digest('base64')
    if (!head.startsWith('HTTP/1.1 101 ') || !head.includes(accept)) {
      fail(`The server refused a socket: ${head.split('\r\n')[0]}`)
      return bytes.length
    }
    isOpen = true
    onOpen()
    return end + 4
  }

  /** @returns up to where frames were complete */
  function takeFrames(bytes: Buffer, from: number): number {
    let at = from
    while (isOpen && at + 2 <= bytes.length) {
      const short = Number(bytes[at + 1])
      const headLength = short < 126 ? 2 : 4
      if (at + headLength > bytes.length) break
      const length = short < 126 ? short : bytes.readUInt16BE(at + 2)
      const end = at + headLength + length
      if (short > 126) fail('A message came that is longer than 64 KiB.')
      if (isClosed) return bytes.length
      if (end > bytes.length) break
      takeFrame(Number(bytes[at]), bytes, at + headLength, end)
      at = end
    }
    return at
  }

  function takeFrame(kind: number, bytes: Buffer, start: number, end: number): void {
    if (kind === (FINAL | TEXT)) {
      onText(bytes.toString('utf8', start, end), end - start)
    } else if (kind === (FINAL | PING)) {
      write(PONG, Buffer.from(bytes.subarray(start, end)))
    } else if (kind === (FINAL | CLOSE)) {
      const code = end - start >= 2 ? bytes.readUInt16BE(start) : 'no code'
      fail(`The server closed a socket: ${code} ${bytes.toString('utf8', start + 2, end)}`)
    } else {
      fail(`A frame came that no server here sends: ${kind}.`)
    }
  }

  /** Masked with zeros, so that it stays as it is. */
  function write(opcode: number, payload: Buffer): void {
    const isShort = payload.length < 126
    const frame = Buffer.alloc((isShort ? 6 : 8) + payload.length)
    frame[0] = FINAL | opcode
    frame[1] = MASKED | (isShort ? payload.length : 126)
    if (!isShort) frame.writeUInt16BE(payload.length, 2)
    payload.copy(frame, frame.length - payload.length)
    socket.write(frame)
  }

  return {
    send: (text) => write(TEXT, Buffer.from(text)),
    close() {
      isClosed = true
      socket.destroy()
    },
  }
}
