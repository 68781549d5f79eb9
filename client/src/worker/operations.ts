/** What the worker asks of the server for the sessions of its tabs. */
import type { KeepMutation, KeepMutationVariables, OwnSessionsQuery, OwnSessionsQueryVariables } from '../generated.ts'
import { operation } from '../operations.ts'

export const Keep = operation<KeepMutation, KeepMutationVariables>(/* GraphQL */ `
  mutation Keep($sessionId: ID, $active: Boolean, $device: String, $rooms: [ID!]) {
    heartbeat(sessionId: $sessionId, active: $active, device: $device, rooms: $rooms) {
      session {
        id
        rooms
        startedAt
      }
    }
  }
`)

export const OwnSessions = operation<OwnSessionsQuery, OwnSessionsQueryVariables>(/* GraphQL */ `
  query OwnSessions {
    viewer {
      sessions {
        id
      }
    }
  }
`)
