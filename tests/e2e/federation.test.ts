/** Rollcall as a subgraph: what a gateway composes, and what it may ask. tests/e2e/clients has gateways. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { composeServices } from '@theguild/federation-composition'
import { buildSchema, parse } from 'graphql'
import { describe, expect, it } from 'vitest'
import type { SettingTexts } from '../../src/config.ts'
import { schema } from '../../src/schema/index.ts'
import { subgraphText } from '../../src/schema/subgraph.ts'
import { cleanupsAfterEach } from '../support/cleanup.ts'
import { closeTabs, openTab, post } from '../support/clients.ts'
import { redisData, startServer, type TestServer } from '../support/server.ts'
import { SECRET, sign } from '../support/tokens.ts'
import { until } from '../support/wait.ts'

const ENTITIES = `query ($representations: [_Any!]!) {
  _entities(representations: $representations) { ... on User { id isOnline status lastActive lastSeen } }
}`
const NEVER_SEEN = { isOnline: false, status: 'OFFLINE', lastActive: null, lastSeen: null }

describe('a subgraph', () => {
  const cleanups = cleanupsAfterEach()

  async function start(settings: SettingTexts = {}): Promise<TestServer> {
    const server = await startServer({ FEDERATION: 'true', ...settings })
    cleanups.push(
      () => server.stop(),
      async () => closeTabs(),
    )
    return server
  }

  function ask(server: TestServer, token: string | null, representations: unknown) {
    return post(server, token, ENTITIES, { representations })
  }

  const users = (ids: readonly string[]) => ids.map((id) => ({ __typename: 'User', id }))

  it('is there where the setting asks for it, and else has no field of it', async () => {
    const plain = await start({ FEDERATION: 'false' })
    for (const query of ['{ _service { sdl } }', '{ _entities(representations: []) { __typename } }']) {
      expect((await post(plain, 'dev:alice', query)).errors?.[0]?.extensions.code).toBe('GRAPHQL_VALIDATION_FAILED')
    }
    const subgraph = await start()
    expect((await post(subgraph, 'dev:alice', '{ _service { sdl } }')).data?._service.sdl).toBe(subgraphText(schema))
    expect((await post(subgraph, 'dev:alice', '{ user(id: "nobody") { id } }')).data).toEqual({ user: null })
  })

  it('composes with an app that has profiles, pages and users by id of its own', () => {
    const app = `
      extend schema @link(url: "https://specs.apollo.dev/federation/v2.0", import: ["@key", "@shareable"])
      type Query { viewer: Viewer  user(id: ID!): User  users: [User!]!  node(id: ID!): Node }
      interface Node { id: ID! }
      type User implements Node @key(fields: "id") { id: ID!  name: String!  avatarUrl: String }
      type Viewer { id: ID!  sessions: [Session!]! }
      type Session { id: ID!  startedAt: String! }
      type PageInfo @shareable { hasNextPage: Boolean!  endCursor: String }
    `
    const { errors, supergraphSdl } = composeServices([
      { name: 'rollcall', typeDefs: parse(subgraphText(schema)), url: 'http://localhost:4000/graphql' },
      { name: 'app', typeDefs: parse(app), url: 'http://localhost:4001/graphql' },
    ])
    expect(errors ?? []).toEqual([])
    const composed = buildSchema(String(supergraphSdl), { assumeValidSDL: true })
    expect(Object.keys(composed.getTypeMap())).toEqual(expect.arrayContaining(['OnlineUsersConnection', 'Session']))
  })

  it('shows its text to whom the setting lets read the schema', async () => {
    const service = '{ _service { sdl } }'
    const closed = await start({ INTROSPECTION: 'nobody' })
    expect((await post(closed, 'dev:alice', service)).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    const forTokens = await start({ INTROSPECTION: 'token' })
    expect((await post(forTokens, null, service)).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await post(forTokens, 'dev:alice', service)).data?._service.sdl).toContain('@key(fields: "id")')
    const open = await start({ INTROSPECTION: 'anyone' })
    expect((await post(open, null, service)).data?._service.sdl).toContain('@key(fields: "id")')
  })

  it('says of each user in the order asked how present they are, and of one never seen or hidden that they are offline', async () => {
    const server = await start()
    const alice = await openTab(server, 'alice')
    const hidden = await openTab(server, 'hidden')
    await hidden.ask('mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
    await alice.ask('mutation { setStatus(status: BUSY) { viewer { id } } }')
    const { data, errors } = await ask(server, 'dev:bob', users(['nobody', 'alice', 'hidden', 'alice']))
    expect(errors).toBeUndefined()
    const busy = { id: 'alice', isOnline: true, status: 'BUSY', lastActive: expect.any(String), lastSeen: null }
    const moments = { lastActive: expect.any(String), lastSeen: expect.any(String) }
    const gone = { id: 'hidden', isOnline: false, status: 'OFFLINE', ...moments }
    expect(data?._entities).toEqual([{ id: 'nobody', ...NEVER_SEEN }, busy, gone, busy])
    expect((await ask(server, 'dev:bob', [])).data?._entities).toEqual([])
  })

  it('looks all users of a request up at once', async () => {
    const data = await redisData()
    cleanups.push(() => data.drop())
    const server = await start(data.settings)
    const prefix = randomUUID()
    const ids = Array.from({ length: 100 }, (_, index) => `${prefix}-${index}`)
    await openTab(server, String(ids[0]))
    const monitor = await monitorOf(String(data.settings.REDIS_URL))
    cleanups.push(async () => monitor.close())
    const { data: answer } = await ask(server, 'dev:reader', users(ids))
    expect(answer?._entities.map(({ isOnline }: { isOnline: boolean }) => isOnline)).toEqual(
      ids.map((_, index) => index === 0),
    )
    // What a script calls has the source `lua`.
    const commands = () =>
      monitor.lines().filter((line) => line.includes(String(ids[99])) && !/^\+[\d.]+ \[\d+ lua\]/.test(line))
    await until(() => commands().length > 0, { what: 'the command' })
    // What came after it comes after it here too.
    await ask(server, 'dev:reader', users([`${prefix}-end`]))
    await until(() => monitor.lines().some((line) => line.includes(`${prefix}-end`)), { what: 'the next command' })
    expect(commands().map((line) => /"(\w+)"/.exec(line)?.[1])).toEqual(['evalsha'])
  })

  it.each([
    { representations: ['alice'], argument: 'representations[0]', bound: 'an object' },
    { representations: [{ id: 'alice' }], argument: 'representations[0].__typename', bound: '`User`' },
    {
      representations: [{ __typename: 'Viewer', id: 'a' }],
      argument: 'representations[0].__typename',
      bound: '`User`',
    },
    { representations: [...users(['a']), { __typename: 'User' }], argument: 'representations[1].id', bound: 'a text' },
    { representations: [{ __typename: 'User', id: 7 }], argument: 'representations[0].id', bound: 'a text' },
    { representations: users(['a', '']), argument: 'representations[1].id', bound: '1 to 128 bytes' },
    { representations: users(['x'.repeat(129)]), argument: 'representations[0].id', bound: '1 to 128 bytes' },
    { representations: users(Array(1001).fill('a')), argument: 'representations', bound: 'at most 1000' },
  ])('refuses $argument that is not $bound', async ({ representations, argument, bound }) => {
    const server = await start()
    const { data, errors } = await ask(server, 'dev:alice', representations)
    expect(data ?? null).toBeNull()
    expect(errors?.[0]?.extensions).toMatchObject({ code: 'BAD_USER_INPUT', argument })
    expect(errors?.[0]?.extensions.bound).toContain(bound)
  })

  it('keeps the rights of `users`', async () => {
    const server = await start({ JWT_SECRET: SECRET })
    const carol = await sign({ sub: 'carol', presence: { everyone: false } })
    expect((await ask(server, null, users(['carol']))).errors?.[0]?.extensions.code).toBe('UNAUTHENTICATED')
    expect((await ask(server, carol, users(['bob']))).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    expect((await ask(server, carol, users(['carol', 'bob']))).errors?.[0]?.extensions.code).toBe('FORBIDDEN')
    expect((await ask(server, carol, users(['carol']))).data?._entities).toEqual([{ id: 'carol', ...NEVER_SEEN }])
  })

  it('costs by the number of users', async () => {
    const server = await start({ MAX_COMPLEXITY: '1000' })
    const some = Array.from({ length: 100 }, (_, index) => `user-${index}`)
    expect((await ask(server, 'dev:alice', users(some))).data?._entities).toHaveLength(100)
    const { errors } = await ask(server, 'dev:alice', users([...some, ...some, ...some]))
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'GRAPHQL_VALIDATION_FAILED' } })
    expect(errors?.[0]?.message).toContain('complex')
  })
})

/** MONITOR without a library: ioredis 5.11 may take the first lines that it hears for answers. */
async function monitorOf(url: string): Promise<{ lines(): readonly string[]; close(): void }> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1')
  })
  await once(socket, 'connect')
  socket.write('MONITOR\r\n')
  await until(() => text.includes('+OK'), { what: 'the answer to MONITOR' })
  return { lines: () => text.split('\r\n'), close: () => void socket.destroy() }
}
