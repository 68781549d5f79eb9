/**
 * What urql's normalised cache, @urql/exchange-graphcache, has to know of presence.
 *
 * Of its types only what is used is described here: an app without that cache has no such package.
 */
interface Cache {
  inspectFields(entity: string): readonly FieldInfo[]
  resolve(entity: string | null, field: string): unknown
  keyOfEntity(entity: Entity): string | null
  link(entity: string, field: string, links: string[]): void
  invalidate(entity: string, field: string): void
  updateQuery(
    input: { readonly query: string; readonly variables: object },
    update: (data: CountedData | null) => CountedData | null,
  ): void
}

interface FieldInfo {
  readonly fieldKey: string
  readonly fieldName: string
  readonly arguments: Readonly<Record<string, unknown>> | null
}

type Entity = { readonly __typename: string; readonly id: string }

type CountedData = { readonly __typename: string; readonly onlineUsers: { readonly totalCount: number } }

interface PresenceChanged {
  readonly presenceChanged?: { readonly kind?: string; readonly user?: Entity } | null
}

/** A page of a list, as the cache has it. */
interface Page {
  readonly key: string
  readonly field: FieldInfo
  /** Keys of users. */
  readonly nodes: readonly string[]
  readonly ids: readonly string[]
}

/** It lies where it was asked for. */
const embedded = (): null => null
const byIdIfAsked = ({ id }: { id?: string | number | null }): string | null => (id ? String(id) : null)

/**
 * Options of `cacheExchange`: `cacheExchange({ ...graphcache })`, or their parts beside the app's own.
 *
 * What changes of a user is in the cache by itself: users are normalised. A subscription to `presenceChanged` that asks for
 * `kind` and `user { id }` adds who joins to each list of its room that is in the cache, and removes who leaves. A list
 * that is asked by `edges` is read again instead, because cursors are the server's.
 */
export const graphcache = {
  keys: {
    OnlineUsersConnection: embedded,
    OnlineUsersEdge: embedded,
    PageInfo: embedded,
    OnlineCount: embedded,
    PresenceChange: embedded,
    PastSessionConnection: embedded,
    PastSessionEdge: embedded,
    HiddenSpan: embedded,
    Viewer: byIdIfAsked,
    Session: byIdIfAsked,
    PastSession: byIdIfAsked,
  },
  updates: {
    Subscription: {
      presenceChanged(result: PresenceChanged, args: { readonly room?: string | null }, cache: Cache): void {
        const { kind, user } = result.presenceChanged ?? {}
        const key = user ? cache.keyOfEntity(user) : null
        if (!key || !user || (kind !== 'JOIN' && kind !== 'LEAVE')) return
        for (const pages of listsOf(cache, args.room ?? null)) {
          if (kind === 'LEAVE') remove(cache, pages, key)
          else add(cache, pages, key, user.id)
        }
      },
    },
  },
}

/** @returns each list of the room, which is some pages: lists differ in what they were asked with */
function listsOf(cache: Cache, room: string | null): Page[][] {
  const lists = new Map<string, Page[]>()
  for (const field of cache.inspectFields('Query')) {
    const { after: _after, ...others } = field.arguments ?? {}
    if (field.fieldName !== 'onlineUsers' || (others.room ?? null) !== room) continue
    const key = cache.resolve('Query', field.fieldKey)
    if (typeof key !== 'string') continue
    if (cache.resolve(key, 'edges')) cache.invalidate('Query', field.fieldKey)
    const nodes = cache.resolve(key, 'nodes') as readonly string[] | undefined
    if (!nodes) continue
    const ids = nodes.map((node) => String(cache.resolve(node, 'id')))
    const name = JSON.stringify(others)
    lists.set(name, [...(lists.get(name) ?? []), { key, field, nodes, ids }])
  }
  return [...lists.values()].map((pages) => pages.sort(inOrder))
}

/** The first page of a list may be empty, and has no `after`. */
function inOrder(one: Page, other: Page): number {
  if (!one.field.arguments?.after) return -1
  if (!other.field.arguments?.after) return 1
  return String(one.ids[0]) < String(other.ids[0]) ? -1 : 1
}

function remove(cache: Cache, pages: readonly Page[], user: string): void {
  for (const { key, nodes } of pages) {
    if (!nodes.includes(user)) continue
    cache.link(
      key,
      'nodes',
      nodes.filter((node) => node !== user),
    )
    count(cache, pages, -1)
  }
}

function add(cache: Cache, pages: readonly Page[], user: string, id: string): void {
  if (pages.some(({ nodes }) => nodes.includes(user))) return
  const index = Math.max(
    0,
    pages.findLastIndex(({ ids }) => String(ids[0]) <= id),
  )
  const page = pages[index] as Page
  const place = page.ids.findIndex((other) => other > id)
  // Behind the pages that were read more follow, and among those this user.
  const hasMore = index === pages.length - 1 && cache.resolve(pageInfoOf(cache, page), 'hasNextPage') === true
  if (place < 0 && hasMore) return
  const before = place < 0 ? page.nodes.length : place
  cache.link(page.key, 'nodes', [...page.nodes.slice(0, before), user, ...page.nodes.slice(before)])
  count(cache, pages, 1)
}

function pageInfoOf(cache: Cache, { key }: Page): string | null {
  return (cache.resolve(key, 'pageInfo') as string | undefined) ?? null
}

/** Each page that was asked for `totalCount` has it. */
function count(cache: Cache, pages: readonly Page[], change: number): void {
  for (const { key, field } of pages) {
    if (cache.resolve(key, 'totalCount') === undefined) continue
    cache.updateQuery({ query: COUNT, variables: field.arguments ?? {} }, (data) => {
      if (!data) return null
      const { onlineUsers } = data
      return { ...data, onlineUsers: { ...onlineUsers, totalCount: onlineUsers.totalCount + change } }
    })
  }
}

const COUNT = /* GraphQL */ `
  query ($room: ID, $first: Int, $after: String) {
    onlineUsers(room: $room, first: $first, after: $after) {
      totalCount
    }
  }
`
