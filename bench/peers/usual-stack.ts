/**
 * The stack that a GraphQL server in TypeScript is usually made of: Pothos for the schema, Yoga with its own pub/sub,
 * and graphql-ws by the recipe of Yoga's documentation. Each subscriber of a change has an execution of its own.
 */
import SchemaBuilder from '@pothos/core'
import type { ExecutionArgs } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { createPubSub, createYoga, filter, pipe } from 'graphql-yoga'
import { WebSocketServer } from 'ws'
import { listen, verify } from './listen.ts'
import { type Beat, type Change, createPresence, type Member } from './presence.ts'

interface Context {
  readonly extra: { member: Member }
}

const pubSub = createPubSub<{ room: [room: string, change: Change]; watched: [change: Change] }>()
const presence = createPresence((change) => pubSub.publish('watched', change))

const builder = new SchemaBuilder<{ Context: Context }>({})
const KindEnum = builder.enumType('PresenceChangeKind', { values: ['JOIN', 'UPDATE', 'LEAVE'] as const })
const StatusEnum = builder.enumType('PresenceStatus', { values: ['ONLINE', 'AWAY', 'BUSY', 'OFFLINE'] as const })

const UserType = builder.objectRef<Change['user']>('User').implement({
  fields: (t) => ({
    id: t.exposeID('id', { nullable: false }),
    name: t.exposeString('name', { nullable: false }),
    isOnline: t.exposeBoolean('isOnline', { nullable: false }),
    status: t.expose('status', { type: StatusEnum, nullable: false }),
    statusMessage: t.exposeString('statusMessage', { nullable: true }),
    onlineSince: t.exposeString('onlineSince', { nullable: true }),
    lastActive: t.exposeString('lastActive', { nullable: true }),
  }),
})

const ChangeType = builder.objectRef<Change>('PresenceChange').implement({
  fields: (t) => ({
    kind: t.expose('kind', { type: KindEnum, nullable: false }),
    position: t.exposeString('position', { nullable: false }),
    at: t.exposeString('at', { nullable: false }),
    room: t.exposeID('room', { nullable: true }),
    previousStatus: t.expose('previousStatus', { type: StatusEnum, nullable: false }),
    user: t.expose('user', { type: UserType, nullable: false }),
  }),
})

const SessionType = builder.objectRef<Pick<Member, 'id'>>('Session').implement({
  fields: (t) => ({ id: t.exposeID('id', { nullable: false }) }),
})

const RoomPayloadType = builder.objectRef<{ session: Pick<Member, 'id'> }>('RoomPayload').implement({
  fields: (t) => ({ session: t.expose('session', { type: SessionType, nullable: false }) }),
})

const HeartbeatPayloadType = builder.objectRef<Beat>('HeartbeatPayload').implement({
  fields: (t) => ({
    expiresAt: t.exposeString('expiresAt', { nullable: true }),
    nextHeartbeatInMs: t.exposeInt('nextHeartbeatInMs', { nullable: false }),
  }),
})

builder.queryType({ fields: (t) => ({ online: t.boolean({ nullable: false, resolve: () => true }) }) })

builder.mutationType({
  fields: (t) => ({
    joinRoom: t.field({
      type: RoomPayloadType,
      nullable: false,
      args: { room: t.arg.id({ required: true }) },
      resolve: (_root, { room }, { extra }) => told(String(room), extra.member, presence.join),
    }),
    leaveRoom: t.field({
      type: RoomPayloadType,
      nullable: false,
      args: { room: t.arg.id({ required: true }) },
      resolve: (_root, { room }, { extra }) => told(String(room), extra.member, presence.leave),
    }),
    heartbeat: t.field({
      type: HeartbeatPayloadType,
      nullable: false,
      resolve: (_root, _args, { extra }) => presence.beat(extra.member),
    }),
  }),
})

function told(room: string, member: Member, step: (member: Member, room: string) => Change | null) {
  const change = step(member, room)
  if (change !== null) pubSub.publish('room', room, change)
  return { session: { id: member.id } }
}

builder.subscriptionType({
  fields: (t) => ({
    presenceChanged: t.field({
      type: ChangeType,
      nullable: false,
      args: { room: t.arg.id(), userIds: t.arg.idList() },
      subscribe(_root, { room, userIds }) {
        if (typeof room === 'string') return pubSub.subscribe('room', room)
        const watched = new Set(userIds?.map(String))
        return pipe(
          pubSub.subscribe('watched'),
          filter(({ user }) => watched.has(user.id)),
        )
      },
      resolve: (change) => change,
    }),
  }),
})

const yoga = createYoga<Context>({ schema: builder.toSchema() })
const server = new WebSocketServer({ server: listen(yoga), path: yoga.graphqlEndpoint, perMessageDeflate: false })

/** What Yoga's plugins made of the two functions, on its way to graphql-ws. */
interface Enveloped {
  readonly execute: (args: ExecutionArgs) => ReturnType<typeof import('graphql').execute>
  readonly subscribe: (args: ExecutionArgs) => ReturnType<typeof import('graphql').subscribe>
}

// biome-ignore lint/correctness/useHookAtTopLevel: graphql-ws knows no React.
useServer<Record<string, unknown>, Context['extra']>(
  {
    async onConnect({ connectionParams, extra }) {
      extra.member = presence.enter(await verify(connectionParams?.authorization))
    },
    onDisconnect({ extra }) {
      if (extra.member !== undefined) presence.exit(extra.member)
    },
    execute: (args) => (args.rootValue as Enveloped).execute(args),
    subscribe: (args) => (args.rootValue as Enveloped).subscribe(args),
    async onSubscribe(context, _id, params) {
      const { schema, execute, subscribe, contextFactory, parse, validate } = yoga.getEnveloped({
        ...context,
        req: context.extra.request,
        socket: context.extra.socket,
        params,
      })
      const args = {
        schema,
        operationName: params.operationName,
        document: parse(params.query),
        variableValues: params.variables,
        contextValue: await contextFactory(),
        rootValue: { execute, subscribe },
      }
      const errors = validate(args.schema, args.document)
      return errors.length > 0 ? errors : args
    },
  },
  server,
)
