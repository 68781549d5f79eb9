import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createRollcall } from '../../src/app.ts'
import { closeTabs, openTab, post, type Tab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'

function sign(claims: Record<string, unknown>, expiresIn = '1h', secret = SECRET): Promise<string> {
  return new SignJWT(claims)
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuedAt()
    .setExpirationTime(expiresIn)
    .sign(new TextEncoder().encode(secret))
}

describe('bad input', () => {
  let server: TestServer
  let tab: Tab
  beforeAll(async () => {
    server = await startServer({ JWT_SECRET: SECRET })
    tab = await openTab(server, 'alice')
  })
  afterAll(async () => {
    closeTabs()
    await server.stop()
  })

  const tooLong = 'x'.repeat(129)
  const cases: readonly [
    name: string,
    query: string,
    variables: Record<string, unknown>,
    code: string,
    message: RegExp,
  ][] = [
    ['an empty user id', '{ user(id: "") { id } }', {}, 'BAD_USER_INPUT', /^id must be 1 to 128 bytes/],
    [
      'a user id that is too long',
      `{ user(id: "${tooLong}") { id } }`,
      {},
      'BAD_USER_INPUT',
      /^id must be 1 to 128 bytes/,
    ],
    [
      'half a surrogate pair',
      'query ($id: ID!) { user(id: $id) { id } }',
      { id: '\ud800' },
      'BAD_USER_INPUT',
      /^id must be/,
    ],
    [
      '1,001 ids',
      'query ($ids: [ID!]!) { users(ids: $ids) { id } }',
      { ids: Array(1001).fill('a') },
      'BAD_USER_INPUT',
      /^ids must be at most 1000 ids, not 1001/,
    ],
    ['a bad id among good ones', '{ users(ids: ["a", ""]) { id } }', {}, 'BAD_USER_INPUT', /^ids\[1\] must be/],
    [
      'a page of 0',
      '{ onlineUsers(first: 0) { totalCount } }',
      {},
      'BAD_USER_INPUT',
      /^first must be 1 to 1000, not 0/,
    ],
    [
      'a page of 1,001',
      '{ onlineUsers(first: 1001) { totalCount } }',
      {},
      'BAD_USER_INPUT',
      /^first must be 1 to 1000, not 1001/,
    ],
    [
      'a cursor that is not ours',
      '{ onlineUsers(after: "abc") { totalCount } }',
      {},
      'BAD_USER_INPUT',
      /^after must be a cursor that this server gave/,
    ],
    [
      'a room name with a control character',
      'query ($room: ID) { onlineCount(room: $room) }',
      { room: 'a\u0007b' },
      'BAD_USER_INPUT',
      /^room must be 1 to 128 bytes/,
    ],
    [
      'too many rooms',
      'mutation ($rooms: [ID!]) { heartbeat(rooms: $rooms) { expiresAt } }',
      { rooms: Array.from({ length: 101 }, (_, index) => `r${index}`) },
      'BAD_USER_INPUT',
      /^rooms must be at most 100 rooms, not 101/,
    ],
    [
      'a status message that is too long',
      'mutation ($m: String) { setStatus(status: BUSY, message: $m) { viewer { id } } }',
      { m: 'x'.repeat(141) },
      'BAD_USER_INPUT',
      /^message must be at most 140 characters/,
    ],
    [
      'a device that is too long',
      'mutation ($d: String) { heartbeat(device: $d) { expiresAt } }',
      { d: 'x'.repeat(101) },
      'BAD_USER_INPUT',
      /^device must be at most 100 characters/,
    ],
    [
      'a session id of no known form',
      'mutation { heartbeat(sessionId: "nonsense") { expiresAt } }',
      {},
      'BAD_USER_INPUT',
      /^sessionId must be a UUID or `default`/,
    ],
    [
      'an unknown enum value',
      'mutation ($s: StatusChoice!) { setStatus(status: $s) { viewer { id } } }',
      { s: 'SLEEPING' },
      'BAD_USER_INPUT',
      /\$s.*SLEEPING/,
    ],
    [
      'a variable of the wrong type',
      'query ($first: Int) { onlineUsers(first: $first) { totalCount } }',
      { first: 'ten' },
      'BAD_USER_INPUT',
      /\$first/,
    ],
    [
      'an unknown enum value in the document',
      'mutation { setStatus(status: SLEEPING) { viewer { id } } }',
      {},
      'GRAPHQL_VALIDATION_FAILED',
      /SLEEPING/,
    ],
    ['an unknown field', '{ viewer { password } }', {}, 'GRAPHQL_VALIDATION_FAILED', /password/],
    ['no GraphQL', '{ viewer {', {}, 'GRAPHQL_PARSE_FAILED', /Syntax Error/],
    [
      'a session that is not there',
      `mutation { joinRoom(room: "a", sessionId: "${randomUUID()}") { session { id } } }`,
      {},
      'NOT_FOUND',
      /no such session/,
    ],
    [
      'a mutation for services only',
      'mutation { disconnectUser(userId: "bob") { sessionCount } }',
      {},
      'FORBIDDEN',
      /role `service`/,
    ],
    [
      'a document that is too long',
      `{ viewer { id } } # ${'x'.repeat(16_384)}`,
      {},
      'BAD_USER_INPUT',
      /^query must be at most 16384 bytes/,
    ],
    [
      'a document with too many aliases',
      `{ ${Array.from({ length: 31 }, (_, index) => `a${index}: position`).join(' ')} }`,
      {},
      'GRAPHQL_VALIDATION_FAILED',
      /^Aliases limit of 30 exceeded, found 31\./,
    ],
    [
      'a document that is too deep',
      `{ __type(name: "User") { fields { type { ${'ofType { '.repeat(9)} name ${'} '.repeat(9)} } } } }`,
      {},
      'GRAPHQL_VALIDATION_FAILED',
      /^Query depth limit of 12 exceeded, found 13\./,
    ],
    [
      'a document with too many tokens',
      `{ ${'position '.repeat(1000)} }`,
      {},
      'GRAPHQL_PARSE_FAILED',
      /^query must have at most 1000 tokens\./,
    ],
    [
      'a document that costs too much',
      '{ onlineUsers(first: 1000) { nodes { id name status } edges { cursor node { id name status isOnline lastActive onlineSince statusMessage avatarUrl } } } more: onlineUsers(first: 1000) { edges { node { id name status isOnline lastActive onlineSince statusMessage avatarUrl } } } }',
      {},
      'GRAPHQL_VALIDATION_FAILED',
      /complex/i,
    ],
  ]

  it.each(cases)('%s is refused over HTTP and over a socket alike', async (_name, query, variables, code, message) => {
    const overHttp = await post(server, 'dev:alice', query, variables)
    const overSocket = await tab.ask(query, variables)
    for (const { errors } of [overHttp, overSocket]) {
      expect(errors?.[0]?.extensions.code).toBe(code)
      expect(errors?.[0]?.message).toMatch(message)
    }
    // Nothing is lost: the socket serves on.
    expect((await tab.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
  })

  it.each([
    [
      'a root that may be left out',
      'subscription { presenceChanged @include(if: false) { kind } }',
      'GRAPHQL_VALIDATION_FAILED',
      /^A subscription must not use @include at its root/,
    ],
    [
      'a root that may be left out in a fragment',
      'subscription { ...A } fragment A on Subscription { ... @skip(if: true) { presenceChanged { kind } } }',
      'GRAPHQL_VALIDATION_FAILED',
      /^A subscription must not use @skip at its root/,
    ],
    [
      'a position that is not ours',
      'subscription { presenceChanged(after: "yesterday") { kind } }',
      'BAD_USER_INPUT',
      /^after must be a position that this server gave/,
    ],
    [
      'room and userIds together',
      'subscription { presenceChanged(room: "a", userIds: ["b"]) { kind } }',
      'BAD_USER_INPUT',
      /^userIds must be left out where `room` is given/,
    ],
    [
      'a room of no known form',
      'subscription { onlineCountChanged(room: "") { count } }',
      'BAD_USER_INPUT',
      /^room must be/,
    ],
  ])('a subscription with %s is refused', async (_name, query, code, message) => {
    const { errors } = await tab.ask(query)
    expect(errors?.[0]?.extensions.code).toBe(code)
    expect(errors?.[0]?.message).toMatch(message)
  })

  it('counts levels of fields, and no fragment as one: components that have a fragment each are no depth', async () => {
    const fragments = Array.from(
      { length: 12 },
      (_, index) => `fragment Part${index} on User { ...Part${index + 1} ... on User { name } }`,
    )
    const query = `{ onlineUsers { nodes { ...Part0 } } } ${fragments.join(' ')} fragment Part12 on User { id }`
    for (const { data, errors } of [await post(server, 'dev:alice', query), await tab.ask(query)]) {
      expect([errors, data?.onlineUsers.nodes[0]]).toEqual([undefined, { id: 'alice', name: 'alice' }])
    }
  })

  it('takes ids such as __proto__ and constructor as ordinary ones', async () => {
    for (const userId of ['__proto__', 'constructor', 'hasOwnProperty']) {
      const ordinary = await openTab(server, userId, { rooms: ['__proto__', 'constructor'] })
      const { data } = await post(
        server,
        'dev:alice',
        'query ($ids: [ID!]!) { users(ids: $ids) { id name isOnline } onlineCount(room: "__proto__") }',
        { ids: [userId, 'toString'] },
      )
      expect(data?.users).toEqual([{ id: userId, name: userId, isOnline: true }, null])
      expect(data?.onlineCount).toBe(1)
      await ordinary.ask('mutation { goOffline { viewer { id } } }')
    }
  })

  it('answers a null that a type does not take with a code, and keeps the socket', async () => {
    const query = 'query ($ids: [ID!] = ["a"]) { users(ids: $ids) { id } }'
    for (const { errors } of [
      await post(server, 'dev:alice', query, { ids: null }),
      await tab.ask(query, { ids: null }),
    ]) {
      expect(errors?.[0]?.extensions.code).toBe('BAD_USER_INPUT')
    }
    expect((await tab.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
  })

  it('survives connections that are reset before they are sockets', async () => {
    const { port } = new URL(server.url)
    for (let count = 0; count < 10; count += 1) {
      const socket = connect(Number(port), '127.0.0.1')
      socket.on('error', () => {})
      await new Promise((resolve) => socket.once('connect', resolve))
      socket.write('GET /nope HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
      socket.resetAndDestroy()
    }
    expect((await tab.ask('{ viewer { user { id } } }')).data?.viewer.user.id).toBe('alice')
  })

  it('ends a socket that asks and does not read the answers', async () => {
    const greedy = await openTab(server, 'greedy')
    greedy.fallSilent()
    const ping = JSON.stringify({ type: 'ping', payload: { filler: 'x'.repeat(60_000) } })
    for (let count = 0; count < 400; count += 1) greedy.wire().send(ping)
    // It does not read, so it would not see the end itself.
    await until(
      async () => {
        const { data } = await post(server, 'dev:greedy', '{ viewer { sessions { isAttached } } }')
        return !data?.viewer.sessions.some(({ isAttached }: { isAttached: boolean }) => isAttached)
      },
      // Sooner than a ping that nobody answers would end it: that takes two seconds.
      { what: 'the end of the socket', withinMs: 1500 },
    )
  })

  it('refuses a session of another user by not finding it', async () => {
    const { data } = await post(
      server,
      'dev:bob',
      'mutation ($id: ID) { goOffline(sessionId: $id) { viewer { isOnline } } }',
      { id: tab.sessionId },
    )
    expect(data?.goOffline.viewer.isOnline).toBe(false)
    expect((await tab.ask('{ viewer { isOnline } }')).data?.viewer.isOnline).toBe(true)
  })

  describe('tokens', () => {
    it('that are missing, expired, forged or incomplete are UNAUTHENTICATED, over HTTP and sockets', async () => {
      const forged = await sign({ sub: 'alice' }, '1h', 'another-secret-of-32-bytes-or-more!!')
      const expired = await sign({ sub: 'alice' }, '-1h')
      const nobody = await sign({})
      const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.${Buffer.from('{"sub":"alice"}').toString('base64url')}.`
      for (const [token, message] of [
        [null, /Nobody is signed in\. Send a token/],
        [forged, /not signed by a key/],
        [expired, /has run out/],
        [nobody, /`sub`/],
        [unsigned, /not accepted/],
        ['nonsense', /not a JWT/],
        ['dev:', /sub must be/],
      ] as const) {
        const { errors } = await post(server, token, '{ viewer { id } }')
        expect(errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
        expect(errors?.[0]?.message).toMatch(message)
        if (token === null) continue
        await expect(openTab(server, 'alice', { token })).rejects.toMatchObject({
          code: 4403,
          reason: expect.stringMatching(/^UNAUTHENTICATED/),
        })
      }
    })

    it('that hold bring name and picture, rooms and role', async () => {
      const token = await sign({
        sub: 'carol',
        name: 'Carol',
        picture: 'https://example.org/c.png',
        presence: { rooms: ['team:*'], everyone: false },
      })
      const carol = await openTab(server, 'carol', { token, rooms: ['team:one'] })
      const { data } = await carol.ask('{ viewer { user { name avatarUrl } } onlineCount(room: "team:one") }')
      expect(data).toEqual({
        viewer: { user: { name: 'Carol', avatarUrl: 'https://example.org/c.png' } },
        onlineCount: 1,
      })
      for (const query of [
        '{ onlineCount }',
        '{ onlineCount(room: "team:one:two") }',
        '{ user(id: "alice") { id } }',
        '{ onlineUsers { totalCount } }',
        'mutation { joinRoom(room: "other") { session { id } } }',
        'subscription { presenceChanged { kind } }',
        'subscription { presenceChanged(userIds: ["alice"]) { kind } }',
      ]) {
        const { errors } = await carol.ask(query)
        expect([query, errors?.[0]?.extensions.code]).toEqual([query, 'FORBIDDEN'])
      }
      expect((await carol.ask('{ user(id: "carol") { id } position }')).data?.user.id).toBe('carol')
    })

    it('are refused once their user was disconnected, and their sockets closed', async () => {
      const token = await sign({ sub: 'dave' })
      const service = await sign({ sub: 'backend', presence: { role: 'service' } })
      const dave = await openTab(server, 'dave', { token })
      const stream = await fetch(`${server.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: token },
        body: '{"query":"subscription { presenceChanged { kind } }"}',
      })
      const closed = new Promise<{ code: number }>((resolve) =>
        dave.client.on('closed', (event) => resolve(event as { code: number })),
      )
      const { data } = await post(
        server,
        service,
        'mutation { disconnectUser(userId: "dave") { userId sessionCount } }',
      )
      expect(data?.disconnectUser).toEqual({ userId: 'dave', sessionCount: 1 })
      expect((await closed).code).toBe(4403)
      // It ends, instead of telling a dismissed user on who comes and goes.
      await expect(stream.text()).rejects.toThrow()
      const { data: after } = await post(server, 'dev:reader', '{ user(id: "dave") { isOnline } }')
      expect(after?.user.isOnline).toBe(false)
      const { errors } = await post(server, token, '{ viewer { id } }')
      expect(errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    })

    it('that run out close their socket with 4403', async () => {
      const token = await sign({ sub: 'erin' }, '2s')
      const erin = await openTab(server, 'erin', { token })
      const code = await new Promise((resolve) =>
        erin.client.on('closed', (event) => resolve((event as { code: number }).code)),
      )
      expect(code).toBe(4403)
    })
  })

  it.each([
    ['sessionId', { sessionId: 'nonsense' }],
    ['rooms', { rooms: 'lobby' }],
    ['active', { active: 'yes' }],
    ['device', { device: 7 }],
  ])('closes a socket whose connectionParams.%s has no known form with 4400 and names it', async (name, params) => {
    await expect(
      openTab(server, 'alice', { options: { connectionParams: { authorization: 'dev:alice', ...params } } }),
    ).rejects.toMatchObject({
      code: 4400,
      reason: expect.stringContaining(`connectionParams.${name} must be`),
    })
  })

  it.each([
    { authorization: 'Bearer dev:zoe' },
    { Authorization: 'Bearer dev:zoe' },
    { headers: { authorization: 'Bearer dev:zoe' } },
    { headers: { Authorization: 'Bearer dev:zoe' } },
    { authorization: 'Bearer dev:zoe', headers: { authorization: 'Bearer dev:eve' } },
    { authorization: 'Bearer dev:zoe', headers: 'the app uses it for something else' },
  ])('takes the token where clients put it: %j', async (connectionParams) => {
    const zoe = await openTab(server, 'zoe', { options: { connectionParams } })
    expect((await zoe.ask('{ viewer { id } }')).data?.viewer.id).toBe('viewer:zoe')
    await zoe.close()
  })

  it('refuses settings that createRollcall does not know, by name', () => {
    expect(() =>
      createRollcall({ CLOSE_GRACE: '-5s', NO_SUCH_SETTING: '1' } as Record<string, string>, console),
    ).toThrow(/NO_SUCH_SETTING is not a setting[\s\S]*CLOSE_GRACE must be a duration/)
  })
})
