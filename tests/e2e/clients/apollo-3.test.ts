/** Apollo Client 3, which many apps still have, as its documentation sets it up: a socket for subscriptions, or none. */
import { ApolloClient, type ApolloLink, gql, HttpLink, InMemoryCache, split } from 'apollo-client-3/core/index.js'
import { setContext } from 'apollo-client-3/link/context/index.js'
import { GraphQLWsLink } from 'apollo-client-3/link/subscriptions/index.js'
import { getMainDefinition } from 'apollo-client-3/utilities/index.js'
import { createClient } from 'graphql-ws'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { WebSocket } from 'ws'
import { closeTabs, openTab } from '../../support/clients.ts'
import { metricOf } from '../../support/metrics.ts'
import { startServer, type TestServer } from '../../support/server.ts'
import { SECRET, sign } from '../../support/tokens.ts'
import { until } from '../../support/wait.ts'

let server: TestServer
const stops: (() => unknown)[] = []
// Its link asks for the global class where it looks at an error, and Node has one since 22.
beforeAll(() => void vi.stubGlobal('WebSocket', WebSocket))
afterAll(() => void vi.unstubAllGlobals())
beforeEach(async () => {
  server = await startServer({ JWT_SECRET: SECRET })
})
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop()
  closeTabs()
  await server.stop()
})

const http = (token: () => string) =>
  setContext((_operation, { headers }) => ({
    headers: { ...headers, authorization: `Bearer ${token()}` },
  })).concat(new HttpLink({ uri: `${server.url}/graphql` }))

const LINKS: Record<string, (token: () => string) => ApolloLink> = {
  'a socket for subscriptions': (token) => {
    const socket = createClient({
      url: server.wsUrl,
      webSocketImpl: WebSocket,
      connectionParams: () => ({ authorization: `Bearer ${token()}`, observer: true }),
    })
    stops.push(() => socket.dispose())
    const isSubscription = ({ query }: { query: Parameters<typeof getMainDefinition>[0] }) => {
      const definition = getMainDefinition(query)
      return definition.kind === 'OperationDefinition' && definition.operation === 'subscription'
    }
    return split(isSubscription, new GraphQLWsLink(socket), http(token))
  },
  'HTTP alone': http,
}

describe.each(Object.entries(LINKS))('Apollo Client 3 with %s', (_name, linkOf) => {
  const connect = (token: () => string) => {
    const client = new ApolloClient({ link: linkOf(token), cache: new InMemoryCache() })
    stops.push(() => client.stop())
    return client
  }

  it('lists and follows, and is told the code of an error', async () => {
    const client = connect(() => 'dev:reader')
    await openTab(server, 'alice')
    const { data } = await client.query({ query: gql('{ onlineUsers { nodes { id status } } }') })
    expect(data.onlineUsers.nodes).toMatchObject([{ id: 'alice', status: 'ONLINE' }])

    const changes: string[] = []
    const subscription = client
      .subscribe({ query: gql('subscription { presenceChanged { kind user { id } } }') })
      .subscribe(({ data: { presenceChanged } }) => changes.push(`${presenceChanged.kind} ${presenceChanged.user.id}`))
    await until(async () => (await metricOf(server, 'rollcall_subscriptions')) === 1, { what: 'the subscription' })
    await openTab(server, 'bob')
    await until(() => changes.length === 1, { what: 'the change' })
    expect(changes).toEqual(['JOIN bob'])
    subscription.unsubscribe()

    const mutation = gql('mutation { disconnectUser(userId: "alice") { sessionCount } }')
    await expect(client.mutate({ mutation })).rejects.toMatchObject({
      graphQLErrors: [{ extensions: { code: 'FORBIDDEN' } }],
    })
  })

  it('is told that its position has expired', async () => {
    const query = gql('subscription { presenceChanged(after: "0123456789abcdef:1") { kind } }')
    const error = await new Promise<any>((resolve) =>
      connect(() => 'dev:reader')
        .subscribe({ query })
        .subscribe({ next: resolve, error: resolve }),
    )
    const [first] = error.graphQLErrors ?? error.result.errors
    expect(first.extensions.code).toBe('POSITION_EXPIRED')
  })

  it('goes on with a fresh token', async () => {
    let token = await sign({ sub: 'reader' }, '-1h', new Date(Date.now() - 7_200_000))
    const client = connect(() => token)
    const query = gql('{ viewer { visibility } }')
    const refused = await client.query({ query }).catch((error) => error)
    expect(refused.networkError.result.errors).toMatchObject([{ extensions: { code: 'UNAUTHENTICATED' } }])
    token = await sign({ sub: 'reader' })
    expect((await client.query({ query })).data.viewer).toMatchObject({ visibility: 'EVERYONE' })
  })
})
