// Before React, which looks for a page when it is loaded.
import './dom.ts'

import { cleanup, render, screen } from '@testing-library/react'
import { cacheExchange } from '@urql/exchange-graphcache'
import { type ReactElement, useEffect } from 'react'
import { Client, type CombinedError, fetchExchange, Provider, useQuery, useSubscription } from 'urql'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import type { PresenceOptions } from '../../client/src/index.ts'
import { createTestPresence } from '../../client/src/testing/index.ts'
import { graphcache, presenceExchange, sessionFetchOptions } from '../../client/src/urql/index.ts'
import { openTab, post, recordingSocket } from '../support/clients.ts'
import { until } from '../support/wait.ts'
import { installPage, removePage } from './dom.ts'
import { presenceOf, serverForTests } from './kit.ts'

const LIST = `
  query ($room: ID, $first: Int, $after: String) {
    onlineUsers(room: $room, first: $first, after: $after) {
      position
      totalCount
      pageInfo { hasNextPage endCursor }
      nodes { id name status statusMessage }
    }
  }
`
const CHANGES = `
  subscription ($room: ID, $after: String) {
    presenceChanged(room: $room, after: $after) { kind position user { id name status statusMessage } }
  }
`

describe("urql's binding", () => {
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
    const client = new Client({
      url: `${at.server.url}/graphql`,
      preferGetMethod: false,
      fetchOptions: sessionFetchOptions(presence, () => ({ headers: { authorization: `Bearer dev:${userId}` } })),
      exchanges: [cacheExchange({ ...graphcache }), presenceExchange(presence), fetchExchange],
    })
    return { presence, client }
  }

  /** What a component shows of a list. */
  function show(client: Client, room: string, variables = {}) {
    const list = { nodes: [] as string[], totalCount: 0 }
    const reading = client.query<any>(LIST, { room, ...variables }).subscribe(({ data, stale }) => {
      if (!data || stale) return
      list.nodes = data.onlineUsers.nodes.map((user: any) => `${user.id} ${user.status} ${user.statusMessage}`)
      list.totalCount = data.onlineUsers.totalCount
    })
    opened.push(() => reading.unsubscribe())
    return list
  }

  async function followChanges(client: Client, room: string): Promise<void> {
    const { data } = await client.query(LIST, { room }, { requestPolicy: 'cache-only' }).toPromise()
    const following = client.subscription(CHANGES, { room, after: data.onlineUsers.position }).subscribe(() => {})
    opened.push(() => following.unsubscribe())
  }

  function say(userId: string, message: string): Promise<unknown> {
    const mutation = 'mutation ($message: String) { setStatus(status: BUSY, message: $message) { viewer { id } } }'
    return post(at.server, `dev:${userId}`, mutation, { message })
  }

  describe('presenceExchange', () => {
    it("runs subscriptions over the kit's connection, and all else where it is asked to", async () => {
      const requests = vi.spyOn(globalThis, 'fetch')
      const presence = presenceOf(at.server, 'alice')
      const client = new Client({
        url: 'http://localhost:1/nowhere',
        exchanges: [presenceExchange(presence, { isOverConnection: () => true })],
      })
      const counts: number[] = []
      const counting = client
        .subscription<any>('subscription { onlineCountChanged(room: "link") { count } }', {})
        .subscribe(({ data }) => void counts.push(data?.onlineCountChanged.count))
      opened.push(() => counting.unsubscribe())
      const asked = await client
        .query('query Me($ids: [ID!]!) { users(ids: $ids) { id } }', { ids: ['alice'] })
        .toPromise()
      expect(asked.data).toEqual({ users: [{ id: 'alice' }] })
      const mutation = 'mutation { joinRoom(room: "link") { session { id isCurrent } } }'
      const { data } = await client.mutation(mutation, {}).toPromise()
      expect(data.joinRoom.session).toEqual({ id: presence.sessionId, isCurrent: true })
      await until(() => counts.at(-1) === 1)
      expect(requests).not.toHaveBeenCalled()
    })

    it('hands on errors as urql has them, and begins the same subscription again after one', async () => {
      const { client, presence } = open('anna')
      const query = 'subscription { presenceChanged(after: "0123456789abcdef:1") { kind position } }'
      for (let round = 0; round < 2; round += 1) {
        const error = await new Promise<CombinedError>((resolve) => {
          const following = client.subscription(query, {}).subscribe(({ error }) => error && resolve(error))
          opened.push(() => following.unsubscribe())
        })
        expect(error.graphQLErrors[0]?.extensions.code).toBe('POSITION_EXPIRED')
      }
      presence.close()
      const nobody = new Client({
        url: 'http://localhost:1/nowhere',
        exchanges: [presenceExchange(presenceOf(at.server, 'anna', { token: 'of nobody' }))],
      })
      const { error } = await new Promise<any>((resolve) => {
        nobody.subscription('subscription { onlineCountChanged { count } }', {}).subscribe(resolve)
      })
      expect(error.networkError).toMatchObject({ name: 'RollcallError', code: 'UNAUTHENTICATED' })

      const test = new Client({
        url: 'http://localhost:1/nowhere',
        exchanges: [presenceExchange(createTestPresence())],
      })
      const told = await new Promise<any>((resolve) => {
        test.subscription('subscription { onlineCountChanged { count } }', {}).subscribe(resolve)
      })
      expect(told.error.message).toContain('has no connection')
    })

    it('ends a subscription on the server when nobody reads it any more', async () => {
      const { sent, webSocketImpl } = recordingSocket()
      const { client, presence } = open('ada', { webSocketImpl })
      await until(() => presence.link.getSnapshot().state === 'open')
      const query = 'subscription { onlineCountChanged(room: "ended") { count } }'
      const following = client.subscription(query, {}).subscribe(() => {})
      const subscribed = await until(() => sent.find((text) => text.includes('ended')))
      following.unsubscribe()
      await until(() => sent.includes(JSON.stringify({ type: 'complete', id: JSON.parse(subscribed).id })))
    })

    it('goes on with a subscription after a lost connection, without a gap', async () => {
      const { client, presence } = open('bea')
      const seen: string[] = []
      const following = client.subscription<any>(CHANGES, { room: 'gap' }).subscribe(({ data, error }) => {
        seen.push(error ? String(error) : `${data.presenceChanged.kind} ${data.presenceChanged.user.id}`)
      })
      opened.push(() => following.unsubscribe())
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

  describe('sessionFetchOptions', () => {
    it('make joinRoom over HTTP mean this tab', async () => {
      const { client, presence } = open('carl')
      await until(() => presence.link.getSnapshot().state === 'open')
      await client.mutation('mutation { joinRoom(room: "cellar") { session { id } } }', {}).toPromise()
      const { data } = await post(at.server, 'dev:carl', '{ viewer { sessions { id rooms } } }')
      expect(data?.viewer.sessions).toEqual([{ id: presence.sessionId, rooms: ['cellar'] }])
    })

    it('name no session before there is one, and keep what the app has', () => {
      const presence = presenceOf(at.server, 'cleo', { autoConnect: false })
      const options = sessionFetchOptions(presence, () => ({
        headers: new Headers({ own: '1' }),
        credentials: 'include',
      }))
      expect(options()).toEqual({ headers: { own: '1' }, credentials: 'include' })
      presence.connect()
      expect(options().headers).toEqual({ own: '1', 'rollcall-session': presence.sessionId })
      expect(sessionFetchOptions(presence)().headers).toEqual({ 'rollcall-session': presence.sessionId })
    })
  })

  describe('graphcache', () => {
    it('keeps the list of a room, and of no other', async () => {
      const { client } = open('dan')
      await openTab(at.server, 'dora', { rooms: ['den', 'other'] })
      const [den, other] = [show(client, 'den'), show(client, 'other')]
      await until(() => den.nodes.length === 1 && other.nodes.length === 1)
      await followChanges(client, 'den')
      const dirk = await openTab(at.server, 'dirk', { rooms: ['den', 'other'] })
      await until(() => den.nodes.length === 2)
      await say('dora', 'Lunch')
      await until(() => den.nodes[1] === 'dora BUSY Lunch')
      expect([den.nodes, den.totalCount]).toEqual([['dirk ONLINE null', 'dora BUSY Lunch'], 2])
      // A user is one in all lists, and this list follows nothing.
      expect([other.nodes, other.totalCount]).toEqual([['dora BUSY Lunch'], 1])
      await dirk.close()
      await until(() => den.nodes.length === 1)
      expect(den.totalCount).toBe(1)
    })

    it('adds nobody twice, where a change from before the list comes again', async () => {
      const { client } = open('dunja')
      const { data } = await post(at.server, 'dev:dunja', '{ position }')
      await openTab(at.server, 'doris', { rooms: ['twice'] })
      const list = show(client, 'twice')
      await until(() => list.nodes.length === 1)
      const following = client.subscription(CHANGES, { room: 'twice', after: data?.position }).subscribe(() => {})
      opened.push(() => following.unsubscribe())
      await openTab(at.server, 'dagmar', { rooms: ['twice'] })
      await until(() => list.nodes.length > 1)
      expect([list.nodes, list.totalCount]).toEqual([['dagmar ONLINE null', 'doris ONLINE null'], 2])
    })

    it('removes who hides', async () => {
      const { client } = open('emil')
      await openTab(at.server, 'eva', { rooms: ['hide'] })
      const list = show(client, 'hide')
      await until(() => list.nodes.length === 1)
      await followChanges(client, 'hide')
      await post(at.server, 'dev:eva', 'mutation { setVisibility(visibility: NOBODY) { viewer { id } } }')
      await until(() => list.nodes.length === 0)
    })

    it('adds who joins to the page that they belong to, and to none behind which more follow', async () => {
      const { client } = open('fred')
      for (const id of ['fa', 'fc', 'fg', 'fi', 'fm']) await openTab(at.server, id, { rooms: ['pages'] })
      const first = await client.query(LIST, { room: 'pages', first: 2 }).toPromise()
      const { endCursor } = first.data.onlineUsers.pageInfo
      const pages = [
        show(client, 'pages', { first: 2 }),
        show(client, 'pages', { first: 2, after: endCursor }),
        show(client, 'pages', { first: 100 }),
      ]
      await until(() => pages[2]?.nodes.length === 5 && pages[1]?.nodes.length === 2)
      const { position } = first.data.onlineUsers
      const following = client.subscription(CHANGES, { room: 'pages', after: position }).subscribe(() => {})
      opened.push(() => following.unsubscribe())
      for (const id of ['fe', 'fh', 'fk', 'fz']) await openTab(at.server, id, { rooms: ['pages'] })
      await until(() => pages[2]?.nodes.length === 9)
      const ids = pages.map(({ nodes }) => nodes.map((node) => node.split(' ')[0]).join())
      expect(ids).toEqual(['fa,fc,fe', 'fg,fh,fi', 'fa,fc,fe,fg,fh,fi,fk,fm,fz'])
      expect(pages[2]?.totalCount).toBe(9)
    })

    it('reads a list again that is asked by edges', async () => {
      const { client } = open('gert')
      await openTab(at.server, 'gabi', { rooms: ['edges'] })
      const query = 'query { onlineUsers(room: "edges") { position edges { cursor node { id } } } }'
      let edges: any[] = []
      let position: string | undefined
      const reading = client.query<any>(query, {}).subscribe(({ data }) => {
        edges = data?.onlineUsers.edges ?? edges
        position ??= data?.onlineUsers.position
      })
      opened.push(() => reading.unsubscribe())
      await until(() => edges.length === 1)
      const variables = { room: 'edges', after: position }
      const following = client.subscription(CHANGES, variables).subscribe(() => {})
      opened.push(() => following.unsubscribe())
      const gina = await openTab(at.server, 'gina', { rooms: ['edges'] })
      await until(() => edges.length === 2)
      expect(edges[1]).toMatchObject({ cursor: expect.any(String), node: { id: 'gina' } })
      await gina.close()
      await until(() => edges.length === 1)
    })

    it('warns of nothing, whatever is asked', async () => {
      const warnings = vi.spyOn(console, 'warn')
      const { client, presence } = open('hugo')
      await until(() => presence.link.getSnapshot().state === 'open')
      const hidden = '{ viewer { history { nodes { hiddenSpans { startedAt } } } } }'
      for (const visibility of ['NOBODY', 'EVERYONE'])
        await post(at.server, 'dev:hugo', `mutation { setVisibility(visibility: ${visibility}) { viewer { id } } }`)
      await until(async () => {
        const { data } = await post(at.server, 'dev:hugo', hidden)
        return data?.viewer.history.nodes[0]?.hiddenSpans?.length > 0
      })
      const queries = [
        '{ viewer { status sessions { device } history { edges { cursor node { startedAt hiddenSpans { startedAt } } } } } }',
        '{ viewer { id user { id } sessions { id } history { nodes { id } pageInfo { hasNextPage } } } onlineCount }',
        '{ onlineUsers { totalCount edges { cursor node { id } } nodes { id } pageInfo { endCursor } } }',
      ]
      for (const query of queries) expect((await client.query(query, {}).toPromise()).error).toBeUndefined()
      const mutations = [
        'mutation { heartbeat { expiresAt session { id } viewer { id } } }',
        'mutation { setStatus(status: BUSY) { viewer { status } } }',
        'mutation { setVisibility(visibility: EVERYONE) { viewer { id } } }',
        'mutation { joinRoom(room: "warn") { session { id } } }',
        'mutation { leaveRoom(room: "warn") { session { rooms } } }',
        'mutation { goOffline { viewer { isOnline } } }',
      ]
      for (const mutation of mutations) expect((await client.mutation(mutation, {}).toPromise()).error).toBeUndefined()
      let count: unknown
      const counting = client
        .subscription('subscription { onlineCountChanged { count } }', {})
        .subscribe(({ data }) => {
          count = data
        })
      opened.push(() => counting.unsubscribe())
      await until(() => count)
      expect(warnings.mock.calls).toEqual([])
    })
  })

  describe('in React', () => {
    /** As docs/recipes.md has it. */
    function Lobby({ room }: { readonly room: string }): ReactElement {
      const [{ data }, read] = useQuery<any>({ query: LIST, variables: { room } })
      const after = data?.onlineUsers.position
      const [{ error }] = useSubscription<any>({ query: CHANGES, variables: { room, after }, pause: !after })
      useEffect(() => {
        if (error?.graphQLErrors[0]?.extensions.code === 'POSITION_EXPIRED') read({ requestPolicy: 'network-only' })
      }, [error, read])
      return (
        <p>{data?.onlineUsers.nodes.map((user: any) => `${user.id} ${user.status} ${user.statusMessage}`).join()}</p>
      )
    }

    it('is right again after a lost connection, and after the server lost the log', { timeout: 60_000 }, async () => {
      const requests = vi.spyOn(globalThis, 'fetch')
      const lists = () => requests.mock.calls.filter(([, init]) => String(init?.body).includes('hasNextPage')).length
      const { client, presence } = open('ina')
      const igor = await openTab(at.server, 'igor', { rooms: ['log'] })
      await openTab(at.server, 'iris', { rooms: ['log'] })
      render(
        <Provider value={client}>
          <Lobby room="log" />
        </Provider>,
      )
      await until(() => screen.queryByText('igor ONLINE null,iris ONLINE null'))
      at.wire.refuse()
      await until(() => presence.link.getSnapshot().state === 'waiting')
      await say('iris', 'Tea')
      at.wire.mend()
      await until(() => screen.queryByText('igor ONLINE null,iris BUSY Tea'), { withinMs: 20_000 })
      expect(lists()).toBe(1)

      at.wire.refuse()
      await until(() => presence.link.getSnapshot().state === 'waiting')
      await igor.close()
      // More than the log keeps.
      for (let index = 0; index < 120; index += 1) await say('iris', String(index))
      at.wire.mend()
      // After a long time without a server it would wait for up to 30 s.
      presence.retryNow()
      await until(() => screen.queryByText('iris BUSY 119'), { withinMs: 20_000 })
      expect(lists()).toBe(2)
      // It follows from the new position.
      await openTab(at.server, 'ilse', { rooms: ['log'] })
      await until(() => screen.queryByText('ilse ONLINE null,iris BUSY 119'))
      expect(lists()).toBe(2)
    })

    it('renders the component of the user who changes, and no other', async () => {
      const renders = new Map<string, number>()
      function Row({ id }: { readonly id: string }): ReactElement {
        const [{ data }] = useQuery<any>({
          query: 'query ($id: ID!) { user(id: $id) { id status } }',
          variables: { id },
        })
        renders.set(id, (renders.get(id) ?? 0) + 1)
        return <p>{`${id} ${data?.user.status}`}</p>
      }
      const { client } = open('jan')
      await openTab(at.server, 'jutta')
      await openTab(at.server, 'jens')
      const userIds = ['jutta', 'jens']
      const changes =
        'subscription ($userIds: [ID!], $after: String) { presenceChanged(userIds: $userIds, after: $after) { kind position user { id status } } }'
      const { data } = await client.query('{ position }', {}).toPromise()
      const following = client.subscription(changes, { userIds, after: data.position }).subscribe(() => {})
      opened.push(() => following.unsubscribe())
      render(
        <Provider value={client}>
          <Row id="jutta" />
          <Row id="jens" />
        </Provider>,
      )
      await until(() => screen.queryByText('jutta ONLINE') && screen.queryByText('jens ONLINE'))
      const before = { jutta: renders.get('jutta'), jens: renders.get('jens') }
      await say('jens', 'Coffee')
      await until(() => screen.queryByText('jens BUSY'))
      expect(renders.get('jutta')).toBe(before.jutta)
      expect(renders.get('jens')).toBe(Number(before.jens) + 1)
    })
  })
})
