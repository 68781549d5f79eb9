import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRollcall } from '../../src/app.ts'
import { isErrorCode } from '../../src/presence/errors.ts'
import { freePort } from '../support/free-port.ts'
import { createReadLog } from '../support/log.ts'
import { askRaw, type RawAnswer } from '../support/raw-http.ts'
import { embeddedData, listen, QUICK, startServer, type TestServer } from '../support/server.ts'

const BODY = '{"query":"{ __typename }"}'
const POSTED = `Content-Type: application/json\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`
const CLOSE = 'Connection: close\r\n'
const OWN = `Host: a\r\n${CLOSE}`

/** [what is odd, the request, its status when ready, whether the answer has to be JSON with a code] */
const REQUESTS: readonly (readonly [name: string, request: string, status: number, isCoded: boolean])[] = [
  ['a target in absolute form', `POST http://a/graphql HTTP/1.1\r\n${OWN}${POSTED}`, 200, true],
  ['an absolute target with a query', `GET HTTP://a:80/graphql?query={__typename} HTTP/1.1\r\n${OWN}\r\n`, 200, true],
  ['an absolute target of another host than Host', `GET http://b/healthz HTTP/1.1\r\n${OWN}\r\n`, 200, false],
  ['an absolute target without a path', `GET http://a HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['an absolute target without a path, with a query', `GET http://a?x=1 HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['an absolute target of another scheme', `GET ftp://a/graphql HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['an absolute target whose host is none', `GET http://a^b/graphql HTTP/1.1\r\n${OWN}\r\n`, 400, false],
  ['a Host with a space', `POST /graphql HTTP/1.1\r\nHost: a b\r\n${CLOSE}${POSTED}`, 400, true],
  ['a Host with a slash', `GET /healthz HTTP/1.1\r\nHost: a/b\r\n${CLOSE}\r\n`, 400, true],
  ['a Host with a port that is none', `GET /graphql HTTP/1.1\r\nHost: a:b\r\n${CLOSE}\r\n`, 400, true],
  ['a Host with a port that is too high', `GET /graphql HTTP/1.1\r\nHost: a:99999\r\n${CLOSE}\r\n`, 400, true],
  ['a Host with half an address', `GET /graphql HTTP/1.1\r\nHost: [::1\r\n${CLOSE}\r\n`, 400, true],
  ['a Host with a broken escape', `GET /graphql HTTP/1.1\r\nHost: %zz\r\n${CLOSE}\r\n`, 400, true],
  ['a Host of other letters', `GET /graphql HTTP/1.1\r\nHost: \xe4\r\n${CLOSE}\r\n`, 400, true],
  ['an IPv6 host', `POST /graphql HTTP/1.1\r\nHost: [::1]:4000\r\n${CLOSE}${POSTED}`, 200, true],
  ['two Hosts', `POST /graphql HTTP/1.1\r\nHost: a\r\nHost: b\r\n${CLOSE}${POSTED}`, 400, true],
  ['no Host', `POST /graphql HTTP/1.1\r\n${CLOSE}${POSTED}`, 400, true],
  ['an empty Host', `POST /graphql HTTP/1.1\r\nHost:\r\n${CLOSE}${POSTED}`, 200, true],
  ['HTTP/1.0 without a Host', `POST /graphql HTTP/1.0\r\n${POSTED}`, 200, true],
  ['OPTIONS *', `OPTIONS * HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['GET *', `GET * HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['a path of two slashes', `GET //x HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['a path of two slashes and the name', `GET //graphql HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['a path that looks like a host', `GET //a:b@[ HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['a slash after the name', `POST /graphql/ HTTP/1.1\r\n${OWN}${POSTED}`, 404, false],
  ['dots that lead to the name', `POST /x/../graphql HTTP/1.1\r\n${OWN}${POSTED}`, 200, true],
  ['half an escape', `GET /% HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['an escape of no hex digits', `GET /%zz HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['an escaped nul', `GET /%00 HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['an escape within the name', `GET /%67raphql HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['escapes that lead out', `GET /..%2f..%2fpackage.json HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['bytes that are no ASCII', `GET /\xe4\xff HTTP/1.1\r\n${OWN}\r\n`, 400, false],
  ['a broken escape in a query', `GET /graphql?query=%zz HTTP/1.1\r\n${OWN}\r\n`, 200, true],
  ['a query of no GraphQL', `GET /graphql?query=%7B HTTP/1.1\r\n${OWN}\r\n`, 200, true],
  ['variables that are no JSON', `GET /graphql?query=%7B__typename%7D&variables=%7B HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['variables that are a list', `GET /graphql?query=%7B__typename%7D&variables=[] HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['extensions that are no JSON', `GET /graphql?query=%7B__typename%7D&extensions=x HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['no query', `GET /graphql HTTP/1.1\r\n${OWN}\r\n`, 400, true],
  ['a mutation by GET', `GET /graphql?query=mutation{goOffline{viewer{id}}} HTTP/1.1\r\n${OWN}\r\n`, 405, true],
  ['HEAD', `HEAD /graphql HTTP/1.1\r\n${OWN}\r\n`, 405, false],
  ['HEAD of a health check', `HEAD /healthz HTTP/1.1\r\n${OWN}\r\n`, 200, false],
  ['OPTIONS', `OPTIONS /graphql HTTP/1.1\r\n${OWN}\r\n`, 204, false],
  ['TRACE', `TRACE /graphql HTTP/1.1\r\n${OWN}\r\n`, 405, true],
  ['PATCH', `PATCH /graphql HTTP/1.1\r\n${OWN}${POSTED}`, 405, true],
  ['DELETE of a page', `DELETE / HTTP/1.1\r\n${OWN}\r\n`, 404, false],
  ['PATCH', `PATCH /graphql HTTP/1.1\r\n${OWN}${POSTED}`, 405, true],
  ['CONNECT', `CONNECT a:80 HTTP/1.1\r\n${OWN}\r\n`, 405, true],
  ['a method that is none', `BREW /graphql HTTP/1.1\r\n${OWN}\r\n`, 400, false],
  ['no HTTP', 'hello\r\n\r\n', 400, false],
  ['another version', `GET /graphql HTTP/3.7\r\n${OWN}\r\n`, 400, false],
  ['a header without a name', `GET /graphql HTTP/1.1\r\n${OWN}: x\r\n\r\n`, 400, false],
  ['headers beyond their bound', `GET /graphql HTTP/1.1\r\n${OWN}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431, false],
  ['two lengths', `POST /graphql HTTP/1.1\r\n${OWN}Content-Length: 1\r\n${POSTED}`, 400, false],
  ['a length that is none', `POST /graphql HTTP/1.1\r\n${OWN}Content-Length: x\r\n\r\n`, 400, false],
  [
    'a chunk that is none',
    `POST /graphql HTTP/1.1\r\n${OWN}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
    400,
    false,
  ],
  ['an expectation of its own', `POST /graphql HTTP/1.1\r\n${OWN}Expect: tea\r\n${POSTED}`, 417, true],
  [
    'another type of body',
    `POST /graphql HTTP/1.1\r\n${OWN}Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n`,
    415,
    true,
  ],
  ['no body', `POST /graphql HTTP/1.1\r\n${OWN}Content-Type: application/json\r\nContent-Length: 0\r\n\r\n`, 400, true],
  ['a type that no answer has', `POST /graphql HTTP/1.1\r\n${OWN}Accept: image/png\r\n${POSTED}`, 406, true],
  ['an Origin that is none', `POST /graphql HTTP/1.1\r\n${OWN}Origin: x\r\n${POSTED}`, 403, true],
  ['an Origin that is null', `POST /graphql HTTP/1.1\r\n${OWN}Origin: null\r\n${POSTED}`, 403, true],
  ['another protocol', `POST /graphql HTTP/1.1\r\n${OWN}Upgrade: tea\r\n${POSTED}`, 200, true],
  [
    'a socket without its key',
    `GET /graphql HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    400,
    true,
  ],
  [
    'a socket at another path',
    `GET /nope HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    404,
    true,
  ],
  [
    'a socket with a Host that is none',
    `GET /graphql HTTP/1.1\r\nHost: a b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    400,
    true,
  ],
  [
    'a socket of another page',
    `GET /graphql HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    403,
    true,
  ],
]

/** What only the inside of the server knows. */
const INSIDE = /node_modules|\bat \S*[/(]|\.ts:|\.js:|file:\/\//

const bytesOf = (request: string): Buffer => Buffer.from(request, 'latin1')
/** An answer to HEAD has the length of a body that does not follow. */
const untilClosed = { whole: () => false }

function expectPlain(answer: RawAnswer, isCoded: boolean): void {
  expect(answer.text).not.toMatch(INSIDE)
  if (!isCoded) return
  const { errors, data } = bodyOf(answer)
  if (data === undefined) expect(errors[0].extensions.code).toSatisfy(isErrorCode)
}

function bodyOf({ headers, body }: RawAnswer) {
  expect(headers['content-type']).toMatch(/json/)
  return JSON.parse(
    headers['transfer-encoding'] === 'chunked' ? (body.slice(body.indexOf('\r\n')).split('\r\n0')[0] ?? '') : body,
  )
}

describe('an odd request to a server that is ready', () => {
  const { log, takeFaults } = createReadLog()
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ PAGES: 'false' }, log)
  })
  afterAll(() => server.stop())

  it.each(REQUESTS)('is answered in words of ours: %s', async (_name, request, status, isCoded) => {
    const answer = await askRaw(server, bytesOf(request), untilClosed)
    expect([answer.status, takeFaults()]).toEqual([status, []])
    expectPlain(answer, isCoded)
  })
})

describe('what a client is told beside', () => {
  let server: TestServer
  beforeAll(async () => {
    server = await startServer({ PAGES: 'false' })
  })
  afterAll(() => server.stop())

  it('which version of WebSockets to speak, where it speaks another', async () => {
    const offer = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\n'
    const key = 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n'
    const { status, headers } = await askRaw(server, `GET /graphql HTTP/1.1\r\nHost: a\r\n${offer}${key}\r\n`)
    expect([status, headers['sec-websocket-version']]).toEqual([400, '13'])
  })

  it('that the connection is over, where what it sent is no HTTP', async () => {
    for (const bytes of ['hello\r\n\r\n', `GET / HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`]) {
      const { headers, body } = await askRaw(server, bytes, untilClosed)
      expect([headers.connection, body]).toEqual(['close', ''])
    }
  })

  it('which methods there are, where it uses another', async () => {
    const { status, headers } = await askRaw(server, `PATCH /graphql HTTP/1.1\r\n${OWN}\r\n`)
    expect([status, headers.allow]).toEqual([405, 'GET, POST, PUT, DELETE, OPTIONS'])
  })
})

describe('an odd request to a server that is not ready', () => {
  const { log, takeFaults } = createReadLog()
  let server: TestServer
  beforeAll(async () => {
    const data = await embeddedData()
    // Nobody listens there, and it waits until somebody does.
    const REDIS_URL = `redis://127.0.0.1:${await freePort('127.0.0.1')}`
    const rollcall = createRollcall({ ...QUICK, ...data.settings, REDIS_URL }, log)
    const listening = await listen(rollcall)
    server = {
      ...listening,
      async stop() {
        await listening.stop()
        await data.drop()
      },
    }
  })
  afterAll(() => server.stop())

  it.each(REQUESTS)('is answered in words of ours: %s', async (_name, request, _status, isCoded) => {
    const answer = await askRaw(server, bytesOf(request), untilClosed)
    expect(takeFaults()).toEqual([])
    if (answer.status !== 503) expect([answer.status >= 200, answer.status < 500]).toEqual([true, true])
    expectPlain(answer, isCoded)
  })

  it('is told that the server does not serve, and not which host it waits for', async () => {
    const answer = await askRaw(server, `POST /graphql HTTP/1.1\r\n${OWN}Origin: http://localhost:3000\r\n${POSTED}`)
    expect([answer.status, bodyOf(answer).errors[0].extensions]).toEqual([503, { code: 'UNAVAILABLE', part: 'server' }])
    expect([answer.headers.vary, answer.headers['access-control-allow-origin']]).toEqual([
      'Origin',
      'http://localhost:3000',
    ])
    for (const path of ['/graphql', '/readyz', '/']) {
      expect((await askRaw(server, `GET ${path} HTTP/1.1\r\n${OWN}\r\n`)).body).not.toMatch(/127\.0\.0\.1|ECONN/)
    }
  })
})
