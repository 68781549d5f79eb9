/**
 * The `EventSource` of Node's npm package, by the same standard as that of browsers: it can send no header, so its token is
 * in the address. tests/browser/other-origin.test.ts has a browser's own.
 */
import { EventSource } from 'eventsource'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../../support/clients.ts'
import { createReadLog, type ReadLog } from '../../support/log.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { until } from '../../support/wait.ts'

const CHANGES = 'subscription { presenceChanged { kind user { id } } }'

interface Seen {
  readonly changes: string[]
  readonly errors: string[]
  readonly ids: string[]
  isComplete: boolean
  readonly source: EventSource
}

let server: TestServer
let proxy: TcpProxy
let readLog: ReadLog
const opened: EventSource[] = []
beforeEach(async () => {
  readLog = createReadLog()
  server = await startServer({ CHANGE_LOG_COUNT: '100' }, readLog.log)
  proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
})
afterEach(async () => {
  for (const source of opened.splice(0)) source.close()
  closeTabs()
  await proxy.close()
  await server.stop()
})

function follow(params: Record<string, string> = {}): Seen {
  const search = new URLSearchParams({ query: CHANGES, token: 'dev:reader', ...params })
  const source = new EventSource(`http://127.0.0.1:${proxy.port}/graphql?${search}`)
  opened.push(source)
  const seen: Seen = { changes: [], errors: [], ids: [], isComplete: false, source }
  source.addEventListener('next', ({ data, lastEventId }) => {
    const result = JSON.parse(data)
    seen.ids.push(lastEventId)
    for (const { extensions } of result.errors ?? []) seen.errors.push(extensions.code)
    if (result.data) seen.changes.push(`${result.data.presenceChanged.kind} ${result.data.presenceChanged.user.id}`)
  })
  source.addEventListener('complete', () => {
    seen.isComplete = true
    source.close()
  })
  return seen
}

describe('an EventSource', () => {
  it('follows with the token in its address, and each event has its position as the id', async () => {
    const seen = follow()
    await until(() => seen.source.readyState === EventSource.OPEN, { what: 'the stream' })
    await openTab(server, 'alice')
    await until(() => seen.changes.length === 1, { what: 'the JOIN' })
    const { data } = await post(server, 'dev:reader', '{ position }')
    expect([seen.changes, seen.ids]).toEqual([['JOIN alice'], [data?.position]])
    expect(readLog.lines.join('\n')).not.toContain('dev:reader')
  })

  it('misses nothing when its connection is lost', async () => {
    const seen = follow()
    await until(() => seen.source.readyState === EventSource.OPEN, { what: 'the stream' })
    await openTab(server, 'early')
    await until(() => seen.changes.length === 1, { what: 'the first JOIN' })
    proxy.refuse()
    await openTab(server, 'late')
    proxy.mend()
    await until(() => seen.changes.length === 2, { what: 'what was missed', withinMs: 20_000 })
    expect(seen.changes).toEqual(['JOIN early', 'JOIN late'])
  })

  it('is told of a position that the log does not reach, and that it shall not come back for more', async () => {
    const seen = follow({ query: CHANGES.replace('presenceChanged', 'presenceChanged(after: "0123456789abcdef:1")') })
    await until(() => seen.isComplete, { what: 'the end' })
    expect([seen.errors, seen.changes]).toEqual([['POSITION_EXPIRED'], []])
  })

  it('is given up by the browser where its token does not hold', async () => {
    const { source } = follow({ token: 'no.such.token' })
    const code = await new Promise((resolve) => source.addEventListener('error', (event) => resolve(event.code)))
    expect([code, source.readyState]).toEqual([401, EventSource.CLOSED])
  })
})

it('takes a token from the address of nothing but an event stream', async () => {
  const search = new URLSearchParams({ query: '{ viewer { status } }', token: 'dev:reader' })
  for (const accept of ['application/json', '*/*']) {
    const response = await fetch(`${server.url}/graphql?${search}`, { headers: { accept } })
    expect([response.status, (await response.json()).errors[0].extensions.code]).toEqual([400, 'BAD_REQUEST'])
  }
})

it('takes the position to go on after from Last-Event-ID, and names it where it is none', async () => {
  const search = new URLSearchParams({ query: CHANGES })
  const response = await fetch(`${server.url}/graphql?${search}`, {
    headers: { accept: 'text/event-stream', authorization: 'dev:reader', 'last-event-id': 'yesterday' },
  })
  expect(await response.text()).toContain('Last-Event-ID must be a position that this server gave.')
})
