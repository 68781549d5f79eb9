import { type HeartbeatModel, heartbeat, heartbeatSession } from '../resolvers/heartbeat.ts'
import { payloadViewer } from '../resolvers/viewer.ts'
import { builder, COST } from './builder.ts'
import { SessionType, ViewerType } from './viewer.ts'

const HeartbeatPayload = builder.objectRef<HeartbeatModel>('HeartbeatPayload').implement({
  description: 'Result of `heartbeat`.',
  fields: (t) => ({
    viewer: t.field({
      type: ViewerType,
      nullable: false,
      description: 'The signed-in user after it.',
      resolve: payloadViewer,
    }),
    session: t.field({
      type: SessionType,
      nullable: true,
      description:
        'The session that it kept alive; null where it counted for the user alone, or counted for nothing after `goOffline`.',
      resolve: heartbeatSession,
    }),
    expiresAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When the session ends unless another heartbeat comes; null while a socket holds it.',
      resolve: ({ session }) => session?.leaseEndsAtMs ?? null,
    }),
    nextHeartbeatInMs: t.exposeInt('nextHeartbeatInMs', {
      nullable: false,
      description: 'When to send the next one, in milliseconds.',
    }),
  }),
})

builder.mutationField('heartbeat', (t) =>
  t.field({
    type: HeartbeatPayload,
    nullable: false,
    description:
      'Proves that a session is alive and, unless `active` is false, that its user is there. Starts the session where it is not live.',
    args: {
      sessionId: t.arg.id({
        description:
          "A session of yours, a UUID. Left out: that of the header or extension `Rollcall-Session`, else the socket's own; over HTTP else the user's socket, else `default`.",
      }),
      active: t.arg.boolean({
        defaultValue: true,
        description: 'Set to false when the app is open but the person is idle.',
      }),
      device: t.arg.string({ description: 'What to call the device, at most 100 characters. Left out, it stays.' }),
      rooms: t.arg.idList({ description: 'Replaces the rooms of the session, at most 100. Left out, they stay.' }),
    },
    complexity: ({ rooms }) => ({ field: 1 + COST.room * (rooms?.length ?? 0) }),
    resolve: heartbeat,
  }),
)
