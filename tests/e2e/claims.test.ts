/** A claim that gives rights counts in its one form; in any other its token is refused, over HTTP and sockets. */
import { CompactSign } from 'jose'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'

const nowSeconds = () => Math.floor(Date.now() / 1000)

/** @param json - the claims as the token holds them, which may be what no JavaScript value becomes */
function signed(json: string): Promise<string> {
  return new CompactSign(new TextEncoder().encode(json))
    .setProtectedHeader({ alg: 'HS256' })
    .sign(new TextEncoder().encode(SECRET))
}

/** A token that would hold but for the claims that are given; `undefined` leaves one out. */
function tokenWith(claims: Record<string, unknown>): Promise<string> {
  return signed(JSON.stringify({ sub: 'alice', iat: nowSeconds(), exp: nowSeconds() + 3600, ...claims }))
}

const TIME = 'a number of seconds since 1970, at most 8640000000000'
const NAME_BYTES = '1 to 128 bytes of UTF-8 without control characters'
const PATTERN_BYTES = '1 to 256 bytes of UTF-8 without control characters'
const TOGETHER = 'patterns of at most 8192 bytes and 200 stars together'
const OLD = 'a time that is no longer ago than TOKEN_MAX_AGE'
const AHEAD = 'a time in seconds, at most 5 of them after now'

