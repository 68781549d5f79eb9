/** How `InMemoryCache` keeps presence. */
import type { FieldMergeFunction, FieldPolicy, FieldReadFunction, Reference, TypePolicies } from '@apollo/client'
import { knownOf } from './known.ts'

type ToReference = (user: { readonly __typename: string; readonly id: string }) => Reference | undefined

/** A list as it is in the cache: users are references. */
export interface StoredList {
  readonly position?: string
  readonly totalCount?: number
  readonly nodes?: readonly Reference[]
  readonly edges?: readonly { readonly node?: Reference }[]
  readonly pageInfo?: object
}

/** One list for each room, whatever `first` is: a page that was asked with `after` comes behind what is there. */
const mergePages: FieldMergeFunction<StoredList> = (existing, incoming, { args, cache, toReference }) => {
  const list = args?.after && existing ? longer(existing, incoming) : pageOver(existing, incoming)
  const known = knownOf(cache).lists.get(args?.room ?? null)
  return known ? whole(list, known.ids, toReference, incoming.edges) : list
}

/** @returns the key of the field in the cache, as `keyArgs` below make it */
export function fieldOf(room: string | null): string {
  return room === null ? 'onlineUsers' : `onlineUsers:${JSON.stringify({ room })}`
}

function pageOver(existing: StoredList | undefined, incoming: StoredList): StoredList {
  // Two queries may ask for different fields of the same page.
  const pageInfo = { ...existing?.pageInfo, ...incoming.pageInfo }
  return { ...existing, ...incoming, ...(incoming.pageInfo ? { pageInfo } : {}) }
}

function longer(existing: StoredList, incoming: StoredList): StoredList {
  const { nodes = [], edges = [] } = existing
  const known = new Set([...nodes, ...edges.map(({ node }) => node)].map((reference) => reference?.__ref))
  return {
    ...existing,
    ...incoming,
    // What changed since the first page is followed after the position of that one.
    ...(existing.position === undefined ? {} : { position: existing.position }),
    ...(incoming.nodes ? { nodes: [...nodes, ...incoming.nodes.filter(({ __ref }) => !known.has(__ref))] } : {}),
    ...(incoming.edges ? { edges: [...edges, ...incoming.edges.filter(({ node }) => !known.has(node?.__ref))] } : {}),
  }
}

/** @param edges - of the server's answer. Without them a query that asks for edges is sent again: cursors are the server's */
export function whole(
  { edges: _edges, ...list }: StoredList,
  ids: readonly string[],
  toReference: ToReference,
  edges?: StoredList['edges'],
): StoredList {
  return {
    ...list,
    totalCount: ids.length,
    nodes: ids.flatMap((id) => toReference({ __typename: 'User', id }) ?? []),
    pageInfo: { ...list.pageInfo, __typename: 'PageInfo', hasNextPage: false, hasPreviousPage: false },
    ...(edges ? { edges } : {}),
  }
}

/** A user who is in the cache, by whatever query, needs no other request. */
const readUser: FieldReadFunction = (existing, { args, toReference, canRead }) => {
  const reference = toReference({ __typename: 'User', id: args?.id })
  return canRead(reference) ? reference : existing
}

const readUsers: FieldReadFunction<readonly (Reference | null)[]> = (existing, { args, toReference, canRead }) => {
  const ids: readonly string[] = args?.ids ?? []
  const references = ids.map((id) => toReference({ __typename: 'User', id }) ?? null)
  if (!existing && !references.every(canRead)) return undefined
  return references.map((reference, index) => (canRead(reference) ? reference : (existing?.[index] ?? null)))
}

/** Of a user who is followed, what the kit knows stays: an answer may have been read before. */
const followed: FieldPolicy = {
  merge(_existing, incoming, { cache, storage }) {
    const { users, overwritten, writing } = knownOf(cache)
    if (writing !== null) Object.assign(storage, { userId: writing, value: incoming })
    if (users.has(storage.userId)) return storage.value
    if (writing === null && storage.userId !== undefined && incoming !== storage.value) overwritten.add(storage.userId)
    return incoming
  },
}

/** It changes without a word of the server, and never goes back. */
const latest: FieldPolicy<string | null> = {
  merge: (existing, incoming) => (existing && incoming && existing > incoming ? existing : incoming),
}

/**
 * For `new InMemoryCache({ typePolicies })`. An app that has policies of its own for the same types adds these by
 * `cache.policies.addTypePolicies(typePolicies)`.
 */
export const typePolicies: TypePolicies = {
  Query: {
    fields: {
      onlineUsers: { keyArgs: (args) => ((args?.room ?? null) === null ? false : ['room']), merge: mergePages },
      user: readUser,
      node: readUser,
      users: readUsers,
    },
  },
  User: {
    fields: {
      name: followed,
      avatarUrl: followed,
      isOnline: followed,
      status: followed,
      statusMessage: followed,
      onlineSince: followed,
      lastActive: latest,
      lastSeen: followed,
    },
  },
  // One query may ask for its id, and another one not.
  Viewer: { merge: true, fields: { sessions: { merge: false } } },
}
