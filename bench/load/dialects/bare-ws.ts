/** The few messages of bench/peers/bare-ws.ts. */
import type { Change } from '../../peers/presence.ts'
import { type Ask, type Dialect, type Heard, isBeat, type Message, WELCOME } from '../dialect.ts'

type Received =
  | { readonly type: 'welcome' }
  | { readonly type: 'change'; readonly change: Change }
  | { readonly type: 'answer'; readonly id: number; readonly nextHeartbeatInMs?: number }

export const bareWs: Dialect = {
  path: '/',
  subprotocol: null,

  speaker({ token }) {
    let lastId = 0

    function send(type: string, fields: object): Message {
      lastId += 1
      return { texts: [JSON.stringify({ type, id: lastId, ...fields })], answeredBy: String(lastId) }
    }

    return {
      hello: JSON.stringify({ type: 'hello', token }),

      say(ask: Ask): Message {
        if (ask.kind === 'heartbeat' && ask.passiveSessionId === undefined) return send('ask', { what: 'heartbeat' })
        if (ask.kind === 'join' || ask.kind === 'leave') return send('ask', { what: ask.kind, room: ask.room })
        if (ask.kind === 'watch') return send('follow', { userIds: ask.userIds })
        if (ask.kind === 'follow' && ask.room !== null) return send('follow', { room: ask.room })
        throw new Error(`The peers do not do ${JSON.stringify(ask)}.`)
      },

      hear(text): Heard {
        const message = JSON.parse(text) as Received
        if (message.type === 'change') return { kind: 'change', change: message.change }
        if (message.type === 'welcome') return WELCOME
        if (message.nextHeartbeatInMs === undefined || isBeat(message)) {
          return { kind: 'answer', id: String(message.id) }
        }
        return { kind: 'refusal', text }
      },
    }
  },
}
