/**
 * What an app with Relay asks, as its components would declare it. relay-compiler reads this file; nothing runs it, for
 * the compiler's artifacts take the place of the tagged texts.
 */
import { graphql } from 'relay-runtime'

export const documents = [
  graphql`
    fragment documentsUser on User @refetchable(queryName: "documentsUserRefetchQuery") {
      id
      name
      status
      statusMessage
      onlineSince
      lastActive
    }
  `,

  graphql`
    fragment documentsOnlineUsers on Query
    @argumentDefinitions(room: { type: "ID" }, count: { type: "Int", defaultValue: 100 }, cursor: { type: "String" })
    @refetchable(queryName: "documentsOnlineUsersPaginationQuery") {
      onlineUsers(room: $room, first: $count, after: $cursor)
        @connection(key: "documentsOnlineUsers_onlineUsers", filters: ["room"]) {
        edges {
          node {
            ...documentsUser
          }
        }
      }
    }
  `,

  graphql`
    query documentsOnlineUsersQuery($room: ID, $count: Int) {
      position
      ...documentsOnlineUsers @arguments(room: $room, count: $count)
    }
  `,

  graphql`
    subscription documentsChangedSubscription($room: ID, $after: String) {
      presenceChanged(room: $room, after: $after) {
        kind
        position
        user {
          ...documentsUser
        }
      }
    }
  `,

  graphql`
    fragment documentsViewer on Viewer @refetchable(queryName: "documentsViewerRefetchQuery") {
      isOnline
      status
      visibility
      user {
        id
        isOnline
        status
      }
    }
  `,

  graphql`
    fragment documentsHistory on Viewer
    @argumentDefinitions(count: { type: "Int", defaultValue: 100 }, cursor: { type: "String" })
    @refetchable(queryName: "documentsHistoryPaginationQuery") {
      history(first: $count, after: $cursor) @connection(key: "documentsHistory_history") {
        edges {
          node {
            sessionId
            endedAt
          }
        }
      }
    }
  `,

  graphql`
    query documentsHistoryQuery {
      viewer {
        ...documentsHistory
      }
    }
  `,

  graphql`
    query documentsViewerQuery {
      viewer {
        ...documentsViewer
      }
    }
  `,

  graphql`
    subscription documentsViewerSubscription {
      viewerChanged {
        ...documentsViewer
      }
    }
  `,

  graphql`
    mutation documentsStatusMutation($status: StatusChoice!) {
      setStatus(status: $status) {
        viewer {
          ...documentsViewer
        }
      }
    }
  `,

  graphql`
    mutation documentsVisibilityMutation($visibility: Visibility!) {
      setVisibility(visibility: $visibility) {
        viewer {
          ...documentsViewer
        }
      }
    }
  `,

  graphql`
    mutation documentsHeartbeatMutation {
      heartbeat {
        session {
          id
        }
        viewer {
          status
        }
      }
    }
  `,
]
