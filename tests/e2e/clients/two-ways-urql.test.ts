import type { Sink } from 'graphql-ws'
import { Client, fetchExchange, subscriptionExchange } from 'urql'
import { describe } from 'vitest'
import { testTwoWays } from './two-ways.ts'

describe('urql 5, by fetchExchange and subscriptionExchange', () => {
  testTwoWays(({ url, headers, socket }) => {
    const client = new Client({
      url,
      preferGetMethod: false,
      fetchOptions: { headers },
      exchanges: [
        fetchExchange,
        subscriptionExchange({
          forwardSubscription: ({ query = '', variables }) => ({
            subscribe: (sink) => ({
              unsubscribe: socket.subscribe({ query, variables: { ...variables } }, sink as Sink),
            }),
          }),
        }),
      ],
    })
    const subscriptions: { unsubscribe(): void }[] = []
    return {
      async mutate(mutation) {
        const { data, error } = await client.mutation(mutation, {}).toPromise()
        if (error !== undefined) throw error
        return data
      },
      subscribe: (subscription) => void subscriptions.push(client.subscription(subscription, {}).subscribe(() => {})),
      stop() {
        for (const subscription of subscriptions) subscription.unsubscribe()
      },
    }
  })
})
