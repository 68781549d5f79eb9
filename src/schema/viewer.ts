import { type SessionModel, sessions, type ViewerModel, viewer, viewerIdOf } from '../resolvers/viewer.ts'
import { subscribeViewerChanged } from '../resolvers/viewer-changed.ts'
import { builder, COST } from './builder.ts'
import { PresenceStatusEnum, StatusChoiceEnum, VisibilityEnum } from './enums.ts'
import { UserType } from './user.ts'

/** What the argument `sessionId` of most mutations means. */
export const SESSION_ID =
  "A session of yours. Left out: that of the header `Rollcall-Session`, or over a socket of the operation's extension of that name; else the socket's own, else `default`."

export const SessionType = builder.objectRef<SessionModel>('Session').implement({
  description: 'One tab or device of the signed-in user.',
  fields: (t) => ({
    id: t.id({
      nullable: false,
      description: 'The id that the client chose and keeps across reloads.',
      resolve: ({ view }) => view.id,
    }),
    device: t.string({
      nullable: true,
      description: 'What the client calls the device.',
      resolve: ({ view }) => view.device,
    }),
    rooms: t.field({
      type: ['ID'],
      nullable: false,
      description: 'The rooms that the session is in.',
      complexity: { field: COST.rooms },
      resolve: ({ view }) => [...view.rooms],
    }),
    startedAt: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When it started.',
      resolve: ({ view }) => view.startedAtMs,
    }),
    lastActive: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When the user last did something in it.',
      resolve: ({ view }) => view.lastActiveAtMs,
    }),
    isAttached: t.boolean({
      nullable: false,
      description: 'Whether it has a socket just now.',
      resolve: ({ view }) => view.fence !== null,
    }),
    isCurrent: t.exposeBoolean('isCurrent', {
      nullable: false,
      description:
        "Whether the request came through it: that of the header or extension `Rollcall-Session`, else the socket's own.",
    }),
  }),
})

export const ViewerType = builder.objectRef<ViewerModel>('Viewer').implement({
  description: 'The signed-in user, as only they see it: it tells the truth to who hides, too.',
  fields: (t) => ({
    id: t.id({
      nullable: false,
      description: "The id of this view, for caches of clients. The user's own id is in `user`.",
      resolve: ({ state }) => viewerIdOf(state.user.id),
    }),
    user: t.field({
      type: UserType,
      nullable: false,
      description: 'The user as everyone else sees them.',
      resolve: ({ state }) => state.user,
    }),
    isOnline: t.boolean({
      nullable: false,
      description: 'Whether the user is there, hidden or not.',
      resolve: ({ state }) => state.isOnline,
    }),
    status: t.field({
      type: PresenceStatusEnum,
      nullable: false,
      description: 'How present the user is, hidden or not.',
      resolve: ({ state }) => state.status,
    }),
    statusChoice: t.field({
      type: StatusChoiceEnum,
      nullable: false,
      description: 'What they chose.',
      resolve: ({ state }) => state.statusChoice,
    }),
    statusMessage: t.string({
      nullable: true,
      description: 'The message that others see while the user is online.',
      resolve: ({ state }) => state.statusMessage,
    }),
    lastActive: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When the user last did something.',
      resolve: ({ state }) => state.lastActiveAtMs,
    }),
    visibility: t.field({
      type: VisibilityEnum,
      nullable: false,
      description: 'Who may see that they are online.',
      resolve: ({ state }) => state.visibility,
    }),
    hideLastActive: t.boolean({
      nullable: false,
      description: 'Whether others see no `lastActive` and no `lastSeen`.',
      resolve: ({ state }) => state.hideLastActive,
    }),
    sessions: t.field({
      type: [SessionType],
      nullable: false,
      description: 'Their live sessions.',
      complexity: { multiplier: COST.sessions },
      resolve: sessions,
    }),
  }),
})

builder.queryField('viewer', (t) =>
  t.field({ type: ViewerType, nullable: false, description: 'The signed-in user.', resolve: viewer }),
)

builder.subscriptionField('viewerChanged', (t) =>
  t.field({
    type: ViewerType,
    nullable: false,
    description:
      'The signed-in user whenever something of it changed, in any tab: at most once a second, and not for `lastActive` alone.',
    complexity: { field: COST.subscription },
    subscribe: subscribeViewerChanged,
    resolve: viewer,
  }),
)
