import type { PublicUser } from '../presence/model.ts'
import { user, users } from '../resolvers/users.ts'
import { builder, COST, IMMUTABLE } from './builder.ts'
import { PresenceStatusEnum } from './enums.ts'

const NodeType = builder.interfaceRef<PublicUser>('Node').implement({
  description: 'What Relay can read again by its id alone: a user.',
  resolveType: () => 'User',
  fields: (t) => ({
    id: t.exposeID('id', { nullable: false, description: 'An id that no other node has.' }),
  }),
})

export const UserType = builder.objectRef<PublicUser>('User').implement({
  description: 'A user as everyone sees them: the same for every viewer. What is personal is in `Viewer`.',
  extensions: IMMUTABLE,
  interfaces: [NodeType],
  fields: (t) => ({
    id: t.exposeID('id', { nullable: false, description: "The user's id: the `sub` of their token." }),
    name: t.exposeString('name', {
      nullable: false,
      description: 'The display name; the id where none was ever given.',
    }),
    avatarUrl: t.exposeString('avatarUrl', {
      nullable: true,
      description: 'The address of a picture.',
      complexity: { field: COST.picture },
    }),
    isOnline: t.exposeBoolean('isOnline', {
      nullable: false,
      description: 'Whether the user is there: `status` is not `OFFLINE`.',
    }),
    status: t.expose('status', { type: PresenceStatusEnum, nullable: false, description: 'How present the user is.' }),
    statusMessage: t.exposeString('statusMessage', {
      nullable: true,
      description: 'What the user says about their status, at most 140 characters. Null while they are offline.',
    }),
    onlineSince: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'Since when the user has been online without a break. Null while they are offline.',
      resolve: ({ onlineSinceMs }) => onlineSinceMs,
    }),
    lastActive: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When the user last did something. Null where they never did, or hide it. It changes without a `PresenceChange`, and with Redis up to `ACTIVITY_LAG` after the fact, unless the status changes or the user leaves.',
      resolve: ({ lastActiveAtMs }) => lastActiveAtMs,
    }),
    lastSeen: t.field({
      type: 'DateTime',
      nullable: true,
      description:
        'When others last saw the user online: the moment when the user went offline, which is `at` of that `LEAVE`. Hiding looks like going offline. Null while the user is online, where they never were, where it is not known, and where they hide `lastActive`. It changes with a `JOIN` or a `LEAVE`, and with what they choose about `lastActive`.',
      resolve: ({ lastSeenAtMs }) => lastSeenAtMs,
    }),
  }),
})

builder.queryFields((t) => ({
  node: t.field({
    type: NodeType,
    nullable: true,
    description: 'The same as `user`, for Relay, which reads a user again by this name.',
    args: { id: t.arg.id({ required: true, description: 'The id of a user, at most 128 bytes.' }) },
    resolve: user,
  }),
  user: t.field({
    type: UserType,
    nullable: true,
    description: 'One user by id, online or not. Null where nobody with that id was ever seen.',
    args: { id: t.arg.id({ required: true, description: 'At most 128 bytes.' }) },
    resolve: user,
  }),
  users: t.field({
    type: [UserType],
    nullable: { list: false, items: true },
    description: 'Users by their ids, in the order asked, null where nobody with that id was ever seen.',
    args: { ids: t.arg.idList({ required: true, description: 'At most 1,000 ids.' }) },
    complexity: ({ ids }) => ({ field: 1, multiplier: Math.max(1, ids.length) }),
    resolve: users,
  }),
}))
