/**
 * Who is online, with Relay 21, set up as its own documentation does: queries and mutations by `fetch`, subscriptions by
 * graphql-ws, the list as a connection in Relay's store.
 */
import type { Sink, Client as SocketClient } from 'graphql-ws'
import {
  ConnectionHandler,
  commitMutation,
  createOperationDescriptor,
  Environment,
  fetchQuery,
  type GraphQLResponse,
  getSingularSelector,
  Network,
  Observable,
  type ReaderFragment,
  RecordSource,
  type RecordSourceSelectorProxy,
  type RequestParameters,
  requestSubscription,
  type SingularReaderSelector,
  Store,
  type Variables,
} from 'relay-runtime'
import type { ListedUser } from '../../../../examples/operations.ts'
import { type ConnectOptions, openSocket } from '../../../../examples/socket.ts'
import type { Artifacts } from './compile.ts'

const PAGE_SIZE = 500
/** The key of `@connection`, and what `filters` names. */
const LIST_KEY = 'documentsOnlineUsers_onlineUsers'

export interface RelayClient {
  readonly environment: Environment
  readonly artifacts: Artifacts
}

/** https://relay.dev/docs/guided-tour/updating-data/graphql-subscriptions/#configuring-the-network-layer */
export function createEnvironment(url: string, token: () => string | Promise<string>, socket: SocketClient) {
  async function fetchGraphQL({ text }: RequestParameters, variables: Variables): Promise<GraphQLResponse> {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${await token()}` },
      body: JSON.stringify({ query: text, variables }),
    })
    return (await response.json()) as GraphQLResponse
  }

  function subscribe({ name, text }: RequestParameters, variables: Variables): Observable<GraphQLResponse> {
    return Observable.create<GraphQLResponse>((sink) =>
      socket.subscribe({ operationName: name, query: String(text), variables }, sink as unknown as Sink),
    )
  }

  return new Environment({
    network: Network.create(fetchGraphQL, subscribe),
    store: new Store(new RecordSource()),
  })
}

export function connectWith(artifacts: Artifacts) {
  return (options: ConnectOptions) => {
    const socket = openSocket(options)
    return {
      client: { environment: createEnvironment(options.url, options.token, socket), artifacts },
      close() {
        // It rejects where a connection was just being made.
        Promise.resolve(socket.dispose()).catch(() => {})
      },
    }
  }
}

/** Reads a fragment of an answer, as `useFragment` does. */
export function readFragment({ environment }: RelayClient, fragment: ReaderFragment, reference: unknown): any {
  const selector = getSingularSelector(fragment, reference) as SingularReaderSelector
  return environment.lookup(selector).data
}

export async function readQuery({ environment, artifacts }: RelayClient, name: string, variables: Variables) {
  const data = await fetchQuery(environment, await artifacts.request(name), variables).toPromise()
  return data as Record<string, any>
}

export async function mutate({ environment, artifacts }: RelayClient, name: string, variables: Variables = {}) {
  const mutation = await artifacts.request(name)
  return new Promise<any>((resolve, reject) => {
    commitMutation(environment, {
      mutation,
      variables,
      onCompleted: (data, errors) => (errors?.length ? reject(errors) : resolve(data)),
      onError: reject,
    })
  })
}

/** Follows the list in Relay's store: the first page with its position, the other pages, then each change. */
export function followOnline(
  client: RelayClient,
  room: string | null,
  show: (users: readonly ListedUser[]) => void,
  fail: (error: unknown) => void,
): () => void {
  const { environment, artifacts } = client
  const closers: (() => void)[] = []
  let isStopped = false

  async function start(): Promise<void> {
    try {
      const [query, list, user, subscription] = await Promise.all([
        artifacts.request('documentsOnlineUsersQuery'),
        artifacts.fragment('documentsOnlineUsers'),
        artifacts.fragment('documentsUser'),
        artifacts.request('documentsChangedSubscription'),
      ])
      const variables = { room, count: PAGE_SIZE }
      // Without it Relay's garbage collection takes what no component shows.
      const operation = createOperationDescriptor(query, variables)
      const retained = environment.retain(operation)
      closers.push(() => retained.dispose())
      const { position, ...root } = await readQuery(client, 'documentsOnlineUsersQuery', variables)
      const selector = getSingularSelector(list, root) as SingularReaderSelector

      // What `loadNext` of usePaginationFragment does.
      for (;;) {
        const { pageInfo } = (environment.lookup(selector).data as any).onlineUsers
        if (!pageInfo.hasNextPage) break
        await readQuery(client, 'documentsOnlineUsersPaginationQuery', { ...variables, cursor: pageInfo.endCursor })
      }
      if (isStopped) return

      function showList(data: any): void {
        show(data.onlineUsers.edges.map(({ node }: { node: unknown }) => readFragment(client, user, node)))
      }
      showList(environment.lookup(selector).data)
      const subscribed = requestSubscription(environment, {
        subscription,
        variables: { room, after: position },
        updater: (store) => applyChange(store, room),
        onNext: () => showList(environment.lookup(selector).data),
        onError: again,
      })
      closers.push(() => subscribed.dispose())
    } catch (error) {
      again(error)
    }
  }

  function stop(): void {
    for (const close of closers.splice(0)) close()
  }

  function again(error: unknown): void {
    if (isStopped) return
    stop()
    const code = codeOf(error) ?? 'UNAVAILABLE'
    if (code === 'POSITION_EXPIRED') void start()
    else if (code === 'UNAVAILABLE' || code === 'RATE_LIMITED') setTimeout(() => void (isStopped || start()), 500)
    else fail(error)
  }

  void start()
  return () => {
    isStopped = true
    stop()
  }
}

/** https://relay.dev/docs/guided-tour/list-data/updating-connections/ */
function applyChange(store: RecordSourceSelectorProxy, room: string | null): void {
  const change = store.getRootField('presenceChanged')
  const user = change?.getLinkedRecord('user')
  const list = ConnectionHandler.getConnection(store.getRoot(), LIST_KEY, { room })
  if (!change || !user || !list) return
  const userId = user.getDataID()
  if (change.getValue('kind') === 'LEAVE') {
    ConnectionHandler.deleteNode(list, userId)
    return
  }
  const edges = list.getLinkedRecords('edges') ?? []
  if (edges.some((edge) => edge?.getLinkedRecord('node')?.getDataID() === userId)) return
  ConnectionHandler.insertEdgeAfter(list, ConnectionHandler.createEdge(store, list, user, 'OnlineUsersEdge'))
}

/** The list of errors that a subscription ends with, or the error that a query of Relay's throws. */
export function codeOf(error: unknown): string | undefined {
  const errors = Array.isArray(error) ? error : (error as { source?: { errors?: unknown[] } }).source?.errors
  return (errors?.[0] as { extensions?: { code?: string } } | undefined)?.extensions?.code
}

export async function heartbeat(client: RelayClient) {
  const { heartbeat } = await mutate(client, 'documentsHeartbeatMutation')
  return heartbeat
}
