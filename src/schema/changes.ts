import type { ChangeEvent, CountEvent } from '../presence/feed.ts'
import { formatPosition, type Position } from '../presence/position.ts'
import { subscribeOnlineCountChanged } from '../resolvers/online-count-changed.ts'
import { position, subscribePositionAdvanced } from '../resolvers/position.ts'
import { subscribePresenceChanged } from '../resolvers/presence-changed.ts'
import { builder, COST, SAME_FOR_ALL } from './builder.ts'
import { PresenceChangeKindEnum, PresenceStatusEnum } from './enums.ts'
import { UserType } from './user.ts'

const PresenceChangeType = builder.objectRef<ChangeEvent>('PresenceChange').implement({
  description: 'One step of one user that others see.',
  extensions: SAME_FOR_ALL,
  fields: (t) => ({
    kind: t.field({
      type: PresenceChangeKindEnum,
      nullable: false,
      description: 'What to do with the list.',
      resolve: ({ change }) => change.kind,
    }),
    user: t.field({
      type: UserType,
      nullable: false,
      description: 'The user after it.',
      resolve: ({ change }) => change.user,
    }),
    previousStatus: t.field({
      type: PresenceStatusEnum,
      nullable: false,
      description: "The user's status before it.",
      resolve: ({ change }) => change.previousStatus,
    }),
    room: t.id({
      nullable: true,
      description: "The subscription's room, null where it has none.",
      resolve: ({ change }) => change.room,
    }),
    position: t.string({
      nullable: false,
      description:
        'The place in the change log. Keep the last one: `after` it, a new subscription goes on without a gap.',
      resolve: (event) => formatPosition(event.position),
    }),
    at: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When it happened.',
      resolve: ({ change }) => change.atMs,
    }),
  }),
})

const OnlineCountType = builder.objectRef<CountEvent>('OnlineCount').implement({
  description: 'How many users are online.',
  extensions: SAME_FOR_ALL,
  fields: (t) => ({
    room: t.exposeID('room', { nullable: true, description: 'In this room; null: in all.' }),
    count: t.exposeInt('count', { nullable: false, description: 'The number.' }),
  }),
})

builder.queryField('position', (t) =>
  t.string({
    nullable: false,
    description: 'The place in the change log now: not later than anything else in the same answer.',
    resolve: position,
  }),
)

builder.subscriptionFields((t) => ({
  presenceChanged: t.field({
    type: PresenceChangeType,
    nullable: false,
    description:
      'Who comes, goes and changes: everyone, those in a room, or those of a list. After a position nothing is missed: what happened since then comes first, merged to one change a user.',
    args: {
      room: t.arg.id({ description: 'Only what happens in this room. Not together with `userIds`.' }),
      userIds: t.arg.idList({ description: 'Only these users, at most 1,000. Not together with `room`.' }),
      after: t.arg.string({
        description: 'A position: of a page, or of the last change that was seen. Left out: from now on.',
      }),
    },
    complexity: ({ userIds }) => ({ field: COST.subscription + (userIds?.length ?? 0) }),
    subscribe: subscribePresenceChanged,
    resolve: (event) => event,
  }),
  onlineCountChanged: t.field({
    type: OnlineCountType,
    nullable: false,
    description: 'How many are online: now, and whenever it changes, at most once a second.',
    args: { room: t.arg.id({ description: 'Only those in this room.' }) },
    complexity: { field: COST.subscription },
    subscribe: subscribeOnlineCountChanged,
    resolve: (event) => event,
  }),
  positionAdvanced: t.string({
    nullable: false,
    description:
      "Once this socket's subscriptions have got what they missed, and then every 10 seconds: all that they had to get up to this position has been written before it. No word of it for 25 seconds means that what is shown is stale. As an event stream of its own it says only how far the log is: the positions to go on after are the `id`s of the stream that brings the changes.",
    complexity: { field: COST.subscription },
    subscribe: subscribePositionAdvanced,
    resolve: (reached: Position) => formatPosition(reached),
  }),
}))
