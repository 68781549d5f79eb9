import type { PublicUser } from '../presence/model.ts'
import { disconnectUser, forgetUser, updateUser } from '../resolvers/service.ts'
import { builder, COST } from './builder.ts'
import { UserType } from './user.ts'

const DisconnectUserPayload = builder
  .objectRef<{ userId: string; sessionCount: number }>('DisconnectUserPayload')
  .implement({
    description: 'Result of `disconnectUser`.',
    fields: (t) => ({
      userId: t.exposeID('userId', { nullable: false, description: 'The user.' }),
      sessionCount: t.exposeInt('sessionCount', { nullable: false, description: 'How many sessions ended.' }),
    }),
  })

const ForgetUserPayload = builder.objectRef<{ userId: string; sessionCount: number }>('ForgetUserPayload').implement({
  description: 'Result of `forgetUser`.',
  fields: (t) => ({
    userId: t.exposeID('userId', { nullable: false, description: 'The user.' }),
    sessionCount: t.exposeInt('sessionCount', { nullable: false, description: 'How many sessions ended.' }),
  }),
})

const UpdateUserPayload = builder.objectRef<{ user: PublicUser }>('UpdateUserPayload').implement({
  description: 'Result of `updateUser`.',
  fields: (t) => ({ user: t.expose('user', { type: UserType, nullable: false, description: 'The user after it.' }) }),
})

builder.mutationFields((t) => ({
  disconnectUser: t.field({
    type: DisconnectUserPayload,
    nullable: false,
    description:
      'Ends all sessions of a user, closes their sockets, and refuses the tokens that they had. For tokens with the role `service`.',
    complexity: { field: COST.settingsWrite },
    args: { userId: t.arg.id({ required: true, description: 'The user.' }) },
    resolve: disconnectUser,
  }),
  forgetUser: t.field({
    type: ForgetUserPayload,
    nullable: false,
    description:
      'Erases a user: ends their sessions, closes their sockets, refuses the tokens that they had, and deletes their profile, settings and history. Others see a `LEAVE`. Send it again after `UNAVAILABLE`. For tokens with the role `service`.',
    complexity: { field: COST.settingsWrite },
    args: { userId: t.arg.id({ required: true, description: 'The user, seen before or not.' }) },
    resolve: forgetUser,
  }),
  updateUser: t.field({
    type: UpdateUserPayload,
    nullable: false,
    description: 'Sets the name and the picture of a user whose tokens carry none. For tokens with the role `service`.',
    complexity: { field: COST.settingsWrite },
    args: {
      userId: t.arg.id({ required: true, description: 'A user who was seen before.' }),
      name: t.arg.string({ description: '1 to 100 characters. Left out, it stays.' }),
      avatarUrl: t.arg.string({ description: 'An http or https address. Left out, it stays.' }),
    },
    resolve: updateUser,
  }),
}))
