/** The history over the API: who gets it, in which form, and what it says of bad arguments. */
import { SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { closeTabs, openTab, post, settled, type Tab } from '../support/clients.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { until } from '../support/wait.ts'

const SECRET = 'a-secret-for-tests-of-32-bytes-or-more'
const SHOWN = `query ($id: ID!, $from: DateTime, $to: DateTime, $first: Int, $after: String) {
  presenceHistory(userId: $id, from: $from, to: $to, first: $first, after: $after) {
    edges { cursor node { startedAt endedAt endReason device } }
    nodes { startedAt endedAt endReason device }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`
const OWN = `query ($first: Int, $after: String) {
  viewer { history(first: $first, after: $after) {
    nodes { id sessionId startedAt endedAt endReason device lastActive hiddenSpans { startedAt endedAt } }
    pageInfo { hasNextPage endCursor }
  } }
}`

describe('the history', () => {
  let server: TestServer
  let service = ''
  let alice: Tab

  beforeAll(async () => {
    server = await startServer({ JWT_SECRET: SECRET })
    service = await new SignJWT({ presence: { role: 'service' } })
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject('backend')
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(new TextEncoder().encode(SECRET))
    alice = await openTab(server, 'alice', { device: 'laptop' })
    await until(async () => (await shown()).nodes.length === 1)
  })
  afterAll(async () => {
    closeTabs()
    await server.stop()
  })

  async function shown(variables: object = {}) {
    const { data, errors } = await post(server, service, SHOWN, { id: 'alice', ...variables })
    if (errors !== undefined) throw new Error(errors[0]?.message)
    return data?.presenceHistory
  }

  async function own(variables: object = {}) {
    return (await alice.ask(OWN, { ...variables })).data?.viewer.history
  }

  it('cuts out for a service what the user hid, and tells the user', async () => {
    const open = { startedAt: expect.any(String), endedAt: null, endReason: null, device: 'laptop' }
    expect((await shown()).nodes).toEqual([open])
    await alice.ask('mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
    const gone = { ...open, endedAt: expect.any(String), endReason: 'WENT_OFFLINE' }
    expect((await shown()).nodes).toEqual([gone])
    expect((await own()).nodes).toEqual([
      expect.objectContaining({ ...open, hiddenSpans: [{ startedAt: expect.any(String), endedAt: null }] }),
    ])

    await alice.ask('mutation { setVisibility(visibility: EVERYONE) { viewer { id } } }')
    expect((await shown()).nodes).toEqual([open, gone])
    expect((await own()).nodes).toEqual([
      expect.objectContaining({
        sessionId: alice.sessionId,
        lastActive: expect.any(String),
        hiddenSpans: [{ startedAt: expect.any(String), endedAt: expect.any(String) }],
      }),
    ])
  })

  it('comes in pages', async () => {
    const first = await shown({ first: 1 })
    expect(first.pageInfo).toEqual({
      hasNextPage: true,
      hasPreviousPage: false,
      startCursor: first.edges[0].cursor,
      endCursor: first.edges[0].cursor,
    })
    const second = await shown({ first: 1, after: first.pageInfo.endCursor })
    expect([second.edges.length, second.pageInfo.hasNextPage]).toEqual([1, false])
    expect(second.nodes[0].endReason).toBe('WENT_OFFLINE')
    const last = await own({ first: 1 })
    expect(last.pageInfo.hasNextPage).toBe(false)
    expect((await own({ after: last.pageInfo.endCursor })).nodes).toEqual([])
    // A cursor of the one is none of the other's secrets: it is a place, wherever it is used.
    expect((await shown({ after: last.pageInfo.endCursor })).nodes.length).toBeLessThanOrEqual(1)
  })

  it.each([
    { variables: { from: 'yesterday' }, argument: 'from', bound: 'a moment as RFC 3339 writes it' },
    { variables: { to: '2026-02-30T25:00:00Z' }, argument: 'to', bound: 'a moment as RFC 3339 writes it' },
    { variables: { to: '2026-02-01' }, argument: 'to', bound: 'a moment as RFC 3339 writes it' },
    {
      variables: { from: '2026-02-02T00:00:00Z', to: '2026-02-02T01:00:00+01:00' },
      argument: 'to',
      bound: 'later than `from`',
    },
    { variables: { first: 0 }, argument: 'first', bound: '1 to 1000' },
    { variables: { first: 1001 }, argument: 'first', bound: '1 to 1000' },
    { variables: { after: 'dTphbGljZQ' }, argument: 'after', bound: 'a cursor that this server gave' },
    { variables: { id: '' }, argument: 'userId', bound: '1 to 128 bytes' },
  ])('refuses $variables', async ({ variables, argument, bound }) => {
    const { errors } = await post(server, service, SHOWN, { id: 'alice', ...variables })
    expect(errors?.[0]).toMatchObject({ extensions: { code: 'BAD_USER_INPUT', argument } })
    expect(String(errors?.[0]?.extensions.bound)).toContain(bound)
  })

  it('is cut by moments with any offset', async () => {
    expect((await shown({ to: '2020-01-01T00:00:00+02:00' })).nodes).toEqual([])
    expect((await shown({ from: '2020-01-01T00:00:00.5-11:30' })).nodes.length).toBe(2)
    const inline = '{ presenceHistory(userId: "alice", from: "9999-12-31T23:59:59Z") { nodes { startedAt endedAt } } }'
    expect((await post(server, service, inline)).data?.presenceHistory.nodes).toEqual([
      { startedAt: expect.any(String), endedAt: null },
    ])
  })

  it('is paid for again by each event of a subscription', async () => {
    const poor = await startServer({ JWT_SECRET: SECRET, USER_WORK_RATE: '100', USER_WORK_BURST: '5000' })
    try {
      const tab = await openTab(poor, 'bob')
      const codes: unknown[] = []
      tab.client.subscribe(
        { query: 'subscription { viewerChanged { history(first: 1) { nodes { device } } } }' },
        {
          next: ({ errors }) => void codes.push(errors?.[0]?.extensions?.code ?? null),
          error: () => {},
          complete: () => {},
        },
      )
      await settled(tab)
      // What a service does costs Bob nothing.
      for (let count = 0; codes.length < 8 && !codes.includes('RATE_LIMITED'); count += 1) {
        const eventCount = codes.length
        await post(poor, service, `mutation { updateUser(userId: "bob", name: "Bob ${count}") { user { id } } }`)
        await until(() => codes.length > eventCount)
      }
      expect(codes[0]).toBeNull()
      expect(codes).toContain('RATE_LIMITED')
    } finally {
      await poor.stop()
    }
  })

  it('is empty of who was never seen', async () => {
    expect((await shown({ id: 'nobody' })).nodes).toEqual([])
  })
})
