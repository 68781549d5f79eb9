/** What the lists cost in a small crowd and in a large one: of any store, and as whole queries. */
import { execute, parse } from 'graphql'
import { createPresence } from '../../src/presence/presence.ts'
import type { PresenceStore } from '../../src/presence/store.ts'
import type { RequestContext } from '../../src/resolvers/context.ts'
import { cursorOf } from '../../src/resolvers/online-users.ts'
import { schema } from '../../src/schema/index.ts'
import { type Comparison, compare } from './compare.ts'
import { anyOf, type Crowd, TIMING } from './crowd.ts'

const PAGE_SIZE = 50
const QUERY = parse(`query ($after: String) {
  onlineUsers(first: ${PAGE_SIZE}, after: $after) {
    nodes { id name avatarUrl isOnline status statusMessage onlineSince lastActive }
    pageInfo { hasNextPage endCursor }
    totalCount
    position
  }
}`)

export interface ReadsFigures {
  readonly room: string | null
  readonly firstPage: Comparison
  /** Page after page, as a client goes through the list. */
  readonly nextPage: Comparison
  /** After a user anywhere in the list, whom nothing touched lately: what the memory of the machine makes slowest. */
  readonly pageAnywhere: Comparison
  readonly count: Comparison
}

interface Crowds {
  readonly small: Crowd
  readonly large: Crowd
}

export interface Effort {
  readonly rounds: number
  readonly callsARound: number
}

export async function measureReads(crowds: Crowds, room: string | null, effort: Effort): Promise<ReadsFigures> {
  const onBoth = (callOf: (crowd: Crowd) => () => Promise<unknown>): Promise<Comparison> =>
    compare({ small: callOf(crowds.small), large: callOf(crowds.large) }, effort)
  return {
    room,
    firstPage: await onBoth(
      ({ store }) =>
        () =>
          store.page({ room, first: PAGE_SIZE, after: null }),
    ),
    nextPage: await onBoth(({ store }) => pager(store, room)),
    pageAnywhere: await onBoth(
      ({ store, userIds }) =>
        () =>
          store.page({ room, first: PAGE_SIZE, after: anyOf(userIds) }),
    ),
    count: await onBoth(
      ({ store }) =>
        () =>
          store.count(room),
    ),
  }
}

/** The whole query for a page anywhere, as the server executes it. */
export function measureQuery({ small, large }: Crowds, effort: Effort): Promise<Comparison> {
  return compare({ small: queryOf(small), large: queryOf(large) }, effort)
}

function pager(store: PresenceStore, room: string | null): () => Promise<void> {
  let after: string | null = null
  return async () => {
    const page = await store.page({ room, first: PAGE_SIZE, after })
    after = page.hasMore ? (page.users.at(-1)?.id ?? null) : null
  }
}

function queryOf({ store, userIds }: Crowd): () => Promise<unknown> {
  // What lists never ask, a benchmark of them need not have.
  const absent = {} as Parameters<typeof createPresence>[0]
  const presence = createPresence({ ...absent, store, timing: TIMING })
  const context = {
    presence,
    caller: {
      userId: 'reader',
      profile: null,
      rooms: ['**'],
      everyone: true,
      role: 'member',
      issuedAtMs: 0,
      expiresAtMs: null,
    },
    position: () => store.changes.position(),
  } as Partial<RequestContext> as RequestContext
  return async () => {
    const variableValues = { after: cursorOf(anyOf(userIds)) }
    const result = await execute({ schema, document: QUERY, contextValue: context, variableValues })
    if (result.errors !== undefined) throw result.errors[0]
  }
}
