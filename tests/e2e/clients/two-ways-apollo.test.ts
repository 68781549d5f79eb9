import { ApolloClient, ApolloLink, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { GraphQLWsLink } from '@apollo/client/link/subscriptions'
import { OperationTypeNode } from 'graphql'
import { describe } from 'vitest'
import { testTwoWays } from './two-ways.ts'

describe('Apollo Client 4, by HttpLink and GraphQLWsLink', () => {
  testTwoWays(({ url, headers, socket }) => {
    const client = new ApolloClient({
      cache: new InMemoryCache(),
      link: ApolloLink.split(
        ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
        new GraphQLWsLink(socket),
        new HttpLink({ uri: url, headers }),
      ),
    })
    return {
      mutate: async (mutation) => (await client.mutate({ mutation: gql(mutation) })).data,
      subscribe: (subscription) => void client.subscribe({ query: gql(subscription) }).subscribe({}),
      stop: () => client.stop(),
    }
  })
})
