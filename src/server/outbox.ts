/**
 * What one socket is sent: gathered, and written once a turn of the event loop. The frames of a burst so cost one
 * system call, and a text that many sockets get is encoded once for all of them.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'

/** More than this is written at once: nobody needs larger writes, and what waits is memory. */
const MAX_GATHERED_BYTES = 64 * 1024
/** RFC 6455, 5.2: the last frame of a text message. */
const FINAL_TEXT = String.fromCharCode(0x81)

/** Sockets written to before others have their turn: a write costs some 10 µs. */
const BATCH_WRITTEN = 500

/** What has something to be written. */
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

  /** @param stream - what the socket's frames go through */
  constructor(socket: WebSocket, stream: Duplex) {
    this.#socket = socket
    this.#stream = stream
  }

  /**
   * Puts a message at the end of what is sent.
   *
   * @param message - by `latin1`: each character is a byte of it in UTF-8
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
   * Sends a frame now, after what was gathered before it.
   *
   * @param frame - whole: a ready text that many sockets get
   */
  sendFrame(frame: string): void {
    if (this.#isClosed) return
    this.#gathered += frame
    this.flush()
  }

  /** As `Outgoing` of the pinger says. */
  mark(): number | null {
    return this.#stream.writableLength > 0 ? this.#takenBytes() : null
  }

  hasAdvanced(mark: number | null): boolean {
    return mark !== null && this.#takenBytes() > mark
  }

  /** Whether the client does not read as fast as it is written to: the stream's own bound is passed. */
  isFull(): boolean {
    // The stream may have drained while nobody listened for it.
    if (this.#isFull) this.#isFull = this.#stream.writableNeedDrain
    return this.#isFull
  }

  /** Calls back once, when it is not full any more, or closed. */
  onceDrained(resume: () => void): void {
    if (this.#resumes === null) {
      this.#resumes = []
      this.#stream.once('drain', () => this.#drained())
    }
    this.#resumes.push(resume)
  }

  /** Writes what is gathered now, before something else is written to the socket. */
  flush(): void {
    if (this.#gathered === '') return
    const frames = this.#gathered
    this.#gathered = ''
    // Nothing may follow a close frame.
    if (this.#socket.readyState !== this.#socket.OPEN) return
    this.#writtenBytes += frames.length
    this.#isFull = !this.#stream.write(frames, 'latin1')
  }

  /** The socket is closed: releases those who wait. */
  close(): void {
    this.#isClosed = true
    this.#gathered = ''
    this.#drained()
  }

  /** Bytes that have left this process: the kernel takes more when the client has read. */
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

/** The bytes of a text in UTF-8, each as a character. */
export function latin1(text: string): string {
  return Buffer.byteLength(text) === text.length ? text : Buffer.from(text).toString('latin1')
}

/** @param message - by `latin1` */
export function frameOf(message: string): string {
  return headerOf(message.length) + message
}

let lastBytes = -1
let lastHeader = ''

/** Of a frame that is not masked, as a server's are not. A text that many get is as long for all of them. */
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
