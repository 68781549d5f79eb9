/** Writes what the kit knows into the cache of Apollo Client. */
import { type ApolloCache, type ApolloClient, gql, type InMemoryCache } from '@apollo/client'
import { userFields } from '../operations.ts'
import { onLeave, type Presence } from '../presence.ts'
import type { OnlineUsersSnapshot, Store, User, UsersSnapshot } from '../types.ts'
import { type KnownOfCache, knownOf } from './known.ts'
import { fieldOf, type StoredList, whole } from './type-policies.ts'

const PRESENCE = gql(userFields)

const LIST = gql`
  query RollcallOnlineUsers($room: ID) {
    onlineUsers(room: $room) {
      totalCount
      pageInfo {
        hasNextPage
        hasPreviousPage
      }
      nodes {
        id
      }
    }
  }
`

/** A room, everywhere where it is left out, or some users. */
export type Where = { readonly room?: string | null } | { readonly userIds: readonly string[] }

/**
 * Keeps the cache right: users, and the list of a room, which is the field `onlineUsers`. A component that reads a user by
 * `useFragment` or by a query is rendered when something of that user changes.
 *
 * It needs the `typePolicies` of this entry. It writes while the kit's store is live; then an answer does not overwrite
 * what it wrote, because the answer may have been read before.
 *
 * @returns a function that ends it. What is in the cache stays
 */
export function followPresence(client: ApolloClient, presence: Presence, where: Where): () => void {
  const following = new Following(client.cache, presence, where)
  const again = async (): Promise<void> => following.writeAgain()
  const stops = [following.start(), client.onClearStore(again), client.onResetStore(again)]
  return () => {
    for (const stop of stops) stop()
  }
}

class Following {
  readonly #cache: ApolloCache
  readonly #known: KnownOfCache
  readonly #presence: Presence
  /** Undefined where it is about users by their ids. */
  readonly #room: string | null | undefined
  readonly #store: Store<OnlineUsersSnapshot | UsersSnapshot>
  /** What was written last of each user who is followed. */
  readonly #written = new Map<string, User>()
  /** The list as it was written last; null for users by their ids. */
  #ids: readonly string[] | null = null
  /** Whether what was written counts for more than an answer. */
  #isCertain = false
  /** Who left the list since it was written. */
  readonly #left = new Map<string, User>()
  readonly #lookups = new Set<() => void>()

  constructor(cache: ApolloCache, presence: Presence, where: Where) {
    this.#cache = cache
    this.#known = knownOf(cache)
    this.#presence = presence
    this.#room = 'userIds' in where ? undefined : (where.room ?? null)
    this.#store = 'userIds' in where ? presence.users(where.userIds) : presence.onlineUsers(where)
  }

  start(): () => void {
    const stopLeaves = onLeave(this.#presence, (user, room) => {
      if (room === this.#room) this.#left.set(user.id, user)
    })
    const stop = this.#store.subscribe(() => this.#write())
    this.#write()
    return () => {
      stop()
      stopLeaves()
      for (const end of this.#lookups) end()
      this.#doubt()
      for (const id of this.#written.keys()) this.#letGo(id)
    }
  }

  /** The cache was cleared. */
  writeAgain(): void {
    this.#doubt()
    this.#written.clear()
    this.#write()
  }

  #write(): void {
    const snapshot = this.#store.getSnapshot()
    // Until it is live again, what the app reads may be newer.
    if (snapshot.state !== 'live') {
      this.#doubt()
      return
    }
    const users: readonly (User | null)[] = snapshot.users
    const changed = users.filter((user) => user !== null && this.#hasToWrite(user)) as User[]
    const ids = 'ids' in snapshot && (snapshot.ids !== this.#ids || !this.#isCertain) ? snapshot.ids : null
    const gone = ids ? this.#goneFrom(ids) : []
    this.#trust(ids ?? this.#ids)
    if (changed.length === 0 && ids === null) return
    this.#cache.batch({
      update: (cache) => {
        for (const user of changed) {
          // Apollo counts each writing.
          if (this.#written.has(user.id)) this.#letGo(user.id)
          this.#keep(user)
          this.#writeUser(cache, user)
        }
        for (const user of gone) this.#writeOnce(cache, user)
        if (ids) this.#writeList(cache, ids)
      },
    })
  }

  #hasToWrite(user: User): boolean {
    return this.#written.get(user.id) !== user || this.#known.overwritten.has(user.id)
  }

  /** @returns those who left, as others see them since. Who left unseen, while the log was lost, is looked up */
  #goneFrom(ids: readonly string[]): User[] {
    const shown = new Set(ids)
    const gone = [...this.#written.keys()].filter((id) => !shown.has(id))
    for (const id of gone) this.#release(id)
    const unseen = gone.filter((id) => !this.#left.has(id))
    if (unseen.length > 0) this.#lookUp(unseen)
    const seen = gone.flatMap((id) => this.#left.get(id) ?? [])
    this.#left.clear()
    return seen
  }

  #lookUp(ids: readonly string[]): void {
    const store = this.#presence.users(ids)
    const end = (): void => {
      stop()
      this.#lookups.delete(end)
    }
    const look = (): void => {
      const { state, users } = store.getSnapshot()
      if (state !== 'live') return
      end()
      this.#cache.batch({
        update: (cache) => {
          for (const user of users) if (user && !this.#written.has(user.id)) this.#writeOnce(cache, user)
        },
      })
    }
    const stop = store.subscribe(look)
    this.#lookups.add(end)
    look()
  }

  #writeOnce(cache: ApolloCache, user: User): void {
    this.#writeUser(cache, user)
    this.#letGo(user.id)
  }

