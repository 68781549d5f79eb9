/** Event streams pass an nginx with its defaults: it gathers an answer unless a header asks it not to. */
import { randomUUID } from 'node:crypto'
import { afterEach, beforeAll, expect, it } from 'vitest'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab } from '../support/clients.ts'
import { installNginx, startNginx } from '../support/nginx.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const EVENT_COUNT = 5
/** An nginx that gathers answers passes nothing on before 4 KB or the end. */
const HEAD_WITHIN_MS = 2000

const cleanups = cleanupsAfterEach()

beforeAll(() => installNginx(), 300_000)
// The hooks that came last go first: no tab is left when its server stops.
afterEach(closeTabs)

interface EventStream {
  readonly response: Response
  /** The ids of the users in the events so far. */
  readonly userIds: readonly string[]
}

async function openStream({ url }: Pick<TestServer, 'url'>): Promise<EventStream> {
  const abort = new AbortController()
  cleanups.push(async () => abort.abort())
  const headTooLate = setTimeout(() => abort.abort(new Error('The head did not come.')), HEAD_WITHIN_MS)
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: 'Bearer dev:watcher' },
    body: JSON.stringify({ query: 'subscription { presenceChanged { kind user { id } } }' }),
    signal: abort.signal,
  })
  clearTimeout(headTooLate)
  const userIds: string[] = []
  void (async () => {
    let text = ''
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString()
      userIds.splice(0, userIds.length, ...[...text.matchAll(/"user":{"id":"([^"]+)"}/g)].map(([, id]) => String(id)))
    }
  })().catch(() => {})
  return { response, userIds }
}

it.each([
  ['its defaults', []],
  ['compression of all types', ['gzip on;', 'gzip_types *;', 'gzip_proxied any;', 'gzip_min_length 0;']],
])('an event stream passes nginx with %s: the head at once, and each event as it comes', async (_name, settings) => {
  const server = await startServer()
  cleanups.push(server.stop)
  const nginx = await startNginx(server, settings)
  cleanups.push(nginx.stop)
  const { response, userIds } = await openStream(nginx)
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toContain('text/event-stream')

  const expected: string[] = []
  for (let count = 1; count <= EVENT_COUNT; count += 1) {
    const userId = `user-${randomUUID()}`
    expected.push(userId)
    await openTab(server, userId)
    // Each before the next one is caused: nothing is gathered on the way.
    await until(() => userIds.length === count, { what: `event ${count}` })
  }
  expect(userIds).toEqual(expected)
})

it('says to proxies that a stream is passed on as it is, and says so of no other answer', async () => {
  const server = await startServer()
  cleanups.push(server.stop)
  const { response } = await openStream(server)
  expect(response.headers.get('x-accel-buffering')).toBe('no')
  expect(response.headers.get('cache-control')).toBe('no-cache, no-transform')
  const answer = await fetch(`${server.url}/graphql?query={__typename}`)
  expect(await answer.json()).toEqual({ data: { __typename: 'Query' } })
  expect(answer.headers.get('x-accel-buffering')).toBeNull()
})
