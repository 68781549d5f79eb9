import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createReadLog } from '../support/log.ts'
import { askRaw } from '../support/raw-http.ts'
import { startServer, type TestServer } from '../support/server.ts'

const run = promisify(execFile)

const OFFER = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n'

function posted(name: string, filler = ''): string {
  return JSON.stringify({ query: `query ${name} { viewer { user { id } } }`, variables: { filler } })
}

function answerCount(text: string): number {
  return text.match(/HTTP\/1\.1 200/g)?.length ?? 0
}

describe('a request that offers HTTP/2', () => {
  const { log, takeFaults } = createReadLog()
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({}, log)
  })
  afterAll(() => server.stop())

  it('is answered as any other by HTTP/1.1, with its body, when curl sends it', async () => {
    for (const filler of ['', 'x'.repeat(60_000)]) {
      const { stdout } = await run('curl', [
        '-s',
        '--http2',
        '-w',
        ' %{http_version} %{num_connects}',
        '-H',
        'authorization: Bearer dev:alice',
        '-H',
        'content-type: application/json',
        '--data-raw',
        posted('A', filler),
        `${server.url}/graphql`,
      ])
      expect(stdout).toBe('{"data":{"viewer":{"user":{"id":"alice"}}}} 1.1 1')
    }
    const { stdout } = await run('curl', ['-s', '--http2', `${server.url}/healthz`, `${server.url}/readyz`])
    expect([stdout, takeFaults()]).toEqual(['ok\nready\n', []])
  })

  it('keeps its connection: the next request is read after a body in chunks', async () => {
    const head = `POST /graphql HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer dev:alice\r\nContent-Type: application/json\r\n`
    const body = posted('A')
    const chunks = [body.slice(0, 10), body.slice(10)].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`)
    const { text } = await askRaw(
      server,
      `${head}${OFFER}Transfer-Encoding: chunked\r\n\r\n${chunks.join('')}0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n`,
      { whole: (heard) => answerCount(heard) === 2 && heard.includes('ok\n') },
    )
    expect(answerCount(text)).toBe(2)
    expect(text).toContain('{"data":{"viewer":{"user":{"id":"alice"}}}}')
    expect(takeFaults()).toEqual([])
  })

  it('may come again and again on the same connection, and each is answered in its turn', async () => {
    const request = `GET /healthz HTTP/1.1\r\nHost: a\r\n${OFFER}\r\n`
    const { text } = await askRaw(server, request.repeat(20), {
      whole: (heard) => (heard.match(/ok\n/g)?.length ?? 0) >= 20,
    })
    expect(answerCount(text)).toBe(20)
    expect(takeFaults()).toEqual([])
  })
})
