import { joinRoom, leaveRoom, type RoomPayload } from '../resolvers/rooms.ts'
import { builder, COST } from './builder.ts'
import { SESSION_ID, SessionType } from './viewer.ts'

const JoinRoomPayload = builder.objectRef<RoomPayload>('JoinRoomPayload').implement({
  description: 'Result of `joinRoom`.',
  fields: (t) => ({
    session: t.expose('session', { type: SessionType, nullable: false, description: 'The session, now in the room.' }),
  }),
})

const LeaveRoomPayload = builder.objectRef<RoomPayload>('LeaveRoomPayload').implement({
  description: 'Result of `leaveRoom`.',
  fields: (t) => ({
    session: t.expose('session', {
      type: SessionType,
      nullable: false,
      description: 'The session, no longer in the room.',
    }),
  }),
})

builder.mutationFields((t) => ({
  joinRoom: t.field({
    type: JoinRoomPayload,
    nullable: false,
    description: 'Puts a session into a room. A user is in a room while one of their sessions is.',
    complexity: { field: COST.change },
    args: {
      room: t.arg.id({
        required: true,
        description: 'The room: 1 to 128 bytes. Parts between colons can be allowed by pattern.',
      }),
      sessionId: t.arg.id({ description: SESSION_ID }),
    },
    resolve: joinRoom,
  }),
  leaveRoom: t.field({
    type: LeaveRoomPayload,
    nullable: false,
    description: 'Takes a session out of a room. Leaving a room that it is not in does nothing.',
    complexity: { field: COST.change },
    args: {
      room: t.arg.id({ required: true, description: 'The room.' }),
      sessionId: t.arg.id({ description: SESSION_ID }),
    },
    resolve: leaveRoom,
  }),
}))
