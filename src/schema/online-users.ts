import type { PublicUser } from '../presence/model.ts'
import { formatPosition } from '../presence/position.ts'
import type { Page } from '../presence/store.ts'
import { cursorOf, DEFAULT_PAGE_SIZE, onlineCount, onlineUsers } from '../resolvers/online-users.ts'
import { builder, IMMUTABLE } from './builder.ts'
import { PageInfoType, pageInfoOf } from './page-info.ts'
import { UserType } from './user.ts'

const OnlineUsersEdgeType = builder.objectRef<PublicUser>('OnlineUsersEdge').implement({
  description: 'One user on a page.',
  extensions: IMMUTABLE,
  fields: (t) => ({
    cursor: t.string({
      nullable: false,
      description: 'The place of the user in the list.',
      resolve: ({ id }) => cursorOf(id),
    }),
    node: t.field({ type: UserType, nullable: false, description: 'The user.', resolve: (user) => user }),
  }),
})

const OnlineUsersConnectionType = builder.objectRef<Page>('OnlineUsersConnection').implement({
  description: 'A page of the users who are online, ordered by id.',
  fields: (t) => ({
    edges: t.field({
      type: [OnlineUsersEdgeType],
      nullable: false,
      description: 'The users with their cursors.',
      complexity: { multiplier: 1 },
      resolve: ({ users }) => users as PublicUser[],
    }),
    nodes: t.field({
      type: [UserType],
      nullable: false,
      description: 'The users.',
      complexity: { multiplier: 1 },
      resolve: ({ users }) => users as PublicUser[],
    }),
    pageInfo: t.field({
      type: PageInfoType,
      nullable: false,
      description: 'Where the page stands.',
      resolve: ({ users, hasMore }) => pageInfoOf(hasMore, [users.at(0), users.at(-1)].flatMap(cursorsOf)),
    }),
    totalCount: t.exposeInt('totalCount', {
      nullable: false,
      description: 'How many are online in all, or in the room.',
    }),
    position: t.string({
      nullable: false,
      description:
        'The place in the change log at which the page was read. Read it with the first page, read the others, then follow `presenceChanged` after it.',
      resolve: ({ position }) => formatPosition(position),
    }),
  }),
})

builder.queryFields((t) => ({
  onlineUsers: t.field({
    type: OnlineUsersConnectionType,
    nullable: false,
    description: 'Who is online, page by page, ordered by id so that pages hold still while people come and go.',
    args: {
      room: t.arg.id({ description: 'Only those in this room.' }),
      first: t.arg.int({ defaultValue: DEFAULT_PAGE_SIZE, description: 'How many, 1 to 1,000.' }),
      after: t.arg.string({ description: 'The `endCursor` of the page before.' }),
    },
    complexity: ({ first }) => ({ field: 1, multiplier: Math.max(1, first ?? DEFAULT_PAGE_SIZE) }),
    resolve: onlineUsers,
  }),
  onlineCount: t.int({
    nullable: false,
    description: 'How many users are online, in all or in a room.',
    args: { room: t.arg.id({ description: 'Only those in this room.' }) },
    resolve: onlineCount,
  }),
}))

function cursorsOf(user: PublicUser | undefined): string[] {
  return user === undefined ? [] : [cursorOf(user.id)]
}
