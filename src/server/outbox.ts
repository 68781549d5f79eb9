/**
 * The output of one socket: gathered, and written once a turn of the event loop. The frames of a burst then cost one
 * system call, and a text that goes to many sockets is encoded once.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Bytes } from '../execution/json.ts'

/** The outbox writes at once when it has gathered this much: larger writes gain nothing, and what waits is memory. */
const MAX_GATHERED_BYTES = 64 * 1024
/** RFC 6455, 5.2: the last frame of a text message. */
const FINAL_TEXT = String.fromCharCode(0x81)

/** Sockets written to before other work has its turn: a write costs about 10 µs. */
const BATCH_WRITTEN = 500

/** Outboxes with something to write. */
const gathering: Outbox[] = []

function writeSome(): void {
  const due = gathering.splice(0, BATCH_WRITTEN)
  if (gathering.length > 0) setImmediate(writeSome)
  for (const outbox of due) outbox.flush()
}

/** A class, because a node has tens of thousands of them. */
export class Outbox {
  readonly #socket: WebSocket
  readonly #stream: Duplex
  #gathered = ''
  #writtenBytes = 0
  #isFull = false
  #isClosed = false
  #resumes: (() => void)[] | null = null

  /** @param stream - carries the socket's frames */
  constructor(socket: WebSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
  }

  /**
   * Appends a message to the output.
   *
   * @param message - from `latin1`: each character is one byte of its UTF-8
   */
  send(message: string): void {
    if (this.#isClosed) return
    if (this.#gathered === '') {
      if (gathering.length === 0) setImmediate(writeSome)
      gathering.push(this)
    }
    this.#gathered += frameOf(message)
    if (this.#gathered.length >= MAX_GATHERED_BYTES) this.flush()
  }

  /**
   * Sends a long message now, after everything gathered before it. Bytes that go to many sockets are not copied.
   *
   * @param message - in parts, of which texts are in the form of `latin1`
   */
  sendBytes(message: readonly Bytes[]): void {
    if (this.#isClosed) return
    this.flush()
    if (this.#socket.readyState !== this.#socket.OPEN) return
    const byteCount = message.reduce((sum, { length }) => sum + length, 0)
    const header = headerOf(byteCount)
    this.#writtenBytes += header.length + byteCount
    this.#stream.cork()
    for (const part of [header, ...message]) this.#isFull = !this.#stream.write(part, 'latin1')
    this.#stream.uncork()
  }

  /**
   * Sends a frame now, after everything gathered before it.
   *
   * @param frame - a complete frame, ready for many sockets
   */
  sendFrame(frame: string): void {
    if (this.#isClosed) return
    this.#gathered += frame
    this.flush()
  }

  /** As in `Outgoing` of the pinger. */
  mark(): number | null {
    return this.#stream.writableLength > 0 ? this.#takenBytes() : null
  }

  hasAdvanced(mark: number | null): boolean {
    return mark !== null && this.#takenBytes() > mark
  }

  /** Whether the client reads more slowly than we write: the stream's own bound is passed. */
  isFull(): boolean {
    // The stream may have drained while nobody listened for it.
    if (this.#isFull) this.#isFull = this.#stream.writableNeedDrain
    return this.#isFull
  }

  /** Calls back once, when the outbox is no longer full, or closed. */
  onceDrained(resume: () => void): void {
    if (this.#resumes === null) {
      this.#resumes = []
      this.#stream.once('drain', () => this.#drained())
    }
    this.#resumes.push(resume)
  }

  /** Writes what is gathered, before something else is written to the socket. */
  flush(): void {
    if (this.#gathered === '') return
    const frames = this.#gathered
    this.#gathered = ''
    // Nothing may follow a close frame.
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#writtenBytes += frames.length
    this.#isFull = !this.#stream.write(frames, 'latin1')
  }

  /** Releases everyone who waits: the socket is closed. */
  close(): void {
    this.#isClosed = true
    this.#gathered = ''
    this.#drained()
  }

  /** Bytes that have left this process: the kernel accepts more when the client has read. */
  #takenBytes(): number {
    return this.#writtenBytes - this.#stream.writableLength
  }

  #drained(): void {
    this.#isFull = false
    const resumes = this.#resumes ?? []
    this.#resumes = null
    for (const resume of resumes) resume()
  }
}

/** @param message - by `latin1` */
export function frameOf(message: string): string {
  return headerOf(message.length) + message
}

let lastBytes = -1
let lastHeader = ''

/** The header of an unmasked frame, as servers send. A text for many sockets has the same length for all of them. */
function headerOf(bytes: number): string {
  if (bytes !== lastBytes) {
    lastBytes = bytes
    lastHeader = newHeaderOf(bytes)
  }
  return lastHeader
}

/** RFC 6455, 5.2: lengths up to 125 in 7 bits, up to 65,535 in 16 more, and beyond in 64 more. */
function newHeaderOf(bytes: number): string {
  if (bytes <= 125) return FINAL_TEXT + String.fromCharCode(bytes)
  if (bytes <= 0xffff) return FINAL_TEXT + String.fromCharCode(126, bytes >> 8, bytes & 0xff)
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(bytes))
  return FINAL_TEXT + String.fromCharCode(127) + length.toString('latin1')
}
