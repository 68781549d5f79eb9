/** The protocol of graphql-ws, with the documents of an app: Rollcall's, the usual stack's and stock graphql-ws's. */
import { randomUUID } from 'node:crypto'
import type { Change } from '../../peers/presence.ts'
import { type Ask, type Dialect, type Heard, isBeat, type Message, NOTHING, WELCOME } from '../dialect.ts'

const CHANGE_FIELDS = ['kind', 'position', 'at', 'room', 'previousStatus']
const USER_FIELDS = ['id', 'name', 'isOnline', 'status', 'statusMessage', 'onlineSince', 'lastActive']
const JOIN = 'mutation JoinRoom($room: ID!) { joinRoom(room: $room) { session { id } } }'
const LEAVE = 'mutation LeaveRoom($room: ID!) { leaveRoom(room: $room) { session { id } } }'
const HEARTBEAT = 'mutation Heartbeat { heartbeat { expiresAt nextHeartbeatInMs } }'
const PASSIVE_HEARTBEAT =
  'mutation Keep($sessionId: ID!) { heartbeat(sessionId: $sessionId, active: false) { expiresAt nextHeartbeatInMs } }'
const GO_OFFLINE = 'mutation GoOffline { goOffline(everywhere: true) { viewer { id } } }'
/** Answered after what was asked before it: a subscription has no acknowledgement of its own. */
const SETTLE = '{ __typename }'

/** @param selection - 0 to 9: the same fields, each time in another order */
function selectionOf(selection: number): string {
  return `${rotated(CHANGE_FIELDS, selection % 5).join(' ')} user { ${rotated(USER_FIELDS, selection).join(' ')} }`
}

function rotated(fields: readonly string[], by: number): string[] {
  return [...fields.slice(by % fields.length), ...fields.slice(0, by % fields.length)]
}

interface Received {
  readonly type: string
  readonly id: string
  readonly payload?: {
    readonly data?: { readonly presenceChanged?: Change; readonly heartbeat?: unknown } | null
    readonly errors?: readonly unknown[]
  }
}

export const graphql: Dialect = {
  path: '/graphql',
  subprotocol: 'graphql-transport-ws',

  speaker({ token, sessionId }) {
    let subscriptionId: string | null = null
    /** Operations with a result, before their end. */
    const withResult = new Set<string>()

    function operation(id: string, query: string, variables?: Record<string, unknown>): string {
      const operationName = /^\w+ (\w+)/.exec(query)?.[1]
      return JSON.stringify({ id, type: 'subscribe', payload: { operationName, query, variables } })
    }

    function asked(query: string, variables?: Record<string, unknown>): Message {
      const id = randomUUID()
      return { texts: [operation(id, query, variables)], answeredBy: id }
    }

    function subscribed(query: string, variables?: Record<string, unknown>): Message {
      subscriptionId = randomUUID()
      const settled = asked(SETTLE)
      return { ...settled, texts: [operation(subscriptionId, query, variables), ...settled.texts] }
    }

    return {
      hello: JSON.stringify({
        type: 'connection_init',
        payload: { authorization: `Bearer ${token}`, sessionId },
      }),

      say(ask: Ask): Message {
        switch (ask.kind) {
          case 'follow': {
            const fields = selectionOf(ask.selection ?? 0)
            return ask.room === null
              ? subscribed(`subscription Everyone { presenceChanged { ${fields} } }`)
              : subscribed(`subscription InRoom($room: ID) { presenceChanged(room: $room) { ${fields} } }`, {
                  room: ask.room,
                })
          }
          case 'watch':
            return subscribed(
              `subscription Watch($userIds: [ID!]) { presenceChanged(userIds: $userIds) { ${selectionOf(0)} } }`,
              { userIds: ask.userIds },
            )
          case 'unfollow': {
            const settled = asked(SETTLE)
            return { ...settled, texts: [JSON.stringify({ id: subscriptionId, type: 'complete' }), ...settled.texts] }
          }
          case 'join':
            return asked(JOIN, { room: ask.room })
          case 'leave':
            return asked(LEAVE, { room: ask.room })
          case 'heartbeat':
            return ask.passiveSessionId === undefined
              ? asked(HEARTBEAT)
              : asked(PASSIVE_HEARTBEAT, { sessionId: ask.passiveSessionId })
          case 'goOffline':
            return asked(GO_OFFLINE)
        }
      },

      hear(text): Heard {
        const { type, id, payload } = JSON.parse(text) as Received
        if (type === 'next') {
          if (payload?.errors !== undefined) return { kind: 'refusal', text }
          const change = payload?.data?.presenceChanged
          if (change !== undefined) return { kind: 'change', change }
          const beat = payload?.data?.heartbeat
          if (beat !== undefined && !isBeat(beat)) return { kind: 'refusal', text }
          withResult.add(id)
          return NOTHING
        }
        if (type === 'complete') return withResult.delete(id) ? { kind: 'answer', id } : { kind: 'refusal', text }
        if (type === 'connection_ack') return WELCOME
        if (type === 'ping') return { kind: 'reply', text: '{"type":"pong"}' }
        return { kind: 'refusal', text }
      },
    }
  },
}
