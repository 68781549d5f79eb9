/** Apollo Client's subscriptions over HTTP, by the link that its documentation sets up first: no socket at all. */
import { ApolloClient, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { RetryLink } from '@apollo/client/link/retry'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { closeTabs, openTab } from '../../support/clients.ts'
import { metricOf } from '../../support/metrics.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { openTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
let proxy: TcpProxy
const stops: (() => void)[] = []
beforeEach(async () => {
  server = await startServer()
  proxy = await openTcpProxy({ host: '127.0.0.1', port: Number(new URL(server.url).port) })
})
afterEach(async () => {
  for (const stop of stops.splice(0)) stop()
  closeTabs()
  await proxy.close()
  await server.stop()
})

interface Seen {
  readonly changes: string[]
  readonly failures: unknown[]
  isOver: boolean
  stop(): void
}

function follow(args = '', token = 'dev:reader'): Seen {
  const http = new HttpLink({
    uri: `http://127.0.0.1:${proxy.port}/graphql`,
    headers: { authorization: `Bearer ${token}` },
  })
  const retry = new RetryLink({
    delay: { initial: 100, jitter: false },
    attempts: { max: Infinity, retryIf: (error) => !CombinedGraphQLErrors.is(error) },
  })
  const client = new ApolloClient({ link: retry.concat(http), cache: new InMemoryCache() })
  const query = gql(`subscription { presenceChanged${args} { kind user { id } } }`)
  const seen: Seen = { changes: [], failures: [], isOver: false, stop: () => subscription.unsubscribe() }
  const subscription = client
    .subscribe<{ presenceChanged: { kind: string; user: { id: string } } }>({ query })
    .subscribe({
      next({ data, error }) {
        if (error) seen.failures.push(error)
        if (data) seen.changes.push(`${data.presenceChanged.kind} ${data.presenceChanged.user.id}`)
      },
      error: (error) => seen.failures.push(error),
      complete() {
        seen.isOver = true
      },
    })
  stops.push(seen.stop)
  return seen
}

const following = (count: number) =>
  until(async () => (await metricOf(server, 'rollcall_subscriptions')) === count, { what: `${count} streams` })

describe("Apollo Client's HttpLink", () => {
  it('follows changes, each as it comes, and leaves nothing behind when it stops', async () => {
    const seen = follow()
    await following(1)
    await openTab(server, 'alice')
    await until(() => seen.changes.length === 1, { what: 'the first JOIN' })
    await openTab(server, 'bob')
    await until(() => seen.changes.length === 2, { what: 'the second JOIN' })
    expect([seen.changes, seen.failures, seen.isOver]).toEqual([['JOIN alice', 'JOIN bob'], [], false])
    seen.stop()
    await following(0)
  })

  it.each([
    ['(after: "0123456789abcdef:1")', 'POSITION_EXPIRED'],
    ['(after: "yesterday")', 'BAD_USER_INPUT'],
  ])('is told why a subscription%s cannot begin', async (args, code) => {
    const seen = follow(args)
    await until(() => seen.failures.length > 0, { what: 'the error' })
    expect(seen.failures[0]).toMatchObject({ errors: [{ extensions: { code } }] })
    expect(seen.changes).toEqual([])
  })

  it('comes back with a RetryLink when its connection is lost', async () => {
    const seen = follow()
    await following(1)
    proxy.refuse()
    await following(0)
    proxy.mend()
    await following(1)
    await openTab(server, 'alice')
    await until(() => seen.changes.length === 1, { what: 'the JOIN' })
    expect(seen.failures).toEqual([])
  })
})

it('writes parts that are whole as soon as they are there', async () => {
  const response = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: {
      authorization: 'dev:reader',
      'content-type': 'application/json',
      accept: 'multipart/mixed;boundary="graphql";subscriptionSpec=1.0, application/json',
    },
    body: '{"query":"subscription { onlineCountChanged { count } }"}',
  })
  expect(response.headers.get('content-type')).toBe('multipart/mixed;boundary="graphql";subscriptionSpec="1.0"')
  let text = ''
  const whole =
    '--graphql\r\ncontent-type: application/json\r\n\r\n{}\r\n' +
    '--graphql\r\ncontent-type: application/json\r\n\r\n{"payload":{"data":{"onlineCountChanged":{"count":0}}}}\r\n--graphql'
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    text += Buffer.from(chunk).toString()
    if (text.length >= whole.length) break
  }
  expect(text).toBe(whole)
})
