/** HTTP without a library: the bytes of a request, and what came back. */
import { connect } from 'node:net'
import type { TestServer } from './server.ts'

export interface RawAnswer {
  /** 0 where the connection was ended without an answer. */
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly text: string
}

export interface RawOptions {
  /** Whether this is all that a test waits for; by default one whole answer is. */
  readonly whole?: (text: string) => boolean
  /** The same, beside one whole answer. */
  readonly alsoWhole?: (text: string) => boolean
  /** A request that promises more than it brings is over when its half of the connection is. */
  readonly endsItsHalf?: boolean
  readonly withinMs?: number
}

/** Sends it, and resolves with what came until that is enough or the server closed. */
export function askRaw(
  { url }: Pick<TestServer, 'url'>,
  bytes: string | Buffer,
  { whole = hasWhole, alsoWhole = () => false, endsItsHalf = false, withinMs = 10_000 }: RawOptions = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    let text = ''
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`No answer within ${withinMs} ms, but: ${text}\nIt was asked: ${bytes}`))
    }, withinMs)
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(parse(text))
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (whole(text) || alsoWhole(text)) done()
    })
    socket.on('close', done)
    // A reset is an end as well: what was heard before it counts.
    socket.on('error', () => {})
    socket.write(bytes)
    if (endsItsHalf && isCutShort(bytes)) socket.end()
  })
}

function hasWhole(text: string): boolean {
  const { status, headers, body } = parse(text)
  if (status === 0) return false
  if (status === 204) return true
  if (headers['transfer-encoding'] === 'chunked') return body.endsWith('0\r\n\r\n')
  const length = headers['content-length']
  return length !== undefined && body.length >= Number(length)
}

/** Whether it promises more than it brings: no server could answer it yet. */
function isCutShort(bytes: string | Buffer): boolean {
  const text = Buffer.from(bytes).toString('latin1')
  const end = text.indexOf('\r\n\r\n')
  const length = /^content-length: *(\d+)/im.exec(text.slice(0, end))?.[1]
  return end < 0 || text.length - end - 4 < Number(length ?? 0)
}

function parse(answer: string): RawAnswer {
  const text = answer.replace(/^HTTP\/1\.1 100 Continue\r\n\r\n/, '')
  const end = text.indexOf('\r\n\r\n')
  const [line = '', ...lines] = (end < 0 ? '' : text.slice(0, end)).split('\r\n')
  const headers: Record<string, string> = {}
  for (const header of lines) {
    const colon = header.indexOf(':')
    headers[header.slice(0, colon).toLowerCase()] = header.slice(colon + 1).trim()
  }
  return { status: Number(line.split(' ')[1] ?? 0), headers, body: end < 0 ? '' : text.slice(end + 4), text }
}