  #writeUser(cache: ApolloCache, user: User): void {
    const id = cache.identify({ __typename: 'User', id: user.id })
    if (id === undefined) return
    const known = this.#known
    known.overwritten.delete(user.id)
    known.writing = user.id
    cache.writeFragment({ id, fragment: PRESENCE, data: { __typename: 'User', ...user } })
    known.writing = null
  }

  #writeList(cache: ApolloCache, ids: readonly string[]): void {
    const room = this.#room ?? null
    const field = fieldOf(room)
    let isThere = false
    cache.modify<{ onlineUsers: StoredList }>({
      fields: {
        onlineUsers(existing, { storeFieldName, toReference }) {
          if (storeFieldName !== field) return existing
          isThere = true
          return whole(existing as StoredList, ids, toReference)
        },
      },
    })
    if (isThere) return
    const onlineUsers = {
      __typename: 'OnlineUsersConnection',
      totalCount: ids.length,
      pageInfo: { __typename: 'PageInfo', hasNextPage: false, hasPreviousPage: false },
      nodes: ids.map((id) => ({ __typename: 'User', id })),
    }
    cache.writeQuery({ query: LIST, variables: { room }, data: { onlineUsers } })
  }

  /** From now on an answer counts for less. */
  #trust(ids: readonly string[] | null): void {
    const { users, lists } = this.#known
    const isNew = !this.#isCertain
    this.#isCertain = true
    this.#ids = ids
    if (isNew) for (const id of this.#written.keys()) add(users, id, 1)
    if (ids === null) return
    const room = this.#room ?? null
    const others = lists.get(room)?.count ?? 0
    lists.set(room, { ids, count: isNew ? others + 1 : others })
  }

  /** From now on an answer counts. */
  #doubt(): void {
    if (!this.#isCertain) return
    const { users, lists } = this.#known
    this.#isCertain = false
    for (const id of this.#written.keys()) add(users, id, -1)
    if (this.#ids === null) return
    const room = this.#room ?? null
    const others = (lists.get(room)?.count ?? 1) - 1
    if (others > 0) lists.set(room, { ids: this.#ids, count: others })
    else lists.delete(room)
  }

  #keep(user: User): void {
    if (!this.#written.has(user.id)) add(this.#known.users, user.id, 1)
    this.#written.set(user.id, user)
  }

  /** The garbage collection of `InMemoryCache` spares what was written by its id, until that is released. */
  #letGo(id: string): void {
    const cacheId = this.#cache.identify({ __typename: 'User', id })
    if (cacheId !== undefined && 'release' in this.#cache) (this.#cache as InMemoryCache).release(cacheId)
  }

  #release(id: string): void {
    this.#written.delete(id)
    this.#letGo(id)
    if (this.#isCertain) add(this.#known.users, id, -1)
  }
}

/** A count that is not kept where it is 0. */
function add(counts: Map<string, number>, id: string, count: 1 | -1): void {
  const sum = (counts.get(id) ?? 0) + count
  if (sum > 0) counts.set(id, sum)
  else counts.delete(id)
}
