/** What the client asks of the server. `npm run codegen` writes the types from the schema. */
import type {
  GoOfflineMutation,
  GoOfflineMutationVariables,
  HeartbeatMutation,
  HeartbeatMutationVariables,
  JoinRoomMutation,
  JoinRoomMutationVariables,
  LeaveRoomMutation,
  LeaveRoomMutationVariables,
  OnlineCountSubscription,
  OnlineCountSubscriptionVariables,
  OnlineUsersQuery,
  OnlineUsersQueryVariables,
  PositionSubscription,
  PositionSubscriptionVariables,
  PresenceSubscription,
  PresenceSubscriptionVariables,
  SetStatusMutation,
  SetStatusMutationVariables,
  SetVisibilityMutation,
  SetVisibilityMutationVariables,
  UsersQuery,
  UsersQueryVariables,
  ViewerChangedSubscription,
  ViewerChangedSubscriptionVariables,
  ViewerQuery,
  ViewerQueryVariables,
} from './generated.ts'

/** The text of a document, which knows what it takes and what it answers. */
export type Operation<Data, Variables> = string & { readonly types?: (variables: Variables) => Data }

export interface Variables {
  readonly [name: string]: unknown
}

/** What everyone sees of a user, for a cache too: so its name is one that no app has. */
export const userFields = /* GraphQL */ `
  fragment RollcallUser on User {
    id
    name
    avatarUrl
    isOnline
    status
    statusMessage
    onlineSince
    lastActive
    lastSeen
  }
`

const viewerFields = /* GraphQL */ `
  fragment ViewerFields on Viewer {
    user {
      ...RollcallUser
    }
    isOnline
    status
    statusChoice
    statusMessage
    visibility
    hideLastActive
    sessions {
      id
      device
      rooms
      startedAt
      isCurrent
    }
  }
`

/** Each subscription is sent with its whole text, so blanks are left out. */
export function operation<Data, Variables>(...parts: string[]): Operation<Data, Variables> {
  return parts.join(' ').replace(/\s+/g, ' ')
}

export const OnlineUsers = operation<OnlineUsersQuery, OnlineUsersQueryVariables>(
  /* GraphQL */ `
    query OnlineUsers($room: ID, $first: Int, $after: String) {
      onlineUsers(room: $room, first: $first, after: $after) {
        position
        pageInfo {
          hasNextPage
          endCursor
        }
        nodes {
          ...RollcallUser
        }
      }
    }
  `,
  userFields,
)

export const Users = operation<UsersQuery, UsersQueryVariables>(
  /* GraphQL */ `
    query Users($ids: [ID!]!) {
      position
      users(ids: $ids) {
        ...RollcallUser
      }
    }
  `,
  userFields,
)

export const Presence = operation<PresenceSubscription, PresenceSubscriptionVariables>(
  /* GraphQL */ `
    subscription Presence($room: ID, $userIds: [ID!], $after: String) {
      presenceChanged(room: $room, userIds: $userIds, after: $after) {
        kind
        position
        user {
          ...RollcallUser
        }
      }
    }
  `,
  userFields,
)

export const PositionAdvanced = operation<PositionSubscription, PositionSubscriptionVariables>(/* GraphQL */ `
  subscription Position {
    positionAdvanced
  }
`)

export const OnlineCount = operation<OnlineCountSubscription, OnlineCountSubscriptionVariables>(/* GraphQL */ `
  subscription OnlineCount($room: ID) {
    onlineCountChanged(room: $room) {
      count
    }
  }
`)

export const Viewer = operation<ViewerQuery, ViewerQueryVariables>(
  /* GraphQL */ `
    query Viewer {
      viewer {
        ...ViewerFields
      }
    }
  `,
  viewerFields,
  userFields,
)

export const ViewerChanged = operation<ViewerChangedSubscription, ViewerChangedSubscriptionVariables>(
  /* GraphQL */ `
    subscription ViewerChanged {
      viewerChanged {
        ...ViewerFields
      }
    }
  `,
  viewerFields,
  userFields,
)

export const Heartbeat = operation<HeartbeatMutation, HeartbeatMutationVariables>(/* GraphQL */ `
  mutation Heartbeat($active: Boolean, $device: String, $rooms: [ID!]) {
    heartbeat(active: $active, device: $device, rooms: $rooms) {
      session {
        id
      }
    }
  }
`)

export const JoinRoom = operation<JoinRoomMutation, JoinRoomMutationVariables>(/* GraphQL */ `
  mutation JoinRoom($room: ID!) {
    joinRoom(room: $room) {
      session {
        id
      }
    }
  }
`)

export const LeaveRoom = operation<LeaveRoomMutation, LeaveRoomMutationVariables>(/* GraphQL */ `
  mutation LeaveRoom($room: ID!) {
    leaveRoom(room: $room) {
      session {
        id
      }
    }
  }
`)

export const SetStatus = operation<SetStatusMutation, SetStatusMutationVariables>(
  /* GraphQL */ `
    mutation SetStatus($status: StatusChoice!, $message: String) {
      setStatus(status: $status, message: $message) {
        viewer {
          ...ViewerFields
        }
      }
    }
  `,
  viewerFields,
  userFields,
)

export const SetVisibility = operation<SetVisibilityMutation, SetVisibilityMutationVariables>(
  /* GraphQL */ `
    mutation SetVisibility($visibility: Visibility!, $hideLastActive: Boolean) {
      setVisibility(visibility: $visibility, hideLastActive: $hideLastActive) {
        viewer {
          ...ViewerFields
        }
      }
    }
  `,
  viewerFields,
  userFields,
)

export const GoOffline = operation<GoOfflineMutation, GoOfflineMutationVariables>(/* GraphQL */ `
  mutation GoOffline($sessionId: ID) {
    goOffline(sessionId: $sessionId) {
      viewer {
        id
      }
    }
  }
`)
