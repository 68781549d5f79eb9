/**
 * Engine.IO 4 and Socket.IO 5 as text over a WebSocket, as socket.io-client speaks them: a digit for the kind of the
 * packet, a digit for the kind of the message, the id of the acknowledgement, and JSON.
 */
import type { Change } from '../../peers/presence.ts'
import { type Ask, type Dialect, type Heard, isBeat, type Message, NOTHING, WELCOME } from '../dialect.ts'

const ACKNOWLEDGEMENT = /^43(\d+)/

export const socketIo: Dialect = {
  path: '/socket.io/?EIO=4&transport=websocket',
  subprotocol: null,

  speaker({ token }) {
    let lastId = -1

    function emit(event: string, ...args: readonly unknown[]): Message {
      lastId += 1
      return { texts: [`42${lastId}${JSON.stringify([event, ...args])}`], answeredBy: String(lastId) }
    }

    return {
      hello: null,

      say(ask: Ask): Message {
        if (ask.kind === 'heartbeat' && ask.passiveSessionId === undefined) return emit('heartbeat')
        if (ask.kind === 'watch') return emit('watch', ask.userIds)
        if (ask.kind === 'join' || ask.kind === 'leave' || (ask.kind === 'follow' && ask.room !== null)) {
          return emit(ask.kind, ask.room)
        }
        throw new Error(`The peers do not do ${JSON.stringify(ask)}.`)
      },

      hear(text): Heard {
        if (text.startsWith('42')) {
          const [event, change] = JSON.parse(text.slice(2)) as [string, Change]
          return event === 'presenceChanged' ? { kind: 'change', change } : { kind: 'refusal', text }
        }
        const id = ACKNOWLEDGEMENT.exec(text)?.[1]
        if (id !== undefined) {
          const [beat] = JSON.parse(text.slice(2 + id.length)) as unknown[]
          return beat === undefined || isBeat(beat) ? { kind: 'answer', id } : { kind: 'refusal', text }
        }
        if (text === '2') return { kind: 'reply', text: '3' }
        if (text.startsWith('0')) return { kind: 'reply', text: `40${JSON.stringify({ token })}` }
        if (text.startsWith('40')) return WELCOME
        return text === '6' ? NOTHING : { kind: 'refusal', text }
      },
    }
  },
}
