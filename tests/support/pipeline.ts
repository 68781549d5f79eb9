/** Several requests over one HTTP connection, sent together: they arrive in that order, and none waits for an answer. */
import { connect } from 'node:net'
import type { Answer } from './clients.ts'
import type { TestServer } from './server.ts'

/** @returns the answers, in the order of the requests */
export function postTogether(
  { url }: Pick<TestServer, 'url'>,
  token: string,
  queries: readonly string[],
): Promise<readonly Answer[]> {
  const { hostname, port, host } = new URL(url)
  const requests = queries.map((query, index) => {
    const body = JSON.stringify({ query })
    const head = [
      'POST /graphql HTTP/1.1',
      `host: ${host}`,
      `authorization: Bearer ${token}`,
      'content-type: application/json',
      `content-length: ${Buffer.byteLength(body)}`,
      `connection: ${index === queries.length - 1 ? 'close' : 'keep-alive'}`,
    ]
    return `${head.join('\r\n')}\r\n\r\n${body}`
  })
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    const socket = connect({ host: hostname, port: Number(port) }, () => socket.write(requests.join('')))
    socket.on('data', (chunk) => chunks.push(chunk))
    socket.on('error', reject)
    socket.on('end', () => {
      try {
        resolve(answersIn(Buffer.concat(chunks)))
      } catch (error) {
        reject(error)
      }
    })
  })
}

function answersIn(bytes: Buffer): Answer[] {
  const answers: Answer[] = []
  let rest = bytes
  while (rest.length > 0) {
    const headEnd = rest.indexOf('\r\n\r\n')
    const head = rest.subarray(0, headEnd).toString()
    const length = /^content-length: (\d+)$/im.exec(head)?.[1]
    if (length === undefined) throw new Error(`Expected an answer that says how long it is:\n${head}`)
    const bodyEnd = headEnd + 4 + Number(length)
    answers.push(JSON.parse(rest.subarray(headEnd + 4, bodyEnd).toString()))
    rest = rest.subarray(bodyEnd)
  }
  return answers
}
