// Before React, which looks for a page when it is loaded.
import './dom.ts'

import { ApolloClient, ApolloLink, CombinedGraphQLErrors, gql, HttpLink, InMemoryCache } from '@apollo/client'
import { ApolloProvider, useFragment, useQuery } from '@apollo/client/react'
import { cleanup, render, screen } from '@testing-library/react'
import { OperationTypeNode } from 'graphql'
import type { ReactElement } from 'react'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { followPresence, presenceLink, sessionLink, typePolicies } from '../../client/src/apollo/index.ts'
import type { Presence, PresenceOptions } from '../../client/src/index.ts'
import { createTestPresence } from '../../client/src/testing/index.ts'
import { openTab, post } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { installPage, removePage } from './dom.ts'
import { presenceOf, serverForTests } from './kit.ts'

const LIST = gql`
  query ($room: ID, $first: Int, $after: String) {
    onlineUsers(room: $room, first: $first, after: $after) {
      position
      totalCount
      pageInfo { hasNextPage endCursor }
      nodes { id name status statusMessage }
    }
  }
`
const USERS = gql`query ($ids: [ID!]!) { users(ids: $ids) { id status isOnline statusMessage } }`
const STATUS = gql`fragment Status on User { id status statusMessage }`

describe("Apollo Client's binding", () => {
  const opened: (() => void)[] = []
  beforeAll(installPage)
  afterAll(removePage)
  const at = serverForTests({ SESSION_TTL: '60s', CLOSE_GRACE: '0ms', RECONNECT_GRACE: '60s', CHANGE_LOG_COUNT: '100' })
  afterEach(() => {
    vi.restoreAllMocks()
    cleanup()
    for (const close of opened.splice(0).reverse()) close()
  })

  /** As an app sets it up: subscriptions over the kit's connection, which tests cut, and the rest over HTTP. */
  function open(userId: string, options: Partial<PresenceOptions> = {}) {
    const presence = presenceOf(at.near, userId, options)
    const http = new HttpLink({ uri: `${at.server.url}/graphql`, headers: { authorization: `Bearer dev:${userId}` } })
    return { presence, client: clientOf(presence, sessionLink(presence).concat(http)) }
  }

  function clientOf(presence: Presence, rest: ApolloLink): ApolloClient {
    const link = ApolloLink.split(
      ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
      presenceLink(presence),
      rest,
    )
    const client = new ApolloClient({ cache: new InMemoryCache({ typePolicies }), link })
    opened.push(() => client.stop())
    return client
  }

  function follow(client: ApolloClient, presence: Presence, where: Parameters<typeof followPresence>[2]): () => void {
    const stop = followPresence(client, presence, where)
    opened.push(stop)
    return stop
  }

  const noRequest = new ApolloLink(() => {
    throw new Error('There is no way but the kit.')
  })

  function cachedList(client: ApolloClient, room: string | null): string[] | null {
    const query = gql`query ($room: ID) { onlineUsers(room: $room) { nodes { id status statusMessage } } }`
    const data = client.readQuery<any>({ query, variables: { room } })
    return data?.onlineUsers.nodes.map(({ id, status, statusMessage }: any) => `${id} ${status} ${statusMessage}`)
  }

  function cachedUser(client: ApolloClient, id: string): any {
    return client.readFragment({ id: `User:${id}`, fragment: STATUS })
  }

  /** As the server has it. */
  async function listed(room: string): Promise<string[]> {
    const query = 'query ($room: ID) { onlineUsers(room: $room, first: 500) { nodes { id status statusMessage } } }'
    const { data } = await post(at.server, 'dev:reader', query, { room })
    return data?.onlineUsers.nodes.map(({ id, status, statusMessage }: any) => `${id} ${status} ${statusMessage}`)
  }

  function say(userId: string, message: string): Promise<unknown> {
    const mutation = 'mutation ($message: String) { setStatus(status: BUSY, message: $message) { viewer { id } } }'
    return post(at.server, `dev:${userId}`, mutation, { message })
  }

  describe('presenceLink', () => {
    it("runs each kind of operation over the kit's connection", async () => {
      const requests = vi.spyOn(globalThis, 'fetch')
      const presence = presenceOf(at.server, 'alice')
      const client = new ApolloClient({ cache: new InMemoryCache(), link: presenceLink(presence) })
      const counts: number[] = []
      const counted = client
        .subscribe<any>({ query: gql`subscription { onlineCountChanged(room: "link") { count } }` })
        .subscribe(({ data }) => counts.push(data?.onlineCountChanged.count))
      const query = gql`query Me($ids: [ID!]!) { users(ids: $ids) { id } }`
      expect((await client.query<any>({ query, variables: { ids: ['alice'] } })).data?.users).toMatchObject([
        { id: 'alice' },
      ])
      const mutation = gql`mutation { joinRoom(room: "link") { session { id isCurrent } } }`
      const { data } = await client.mutate<any>({ mutation })
      expect(data?.joinRoom.session).toMatchObject({ id: presence.sessionId, isCurrent: true })
      await until(() => counts.at(-1) === 1)
      expect(requests).not.toHaveBeenCalled()
      counted.unsubscribe()
      client.stop()
    })

    it('hands on errors as Apollo has them', async () => {
      const { client, presence } = open('anna')
      const overKit = new ApolloClient({ cache: new InMemoryCache(), link: presenceLink(presence) })
      const refused = await overKit
        .query({ query: gql`{ onlineUsers(room: "") { position } }` })
        .catch((error) => error)
      expect(CombinedGraphQLErrors.is(refused) && refused.errors[0]?.extensions).toMatchObject({
        code: 'BAD_USER_INPUT',
      })

      const expired = gql`subscription { presenceChanged(after: "0123456789abcdef:1") { kind position } }`
      const told = await new Promise<any>((resolve) => {
        const subscription = client.subscribe({ query: expired }).subscribe(({ error }) => error && resolve(error))
        opened.push(() => subscription.unsubscribe())
      })
      expect(CombinedGraphQLErrors.is(told) && told.errors[0]?.extensions?.code).toBe('POSITION_EXPIRED')

      const nobody = presenceOf(at.server, 'anna', { token: 'of nobody' })
      const shut = new ApolloClient({ cache: new InMemoryCache(), link: presenceLink(nobody) })
      await expect(shut.query({ query: gql`{ onlineCount }` })).rejects.toMatchObject({
        name: 'RollcallError',
        code: 'UNAUTHENTICATED',
      })
      overKit.stop()
      shut.stop()
    })

    it('ends a subscription on the server when nobody reads it any more', async () => {
      const sent: string[] = []
      const { WebSocket } = await import('ws')
      class Recording extends WebSocket {
        override send(text: any, ...rest: any[]): void {
          sent.push(String(text))
          super.send(text, ...rest)
        }
      }
      const { client, presence } = open('ada', { webSocketImpl: Recording })
      await until(() => presence.link.getSnapshot().state === 'open')
      const query = gql`subscription { onlineCountChanged(room: "ended") { count } }`
      const subscription = client.subscribe({ query }).subscribe(() => {})
      const subscribed = await until(() => sent.find((text) => text.includes('ended')))
      subscription.unsubscribe()
      await until(() => sent.includes(JSON.stringify({ type: 'complete', id: JSON.parse(subscribed).id })))
    })

    it('goes on with a subscription after a lost connection, without a gap', async () => {
      const { client, presence } = open('bea')
      const seen: string[] = []
      const query = gql`
        subscription ($after: String) { presenceChanged(room: "gap", after: $after) { kind position user { id } } }
      `
      const subscription = client.subscribe<any>({ query }).subscribe(({ data, error }) => {
        seen.push(error ? String(error) : `${data.presenceChanged.kind} ${data.presenceChanged.user.id}`)
      })
      opened.push(() => subscription.unsubscribe())
      await until(() => presence.link.getSnapshot().state === 'open')
      await openTab(at.server, 'bob', { rooms: ['gap'] })
      await until(() => seen.length > 0)
      at.wire.refuse()
      await until(() => presence.link.getSnapshot().state === 'waiting')
      await openTab(at.server, 'bert', { rooms: ['gap'] })
      at.wire.mend()
      await until(() => seen.length > 1)
      expect(seen).toEqual(['JOIN bob', 'JOIN bert'])
    })
  })

  describe('sessionLink', () => {
    it('makes joinRoom over HTTP mean this tab', async () => {
      const { client, presence } = open('carl')
      await until(() => presence.link.getSnapshot().state === 'open')
      await client.mutate({ mutation: gql`mutation { joinRoom(room: "cellar") { session { id } } }` })
      const { data } = await post(at.server, 'dev:carl', '{ viewer { sessions { id rooms } } }')
      expect(data?.viewer.sessions).toEqual([{ id: presence.sessionId, rooms: ['cellar'] }])
    })

    it('names no session before there is one, and keeps the headers of others', async () => {
      const seen: any[] = []
      const presence = presenceOf(at.server, 'cleo', { autoConnect: false })
      const rest = new ApolloLink((operation) => {
        seen.push(operation.getContext().headers)
        return ApolloLink.empty().request(operation, () => noRequest.request(operation, (() => {}) as any)) as any
      })
      const client = clientOf(presence, sessionLink(presence).concat(rest))
      const ask = () =>
        client
          .query({ query: gql`{ position }`, fetchPolicy: 'network-only', context: { headers: { own: '1' } } })
          .catch(() => {})
      await ask()
      presence.connect()
      await ask()
      expect(seen).toEqual([{ own: '1' }, { own: '1', 'Rollcall-Session': presence.sessionId }])
    })
  })

  describe('followPresence', () => {
    it('keeps the list of a room and its users, without a request of its own over HTTP', async () => {
      const requests = vi.spyOn(globalThis, 'fetch')
      const { client, presence } = open('dan')
      await openTab(at.server, 'dora', { rooms: ['den'] })
      follow(client, presence, { room: 'den' })
      await until(() => cachedList(client, 'den'))
      expect(cachedList(client, 'den')).toEqual(['dora ONLINE null'])
      expect(requests).not.toHaveBeenCalled()

      const dirk = await openTab(at.server, 'dirk', { rooms: ['den'] })
      await until(() => cachedList(client, 'den')?.length === 2)
      await say('dora', 'Lunch')
      await until(() => cachedList(client, 'den')?.[1] === 'dora BUSY Lunch')
      await dirk.close()
      await until(() => cachedList(client, 'den')?.length === 1)
      // Who has left is still shown elsewhere, as they are now.
      expect(cachedUser(client, 'dirk')).toMatchObject({ status: 'OFFLINE' })
    })

    it("corrects an answer to the app's own query that comes later, and was read before", async () => {
      const { client, presence } = open('emil')
      const [eva] = await Promise.all([
        openTab(at.server, 'eva', { rooms: ['old'] }),
        openTab(at.server, 'egon', { rooms: ['old'] }),
      ])
      const early = await client.query<any>({ query: LIST, variables: { room: 'old' } })
      follow(client, presence, { room: 'old' })
      await until(() => cachedList(client, 'old'))
      await say('egon', 'Here')
      await eva.close()
      await until(() => cachedList(client, 'old')?.join() === 'egon BUSY Here')
      client.writeQuery({ query: LIST, variables: { room: 'old' }, data: early.data })
      expect(cachedList(client, 'old')).toEqual(['egon BUSY Here'])
      const { onlineUsers } = client.readQuery<any>({ query: LIST, variables: { room: 'old' } })
      expect(onlineUsers).toMatchObject({ totalCount: 1, pageInfo: { hasNextPage: false } })
      await client.refetchQueries({ include: 'all' })
      expect(cachedList(client, 'old')).toEqual(['egon BUSY Here'])
    })

    it('lets answers count again after its end', async () => {
      const { client, presence } = open('erna')
      await openTab(at.server, 'elke', { rooms: ['end'] })
      const stops = [follow(client, presence, { room: 'end' }), follow(client, presence, { userIds: ['elke'] })]
      await until(() => cachedList(client, 'end') && presence.users(['elke']).getSnapshot().state === 'live')
      await openTab(at.server, 'elsa', { rooms: ['end'] })
      await until(() => cachedList(client, 'end')?.length === 2)
      const answer = {
        users: [{ __typename: 'User', id: 'elke', status: 'AWAY', isOnline: true, statusMessage: 'by HTTP' }],
      }
      const write = () => client.writeQuery({ query: USERS, variables: { ids: ['elke'] }, data: answer })
      write()
      expect(cachedUser(client, 'elke')).toMatchObject({ status: 'ONLINE' })
      stops[0]?.()
      write()
      expect(cachedUser(client, 'elke')).toMatchObject({ status: 'ONLINE' })
      stops[1]?.()
      write()
      expect(cachedUser(client, 'elke')).toMatchObject({ status: 'AWAY', statusMessage: 'by HTTP' })
    })

    it('keeps a list until nobody follows it any more, and no list of another room', () => {
      const presence = createTestPresence({ users: [{ id: 'kim', rooms: ['here', 'there'] }] })
      const client = clientOf(presence, noRequest)
      const none = { __typename: 'OnlineUsersConnection', position: '1', totalCount: 0, nodes: [] }
      const pageInfo = { __typename: 'PageInfo', hasNextPage: true, endCursor: 'one' }
      const answer = (room: string) =>
        client.writeQuery({ query: LIST, variables: { room }, data: { onlineUsers: { ...none, pageInfo } } })
      answer('there')
      const stops = [follow(client, presence, { room: 'here' }), follow(client, presence, { room: 'here' })]
      presence.show({ id: 'kurt', rooms: ['here'] })
      expect([cachedList(client, 'here'), cachedList(client, 'there')]).toEqual([
        ['kim ONLINE null', 'kurt ONLINE null'],
        [],
      ])
      stops[0]?.()
      answer('here')
      expect(cachedList(client, 'here')).toHaveLength(2)
      expect(client.readQuery<any>({ query: LIST, variables: { room: 'here' } }).onlineUsers).toMatchObject({
        totalCount: 2,
        pageInfo: { hasNextPage: false },
      })
      stops[1]?.()
      answer('here')
      expect(cachedList(client, 'here')).toEqual([])
    })

    it('takes the last moment of activity from whatever tells it', () => {
      const [early, late] = ['2026-01-01T10:00:00.000Z', '2026-01-01T11:00:00.000Z']
      const presence = createTestPresence({ users: [{ id: 'kira', lastActive: early }] })
      const client = clientOf(presence, noRequest)
      follow(client, presence, { userIds: ['kira'] })
      const fragment = gql`fragment Active on User { status lastActive }`
      const [id, __typename] = ['User:kira', 'User']
      client.writeFragment({ id, fragment, data: { __typename, status: 'AWAY', lastActive: late } })
      presence.show({ id: 'kira', status: 'BUSY' })
      expect(client.readFragment<any>({ id, fragment })).toMatchObject({ status: 'BUSY', lastActive: late })
      // They hide it.
      presence.show({ id: 'kira', lastActive: null })
      expect(client.readFragment<any>({ id, fragment }).lastActive).toBeNull()
    })

    it('follows users by their ids, and one who hides is offline', async () => {
      const { client, presence } = open('fred')
      await openTab(at.server, 'fee')
      follow(client, presence, { userIds: ['fee', 'fritz'] })
      await until(() => cachedUser(client, 'fee')?.status === 'ONLINE')
      await openTab(at.server, 'fritz')
      await until(() => cachedUser(client, 'fritz')?.status === 'ONLINE')
      await post(at.server, 'dev:fee', 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
      await until(() => cachedUser(client, 'fee')?.status === 'OFFLINE')
    })

    it('is right again after a lost connection, and takes answers meanwhile', async () => {
      const { client, presence } = open('gert')
      const gabi = await openTab(at.server, 'gabi', { rooms: ['lost'] })
      await openTab(at.server, 'gina', { rooms: ['lost'] })
      follow(client, presence, { room: 'lost' })
      await until(() => cachedList(client, 'lost')?.length === 2)
      at.wire.refuse()
      await until(() => presence.onlineUsers({ room: 'lost' }).getSnapshot().state === 'stale')
      await gabi.close()
      await openTab(at.server, 'gerd', { rooms: ['lost'] })
      await client.query({ query: USERS, variables: { ids: ['gina'] } })
      const answer = {
        users: [{ __typename: 'User', id: 'gina', status: 'AWAY', isOnline: true, statusMessage: 'old' }],
      }
      client.writeQuery({ query: USERS, variables: { ids: ['gina'] }, data: answer })
      expect(cachedUser(client, 'gina').statusMessage).toBe('old')
      at.wire.mend()
      await until(() => presence.onlineUsers({ room: 'lost' }).getSnapshot().state === 'live')
      expect(cachedList(client, 'lost')).toEqual(['gerd ONLINE null', 'gina ONLINE null'])
      expect(cachedList(client, 'lost')).toEqual(await listed('lost'))
      expect(cachedUser(client, 'gabi')).toMatchObject({ status: 'OFFLINE' })
    })

    it('is right again after the server lost the log, also about those who left meanwhile', async () => {
      const { client, presence } = open('hugo')
      const hans = await openTab(at.server, 'hans', { rooms: ['log'] })
      await openTab(at.server, 'hilde', { rooms: ['log'] })
      follow(client, presence, { room: 'log' })
      await until(() => cachedList(client, 'log')?.length === 2)
      at.wire.refuse()
      await until(() => presence.link.getSnapshot().state !== 'open')
      await hans.close()
      // More than the log keeps.
      for (let index = 0; index < 120; index += 1) await say('hilde', String(index))
      at.wire.mend()
      // After a long time without a server it would wait for up to 30 s.
      presence.retryNow()
      await until(() => cachedList(client, 'log')?.join() === 'hilde BUSY 119', { withinMs: 20_000 })
      await until(() => cachedUser(client, 'hans')?.status === 'OFFLINE')
    })

    it('tells those who read the cache once of each change', async () => {
      const { client, presence } = open('ina')
      await openTab(at.server, 'igor', { rooms: ['once'] })
      follow(client, presence, { room: 'once' })
      await until(() => cachedList(client, 'once'))
      const told: string[] = []
      const both = gql`query { onlineUsers(room: "once") { nodes { id } } users(ids: ["igor", "iris"]) { id status } }`
      const stop = client.cache.watch<any>({
        query: both,
        optimistic: true,
        returnPartialData: true,
        callback: ({ result }) => {
          const list = result?.onlineUsers.nodes.map(({ id }: any) => id)
          told.push(`${list} ${result?.users?.map(({ status }: any) => status)}`)
        },
      })
      opened.push(stop)
      const iris = await openTab(at.server, 'iris', { rooms: ['once'] })
      await until(() => told.length > 0)
      await iris.close()
      await until(() => told.length > 1)
      expect(told).toEqual(['igor,iris ONLINE,ONLINE', 'igor ONLINE,OFFLINE'])
    })

    it('writes again what the app cleared', async () => {
      const { client, presence } = open('jan')
      await openTab(at.server, 'jutta', { rooms: ['clear'] })
      follow(client, presence, { room: 'clear' })
      await until(() => cachedList(client, 'clear'))
      await client.clearStore()
      expect(cachedList(client, 'clear')).toEqual(['jutta ONLINE null'])
      await client.resetStore()
      expect(cachedList(client, 'clear')).toEqual(['jutta ONLINE null'])
    })

    it('leaves to the garbage collection of the cache whom nothing shows any more', () => {
      const presence = createTestPresence({ me: { id: 'me', rooms: ['gc'] }, users: [{ id: 'lea' }, { id: 'leo' }] })
      const client = clientOf(presence, noRequest)
      const stop = follow(client, presence, { userIds: ['lea', 'leo'] })
      for (const status of ['BUSY', 'AWAY'] as const) presence.show({ id: 'lea', status })
      follow(client, presence, { room: 'gc' })
      presence.show({ id: 'lutz', rooms: ['gc'] })
      expect(client.cache.gc()).toEqual([])
      presence.show({ id: 'lutz', status: 'OFFLINE' })
      expect(client.cache.gc()).toEqual(['User:lutz'])
      stop()
      expect(client.cache.gc().sort()).toEqual(['User:lea', 'User:leo'])
    })

    it('works with a presence for tests', () => {
      const presence = createTestPresence({ me: { id: 'me' }, users: [{ id: 'kai' }] })
      const client = clientOf(presence, noRequest)
      follow(client, presence, {})
      expect(cachedList(client, null)).toEqual(['kai ONLINE null', 'me ONLINE null'])
      presence.show({ id: 'kai', status: 'OFFLINE' })
      expect(cachedList(client, null)).toEqual(['me ONLINE null'])
      expect(cachedUser(client, 'kai')).toMatchObject({ status: 'OFFLINE' })
    })
  })

  describe('typePolicies', () => {
    it('make one list of the pages, which is the same for everyone by null and without a room', async () => {
      const { client } = open('lars')
      for (const id of ['la', 'le', 'li', 'lo']) await openTab(at.server, id, { rooms: ['pages'] })
      const read = (after: string | null) =>
        client.query<any>({ query: LIST, variables: { room: 'pages', first: 2, after }, fetchPolicy: 'network-only' })
      const first = (await read(null)).data.onlineUsers
      await openTab(at.server, 'lz', { rooms: ['pages'] })
      await read(first.pageInfo.endCursor)
      await read(first.pageInfo.endCursor)
      const whole = client.readQuery<any>({ query: LIST, variables: { room: 'pages' } }).onlineUsers
      expect(whole.nodes.map(({ id }: any) => id)).toEqual(['la', 'le', 'li', 'lo'])
      expect(whole).toMatchObject({ position: first.position, totalCount: 5, pageInfo: { hasNextPage: true } })

      const everyone = gql`{ onlineUsers { totalCount } }`
      await client.query({
        query: gql`query ($room: ID) { onlineUsers(room: $room) { totalCount } }`,
        variables: { room: null },
      })
      expect(client.readQuery<any>({ query: everyone })?.onlineUsers.totalCount).toBeGreaterThan(4)
    })

    it('read users that are in the cache without a request', async () => {
      const presence = createTestPresence({ users: [{ id: 'mia' }, { id: 'max' }] })
      const client = clientOf(presence, noRequest)
      follow(client, presence, { userIds: ['mia', 'max'] })
      const { data } = await client.query<any>({ query: USERS, variables: { ids: ['max', 'mia'] } })
      expect(data.users).toMatchObject([{ id: 'max' }, { id: 'mia' }])
      const one = gql`{ user(id: "mia") { id status } node(id: "max") { id } }`
      expect((await client.query<any>({ query: one })).data).toMatchObject({
        user: { status: 'ONLINE' },
        node: { id: 'max' },
      })
      await expect(client.query({ query: USERS, variables: { ids: ['max', 'nobody'] } })).rejects.toThrow('no way')
    })

    it('keep the truth about the viewer and what others see of them apart, and warn of nothing', async () => {
      const warnings = [vi.spyOn(console, 'warn'), vi.spyOn(console, 'error')]
      const { client, presence } = open('nora')
      await until(() => presence.link.getSnapshot().state === 'open')
      follow(client, presence, { userIds: ['nora'] })
      await until(() => cachedUser(client, 'nora'))
      const parts = [
        '{ viewer { status sessions { device } } }',
        '{ viewer { id statusMessage sessions { id } user { id status } } }',
      ]
      for (const text of parts) await client.query({ query: gql(text), fetchPolicy: 'network-only' })
      const hide = gql`mutation { setVisibility(visibility: NOBODY) { viewer { id status user { id status } } } }`
      await client.mutate({ mutation: hide })
      await until(() => cachedUser(client, 'nora').status === 'OFFLINE')
      const seen = client.readQuery<any>({ query: gql`{ viewer { status statusMessage user { id status } } }` })
      expect(seen.viewer).toMatchObject({ status: 'ONLINE', statusMessage: null, user: { status: 'OFFLINE' } })
      expect(warnings.flatMap(({ mock }) => mock.calls)).toEqual([])
    })
  })

  it('renders the component of the user who changes, and no other', async () => {
    const renders = { list: 0, rows: new Map<string, number>() }
    const ids = gql`query ($room: ID) { onlineUsers(room: $room) { nodes { id } } }`
    function Row({ id }: { readonly id: string }): ReactElement {
      const { data } = useFragment<any>({ fragment: STATUS, from: { __typename: 'User', id } })
      renders.rows.set(id, (renders.rows.get(id) ?? 0) + 1)
      return <li>{`${id} ${data.status}`}</li>
    }
    function List(): ReactElement {
      const { data } = useQuery<any>(ids, { variables: { room: 'rows' }, fetchPolicy: 'cache-only' })
      renders.list += 1
      return (
        <ul>
          {data?.onlineUsers.nodes.map(({ id }: any) => (
            <Row key={id} id={id} />
          ))}
        </ul>
      )
    }
    const { client, presence } = open('olaf')
    await openTab(at.server, 'olga', { rooms: ['rows'] })
    await openTab(at.server, 'otto', { rooms: ['rows'] })
    follow(client, presence, { room: 'rows' })
    render(
      <ApolloProvider client={client}>
        <List />
      </ApolloProvider>,
    )
    await until(() => screen.queryByText('otto ONLINE'))
    const before = { list: renders.list, olga: renders.rows.get('olga'), otto: renders.rows.get('otto') }
    await say('otto', 'Tea')
    await until(() => screen.queryByText('otto BUSY'))
    expect(renders.list).toBe(before.list)
    expect(renders.rows.get('olga')).toBe(before.olga)
    expect(renders.rows.get('otto')).toBe(Number(before.otto) + 1)
  })
})
