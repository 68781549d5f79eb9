/**
 * graphql-ws as its documentation has it: a schema, `useServer`, and a pub/sub of one's own: Node's emitter, with
 * a repeater for each subscriber. Each has an execution of its own.
 */
import { EventEmitter } from 'node:events'
import { Repeater } from '@repeaterjs/repeater'
import { buildSchema } from 'graphql'
import type { ServerOptions } from 'graphql-ws'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'
import { listen, verify } from './listen.ts'
import { type Change, createPresence, type Member } from './presence.ts'
import { TYPES } from './schema.ts'

const emitter = new EventEmitter().setMaxListeners(0)
const presence = createPresence((change) => void emitter.emit('watched', change))

type Event = { readonly presenceChanged: Change }

/** @param isMeant - whether the subscriber asked for it */
function changes(topic: string, isMeant: (change: Change) => boolean): AsyncIterable<Event> {
  return new Repeater(async (push, stop) => {
    const hear = (change: Change) => {
      if (isMeant(change)) void push({ presenceChanged: change })
    }
    emitter.on(topic, hear)
    await stop
    emitter.off(topic, hear)
  })
}

type Extra = { member: Member }

const roots = {
  mutation: {
    joinRoom: ({ room }: { room: string }, { member }: Extra) => told(room, member, presence.join(member, room)),
    leaveRoom: ({ room }: { room: string }, { member }: Extra) => told(room, member, presence.leave(member, room)),
    heartbeat: (_args: unknown, { member }: Extra) => presence.beat(member),
  },
  subscription: {
    presenceChanged({ room, userIds }: { room?: string; userIds?: string[] }) {
      if (room !== undefined) return changes(`room:${room}`, () => true)
      const watched = new Set(userIds)
      return changes('watched', ({ user }) => watched.has(user.id))
    },
  },
} satisfies ServerOptions['roots']

function told(room: string, member: Member, change: Change | null) {
  if (change !== null) emitter.emit(`room:${room}`, change)
  return { session: { id: member.id } }
}

const server = new WebSocketServer({ server: listen(), path: '/graphql', perMessageDeflate: false })

// biome-ignore lint/correctness/useHookAtTopLevel: graphql-ws knows no React.
useServer<Record<string, unknown>, Extra>(
  {
    schema: buildSchema(TYPES),
    roots,
    async onConnect({ connectionParams, extra }) {
      extra.member = presence.enter(await verify(connectionParams?.authorization))
    },
    onDisconnect({ extra }) {
      if (extra.member !== undefined) presence.exit(extra.member)
    },
    context: ({ extra }) => extra,
  },
  server,
)
