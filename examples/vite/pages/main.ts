/** Shows how many are online, this page included. */
import { createClient } from 'graphql-ws'

const client = createClient({
  url: `${location.origin.replace(/^http/, 'ws')}/presence/graphql`,
  connectionParams: { authorization: 'Bearer dev:reader' },
})
client.subscribe<{ onlineCountChanged: { count: number } }>(
  { query: 'subscription { onlineCountChanged { count } }' },
  {
    next({ data }) {
      const output = document.getElementById('count')
      if (output !== null) output.textContent = String(data?.onlineCountChanged.count ?? '')
    },
    error() {},
    complete() {},
  },
)