describe('the claims of a token', () => {
  let server: TestServer
  /** The same, where the claims have paths of their own. */
  let renamed: TestServer
  /** The same, where another claim than `sub` has the user's id. */
  let byAppId: TestServer
  beforeAll(async () => {
    server = await startServer({ JWT_SECRET: SECRET, JWT_ISSUER: 'issuer' })
    renamed = await startServer({ JWT_SECRET: SECRET, JWT_PRESENCE_CLAIM: 'app.rights' })
    byAppId = await startServer({ JWT_SECRET: SECRET, JWT_SUBJECT_CLAIM: 'app.user.id' })
  })
  afterEach(closeTabs)
  afterAll(async () => {
    await server.stop()
    await renamed.stop()
    await byAppId.stop()
  })

  async function expectRefusal(at: TestServer, token: string, claim: string, bound: string): Promise<void> {
    const message = `The token's claim \`${claim}\` must be ${bound}.`
    const answer = await post(at, token, 'mutation { heartbeat { expiresAt } }')
    expect([answer.status, answer.data ?? null]).toEqual([401, null])
    expect(answer.errors?.map(({ message, extensions }) => ({ message, extensions }))).toEqual([
      { message, extensions: { code: 'UNAUTHENTICATED', claim, bound } },
    ])
    await expect(openTab(at, 'alice', { token })).rejects.toMatchObject({
      code: 4403,
      // A close frame's reason has room for 123 bytes.
      reason: expect.stringContaining(`UNAUTHENTICATED: ${message}`.slice(0, 90)),
    })
  }

  it.each<[claim: string, bound: string, claims: Record<string, unknown>]>([
    ['sub', 'there', { sub: undefined }],
    ['sub', 'a text', { sub: null }],
    ['sub', 'a text', { sub: 7 }],
    ['sub', 'a text', { sub: true }],
    ['sub', 'a text', { sub: ['alice'] }],
    ['sub', 'a text', { sub: { id: 'alice' } }],
    ['sub', NAME_BYTES, { sub: '' }],
    ['sub', NAME_BYTES, { sub: 'x'.repeat(129) }],
    ['iat', 'there', { iat: undefined }],
    ['iat', TIME, { iat: null }],
    ['iat', TIME, { iat: 'now' }],
    ['iat', TIME, { iat: String(nowSeconds()) }],
    ['iat', TIME, { iat: -1 }],
    ['iat', AHEAD, { iat: nowSeconds() + 60 }],
    ['iat', AHEAD, { iat: Date.now() }],
    ['iat', TIME, { iat: 1e15 }],
    ['iat', OLD, { iat: nowSeconds() - 366 * 86_400 - 1 }],
    ['iat', OLD, { iat: 0 }],
    ['exp', 'there', { exp: undefined }],
    ['exp', TIME, { exp: null }],
    ['exp', TIME, { exp: 'never' }],
    ['exp', TIME, { exp: 1e15 }],
    ['nbf', TIME, { nbf: null }],
    ['nbf', TIME, { nbf: '0' }],
    ['nbf', TIME, { nbf: -1 }],
    ['nbf', 'a time that has come', { nbf: nowSeconds() + 60 }],
    ['iss', 'what this server is set to', { iss: 'another' }],
    ['presence', 'an object', { presence: null }],
    ['presence', 'an object', { presence: 'everyone' }],
    ['presence', 'an object', { presence: false }],
    ['presence', 'an object', { presence: [{ everyone: false }] }],
    ['presence.everyone', '`true` or `false`', { presence: { everyone: 'false' } }],
    ['presence.everyone', '`true` or `false`', { presence: { everyone: 0 } }],
    ['presence.everyone', '`true` or `false`', { presence: { everyone: null } }],
    ['presence.role', '`member` or `service`', { presence: { role: 'Service' } }],
    ['presence.role', '`member` or `service`', { presence: { role: 'guest' } }],
    ['presence.role', '`member` or `service`', { presence: { role: null } }],
    ['presence.role', '`member` or `service`', { presence: { role: ['service'] } }],
    ['presence.rooms', 'a list of texts', { presence: { rooms: null } }],
    ['presence.rooms', 'a list of texts', { presence: { rooms: 'lobby' } }],
    ['presence.rooms', 'a list of texts', { presence: { rooms: { 0: 'lobby' } } }],
    ['presence.rooms', 'a list of texts', { presence: { rooms: ['lobby', 7] } }],
    ['presence.rooms', 'a list of texts', { presence: { rooms: [['lobby']] } }],
    ['presence.rooms[0]', PATTERN_BYTES, { presence: { rooms: [''] } }],
    ['presence.rooms[1]', PATTERN_BYTES, { presence: { rooms: ['lobby', 'x'.repeat(257)] } }],
    ['presence.rooms', 'at most 100 patterns, not 101', { presence: { rooms: new Array(101).fill('a') } }],
    ['presence.rooms', TOGETHER, { presence: { rooms: ['team:*', '*'.repeat(200)] } }],
  ])('%s has to be %s: %j is refused', async (claim, bound, claims) => {
    await expectRefusal(server, await tokenWith({ iss: 'issuer', ...claims }), claim, bound)
  })

  it.each(['iat', 'exp', 'nbf'])('%s is refused where it is more than a number can hold', async (claim) => {
    const times = { iat: String(nowSeconds()), exp: String(nowSeconds() + 60), nbf: '0', [claim]: '1e999' }
    const token = await signed(
      `{"sub":"alice","iss":"issuer","iat":${times.iat},"exp":${times.exp},"nbf":${times.nbf}}`,
    )
    await expectRefusal(server, token, claim, claim === 'nbf' ? 'a time that has come' : TIME)
  })

  it.each<[claim: string, bound: string, claims: Record<string, unknown>]>([
    ['app.rights', 'an object', { app: { rights: 'everyone' } }],
    ['app.rights', 'an object', { 'app.rights': null }],
    ['app', 'an object', { app: 'rights' }],
    ['app', 'an object', { app: null }],
    ['app', 'an object', { app: ['rights'] }],
    ['app.rights.everyone', '`true` or `false`', { app: { rights: { everyone: 'no' } } }],
    ['app.rights.rooms[0]', PATTERN_BYTES, { 'app.rights': { rooms: [''] } }],
  ])('are named by the path that the setting gives: %s has to be %s', async (claim, bound, claims) => {
    await expectRefusal(renamed, await tokenWith(claims), claim, bound)
  })

  it.each<[claim: string, bound: string, claims: Record<string, unknown>]>([
    ['app.user.id', 'there', {}],
    ['app.user.id', 'there', { app: { user: {} } }],
    ['app.user', 'an object', { app: { user: 'alice' } }],
    ['app.user.id', 'a text', { app: { user: { id: 7 } } }],
    ['app.user.id', 'a text', { 'app.user.id': null, app: { user: { id: 'alice' } } }],
    ['app.user.id', NAME_BYTES, { app: { user: { id: 'x'.repeat(129) } } }],
  ])(
    "are named by JWT_SUBJECT_CLAIM where they are the user's id: %s has to be %s: %j",
    async (claim, bound, claims) => {
      await expectRefusal(byAppId, await tokenWith(claims), claim, bound)
    },
  )

  it.each([
    { sub: 'another', app: { user: { id: 'app-alice' } } },
    { sub: undefined, 'app.user.id': 'app-alice' },
  ])("may have the user's id where JWT_SUBJECT_CLAIM says: %j", async (claims) => {
    const token = await tokenWith(claims)
    expect((await post(byAppId, token, '{ viewer { id } }')).data?.viewer.id).toBe('viewer:app-alice')
    const tab = await openTab(byAppId, 'app-alice', { token })
    expect((await tab.ask('{ viewer { id } }')).data?.viewer.id).toBe('viewer:app-alice')
  })

  it('that are absent have their defaults: a member who sees everyone, in the rooms of DEFAULT_ROOMS', async () => {
    for (const [at, claims] of [
      [server, { iss: 'issuer' }],
      [server, { iss: 'issuer', presence: {} }],
      [renamed, {}],
      [renamed, { app: {} }],
      [renamed, { app: { rights: {} }, presence: { everyone: false } }],
    ] as const) {
      const token = await tokenWith(claims)
      const { data, errors } = await post(at, token, '{ onlineCount user(id: "bob") { id } }')
      expect([data === null, errors]).toEqual([false, undefined])
      const tab = await openTab(at, 'alice', { token, rooms: ['any:room'] })
      expect(tab.acknowledged()?.rooms).toEqual(['any:room'])
      const { errors: refusal } = await post(at, token, 'mutation { disconnectUser(userId: "bob") { userId } }')
      expect(refusal?.[0]?.extensions.code).toBe('FORBIDDEN')
    }
  })

  it('may be times of an issuer whose clock is ahead by no more than the tolerance, and with fractions', async () => {
    const token = await tokenWith({ iss: 'issuer', iat: nowSeconds() + 3.0005, nbf: nowSeconds() + 3 })
    expect((await post(server, token, 'mutation { heartbeat { viewer { user { id } } } }')).data?.heartbeat).toEqual({
      viewer: { user: { id: 'alice' } },
    })
  })

  it('that are profile lock nobody out: a name or a picture of no known form is left out', async () => {
    const token = await tokenWith({ sub: 'plain', iss: 'issuer', name: ['Plain'], picture: 'javascript:0' })
    const { data } = await post(server, token, 'mutation { heartbeat { viewer { user { name avatarUrl } } } }')
    expect(data?.heartbeat.viewer.user).toEqual({ name: 'plain', avatarUrl: null })
  })
})
