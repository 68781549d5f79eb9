/**
 * Clients that ask or follow without a cache of their own, as their documentation sets them up: what each of them is
 * given of an answer, of an error, and of a token that is fetched again.
 */

import { buildGraphQLWSExecutor } from '@graphql-tools/executor-graphql-ws'
import { buildHTTPExecutor } from '@graphql-tools/executor-http'
import { parse } from 'graphql'
import { ClientError, GraphQLClient } from 'graphql-request'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab } from '../../support/clients.ts'
import { metricOf } from '../../support/metrics.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer({ JWT_SECRET: SECRET })
})
afterEach(closeTabs)
afterAll(() => server.stop())

const LIST = '{ onlineUsers { nodes { id status } totalCount } }'

describe('graphql-request', () => {
  /** Its headers may be a function, which it asks at each request. */
  const clientWith = (token: () => string) =>
    new GraphQLClient(`${server.url}/graphql`, { headers: () => ({ authorization: `Bearer ${token()}` }) })

  it('is given the list', async () => {
    await openTab(server, 'alice')
    const answer = await clientWith(() => 'dev:bob').request(LIST)
    expect(answer).toEqual({ onlineUsers: { nodes: [{ id: 'alice', status: 'ONLINE' }], totalCount: 1 } })
  })

  it.each([
    ['{ user(id: "") { id } }', 'BAD_USER_INPUT', 200],
    ['mutation { disconnectUser(userId: "alice") { sessionCount } }', 'FORBIDDEN', 200],
    ['{ nobody }', 'GRAPHQL_VALIDATION_FAILED', 400],
  ])('is given the code of an error of %s', async (query, code, status) => {
    const error = await clientWith(() => 'dev:bob')
      .request(query)
      .catch((reason) => reason)
    expect(error).toBeInstanceOf(ClientError)
    expect(error.response).toMatchObject({ status, errors: [{ extensions: { code } }] })
  })

  it('goes on with a fresh token', async () => {
    const expired = await sign({ sub: 'bob' }, '-1h', new Date(Date.now() - 7_200_000))
    const tokens = [expired, await sign({ sub: 'bob' })]
    const client = clientWith(() => String(tokens[0]))
    const error = await client.request('{ position }').catch((reason) => reason)
    expect(error.response).toMatchObject({ status: 401, errors: [{ extensions: { code: 'UNAUTHENTICATED' } }] })
    tokens.shift()
    expect(await client.request('{ viewer { visibility } }')).toEqual({ viewer: { visibility: 'EVERYONE' } })
  })
})

const EXECUTORS = {
  '@graphql-tools/executor-http': () =>
    buildHTTPExecutor({ endpoint: `${server.url}/graphql`, headers: { authorization: 'Bearer dev:bob' } }),
  '@graphql-tools/executor-graphql-ws': () =>
    buildGraphQLWSExecutor({
      url: server.wsUrl,
      connectionParams: { authorization: 'Bearer dev:bob', observer: true },
    }),
}

describe.each(Object.entries(EXECUTORS))('%s', (name, build) => {
  async function ask(query: string): Promise<any> {
    return build()({ document: parse(query) })
  }

  it('is given the list', async () => {
    await openTab(server, 'alice')
    const { data } = await ask(LIST)
    expect(data.onlineUsers.nodes).toContainEqual({ id: 'alice', status: 'ONLINE' })
  })

  it('is given the code of an error', async () => {
    const { errors } = await ask('mutation { disconnectUser(userId: "alice") { sessionCount } }')
    expect(errors).toMatchObject([{ extensions: { code: 'FORBIDDEN' } }])
  })

  it('follows, and leaves nothing behind when it stops', async () => {
    const results = await ask(`subscription { presenceChanged(userIds: ["${name}"]) { kind user { id } } }`)
    const first = results.next()
    await until(async () => (await metricOf(server, 'rollcall_subscriptions')) === 1, { what: 'the subscription' })
    await openTab(server, name)
    expect((await first).value).toEqual({ data: { presenceChanged: { kind: 'JOIN', user: { id: name } } } })
    await results.return()
    await until(async () => (await metricOf(server, 'rollcall_subscriptions')) === 0, { what: 'the end' })
  })

  it('is told why a subscription cannot begin', async () => {
    const results = await ask('subscription { presenceChanged(after: "0123456789abcdef:1") { kind } }')
    const first =
      Symbol.asyncIterator in results ? await results.next().then(({ value }: any) => value, toErrors) : results
    expect(first.errors).toMatchObject([{ extensions: { code: 'POSITION_EXPIRED' } }])
  })
})

/** Some throw what others give as a result. */
function toErrors(thrown: any): { errors: unknown } {
  return { errors: Array.isArray(thrown) ? thrown : (thrown.errors ?? [thrown]) }
}
