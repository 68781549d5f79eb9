#!/usr/bin/env bash
# Hive Gateway hides the error of a subscription that its subgraph refuses, where it asks the subgraph by a socket.
#
# graphql-transport-ws refuses a subscription by an `error` message with a list of errors. graphql-ws' `iterate()` throws
# that list; the gateway takes a list for no error of GraphQL, and masks it. By an event stream the same refusal arrives
# as an answer with `errors`, and keeps its code. So a client behind such a socket cannot tell a position that has expired
# from a fault, and does not know that it has to read its list again.
#
# Seen on 2026-11-30 with @graphql-hive/gateway-runtime 2.12.1, @graphql-mesh/transport-ws 2.1.0, graphql-ws 6.4.2 and
# graphql 16.15.0 on Node.js 20.20.2: as `seen` below. Needs Node.js 20 or later. It takes 40 s.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

npm install --silent --no-audit --no-fund --ignore-scripts \
  @graphql-hive/gateway-runtime@2.12.1 @graphql-mesh/transport-http@1.2.1 @graphql-mesh/transport-ws@2.1.0 \
  @theguild/federation-composition@0.27.0 graphql@16.15.0 graphql-ws@6.4.2 graphql-yoga@5.24.1 ws@8.23.0
cat >seen <<'EOF'
by an event stream the client of the gateway hears: REFUSED
by a socket the client of the gateway hears: INTERNAL_SERVER_ERROR
EOF
cat >finding.mjs <<'EOF'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createGatewayRuntime } from '@graphql-hive/gateway-runtime'
import { composeServices } from '@theguild/federation-composition'
import { buildSchema, GraphQLError, parse } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { createSchema, createYoga } from 'graphql-yoga'
import { WebSocketServer } from 'ws'

const typeDefs = 'type Query { one: Int } type Subscription { two: Int }'
const refused = () => new GraphQLError('Refused.', { extensions: { code: 'REFUSED' } })
const yoga = createYoga({
  logging: false,
  schema: createSchema({
    typeDefs,
    resolvers: {
      Subscription: {
        two: {
          subscribe() {
            throw refused()
          },
        },
      },
    },
  }),
})
const subgraph = createServer(yoga).listen(0, '127.0.0.1')
await once(subgraph, 'listening')
useServer(
  { schema: buildSchema(typeDefs), onSubscribe: () => [refused()] },
  new WebSocketServer({ server: subgraph, path: '/graphql' }),
)
const url = `http://127.0.0.1:${subgraph.address().port}/graphql`
const { supergraphSdl: supergraph } = composeServices([{ name: 'numbers', url, typeDefs: parse(typeDefs) }])

async function codeBy(transportEntries) {
  const gateway = createGatewayRuntime({ supergraph, logging: false, transportEntries })
  const response = await gateway.fetch('http://gateway/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: 'subscription { two }' }),
  })
  return /"code":"(\w+)"/.exec(await response.text())?.[1]
}

console.log(`by an event stream the client of the gateway hears: ${await codeBy({})}`)
const subscriptions = { kind: 'ws', location: '/graphql' }
console.log(`by a socket the client of the gateway hears: ${await codeBy({ numbers: { options: { subscriptions } } })}`)
process.exit(0)
EOF
timeout 60 node finding.mjs >now
cat now
diff seen now
