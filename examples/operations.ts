/** What the examples ask of the server. `npm run codegen` writes the types of each. */
import { graphql } from './generated/gql.ts'
import type { ListedUserFragment } from './generated/graphql.ts'

export type ListedUser = ListedUserFragment

graphql(`
  fragment ListedUser on User {
    id
    name
    status
    statusMessage
    onlineSince
  }
`)

export const OnlineUsers = graphql(`
  query OnlineUsers($room: ID, $after: String) {
    onlineUsers(room: $room, first: 500, after: $after) {
      position
      pageInfo {
        hasNextPage
        endCursor
      }
      nodes {
        ...ListedUser
      }
    }
  }
`)

export const PresenceChanged = graphql(`
  subscription PresenceChanged($room: ID, $after: String) {
    presenceChanged(room: $room, after: $after) {
      kind
      position
      user {
        ...ListedUser
      }
    }
  }
`)
