/**
 * What goes over the sockets of browsers, seen from a proxy in front of the server: who closed with which code, and
 * when. By itself it changes nothing; a case may cut a connection here.
 */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** One connection that became a WebSocket. */
export interface SeenSocket {
  /** `dev:<userId>` of its `connection_init`; null until then. */
  userId: string | null
  readonly openedAtMs: number
  /** Who ended it, by which code; null while it is open. */
  end: SocketEnd | null
  /** When the server's frames were passed on. */
  readonly heardAtMs: number[]
  /** Ends the connection towards the browser without a close frame: by a FIN, or by a reset. */
  cut(how: 'end' | 'reset'): void
}

export interface SocketEnd {
  readonly by: 'client' | 'server'
  /** Null: the connection ended without a close frame, which the server counts as 1006. */
  readonly code: number | null
  readonly atMs: number
}

export interface Wire {
  readonly port: number
  /** The oldest first. */
  readonly sockets: readonly SeenSocket[]
  close(): Promise<void>
}

const TEXT = 1
const CLOSE = 8
/** RFC 6455: what a close frame without a code counts as. */
const NO_CODE = 1005

export async function openWire(serverPort: number): Promise<Wire> {
  const sockets: SeenSocket[] = []
  const open = new Set<Socket>()

  const server = createServer((near) => {
    const far = connect(serverPort, '127.0.0.1')
    let seen: SeenSocket | null = null
    let isAnswered = false

    function ended(by: SocketEnd['by'], code: number | null): void {
      if (seen !== null) seen.end ??= { by, code, atMs: performance.now() }
    }
    const readClient = frameReader((opcode, payload) => {
      if (opcode === TEXT && seen !== null) seen.userId ??= userIdOf(payload.toString())
      if (opcode === CLOSE) ended('client', codeOf(payload))
    })
    const readServer = frameReader((opcode, payload) => {
      seen?.heardAtMs.push(performance.now())
      if (opcode === CLOSE) ended('server', codeOf(payload))
    })

    near.on('data', (chunk) => {
      far.write(chunk)
      if (seen !== null) readClient(chunk)
      else if (/^upgrade: websocket/im.test(chunk.toString('latin1'))) {
        seen = {
          userId: null,
          openedAtMs: performance.now(),
          heardAtMs: [],
          end: null,
          cut: (how) => void (how === 'end' ? near.destroy() : near.resetAndDestroy()),
        }
        sockets.push(seen)
      }
    })
    far.on('data', (chunk) => {
      near.write(chunk)
      if (seen === null) return
      // The frames come after the answer to the upgrade.
      readServer(isAnswered ? chunk : chunk.subarray(chunk.indexOf('\r\n\r\n') + 4))
      isAnswered = true
    })
    for (const [one, other, by] of [
      [near, far, 'client'],
      [far, near, 'server'],
    ] as const) {
      open.add(one)
      one.on('error', () => ended(by, null))
      one.on('end', () => ended(by, null))
      one.on('close', () => {
        open.delete(one)
        other.destroy()
      })
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('No port was given.')

  return {
    port: address.port,
    sockets,
    async close() {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function codeOf(payload: Buffer): number {
  return payload.length < 2 ? NO_CODE : payload.readUInt16BE(0)
}

function userIdOf(message: string): string | null {
  return message.match(/"Bearer dev:([^"]+)"/)?.[1] ?? null
}

/** Takes a stream apart into frames of RFC 6455; messages of several frames do not occur here. */
function frameReader(onFrame: (opcode: number, payload: Buffer) => void): (chunk: Buffer) => void {
  let unread = Buffer.alloc(0)
  return (chunk) => {
    unread = Buffer.concat([unread, chunk])
    for (;;) {
      const frame = firstFrame(unread)
      if (frame === null) return
      onFrame(frame.opcode, frame.payload)
      unread = unread.subarray(frame.length)
    }
  }
}

function firstFrame(bytes: Buffer): { opcode: number; payload: Buffer; length: number } | null {
  const [first = 0, second = 0] = bytes
  const short = second & 0x7f
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0
  const maskAt = 2 + lengthBytes
  const payloadAt = maskAt + (second & 0x80 ? 4 : 0)
  if (bytes.length < payloadAt) return null
  const length =
    lengthBytes === 0 ? short : Number(bytes.readUIntBE(maskAt - Math.min(lengthBytes, 6), Math.min(lengthBytes, 6)))
  if (bytes.length < payloadAt + length) return null
  const payload = Buffer.from(bytes.subarray(payloadAt, payloadAt + length))
  if (payloadAt > maskAt) {
    for (const index of payload.keys()) payload[index] = Number(payload[index]) ^ Number(bytes[maskAt + (index % 4)])
  }
  return { opcode: first & 0x0f, payload, length: payloadAt + length }
}
