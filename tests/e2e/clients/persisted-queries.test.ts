/** Automatic persisted queries with the links of Apollo and urql, as their documentation sets them up. */
import { createHash } from 'node:crypto'
import { ApolloClient, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries'
import { persistedExchange } from '@urql/exchange-persisted'
import { Client, fetchExchange } from 'urql'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startServer, type TestServer } from '../../support/server.ts'

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

interface Sent {
  readonly method: string
  readonly hasText: boolean
}

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

/** `fetch` that notes what a client sends. */
function noting(sent: Sent[]): typeof fetch {
  return (input, init) => {
    const url = new URL(String(input))
    const method = init?.method ?? 'GET'
    const params = method === 'GET' ? Object.fromEntries(url.searchParams) : JSON.parse(String(init?.body))
    sent.push({ method, hasText: typeof params.query === 'string' && params.query !== '' })
    return fetch(input, init)
  }
}

const headers = { authorization: 'Bearer dev:alice' }

const LIBRARIES = {
  'Apollo Client': (sent: Sent[], isGet: boolean) => {
    const client = new ApolloClient({
      link: new PersistedQueryLink({ sha256, useGETForHashedQueries: isGet }).concat(
        new HttpLink({ uri: `${server.url}/graphql`, fetch: noting(sent), headers }),
      ),
      cache: new InMemoryCache(),
    })
    return async (query: string) => (await client.query({ query: gql(query), fetchPolicy: 'no-cache' })).data
  },
  urql: (sent: Sent[], isGet: boolean) => {
    const client = new Client({
      url: `${server.url}/graphql`,
      fetch: noting(sent),
      fetchOptions: { headers },
      preferGetMethod: isGet,
      exchanges: [
        persistedExchange({ generateHash: async (query) => sha256(query), preferGetForPersistedQueries: isGet }),
        fetchExchange,
      ],
    })
    return async (query: string) => {
      const { data, error } = await client.query(query, {}, { requestPolicy: 'network-only' }).toPromise()
      if (error) throw error
      return data
    }
  },
}

describe.each(Object.entries(LIBRARIES))('%s with persisted queries', (library, connect) => {
  it.each([{ isGet: true }, { isGet: false }])(
    'sends the text of a document once, by GET: $isGet',
    async ({ isGet }) => {
      const sent: Sent[] = []
      const ask = connect(sent, isGet)
      const query = `query Of${library.replace(' ', '')}${isGet} { viewer { visibility } }`
      for (let count = 0; count < 3; count += 1)
        expect(await ask(query)).toMatchObject({ viewer: { visibility: 'EVERYONE' } })
      expect(sent.map(({ hasText }) => hasText)).toEqual([false, true, false, false])
      expect(sent.at(-1)?.method).toBe(isGet ? 'GET' : 'POST')
    },
  )
})

describe('a persisted query', () => {
  async function ask(params: object): Promise<{ status: number; data?: unknown; errors?: { extensions: object }[] }> {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json', accept: 'application/graphql-response+json' },
      body: JSON.stringify(params),
    })
    return { status: response.status, ...(await response.json()) }
  }
  const named = (persistedQuery: unknown, query?: string) => ask({ query, extensions: { persistedQuery } })

  it('is not kept for a document that is not valid', async () => {
    const query = '{ nobody }'
    const persistedQuery = { version: 1, sha256Hash: sha256(query) }
    expect((await named(persistedQuery, query)).errors).toMatchObject([
      { extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } },
    ])
    expect(await named(persistedQuery)).toMatchObject({
      status: 200,
      errors: [{ message: 'PersistedQueryNotFound', extensions: { code: 'PERSISTED_QUERY_NOT_FOUND' } }],
    })
  })

  it('is found by its hash in upper case, with other variables and as one operation of several', async () => {
    const query = 'query A { position } query B($id: ID!) { user(id: $id) { id } }'
    const persistedQuery = { version: 1, sha256Hash: sha256(query).toUpperCase() }
    await ask({ query, operationName: 'A', extensions: { persistedQuery } })
    const answer = await ask({ operationName: 'B', variables: { id: 'nobody' }, extensions: { persistedQuery } })
    expect(answer).toEqual({ status: 200, data: { user: null } })
  })

  it.each([
    ['extensions.persistedQuery', 'an object', 'hash'],
    ['extensions.persistedQuery.version', '1', { version: 2, sha256Hash: sha256('{ position }') }],
    ['extensions.persistedQuery.sha256Hash', '64 hexadecimal digits', { version: 1, sha256Hash: 'abc' }],
    ['extensions.persistedQuery.sha256Hash', 'the SHA-256 of `query`', { version: 1, sha256Hash: sha256('{ other }') }],
  ])('is refused where %s is not %s', async (argument, bound, persistedQuery) => {
    const answer = await named(persistedQuery, '{ position }')
    expect(answer).toMatchObject({ status: 400, errors: [{ extensions: { code: 'BAD_USER_INPUT', argument, bound } }] })
  })
})
