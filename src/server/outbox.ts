/**
 * What one socket is sent: gathered, and written once a turn of the event loop. The frames of a burst so cost one
 * system call, and a text that many sockets get is encoded once for all of them.
 */
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'

/** More than this is written at once: nobody needs larger writes, and what waits is memory. */
const GATHERED_MOST_BYTES = 64 * 1024
/** RFC 6455, 5.2: the last frame of a text message. */
const FINAL_TEXT = String.fromCharCode(0x81)

export interface Outbox {
  /**
   * Puts a message at the end of what is sent.
   *
   * @param message - by `latin1`: each character is a byte of it in UTF-8
   */
  send(message: string): void
  /** Whether the client does not read as fast as it is written to: the stream's own bound is passed. */
  isFull(): boolean
  /** Calls back once, when it is not full any more. */
  onceDrained(resume: () => void): void
  /** Writes what is gathered now, before something else is written to the socket. */
  flush(): void
  /** The socket is closed: whoever waits need not wait. */
  close(): void
}

/** Gathers the writes of all sockets of a server. */
export interface Outboxes {
  /** @param stream - what the socket's frames go through */
  open(socket: WebSocket, stream: Duplex): Outbox
}

export function createOutboxes(): Outboxes {
  let gathering: { flush(): void }[] = []

  function flushAll(): void {
    const outboxes = gathering
    gathering = []
    for (const outbox of outboxes) outbox.flush()
  }

  return {
    open(socket, stream) {
      let gathered = ''
      let isDue = false
      let waiting: (() => void)[] = []

      function drained(): void {
        const resumes = waiting
        waiting = []
        for (const resume of resumes) resume()
      }

      function flush(): void {
        isDue = false
        if (gathered === '') return
        const frames = gathered
        gathered = ''
        // Nothing may follow a close frame.
        if (socket.readyState === socket.OPEN) stream.write(frames, 'latin1')
      }

      return {
        send(message) {
          if (socket.readyState !== socket.OPEN) return
          gathered += frameOf(message)
          if (gathered.length >= GATHERED_MOST_BYTES) flush()
          else if (!isDue) {
            isDue = true
            if (gathering.length === 0) setImmediate(flushAll)
            gathering.push(this)
          }
        },

        isFull: () => stream.writableNeedDrain,

        onceDrained(resume) {
          if (waiting.length === 0) stream.once('drain', drained)
          waiting.push(resume)
        },

        flush,
        close: drained,
      }
    },
  }
}

/** The bytes of a text in UTF-8, each as a character. */
export function latin1(text: string): string {
  return Buffer.byteLength(text) === text.length ? text : Buffer.from(text).toString('latin1')
}

let lastBytes = -1
let lastHeader = ''

/** Unmasked, as a server's frames are. */
function frameOf(message: string): string {
  const bytes = message.length
  if (bytes !== lastBytes) {
    lastBytes = bytes
    lastHeader = headerOf(bytes)
  }
  return lastHeader + message
}

/** RFC 6455, 5.2: lengths up to 125 in 7 bits, up to 65,535 in 16 more, and beyond in 64 more. */
function headerOf(bytes: number): string {
  if (bytes <= 125) return FINAL_TEXT + String.fromCharCode(bytes)
  if (bytes <= 0xffff) return FINAL_TEXT + String.fromCharCode(126, bytes >> 8, bytes & 0xff)
  const header = Buffer.alloc(8)
  header.writeBigUInt64BE(BigInt(bytes))
  return FINAL_TEXT + String.fromCharCode(127) + header.toString('latin1')
}
