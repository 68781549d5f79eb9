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

/** Sends it, ends its half, and resolves with all that came until the server closed or `whole` says that it is enough. */
export function askRaw(
  { url }: Pick<TestServer, 'url'>,
  bytes: string | Buffer,
  { whole = hasWhole, withinMs = 10_000 }: { whole?: (text: string) => boolean; withinMs?: number } = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    let text = ''
    const timer = setTimeout(() => {
      socket.destroy()
      reject(new Error(`No answer within ${withinMs} ms, but: ${text}`))
    }, withinMs)
    const done = (): void => {
      clearTimeout(timer)
      socket.destroy()
      resolve(parse(text))
    }
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (whole(text)) done()
    })
    socket.on('close', done)
    // A reset is an end as well: what was heard before it counts.
    socket.on('error', () => {})
    socket.write(bytes)
  })
}

function hasWhole(text: string): boolean {
  const { status, headers, body } = parse(text)
  if (status === 0) return false
  if (headers['transfer-encoding'] === 'chunked') return body.endsWith('0\r\n\r\n')
  const length = headers['content-length']
  return length !== undefined && body.length >= Number(length)
}

function parse(text: string): RawAnswer {
  const end = text.indexOf('\r\n\r\n')
  const [line = '', ...lines] = (end < 0 ? '' : text.slice(0, end)).split('\r\n')
  const headers: Record<string, string> = {}
  for (const header of lines) {
    const colon = header.indexOf(':')
    headers[header.slice(0, colon).toLowerCase()] = header.slice(colon + 1).trim()
  }
  return { status: Number(line.split(' ')[1] ?? 0), headers, body: end < 0 ? '' : text.slice(end + 4), text }
}
