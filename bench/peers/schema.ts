/** The part of Rollcall's schema that is measured, as graphql-js itself takes a schema. */
export const TYPES = `
  enum PresenceStatus { ONLINE AWAY BUSY OFFLINE }
  enum PresenceChangeKind { JOIN UPDATE LEAVE }

  type User {
    id: ID!
    name: String!
    isOnline: Boolean!
    status: PresenceStatus!
    statusMessage: String
    onlineSince: String
    lastActive: String
  }

  type PresenceChange {
    kind: PresenceChangeKind!
    position: String!
    at: String!
    room: ID
    previousStatus: PresenceStatus!
    user: User!
  }

  type Session { id: ID! }
  type RoomPayload { session: Session! }
  type HeartbeatPayload { expiresAt: String, nextHeartbeatInMs: Int! }

  type Query { online: Boolean! }
  type Mutation {
    joinRoom(room: ID!): RoomPayload!
    leaveRoom(room: ID!): RoomPayload!
    heartbeat: HeartbeatPayload!
  }
  type Subscription { presenceChanged(room: ID, userIds: [ID!]): PresenceChange! }
`
