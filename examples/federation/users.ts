/** The app's own subgraph: who its users are. Rollcall adds to them how present they are. */
import { buildSubgraphSchema } from '@apollo/subgraph'
import { parse } from 'graphql'
import { createYoga } from 'graphql-yoga'

interface User {
  readonly id: string
  readonly email: string
}

const USERS: readonly User[] = [
  { id: 'alice', email: 'alice@example.com' },
  { id: 'bob', email: 'bob@example.com' },
]

const userOf = (id: string): User | null => USERS.find((user) => user.id === id) ?? null

export function createUsersSubgraph() {
  const typeDefs = parse(`
    extend schema @link(url: "https://specs.apollo.dev/federation/v2.0", import: ["@key"])
    type Query { user(id: ID!): User  users: [User!]! }
    type User @key(fields: "id") { id: ID!  email: String! }
  `)
  const resolvers = {
    Query: { user: (_root: unknown, { id }: { id: string }) => userOf(id), users: () => USERS },
    User: { __resolveReference: ({ id }: { id: string }) => userOf(id) },
  }
  return createYoga({ schema: buildSubgraphSchema({ typeDefs, resolvers }), logging: false })
}
