/** What the page asks of the server. `npm run codegen` writes their types. */
import { graphql } from './generated/gql.ts'
import type { OnlineUserFragment, OwnViewerFragment } from './generated/graphql.ts'

export type OnlineUser = OnlineUserFragment
export type OwnViewer = OwnViewerFragment

graphql(`
  fragment OnlineUser on User {
    id
    name
    status
    statusMessage
    onlineSince
  }
`)

graphql(`
  fragment OwnViewer on Viewer {
    isOnline
    status
    statusChoice
    statusMessage
    visibility
    user {
      id
      name
    }
    sessions {
      id
      device
      isCurrent
    }
  }
`)

export const OnlineUsers = graphql(`
  query OnlineUsers($room: ID, $first: Int, $after: String) {
    onlineUsers(room: $room, first: $first, after: $after) {
      position
      pageInfo {
        hasNextPage
        endCursor
      }
      nodes {
        ...OnlineUser
      }
    }
  }
`)

export const PresenceChanged = graphql(`
  subscription PresenceChanged($room: ID, $after: String) {
    presenceChanged(room: $room, after: $after) {
      kind
      position
      at
      user {
        ...OnlineUser
      }
    }
  }
`)

export const PositionAdvanced = graphql(`
  subscription PositionAdvanced {
    positionAdvanced
  }
`)

export const Me = graphql(`
  query Me {
    viewer {
      ...OwnViewer
    }
  }
`)

export const MeChanged = graphql(`
  subscription MeChanged {
    viewerChanged {
      ...OwnViewer
    }
  }
`)

export const Beat = graphql(`
  mutation Beat($active: Boolean, $device: String, $rooms: [ID!]) {
    heartbeat(active: $active, device: $device, rooms: $rooms) {
      viewer {
        ...OwnViewer
      }
    }
  }
`)

export const ChooseStatus = graphql(`
  mutation ChooseStatus($status: StatusChoice!, $message: String) {
    setStatus(status: $status, message: $message) {
      viewer {
        ...OwnViewer
      }
    }
  }
`)

export const ChooseVisibility = graphql(`
  mutation ChooseVisibility($visibility: Visibility!) {
    setVisibility(visibility: $visibility) {
      viewer {
        ...OwnViewer
      }
    }
  }
`)

export const GoOffline = graphql(`
  mutation GoOffline {
    goOffline {
      viewer {
        ...OwnViewer
      }
    }
  }
`)
