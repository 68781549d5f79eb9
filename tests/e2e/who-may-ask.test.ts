/**
 * Every field of the schema has a rule of who may ask it, and keeps it. A new field without a row here fails: say who
 * may ask it before anybody can.
 */
import { randomUUID } from 'node:crypto'
import { getNamedType, isObjectType } from 'graphql'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { schema } from '../../src/schema/index.ts'
import { type Answer, closeTabs, openTab, post, type Tab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'

interface Case {
  readonly ask: string
  readonly variables?: Record<string, unknown>
}

type Rule =
  /** For every token, about nobody. */
  | { readonly rule: 'token'; readonly own: Case }
  /** About the caller alone. `others`: what it says of a session of somebody else, whose code is the answer. */
  | {
      readonly rule: 'self'
      readonly own: Case
      readonly others?: Case
      readonly says?: string | null
      readonly refused?: Case
    }
  /** About all users, or those in a room: what the token's rooms and `everyone` allow. */
  | { readonly rule: 'audience'; readonly own: Case; readonly refused: readonly Case[] }
  /** About users by their ids: `everyone`, or the caller's own id. */
  | { readonly rule: 'users'; readonly own: Case; readonly refused: readonly Case[] }
  /** For tokens with the role `service`. */
  | { readonly rule: 'service'; readonly own: Case }

/** Carol may see and enter `team:*` and nobody else; Bob has a session of his own. */
const RULES: Readonly<Record<string, Rule>> = {
  'Query.viewer': { rule: 'self', own: { ask: '{ viewer { id } }' } },
  'Query.position': { rule: 'token', own: { ask: '{ position }' } },
  'Query.user': {
    rule: 'users',
    own: { ask: '{ user(id: "carol") { id } }' },
    refused: [{ ask: '{ user(id: "bob") { id } }' }, { ask: '{ user(id: "nobody-at-all") { id } }' }],
  },
  'Query.node': {
    rule: 'users',
    own: { ask: '{ node(id: "carol") { id } }' },
    refused: [{ ask: '{ node(id: "bob") { id } }' }, { ask: '{ node(id: "viewer:carol") { id } }' }],
  },
  'Query.users': {
    rule: 'users',
    own: { ask: '{ users(ids: ["carol"]) { id } }' },
    refused: [{ ask: '{ users(ids: ["bob"]) { id } }' }, { ask: '{ users(ids: ["carol", "bob"]) { id } }' }],
  },
  'Query.onlineUsers': {
    rule: 'audience',
    own: { ask: '{ onlineUsers(room: "team:one") { totalCount nodes { id } } }' },
    refused: [
      { ask: '{ onlineUsers { totalCount } }' },
      { ask: '{ onlineUsers { position } }' },
      { ask: '{ onlineUsers(room: "hall") { nodes { id } } }' },
      { ask: '{ onlineUsers(room: "team:one:two") { nodes { id } } }' },
    ],
  },
  'Query.onlineCount': {
    rule: 'audience',
    own: { ask: '{ onlineCount(room: "team:one") }' },
    refused: [{ ask: '{ onlineCount }' }, { ask: '{ onlineCount(room: "hall") }' }],
  },

  'Query.presenceHistory': {
    rule: 'service',
    own: { ask: '{ presenceHistory(userId: "carol") { nodes { startedAt } } }' },
  },

  'Mutation.heartbeat': {
    rule: 'self',
    own: { ask: 'mutation { heartbeat { viewer { id } } }' },
    refused: { ask: 'mutation { heartbeat(rooms: ["team:one", "hall"]) { viewer { id } } }' },
    // Sessions are named within their user: it is another one, of Carol's.
    others: { ask: 'mutation ($id: ID) { heartbeat(sessionId: $id) { viewer { id } } }' },
    says: null,
  },
  'Mutation.joinRoom': {
    rule: 'self',
    own: { ask: 'mutation { joinRoom(room: "team:one") { session { rooms } } }' },
    refused: { ask: 'mutation { joinRoom(room: "hall") { session { rooms } } }' },
    others: { ask: 'mutation ($id: ID) { joinRoom(room: "team:one", sessionId: $id) { session { id } } }' },
    says: 'NOT_FOUND',
  },
  'Mutation.leaveRoom': {
    rule: 'self',
    own: { ask: 'mutation { leaveRoom(room: "team:one") { session { rooms } } }' },
    others: { ask: 'mutation ($id: ID) { leaveRoom(room: "hall", sessionId: $id) { session { id } } }' },
    says: 'NOT_FOUND',
  },
  'Mutation.goOffline': {
    rule: 'self',
    own: { ask: `mutation { goOffline(sessionId: "${randomUUID()}") { viewer { id } } }` },
    // A session that is over, or never was, is offline already.
    others: { ask: 'mutation ($id: ID) { goOffline(sessionId: $id) { viewer { id } } }' },
    says: null,
  },
  'Mutation.setStatus': { rule: 'self', own: { ask: 'mutation { setStatus(status: BUSY) { viewer { id } } }' } },
  'Mutation.setVisibility': {
    rule: 'self',
    own: { ask: 'mutation { setVisibility(visibility: EVERYONE) { viewer { id } } }' },
  },
  'Mutation.disconnectUser': {
    rule: 'service',
    own: { ask: 'mutation { disconnectUser(userId: "dismissed") { sessionCount } }' },
  },
  'Mutation.forgetUser': {
    rule: 'service',
    own: { ask: 'mutation { forgetUser(userId: "forgotten") { sessionCount } }' },
  },
  'Mutation.updateUser': {
    rule: 'service',
    own: { ask: 'mutation { updateUser(userId: "dismissed", name: "Dave") { user { id } } }' },
  },

  'Subscription.presenceChanged': {
    rule: 'audience',
    own: { ask: 'subscription { presenceChanged(room: "team:one") { kind } }' },
    refused: [
      { ask: 'subscription { presenceChanged { kind } }' },
      { ask: 'subscription { presenceChanged(room: "hall") { kind } }' },
      { ask: 'subscription { presenceChanged(userIds: ["bob"]) { kind } }' },
      { ask: 'subscription { presenceChanged(userIds: ["carol", "bob"]) { kind } }' },
    ],
  },
  'Subscription.onlineCountChanged': {
    rule: 'audience',
    own: { ask: 'subscription { onlineCountChanged(room: "team:one") { count } }' },
    refused: [
      { ask: 'subscription { onlineCountChanged { count } }' },
      { ask: 'subscription { onlineCountChanged(room: "hall") { count } }' },
    ],
  },
  'Subscription.viewerChanged': { rule: 'self', own: { ask: 'subscription { viewerChanged { id } }' } },
  'Subscription.positionAdvanced': { rule: 'token', own: { ask: 'subscription { positionAdvanced }' } },
}

/** What a person sees of themselves alone, and where it is reached from: each of these says who is asked about. */
const PERSONAL_TYPES = {
  Viewer: [
    'hideLastActive',
    'history',
    'id',
    'isOnline',
    'lastActive',
    'sessions',
    'status',
    'statusChoice',
    'statusMessage',
    'user',
    'visibility',
  ],
  PastSession: ['device', 'endReason', 'endedAt', 'hiddenSpans', 'id', 'lastActive', 'sessionId', 'startedAt'],
  HiddenSpan: ['endedAt', 'startedAt'],
  Session: ['device', 'id', 'isAttached', 'isCurrent', 'lastActive', 'rooms', 'startedAt'],
} as const
const PERSONAL_FROM = [
  'GoOfflinePayload.viewer',
  'HeartbeatPayload.session',
  'HeartbeatPayload.viewer',
  'JoinRoomPayload.session',
  'LeaveRoomPayload.session',
  'PastSession.hiddenSpans',
  'PastSessionConnection.nodes',
  'PastSessionEdge.node',
  'Query.viewer',
  'SetStatusPayload.viewer',
  'SetVisibilityPayload.viewer',
  'Subscription.viewerChanged',
  'Viewer.sessions',
]
/** What everyone who may see a user at all sees of them: the same for every viewer. */
const PUBLIC_FIELDS = [
  'avatarUrl',
  'id',
  'isOnline',
  'lastActive',
  'lastSeen',
  'name',
  'onlineSince',
  'status',
  'statusMessage',
]

function fieldsOf(type: string): readonly string[] {
  const found = schema.getType(type)
  if (!isObjectType(found)) throw new Error(`The schema has no type ${type}.`)
  return Object.keys(found.getFields()).sort()
}

describe('every field', () => {
  it('of a root has a rule', () => {
    const fields = ['Query', 'Mutation', 'Subscription'].flatMap((root) =>
      fieldsOf(root).map((field) => `${root}.${field}`),
    )
    expect(Object.keys(RULES).sort()).toEqual(fields.sort())
  })

  it('that is personal is known, and so is every way to it', () => {
    for (const [type, fields] of Object.entries(PERSONAL_TYPES)) expect([type, fieldsOf(type)]).toEqual([type, fields])
    const ways = Object.values(schema.getTypeMap()).flatMap((type) =>
      isObjectType(type)
        ? Object.values(type.getFields())
            .filter((field) => Object.hasOwn(PERSONAL_TYPES, getNamedType(field.type).name))
            .map((field) => `${type.name}.${field.name}`)
        : [],
    )
    expect(ways.sort()).toEqual(PERSONAL_FROM)
  })

  it('of a user is one that everyone may see', () => {
    expect(fieldsOf('User')).toEqual(PUBLIC_FIELDS)
  })
})

describe('a field', () => {
  let server: TestServer
  let bob: Tab
  let carol: Tab
  const tokens = { carol: '', service: '' }

  beforeAll(async () => {
    server = await startServer({ JWT_SECRET: SECRET })
    tokens.carol = await sign('carol', { rooms: ['team:*'], everyone: false })
    tokens.service = await sign('backend', { role: 'service' })
    bob = await openTab(server, 'bob', { rooms: ['hall'] })
    carol = await openTab(server, 'carol', { token: tokens.carol, sessionId: randomUUID(), rooms: ['team:one'] })
    await post(server, 'dev:dismissed', 'mutation { heartbeat { expiresAt } }')
  })
  afterAll(async () => {
    closeTabs()
    await server.stop()
  })

  const isSubscription = ({ ask }: Case) => ask.startsWith('subscription')

  /** What another tab of Bob sees of Bob: nobody else may change it. */
  async function truthOfBob(): Promise<unknown> {
    const query = '{ viewer { status visibility sessions { id rooms isAttached } } }'
    return (await post(server, 'dev:bob', query)).data?.viewer
  }

  /** The code of the first error, null where there is none. */
  function codeOf(answer: Answer): unknown {
    return answer.errors?.[0]?.extensions.code ?? null
  }

  async function codeOverHttp(token: string | null, { ask, variables }: Case): Promise<unknown> {
    return codeOf(await post(server, token, ask, variables))
  }

  async function codeOverSocket(tab: Tab, one: Case): Promise<unknown> {
    if (!isSubscription(one)) return codeOf(await tab.ask(one.ask, one.variables ?? {}))
    let said: { readonly code: unknown } | null = null
    const stop = tab.client.subscribe(
      { query: one.ask },
      {
        next(result) {
          said ??= { code: codeOf(result as Answer) }
        },
        error(errors) {
          said ??= { code: Array.isArray(errors) ? errors[0]?.extensions.code : errors }
        },
        complete() {},
      },
    )
    // Something for each subscription to tell, until it does.
    let round = 0
    const answer = await until(
      async () => {
        round += 1
        await tab.ask('mutation { joinRoom(room: "team:one") { session { id } } }')
        await tab.ask(`mutation { setStatus(status: ${round % 2 === 0 ? 'BUSY' : 'AWAY'}) { viewer { id } } }`)
        return said
      },
      { everyMs: 50, what: `the first word of ${one.ask}` },
    )
    stop()
    return answer.code
  }

  async function codeAsStream(token: string | null, { ask }: Case): Promise<string | undefined> {
    const response = await fetch(`${server.url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ query: ask }),
    })
    return /"code":"([A-Z_]+)"/.exec(await response.text())?.[1]
  }

  it.each(Object.entries(RULES))('%s says nothing without a token', async (_field, { own }) => {
    expect(await (isSubscription(own) ? codeAsStream(null, own) : codeOverHttp(null, own))).toBe('UNAUTHENTICATED')
    await expect(openTab(server, 'alice', { token: '' })).rejects.toMatchObject({ code: 4403 })
  })

  it.each(Object.entries(RULES))('%s is for who its rule says', async (_field, rule) => {
    const before = await truthOfBob()
    if (rule.rule === 'service') {
      expect(await codeOverHttp(tokens.carol, rule.own)).toBe('FORBIDDEN')
      expect(await codeOverHttp('dev:alice', rule.own)).toBe('FORBIDDEN')
      expect(await codeOverSocket(carol, rule.own)).toBe('FORBIDDEN')
      expect(await codeOverHttp(tokens.service, rule.own)).toBeNull()
    } else {
      expect(await codeOverSocket(carol, rule.own)).toBeNull()
      const refusals = 'refused' in rule && rule.refused !== undefined ? [rule.refused].flat() : []
      for (const refused of refusals) {
        expect([refused.ask, await codeOverSocket(carol, refused)]).toEqual([refused.ask, 'FORBIDDEN'])
        const again = isSubscription(refused)
          ? codeAsStream(tokens.carol, refused)
          : codeOverHttp(tokens.carol, refused)
        expect([refused.ask, await again]).toEqual([refused.ask, 'FORBIDDEN'])
      }
    }
    if (rule.rule === 'self' && rule.others !== undefined) {
      const others = { ...rule.others, variables: { id: bob.sessionId } }
      expect(await codeOverHttp(tokens.carol, others)).toBe(rule.says)
      expect(await codeOverHttp(tokens.service, others)).toBe(rule.says)
    }
    expect(await truthOfBob()).toEqual(before)
    // A heartbeat that named his session has started one of that name.
    const end = { ask: 'mutation ($id: ID) { goOffline(sessionId: $id) { viewer { id } } }' }
    for (const token of [tokens.carol, tokens.service]) {
      expect(await codeOverHttp(token, { ...end, variables: { id: bob.sessionId } })).toBeNull()
    }
    expect(await truthOfBob()).toEqual(before)
  })

  it('of oneself speaks of oneself alone, by whatever way it is reached', async () => {
    const { data } = await post(
      server,
      tokens.carol,
      'mutation ($id: ID) { heartbeat(sessionId: $id) { viewer { id sessions { id } user { id } } session { id } } }',
      { id: bob.sessionId },
    )
    expect(data?.heartbeat.viewer).toMatchObject({ id: 'viewer:carol', user: { id: 'carol' } })
    const { data: seen } = await bob.ask('{ viewer { sessions { id rooms } } }')
    expect(seen?.viewer.sessions).toEqual([{ id: bob.sessionId, rooms: ['hall'] }])
  })
})

function sign(userId: string, presence: object): Promise<string> {
  return new SignJWT({ presence })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(userId)
    .setIssuedAt()
    .setExpirationTime('1h')
    .sign(new TextEncoder().encode(SECRET))
}
