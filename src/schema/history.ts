import type { HiddenSpan, HistoryPage, PastSession, ShownSession } from '../presence/history.ts'
import { historyCursorOf, presenceHistory, viewerHistory } from '../resolvers/history.ts'
import { DEFAULT_PAGE_SIZE } from '../resolvers/online-users.ts'
import { builder, COST } from './builder.ts'
import { EndReasonEnum } from './enums.ts'
import { PageInfoType, pageInfoOf } from './page-info.ts'
import { ViewerType } from './viewer.ts'

const ShownSessionType = builder.objectRef<ShownSession>('ShownSession').implement({
  description:
    'A time in which everyone could see a session of a user. What the user hid is left out, as if they had gone offline.',
  fields: (t) => ({
    startedAt: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When it started.',
      resolve: ({ startedAtMs }) => startedAtMs,
    }),
    endedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it is open.',
      resolve: ({ endedAtMs }) => endedAtMs,
    }),
    endReason: t.expose('endReason', {
      type: EndReasonEnum,
      nullable: true,
      description: 'Why it ended; null while it is open.',
    }),
    device: t.exposeString('device', { nullable: true, description: 'What the client called the device.' }),
  }),
})

const HiddenSpanType = builder.objectRef<HiddenSpan>('HiddenSpan').implement({
  description: 'A time in which the user hid.',
  fields: (t) => ({
    startedAt: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When it began within the session.',
      resolve: ({ startedAtMs }) => startedAtMs,
    }),
    endedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it ended within the session; null while it goes on.',
      resolve: ({ endedAtMs }) => endedAtMs,
    }),
  }),
})

const PastSessionType = builder.objectRef<PastSession>('PastSession').implement({
  description: 'A session of the signed-in user, past or open, as only they see it.',
  fields: (t) => ({
    // Clients keep one record for an id: those of one session id would all show the same times.
    id: t.id({ nullable: false, description: 'An id that no other has.', resolve: ({ place }) => place.id }),
    sessionId: t.exposeID('sessionId', {
      nullable: false,
      description: 'The id that the client chose. A session that started several times is here several times.',
    }),
    startedAt: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When it started.',
      resolve: ({ startedAtMs }) => startedAtMs,
    }),
    endedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it is open.',
      resolve: ({ endedAtMs }) => endedAtMs,
    }),
    endReason: t.expose('endReason', {
      type: EndReasonEnum,
      nullable: true,
      description: 'Why it ended; null while it is open.',
    }),
    lastActive: t.field({
      type: 'DateTime',
      nullable: false,
      description: 'When the user last did something in it.',
      resolve: ({ lastActiveAtMs }) => lastActiveAtMs,
    }),
    device: t.exposeString('device', { nullable: true, description: 'What the client called the device.' }),
    hiddenSpans: t.field({
      type: [HiddenSpanType],
      nullable: true,
      description: 'When the user hid during it. Null for a session from before Rollcall kept that.',
      complexity: { multiplier: 2 },
      resolve: ({ hiddenSpans }) => (hiddenSpans === null ? null : [...hiddenSpans]),
    }),
  }),
})

const ShownSessionConnection = connectionOf<ShownSession>('ShownSession', ShownSessionType)
const PastSessionConnection = connectionOf<PastSession>('PastSession', PastSessionType)

/** A Relay connection to sessions. */
function connectionOf<Session extends ShownSession>(
  name: 'ShownSession' | 'PastSession',
  type: typeof ShownSessionType | typeof PastSessionType,
) {
  const node = type as typeof ShownSessionType
  const edge = builder.objectRef<Session>(`${name}Edge`).implement({
    description: 'One session on a page.',
    fields: (t) => ({
      cursor: t.string({
        nullable: false,
        description: 'The place of the session in the history.',
        resolve: ({ place }) => historyCursorOf(place),
      }),
      node: t.field({ type: node, nullable: false, description: 'The session.', resolve: (session) => session }),
    }),
  })
  return builder.objectRef<HistoryPage<Session>>(`${name}Connection`).implement({
    description: 'A page of the history, the session that started last first.',
    fields: (t) => ({
      edges: t.field({
        type: [edge],
        nullable: false,
        description: 'The sessions with their cursors.',
        complexity: { multiplier: 1 },
        resolve: ({ sessions }) => [...sessions],
      }),
      nodes: t.field({
        type: [node],
        nullable: false,
        description: 'The sessions.',
        complexity: { multiplier: 1 },
        resolve: ({ sessions }): ShownSession[] => [...sessions],
      }),
      pageInfo: t.field({
        type: PageInfoType,
        nullable: false,
        description: 'Where the page stands.',
        resolve: ({ sessions, hasMore }) =>
          pageInfoOf(
            hasMore,
            sessions.map(({ place }) => historyCursorOf(place)),
          ),
      }),
    }),
  })
}

const FROM = 'Only sessions that were open at this moment or later.'
const TO = 'Only sessions that started before this moment.'
const FIRST = 'How many, 1 to 1,000.'
const AFTER = 'The `endCursor` of the page before.'

builder.queryField('presenceHistory', (t) =>
  t.field({
    type: ShownSessionConnection,
    nullable: false,
    description:
      'The sessions of a user as everyone could see them, as far back as `HISTORY_RETENTION`. Empty for a user who was never seen. For tokens with the role `service`.',
    args: {
      userId: t.arg.id({ required: true, description: 'The user.' }),
      from: t.arg({ type: 'DateTime', description: FROM }),
      to: t.arg({ type: 'DateTime', description: TO }),
      first: t.arg.int({ defaultValue: DEFAULT_PAGE_SIZE, description: FIRST }),
      after: t.arg.string({ description: AFTER }),
    },
    complexity: ({ first }) => ({ field: COST.history, multiplier: Math.max(1, first ?? DEFAULT_PAGE_SIZE) }),
    resolve: presenceHistory,
  }),
)

builder.objectField(ViewerType, 'history', (t) =>
  t.field({
    type: PastSessionConnection,
    nullable: false,
    description: 'Their sessions, as far back as `HISTORY_RETENTION`, with the times in which they hid.',
    args: {
      from: t.arg({ type: 'DateTime', description: FROM }),
      to: t.arg({ type: 'DateTime', description: TO }),
      first: t.arg.int({ defaultValue: DEFAULT_PAGE_SIZE, description: FIRST }),
      after: t.arg.string({ description: AFTER }),
    },
    complexity: ({ first }) => ({ field: COST.history, multiplier: Math.max(1, first ?? DEFAULT_PAGE_SIZE) }),
    resolve: viewerHistory,
  }),
)
